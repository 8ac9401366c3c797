//! `ridgepoint roofline`: a model's real steps, kernel by kernel, beside this device's ceilings.

mod attach;
mod confirm;
mod growth;
mod knobs;
mod left_out;
mod meter;
mod prompt;
mod setup;
mod stamped;
mod table;
mod workload;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Global;
use super::outputs::{same_file, writable};
use crate::roofline::html::html;
use crate::roofline::plot::roofline;
use crate::roofline::report::Report;
use crate::roofline::summary;
use crate::roofline::trace::trace;

use attach::Attach;
pub(super) use knobs::{By, Knob, Predicted, Predictions, SHORTEN, advice, knobs, main_formats, predict};
pub(super) use meter::{Config, Meter};
pub(super) use prompt::{LEAST_BUDGET, Prompt, budgets};
pub(super) use setup::{Prepared, Reformat, SetupArgs};
pub(super) use table::{time, word};
use workload::Workload;

/// Say what bounds each kernel of a model's steps, and what would gain most
#[derive(Debug, Args)]
pub struct Roofline {
    #[command(flatten)]
    setup: SetupArgs,
    #[command(flatten)]
    attach: Attach,
    #[command(flatten)]
    workload: Workload,
    /// Prompts of so many tokens, comma-separated; 0 for none [default: 512, or the model's whole context]
    #[arg(long, short = 'p', value_delimiter = ',', value_name = "TOKENS")]
    prefill: Vec<usize>,
    /// Decodes at so many tokens of context, comma-separated [default: 128,1024, as far as the model's goes]
    #[arg(long, value_delimiter = ',', value_name = "TOKENS")]
    contexts: Vec<usize>,
    /// Decodes of so many sequences at once, comma-separated; 0 for none
    #[arg(long, short = 'b', value_delimiter = ',', default_value = "1,8", value_name = "SEQUENCES")]
    batch: Vec<usize>,
    /// Confirm verdicts: do each larger kernel's arithmetic twice, and take its bytes away, and see what
    /// the time does
    #[arg(long)]
    confirm: bool,
    /// Print the report as JSON (docs/roofline.md documents it)
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the kernels as CSV
    #[arg(long)]
    csv: bool,
    /// Also write the report as one HTML page, readable offline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the roofline of all steps as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also write the steps as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// How many steps of a server a report is of, in words.
fn watched(report: &Report) -> String {
    match report.watched_steps {
        Some(1) => "1 step that was watched".to_string(),
        Some(steps) => format!("{steps} steps that were watched"),
        None => "the steps that were watched".to_string(),
    }
}

impl Roofline {
    /// The steps that were asked for, each once; those that nobody asked for go as far as a model of this
    /// `context`.
    fn configs(&self, context: usize) -> Vec<Config> {
        let or = |given: &[usize], usual: &[usize]| match given {
            [] => usual.iter().map(|n| *n.min(&context)).collect(),
            _ => given.to_vec(),
        };
        let (prefill, contexts) = (or(&self.prefill, &[512]), or(&self.contexts, &[128, 1024]));
        let prefill = prefill.iter().filter(|n| **n > 0);
        let mut all: Vec<Config> = prefill.map(|&n| Config { tokens: n, sequences: 1, context: n }).collect();
        for &sequences in self.batch.iter().filter(|n| **n > 0) {
            all.extend(contexts.iter().map(|&context| Config { tokens: 1, sequences, context }));
        }
        let mut once: Vec<Config> = Vec::new();
        all.into_iter().for_each(|config| once.extend((!once.contains(&config)).then_some(config)));
        once
    }

    /// Writes the pictures that were asked for.
    fn draw(&self, report: &Report) -> anyhow::Result<()> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
        };
        if let Some(path) = &self.html {
            write(path, html(report))?;
        }
        if let Some(path) = &self.svg {
            write(path, roofline(report, None).file("Roofline"))?;
        }
        if let Some(path) = &self.trace {
            write(path, serde_json::to_string(&trace(report))?)?;
        }
        Ok(())
    }

    /// Finds out before minutes of measuring whether what was asked for can be written.
    fn can_write(&self) -> anyhow::Result<()> {
        let paths: Vec<&PathBuf> = [&self.html, &self.svg, &self.trace].into_iter().flatten().collect();
        for (i, path) in paths.iter().enumerate() {
            anyhow::ensure!(
                !paths[..i].iter().any(|other| same_file(other, path)),
                "{}: expected another file for each of --html, --svg and --trace",
                path.display()
            );
            writable(path)?;
        }
        Ok(())
    }

    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        self.can_write()?;
        self.attach.unheard(global, self.workload.is_named())?;
        if let Some(tokens) = self.contexts.first()
            && self.batch.iter().all(|n| *n == 0)
        {
            anyhow::bail!(
                "--contexts {tokens}: with --batch 0 nothing is decoded; expected a batch beside it"
            );
        }
        let served = self.attach.report();
        let served = served.or_else(|| self.workload.report(global, &self.setup, self.attach.steps()));
        let report = match served {
            Some(served) => {
                let served = served?;
                anyhow::ensure!(
                    !served.steps.is_empty(),
                    "no kind of step came three times in {}: watch more of them (--steps), of longer answers",
                    watched(&served)
                );
                global.note(&format!("these are {}", watched(&served)));
                served
            }
            None => {
                let configs = self.configs(self.setup.context_length(global)?);
                let mut prepared = self.setup.without_budget()?.prepare(global, &configs)?;
                self.measure(global, &mut prepared, &configs)?
            }
        };
        // What took minutes to measure is drawn though nobody reads the output, and printed though a disk is full.
        let drawn = self.draw(&report);
        let printed = self.print(&report);
        drawn.and(printed)
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        } else if self.csv {
            table::csv(&mut out, report)?;
        } else {
            table::print(&mut out, report)?;
        }
        Ok(out.flush()?)
    }

    /// Measures the steps and puts the report together.
    fn measure(
        &self,
        global: &Global,
        prepared: &mut Prepared,
        configs: &[Config],
    ) -> anyhow::Result<Report> {
        let device = prepared.device.clone();
        let roof = device.roof();
        let mut report = Report::new(device, Some(prepared.model.clone()));
        let most_sequences = prepared.runner.limits.sequences;
        let weights = main_formats(&prepared.model.formats);
        let mut meter = prepared.meter()?;
        let mut predictions = Vec::new();
        for &config in configs {
            if !global.quiet {
                eprintln!("measuring {}", config.name());
            }
            let step = meter.measure(config)?;
            let (mut rows, reconciled) = step.analyse(&roof);
            if self.confirm {
                meter.confirm(config, &mut rows)?;
            }
            let all = if config.tokens == 1 { knobs(config, most_sequences, &weights) } else { Vec::new() };
            let predicted = predict(&mut meter, &roof, &step, config, all)?;
            predictions.push((config, predicted.made));
            report.kernels.extend(rows);
            report.steps.push(reconciled);
        }
        report.advice = advice(&predictions, &mut |from, to| {
            if !global.quiet {
                eprintln!("measuring {} in turn with {}", to.name(), from.name());
            }
            meter.compare(from, to)
        })?;
        report.timer.count(meter.counts());
        report.summary = summary(&report);
        Ok(report)
    }
}
