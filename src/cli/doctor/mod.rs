//! `ridgepoint doctor`: is what this adapter computes right?
//!
//! `kernels` runs every case of every kernel, `model` a tiny model end to end, `report` holds the
//! results, prints them and decides whether all is well.

mod kernels;
mod model;
mod report;
mod status;

use std::io::{self, Write};

use clap::Args;

use super::{Global, load};
use crate::gpu::{AdapterChoice, Checks, Gpu, OpenOptions};
use crate::kernels::{KERNELS, Kernel};
use report::Report;
pub(super) use status::Status;

/// Compare every kernel, and a tiny model, with plain loops on the processor.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Run everything a second time with every index and loop of every kernel watched, and compare
    #[arg(long)]
    checked: bool,
    /// Check only this kernel (may be given several times), and no model
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Check only the tiny model, and no kernel by itself
    #[arg(long, conflicts_with = "kernel")]
    tiny_model: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Prints a table; an error if anything is wrong.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let chosen = if self.tiny_model { Vec::new() } else { self.chosen()? };
        let status = Status::new(global.quiet);
        status.line("opening the adapter");
        let gpu = load::open_gpu(global, Checks::Trusted)?;
        let checked = if self.checked {
            let choice = AdapterChoice::Index(gpu.adapter.index);
            let limits = global.limits.into();
            let options = OpenOptions { checks: Checks::Checked, limits, ..OpenOptions::default() };
            Some(Gpu::open_with(&choice, &options)?)
        } else {
            None
        };
        status.line(&format!("{}: most of the time is its driver compiling kernels", gpu.adapter.name));
        let mut report = Report::new(&gpu.adapter);
        for kernel in chosen {
            report.kernels.push(kernels::examine(kernel, &gpu, checked.as_deref(), &status)?);
        }
        if self.kernel.is_empty() {
            report.model = Some(model::examine(&gpu, checked.as_ref(), &status)?);
        }
        report.watched = checked.as_ref().map(|gpu| gpu.sound().into());
        status.clear();
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report.json())?;
            writeln!(out)?;
        } else {
            report.print(&mut out)?;
        }
        report.verdict().map_err(anyhow::Error::msg)
    }

    /// The kernels that were asked for: all, or those named.
    fn chosen(&self) -> anyhow::Result<Vec<&'static dyn Kernel>> {
        if self.kernel.is_empty() {
            return Ok(KERNELS.to_vec());
        }
        let find = |name: &String| {
            KERNELS.iter().copied().find(|k| k.name() == name).ok_or_else(|| {
                let names: Vec<&str> = KERNELS.iter().map(|k| k.name()).collect();
                anyhow::anyhow!("no kernel is called '{name}'; there are {}", names.join(", "))
            })
        };
        self.kernel.iter().map(find).collect()
    }
}
