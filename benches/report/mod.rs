//! What the benches share: flags, rows of results, JSON, and the comparison with an earlier run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use serde::{Deserialize, Serialize};

/// The version of the JSON's shape.
const SCHEMA: u32 = 1;

/// Flags of every bench.
#[derive(Debug, Parser)]
pub struct Flags {
    /// Only rows whose name has all of these words
    pub words: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Compare with the JSON of an earlier run; fail if a row is worse by more than the threshold and
    /// the intervals don't touch
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Percent that a row may be worse than in the baseline
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    threshold: f64,
    /// Part of the adapter's name, or its index
    #[arg(long, env = "RIDGEPOINT_ADAPTER", default_value = "")]
    adapter: String,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "expected a number of percent, 0 or more".to_string())
}

impl Flags {
    /// Whether a row is asked for.
    pub fn want(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word.as_str()))
    }

    /// The device that was asked for; a baseline that can't be read is found before a long run, not after it.
    pub fn open(&self) -> anyhow::Result<Arc<Gpu>> {
        self.baseline.as_deref().map(Run::read).transpose()?;
        Ok(Gpu::open(&AdapterChoice::from(self.adapter.as_str()), Checks::Trusted)?)
    }
}

/// Whether only to prove that everything runs (`QUICK=1`), with no figure worth reading.
pub fn quick() -> bool {
    std::env::var("QUICK").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Its unit; a time is better when smaller, all else when larger.
    pub unit: String,
    /// The figure, and the interval that it lies in.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples behind it.
    pub samples: usize,
    /// Further figures, in words.
    pub note: String,
}

impl Row {
    fn smaller_is_better(&self) -> bool {
        self.unit == "ns"
    }

    /// How many times worse than `old`, and whether the intervals are apart.
    fn against(&self, old: &Self) -> (f64, bool) {
        if self.smaller_is_better() {
            (self.value / old.value, self.low > old.high)
        } else {
            (old.value / self.value, self.high < old.low)
        }
    }
}

/// A run: the JSON that `--json` prints and `--baseline` reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    schema_version: u32,
    /// The bench.
    pub bench: String,
    /// The device's name and driver.
    pub device: String,
    /// Whether `QUICK` was set: then no figure says anything.
    pub quick: bool,
    /// The results.
    pub rows: Vec<Row>,
}

impl Run {
    /// A run without rows yet.
    pub fn new(bench: &str, gpu: &Gpu) -> Self {
        let device = format!("{} ({})", gpu.adapter.name, gpu.adapter.driver);
        Self { schema_version: SCHEMA, bench: bench.into(), device, quick: quick(), rows: Vec::new() }
    }

    /// Takes a row and shows it at once, since a bench is long.
    pub fn push(&mut self, flags: &Flags, row: Row) {
        if !flags.json {
            let range = format!("[{} .. {}]", short(row.low), short(row.high));
            println!("{:<64} {:>9} {:<8} {range:<22} {}", row.name, short(row.value), row.unit, row.note);
        }
        self.rows.push(row);
    }

    /// Prints JSON if asked for, and compares.
    pub fn finish(self, flags: &Flags) -> anyhow::Result<()> {
        if flags.json {
            println!("{}", serde_json::to_string_pretty(&self)?);
        }
        let Some(path) = &flags.baseline else { return Ok(()) };
        let old = Self::read(path)?;
        if old.quick || self.quick {
            anyhow::bail!("a run with QUICK=1 can't be compared: its figures say nothing");
        }
        self.comparable(&old, path)?;
        let worse = self.worse(&old, flags.threshold / 100.0);
        let common = self.common(&old);
        eprintln!("{common} of {} rows are in the baseline", self.rows.len());
        for gone in self.gone(&old, flags) {
            eprintln!("in the baseline, and no longer here: {gone}");
        }
        anyhow::ensure!(common > 0, "{} has none of these rows: nothing is compared", path.display());
        if worse.is_empty() {
            Ok(())
        } else {
            anyhow::bail!("worse than the baseline:\n  {}", worse.join("\n  "))
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let run: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what --json printed", path.display()))?;
        if run.schema_version != SCHEMA {
            anyhow::bail!(
                "{} has schema version {}, this bench reads {SCHEMA}",
                path.display(),
                run.schema_version
            );
        }
        Ok(run)
    }

    /// Refuses the figures of another bench or device; another driver is told, since it may be what is compared.
    fn comparable(&self, old: &Self, path: &Path) -> anyhow::Result<()> {
        let path = path.display();
        anyhow::ensure!(
            old.bench == self.bench,
            "{path} is of the bench '{}', this is '{}'",
            old.bench,
            self.bench
        );
        let name = |device: &str| device.split(" (").next().unwrap_or_default().to_string();
        anyhow::ensure!(
            name(&old.device) == name(&self.device),
            "{path} is of another device: {}, this is {}",
            old.device,
            self.device
        );
        if old.device != self.device {
            eprintln!("the baseline is of {}, this run of {}", old.device, self.device);
        }
        Ok(())
    }

    /// Rows of the baseline that this run was asked for and doesn't have.
    pub fn gone<'a>(&'a self, old: &'a Self, flags: &'a Flags) -> impl Iterator<Item = &'a str> {
        let here = |name: &str| self.rows.iter().any(|row| row.name == name);
        let names = old.rows.iter().map(|row| row.name.as_str());
        names.filter(move |name| flags.want(name) && !here(name))
    }

    fn common(&self, old: &Self) -> usize {
        self.rows.iter().filter(|row| old.rows.iter().any(|o| o.name == row.name)).count()
    }

    fn worse(&self, old: &Self, threshold: f64) -> Vec<String> {
        let pairs =
            self.rows.iter().filter_map(|row| Some((row, old.rows.iter().find(|o| o.name == row.name)?)));
        pairs
            .filter_map(|(row, old)| {
                let (times, apart) = row.against(old);
                let text = || {
                    format!(
                        "{}: {} -> {} {}, {times:.2} times worse",
                        row.name,
                        short(old.value),
                        short(row.value),
                        row.unit
                    )
                };
                (apart && times > 1.0 + threshold).then(text)
            })
            .collect()
    }
}

/// Four digits.
pub fn short(value: f64) -> String {
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 3) as usize)
}
