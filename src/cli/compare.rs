//! `ridgepoint compare`: roofline reports side by side, and why they differ.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Global;
use super::outputs::writable;
use crate::roofline::compare::{Blame, Comparison, Figures, KernelRatio, Other, html};
use crate::roofline::plot::words;
use crate::roofline::report::Report;
use crate::roofline::svg::{short, time};

/// Set roofline reports side by side: devices, drivers, versions or weight formats
///
/// Each report is compared with the first: times, intensities, parts of the own ceilings, verdicts,
/// and whether the device, the work or the kernel is to blame for a difference.
#[derive(Debug, Args)]
pub struct Compare {
    /// Reports of `ridgepoint roofline --json`, the baseline first
    #[arg(required = true, num_args = 2.., value_name = "REPORT.json")]
    reports: Vec<PathBuf>,
    /// Fail (exit code 1) if a kernel or a step is slower than in the baseline by more than so many
    /// percent, and by more than noise
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    threshold: Option<f64>,
    /// Write a page with the rooflines over each other into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 =
        text.trim_end_matches('%').parse().map_err(|_| "expected a number of percent".to_string())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected 0 or more".into()) }
}

impl Compare {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        if let Some(html) = &self.html
            && self.reports.iter().any(|report| same_file(report, html))
        {
            anyhow::bail!("--html {}: that is a report to be read; expected another file", html.display());
        }
        self.html.as_deref().map_or(Ok(()), writable)?;
        let reports = self.reports.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let names: Vec<String> = self.reports.iter().map(|path| path.display().to_string()).collect();
        let all: Vec<(&str, &Report)> = names.iter().map(String::as_str).zip(&reports).collect();
        let (first, others) = all.split_first().context("two reports at least")?;
        let comparison = Comparison::new(*first, others);
        let own = comparison.baseline.model.as_ref();
        let stranger = comparison.others.iter().map(|other| &other.subject).find(|s| s.model.as_ref() != own);
        if let (Some(stranger), Some(_)) = (stranger, self.threshold) {
            let of = |model: Option<&String>| model.map_or("no model", String::as_str).to_string();
            anyhow::bail!(
                "--threshold: {} is of '{}' and {} of '{}': expected reports of one model",
                comparison.baseline.file,
                of(own),
                stranger.file,
                of(stranger.model.as_ref())
            );
        }
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &comparison)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table(&comparison))?;
        }
        out.flush()?;
        if let Some(path) = &self.html {
            let pages: Vec<&Report> = reports.iter().collect();
            fs::write(path, html(&comparison, &pages))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        let Some(threshold) = self.threshold else { return Ok(()) };
        let untested = comparison.untested();
        if !untested.is_empty() {
            anyhow::bail!(
                "--threshold can't tell anything of {}: expected steps of the same names as the baseline's, with times that can be compared",
                untested.join(", ")
            );
        }
        let slower = comparison.slower(threshold / 100.0);
        if slower.is_empty() {
            let missing: usize = comparison.others.iter().map(|other| other.only_in_baseline.len()).sum();
            let besides = match missing {
                0 => String::new(),
                n => format!("; {n} rows of the baseline have none to be compared with"),
            };
            global.note(&format!(
                "nothing is slower by more than {threshold} % and by more than noise{besides}"
            ));
            return Ok(());
        }
        anyhow::bail!("slower by more than {threshold} %, and by more than noise:\n  {}", slower.join("\n  "))
    }
}

/// Whether both are there and one file.
fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Report::from_json(&text).with_context(|| format!("in {}", path.display()))
}

fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let about = |s: &crate::roofline::compare::Subject| {
        let model = s.model.as_ref().map(|m| format!("{m} on ")).unwrap_or_default();
        format!("{}: {model}{} ({}), Ridgepoint {}", s.file, s.device, s.driver, s.version)
    };
    let _ = writeln!(text, "baseline {}", about(&comparison.baseline));
    for other in &comparison.others {
        let _ = writeln!(text, "\n{}", about(&other.subject));
        one(&mut text, other);
    }
    text
}

fn one(text: &mut String, other: &Other) {
    let ceilings: Vec<String> = other
        .ceilings
        .iter()
        .filter(|c| (c.ratio - 1.0).abs() > 0.05)
        .map(|c| {
            format!("{} {} -> {} {} ({:.2} x)", c.name, short(c.baseline), short(c.here), c.unit, c.ratio)
        })
        .collect();
    let same = match (other.ceilings.is_empty(), ceilings.is_empty()) {
        (true, _) => "none in common".into(),
        (false, true) => "the same within 5 %".into(),
        (false, false) => ceilings.join(", "),
    };
    let _ = writeln!(text, "ceilings: {same}");
    for step in &other.steps {
        let noise = if step.significant { "" } else { ", within noise" };
        let _ = writeln!(
            text,
            "\n{}: kernels {} -> {} ({}{noise}), wall {} -> {}",
            step.step,
            time(step.kernels_ns[0]),
            time(step.kernels_ns[1]),
            step.ratio.map_or("no ratio".to_string(), |ratio| format!("{ratio:.2} x")),
            time(step.wall_ns[0]),
            time(step.wall_ns[1])
        );
        let rows: Vec<&KernelRatio> = other.kernels.iter().filter(|k| k.step == step.step).collect();
        let width = rows.iter().map(|k| k.title().chars().count()).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "  {:width$} {:>9} {:>9} {:>7} {:>7} {:>6} {:>7}  {:<8} {:>20} {:>15}  verdict",
            "kernel",
            "baseline",
            "here",
            "ratio",
            "device",
            "work",
            "kernel",
            "blame",
            "of ceiling",
            "ops/byte"
        );
        rows.iter().for_each(|k| row(text, k, width));
    }
    for (what, rows) in [("baseline", &other.only_in_baseline), ("other report", &other.only_here)] {
        if !rows.is_empty() {
            let _ = writeln!(text, "\nonly in the {what}:\n  {}", rows.join("\n  "));
        }
    }
}

/// The parts of the ceilings that bind on either side.
fn reached(a: Option<(&str, f64)>, b: Option<(&str, f64)>) -> String {
    let part = |(name, part): (&str, f64)| format!("{:.0} % {name}", 100.0 * part);
    match (a, b) {
        (Some(a), Some(b)) if a.0 == b.0 => format!("{:.0}->{}", 100.0 * a.1, part(b)),
        _ => [a, b].map(|side| side.map_or("-".to_string(), part)).join("->"),
    }
}

fn row(text: &mut String, k: &KernelRatio, width: usize) {
    let median = |figures: &Figures| figures.time_ns.map_or("-".to_string(), |t| time(t.p50));
    let name = k.title();
    let factors = k.factors.map_or(["-".to_string(), "-".into(), "-".into()], |f| {
        [f.device, f.work, f.kernel].map(|x| format!("{x:.2}"))
    });
    let blame = match (k.p, k.significant, k.blame) {
        (None, ..) => "untested".into(),
        (_, false, _) => "noise".into(),
        (_, true, Blame::None) => "-".into(),
        (_, true, blame) => words(blame),
    };
    let verdict = if k.baseline.verdict == k.here.verdict {
        words(k.here.verdict)
    } else {
        format!("{} -> {}", words(k.baseline.verdict), words(k.here.verdict))
    };
    let _ = writeln!(
        text,
        "  {name:width$} {:>9} {:>9} {:>7} {:>7} {:>6} {:>7}  {blame:<8} {:>20} {:>15}  {verdict}",
        median(&k.baseline),
        median(&k.here),
        k.ratio.map_or("-".to_string(), |ratio| format!("{ratio:.2}")),
        factors[0],
        factors[1],
        factors[2],
        reached(k.baseline.nearest(), k.here.nearest()),
        format!("{}..{}", short(k.here.intensity.low), short(k.here.intensity.high)),
    );
}

#[cfg(test)]
mod tests {
    use super::{percent, reached};

    #[test]
    fn the_binding_ceilings_are_named() {
        let (memory, pipe) = (Some(("memory", 0.72)), Some(("fma_f32", 0.401)));
        assert_eq!(reached(memory, Some(("memory", 0.8))), "72->80 % memory");
        assert_eq!(reached(memory, pipe), "72 % memory->40 % fma_f32");
        assert_eq!(reached(None, pipe), "-->40 % fma_f32");
    }

    #[test]
    fn thresholds_are_percentages() {
        assert_eq!(percent("5"), Ok(5.0));
        assert_eq!(percent("2.5%"), Ok(2.5));
        for bad in ["-1", "nan", "five", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
