//! `ridgepoint compare`: roofline reports side by side, and why they differ.

mod table;

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Global;
use super::outputs::{same_file, writable};
use super::printable::one_line;
use crate::roofline::compare::{Comparison, html};
use crate::roofline::report::Report;
use table::table;

/// A report is a few hundred kilobytes; what is longer is none.
const MOST_BYTES: u64 = 64 << 20;

/// So many of what is slower are listed: an error is cut at 4000 bytes.
const SHOWN: usize = 20;

/// Set roofline reports side by side: devices, drivers, versions or weight formats
///
/// Each report is compared with the first: times, intensities, parts of the own ceilings, verdicts,
/// and whether the device, the work or the kernel is to blame for a difference.
#[derive(Debug, Args)]
pub struct Compare {
    /// Reports of `ridgepoint roofline --json`, the baseline first; one may be - for standard input
    #[arg(required = true, num_args = 2.., value_name = "REPORT.json")]
    reports: Vec<PathBuf>,
    /// Fail (exit code 1) if a kernel or a step's kernels are slower than in the baseline by more than so
    /// many percent, and by more than noise
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
        let piped = self.reports.iter().filter(|path| path.as_os_str() == "-").count();
        anyhow::ensure!(piped < 2, "'-' twice: standard input holds one report");
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
        // Whoever reads the output may have seen enough: that spoils neither page nor verdict.
        let drawn = self.html.as_ref().map_or(Ok(()), |path| {
            let pages: Vec<&Report> = reports.iter().collect();
            fs::write(path, html(&comparison, &pages)).with_context(|| format!("writing {}", path.display()))
        });
        let printed = self.print(&comparison);
        let held = self.threshold.map_or(Ok(()), |threshold| held(global, &comparison, threshold));
        held.and(drawn).and(printed)
    }

    fn print(&self, comparison: &Comparison) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, comparison)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table(comparison))?;
        }
        Ok(out.flush()?)
    }
}

/// Fails if something is slower by more than so many percent, and says what was judged.
fn held(global: &Global, comparison: &Comparison, threshold: f64) -> anyhow::Result<()> {
    let untested = comparison.untested();
    if !untested.is_empty() {
        anyhow::bail!(
            "--threshold can't tell anything of {}: expected steps of the same names as the baseline's, with times that can be judged",
            untested.join(", ")
        );
    }
    for wall in comparison.walls(threshold / 100.0) {
        let wall = format!("note: {wall}: one median each, so whether that is noise can't be tested");
        global.note(&one_line(&wall));
    }
    let mut slower = comparison.slower(threshold / 100.0);
    if !slower.is_empty() {
        let more = slower.len().saturating_sub(SHOWN);
        slower.truncate(SHOWN);
        slower.extend((more > 0).then(|| format!("and {more} more")));
        anyhow::bail!(
            "slower by more than {threshold} %, and by more than noise:\n  {}",
            slower.join("\n  ")
        );
    }
    let mut besides = String::new();
    let (dark, all) = comparison.not_judged();
    if dark > 0 {
        besides += &format!("; {dark} of {all} rows were not judged");
    }
    let missing: usize = comparison.others.iter().map(|other| other.only_in_baseline.len()).sum();
    if missing > 0 {
        besides += &format!("; {missing} rows of the baseline have none to be compared with");
    }
    global.note(&format!(
        "of what could be judged, no kernel with 1 % of its step and no step's kernels take longer by more than {threshold} % and by more than noise{besides}"
    ));
    Ok(())
}

/// Reads a report, as far as one may go.
fn read(path: &Path) -> anyhow::Result<Report> {
    let reading = || format!("reading {}", path.display());
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut text).with_context(reading)?;
    } else {
        let data = fs::metadata(path).with_context(reading)?;
        anyhow::ensure!(data.is_file(), "{}: expected a file, or - for standard input", path.display());
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text))
            .with_context(reading)?;
    }
    anyhow::ensure!(
        text.len() as u64 <= MOST_BYTES,
        "{}: more than {} MiB, so no report",
        path.display(),
        MOST_BYTES >> 20
    );
    Report::from_json(&String::from_utf8_lossy(&text)).with_context(|| format!("in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn thresholds_are_percentages() {
        assert_eq!(percent("5"), Ok(5.0));
        assert_eq!(percent("2.5%"), Ok(2.5));
        for bad in ["-1", "nan", "five", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
