//! What was found, as a table, as JSON, and as an exit code.

use std::io::{self, Write};

use serde::Serialize;

use crate::gpu::{AdapterSummary, Error, Sound};
use crate::kernels::Outcome;

/// Mismatches that are printed and kept for each kernel; all are counted.
const SHOWN: usize = 5;

/// A case's outcome and the bytes of its outputs.
pub type Ran = Result<(Outcome, Vec<Vec<u8>>), Error>;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    adapter: AdapterSummary,
    /// In the order in which they ran.
    pub kernels: Vec<KernelReport>,
    /// The tiny model, unless only kernels were asked for.
    pub model: Option<ModelReport>,
    /// What the checks covered, with checks on.
    pub watched: Option<Watched>,
}

/// How the programs that ran with checks on are known to be sound.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Watched {
    programs: usize,
    #[serde(flatten)]
    sound: Sound,
}

impl From<Vec<Sound>> for Watched {
    fn from(of_programs: Vec<Sound>) -> Self {
        Self { programs: of_programs.len(), sound: of_programs.into_iter().sum() }
    }
}

/// One kernel's cases.
#[derive(Debug, Serialize)]
pub struct KernelReport {
    name: &'static str,
    summary: &'static str,
    right: usize,
    wrong: usize,
    unsupported: usize,
    /// Largest error over tolerance among the right ones.
    worst: f64,
    /// The same cases with checks on.
    checked: Option<Checked>,
    /// The first of them, in words.
    mismatches: Vec<String>,
    /// Time that it took, compiling included.
    pub seconds: f64,
}

/// A second run with the shader compiler's checks on.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// Within tolerance.
    pub right: usize,
    /// Out of tolerance, or refused.
    pub wrong: usize,
    /// Runs whose bits are not those of the unchecked run.
    pub differ: usize,
}

/// One way of running the tiny model.
#[derive(Debug, Serialize)]
pub struct ModelRun {
    /// In words: cache type, chunks, checks.
    pub label: String,
    /// Largest difference to the reference as a share of the largest logit.
    pub difference: f64,
    /// What it may be.
    pub tolerance: f64,
}

/// The tiny model.
#[derive(Debug, Serialize)]
pub struct ModelReport {
    /// What it is.
    pub summary: String,
    /// Every run.
    pub runs: Vec<ModelRun>,
    /// Runs that failed before they gave logits, in words.
    pub failures: Vec<String>,
    /// With checks on.
    pub checked: Option<Checked>,
    /// Time that it took, compiling included.
    pub seconds: f64,
}

impl KernelReport {
    /// No case yet.
    pub fn new(name: &'static str, summary: &'static str, checked: bool) -> Self {
        let checked = checked.then(Checked::default);
        Self {
            name,
            summary,
            right: 0,
            wrong: 0,
            unsupported: 0,
            worst: 0.0,
            checked,
            mismatches: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Cases so far.
    pub fn cases(&self) -> usize {
        self.right + self.wrong + self.unsupported
    }

    /// What was found, for whoever does not wait for the table.
    pub fn so_far(&self) -> String {
        format!("{} right, {} wrong, {} unsupported", self.right, self.wrong, self.unsupported)
    }

    /// Adds a case, and the same one with checks on.
    pub fn add(&mut self, label: &str, first: Ran, second: Option<Ran>) {
        let (name, mismatches) = (self.name, &mut self.mismatches);
        let mut mismatch = |how: &str, what: String| {
            if mismatches.len() < SHOWN {
                mismatches.push(format!("{name}, {label}{how}: {what}"));
            }
        };
        if let (Some(Ok((_, b))), Ok((Outcome::Right { .. } | Outcome::Wrong(_), a)), Some(checked)) =
            (&second, &first, &mut self.checked)
        {
            checked.differ += usize::from(a != b);
        }
        match first {
            Ok((Outcome::Right { worst }, _)) => {
                self.right += 1;
                self.worst = self.worst.max(worst);
            }
            Ok((Outcome::Unsupported, _)) => self.unsupported += 1,
            Ok((Outcome::Wrong(what), _)) => {
                self.wrong += 1;
                mismatch("", what);
            }
            Err(error) => {
                self.wrong += 1;
                mismatch("", error.to_string());
            }
        }
        let Some(checked) = &mut self.checked else { return };
        match second {
            Some(Ok((Outcome::Right { .. }, _))) => checked.right += 1,
            Some(Ok((Outcome::Wrong(what), _))) => {
                checked.wrong += 1;
                mismatch(" with checks on", what);
            }
            Some(Err(error)) => {
                checked.wrong += 1;
                mismatch(" with checks on", error.to_string());
            }
            Some(Ok((Outcome::Unsupported, _))) | None => {}
        }
    }

    /// Nothing of it ran, though others can stand in only for what the device lacks.
    fn is_missing(&self) -> bool {
        self.right == 0 && self.wrong == 0 && self.unsupported == 0
    }

    fn is_well(&self) -> bool {
        self.wrong == 0
            && !self.is_missing()
            && self.checked.as_ref().is_none_or(|c| c.wrong == 0 && c.right == self.right)
    }
}

impl ModelRun {
    fn is_well(&self) -> bool {
        // A NaN is not well either.
        self.difference <= self.tolerance
    }
}

impl ModelReport {
    fn worst(&self) -> f64 {
        // `max` would hide a NaN.
        let shares = self.runs.iter().map(|r| r.difference / r.tolerance);
        shares.fold(0.0, |a, b| if b.is_nan() || b > a { b } else { a })
    }

    fn wrong(&self) -> usize {
        self.failures.len() + self.runs.iter().filter(|r| !r.is_well()).count()
    }

    fn is_well(&self) -> bool {
        self.wrong() == 0 && !self.runs.is_empty()
    }
}

impl Report {
    /// Nothing found yet.
    pub fn new(adapter: &AdapterSummary) -> Self {
        Self { adapter: adapter.clone(), kernels: Vec::new(), model: None, watched: None }
    }

    /// The report with `ok` on top.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "ok": self.verdict().is_ok(),
            "adapter": self.adapter,
            "kernels": self.kernels,
            "model": self.model,
            "watched": self.watched,
        })
    }

    /// A line per kernel, one for the model, a total, and the first mismatches.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let checked = self.kernels.iter().any(|k| k.checked.is_some());
        let more = if checked { "  checked  bits differ" } else { "" };
        writeln!(out, "{:<18}  right  wrong  unsupported  worst error{more}", "kernel")?;
        let row = |out: &mut dyn Write,
                   name: &str,
                   counts: [String; 3],
                   worst: f64,
                   checked: Option<&Checked>| {
            let [right, wrong, unsupported] = counts;
            write!(out, "{name:<18}  {right:>5}  {wrong:>5}  {unsupported:>11}  {:>9.1} %", 100.0 * worst)?;
            if let Some(c) = checked {
                write!(out, "  {:>7}  {:>11}", c.right, c.differ)?;
            }
            writeln!(out)
        };
        for k in &self.kernels {
            row(
                out,
                k.name,
                [k.right, k.wrong, k.unsupported].map(|n| n.to_string()),
                k.worst,
                k.checked.as_ref(),
            )?;
        }
        if let Some(m) = &self.model {
            let counts = [
                (m.runs.len() + m.failures.len() - m.wrong()).to_string(),
                m.wrong().to_string(),
                String::new(),
            ];
            row(out, "tiny model", counts, m.worst(), m.checked.as_ref())?;
        }
        writeln!(out, "\nworst error: the largest, as a share of the tolerance derived for it")?;
        if let Some(Watched { programs, sound: Sound { indices, loops } }) = &self.watched {
            writeln!(
                out,
                "checked: right, no index outside its array and no loop without end; bits differ: runs whose \
                 checked result is within tolerance too but not the same bits\n\
                 {programs} programs compared: {} indices watched as they ran, {} proved by constants and \
                 loop bounds; {} loops counted as they ran, {} end by constants",
                indices.watched, indices.proved, loops.watched, loops.proved
            )?;
        }
        if let Some(m) = &self.model {
            writeln!(out, "tiny model: {}", m.summary)?;
        }
        let unsupported: usize = self.kernels.iter().map(|k| k.unsupported).sum();
        if unsupported > 0 {
            writeln!(
                out,
                "unsupported: variants that need what {} lacks; others stand in for them",
                self.adapter.name
            )?;
        }
        for line in self.mismatches() {
            writeln!(out, "mismatch: {line}")?;
        }
        let seconds =
            self.kernels.iter().map(|k| k.seconds).chain(self.model.iter().map(|m| m.seconds)).sum::<f64>();
        let right: usize = self.kernels.iter().map(|k| k.right).sum();
        let end = if self.verdict().is_ok() { "all is well" } else { "NOT well" };
        let ran = right + self.kernels.iter().map(|k| k.wrong).sum::<usize>();
        let cases = (!self.kernels.is_empty()).then(|| format!("{right} of {ran} cases are right"));
        let runs = self.model.as_ref().map(|m| {
            let right = m.runs.iter().filter(|run| run.is_well()).count();
            format!("{right} of {} runs of the tiny model are right", m.runs.len() + m.failures.len())
        });
        let parts: Vec<String> = cases.into_iter().chain(runs).collect();
        writeln!(out, "{}: {}; {end} ({seconds:.0} s)", self.adapter.name, parts.join(", "))
    }

    fn mismatches(&self) -> Vec<String> {
        let mut all = Vec::new();
        for k in &self.kernels {
            all.extend(k.mismatches.iter().cloned());
            let total = k.wrong + k.checked.as_ref().map_or(0, |c| c.wrong);
            if total > k.mismatches.len() {
                all.push(format!("{}: {} more", k.name, total - k.mismatches.len()));
            }
            if k.is_missing() {
                all.push(format!("{}: no variant of it runs on this adapter", k.name));
            }
        }
        if let Some(m) = &self.model {
            all.extend(m.failures.iter().map(|f| format!("tiny model, {f}")));
            let wrong = m.runs.iter().filter(|r| !r.is_well());
            all.extend(wrong.map(|r| {
                format!(
                    "tiny model, {}: logits are off by {:.4} % of the largest, {:.4} % is allowed",
                    r.label,
                    100.0 * r.difference,
                    100.0 * r.tolerance
                )
            }));
        }
        all
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// Says how much is wrong and what to do.
    pub fn verdict(&self) -> Result<(), String> {
        let kernels: Vec<&str> = self.kernels.iter().filter(|k| !k.is_well()).map(|k| k.name).collect();
        let model = self.model.as_ref().is_some_and(|m| !m.is_well());
        let what = match (kernels.is_empty(), model) {
            (true, false) => return Ok(()),
            (true, true) => "the tiny model gives wrong results".to_string(),
            (false, _) => format!("wrong results of {}", kernels.join(", ")),
        };
        Err(format!(
            "{what} on {}: don't trust this adapter's answers; update its driver ({}), or report this table",
            self.adapter.name, self.adapter.driver
        ))
    }
}

#[cfg(test)]
mod tests;
