//! `ridgepoint ceilings`: what this device can do, measured.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::Global;
use super::load::open_gpu;
use super::roofline::word;
use crate::gpu::{Checks, Gpu};
use crate::hub::cache_root;
use crate::roofline::report::{Ceiling, SCHEMA_VERSION};
use crate::roofline::{DeviceReport, Remeasure};
use crate::units::Bytes;

/// Measure what this device can do: memory, arithmetic, launches
#[derive(Debug, Args)]
pub struct Ceilings {
    /// Print JSON, the same as in a report of `ridgepoint roofline`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Whether the device is measured anew.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct DeviceArgs {
    /// Measure the device anew, even if its figures were kept
    #[arg(long)]
    remeasure: bool,
}

impl DeviceArgs {
    /// The device's figures, kept or new.
    pub fn report(self, global: &Global, gpu: &Gpu) -> anyhow::Result<DeviceReport> {
        let remeasure = if self.remeasure { Remeasure::Always } else { Remeasure::IfAbsent };
        let folder = cache_root()?.join("ceilings");
        let report = DeviceReport::get(gpu, &folder, remeasure, &mut |what| {
            global.note(&format!("measuring the device: {what}"));
        })?;
        if let Some(doubt) = report.doubt() {
            global.note(&format!("note: {doubt}"));
        }
        Ok(report)
    }
}

/// The device's part of a report, with the report's version.
#[derive(Serialize)]
struct Printed<'a> {
    schema_version: u32,
    #[serde(flatten)]
    report: &'a DeviceReport,
}

impl Ceilings {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let gpu = open_gpu(global, Checks::Trusted)?;
        let report = self.device.report(global, &gpu)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let schema_version = SCHEMA_VERSION;
            serde_json::to_writer_pretty(&mut out, &Printed { schema_version, report: &report })?;
            writeln!(out)?;
            return Ok(());
        }
        print(&mut out, &report)
    }
}

fn print(out: &mut impl Write, report: &DeviceReport) -> anyhow::Result<()> {
    let d = &report.key.device;
    let software = if d.software { ", a software adapter: the processor's figures" } else { "" };
    writeln!(out, "{} ({}, {}{software})", d.name, d.backend, d.driver)?;
    writeln!(out)?;
    for c in &report.ceilings {
        let note = if c.agreed { "" } else { "  (rounds or probes differ: a busy machine)" };
        writeln!(
            out,
            "{:<15} {:>10.1} {:<10} [{:.1} .. {:.1}]  {}{note}",
            c.name, c.value, c.unit, c.low, c.high, c.probe
        )?;
    }
    if let Some(native) = report.ceilings.iter().find(|c| c.name == "native_f32") {
        let part = |c: &&Ceiling| format!("{} {:.0} %", c.name, 100.0 * c.value / native.value);
        let parts: Vec<String> =
            report.ceilings.iter().filter(|c| c.name.starts_with("fma_f32")).map(|c| part(&c)).collect();
        writeln!(out, "of the host's own loop: {}", parts.join(", "))?;
    }
    for curve in &report.curves {
        writeln!(out)?;
        writeln!(out, "{} in {} over {}", curve.name, curve.unit, curve.x_unit)?;
        let size = |x: f64| if curve.x_unit == "bytes" { Bytes(x as u64).to_string() } else { x.to_string() };
        for p in &curve.points {
            let spread = p.low.zip(p.high).map(|(low, high)| format!("  [{low:.1} .. {high:.1}]"));
            let (spread, probe) = (spread.unwrap_or_default(), p.probe.as_deref().unwrap_or_default());
            writeln!(out, "  {:>10} {:>8.1}{spread}  {probe}", size(p.x), p.value)?;
        }
        for l in &curve.plateaus {
            writeln!(out, "  level {} to {}: {:.1}", size(l.from), size(l.to), l.value)?;
        }
    }
    writeln!(out)?;
    let reason = if report.timer.reason.is_empty() { "" } else { ": " };
    writeln!(out, "timer {}{reason}{}", word(report.timer.grade), report.timer.reason)?;
    Ok(())
}
