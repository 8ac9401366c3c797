//! The report as text: a line per kernel and shape, the steps' reconciliation, the words.

use std::io::{self, Write};

use crate::roofline::report::{Confirmed, KernelRow, Report, Side, TimedBy, Verdict};

/// Nanoseconds in a unit that fits.
pub(in crate::cli) fn time(ns: f64) -> String {
    let magnitude = ns.abs();
    if magnitude < 1e3 {
        format!("{ns:.0} ns")
    } else if magnitude < 1e6 {
        format!("{:.1} µs", ns / 1e3)
    } else if magnitude < 1e9 {
        format!("{:.2} ms", ns / 1e6)
    } else {
        format!("{:.2} s", ns / 1e9)
    }
}

/// A verdict in words.
pub(in crate::cli) fn verdict(row: &KernelRow) -> String {
    let bound = match row.verdict {
        Verdict::MemoryBound => "memory-bound".to_string(),
        Verdict::ComputeBound => format!("compute-bound ({})", row.pipe.as_deref().unwrap_or("?")),
        Verdict::Balanced => "balanced".to_string(),
        Verdict::LaunchOverhead => "launch overhead".to_string(),
        Verdict::Underfilled => "underfilled".to_string(),
        Verdict::Latency => "latency".to_string(),
        Verdict::OverRoof => "over-roof".to_string(),
        Verdict::Unknown => "unknown".to_string(),
    };
    let confirmed = match row.confirmed {
        Some(Confirmed::Confirmed) => ", confirmed",
        Some(Confirmed::Contradicted) => ", contradicted",
        Some(Confirmed::Unclear) => ", unclear",
        None => "",
    };
    format!("{bound}{confirmed}")
}

fn timed_by(by: TimedBy) -> &'static str {
    match by {
        TimedBy::InsidePass => "stamps",
        TimedBy::PassPerDispatch => "pass",
        TimedBy::NullSubtracted => "stamps less null",
        TimedBy::LeaveOneOut => "left out",
        TimedBy::LeaveOneOutWall => "left out, wall",
        TimedBy::Simulated => "simulated",
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Memory => "memory",
        Side::Compute => "compute",
        Side::Straddles => "straddles",
    }
}

fn percent(part: f64) -> String {
    format!("{:.0}%", 100.0 * part)
}

/// Prints the report.
pub fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let d = &report.device;
    writeln!(out, "{} ({}, {})", d.name, d.backend, d.driver)?;
    if d.software {
        writeln!(out, "a software adapter: these are the processor's figures, no GPU's")?;
    }
    let reason = if report.timer.reason.is_empty() { "" } else { ": " };
    writeln!(out, "timer {}{reason}{}", word(report.timer.grade), report.timer.reason)?;
    for step in &report.steps {
        writeln!(out)?;
        writeln!(out, "{}", step.name)?;
        let rows = report.kernels.iter().filter(|r| r.step == step.name);
        let cells: Vec<[String; 13]> = rows.map(cells).collect();
        lines(out, &cells)?;
        let span = step.gpu_ns.map_or("not known".to_string(), time);
        writeln!(
            out,
            "  kernels {}, GPU span {span}, wall {}: coverage {}, profiling tax {}, GPU idle {}; host: plan {}, record {}, submit {}, wait {}",
            time(step.kernels_ns),
            time(step.wall_ns),
            step.coverage.map_or("not known".to_string(), percent),
            step.profiling_tax.map_or("none (nothing is stamped inside)".to_string(), percent),
            step.gpu_idle.map_or("not known".to_string(), percent),
            time(step.host.plan_ns),
            time(step.host.record_ns),
            time(step.host.submit_ns),
            time(step.host.wait_ns),
        )?;
    }
    writeln!(out)?;
    writeln!(out, "{}", report.summary)
}

const HEAD: [&str; 13] = [
    "kernel",
    "shape",
    "n",
    "time",
    "[p10 .. p90]",
    "share",
    "GB/s",
    "GOP/s",
    "op/B",
    "side",
    "verdict",
    "headroom",
    "timed by",
];

fn cells(r: &KernelRow) -> [String; 13] {
    let busiest = r.pipe.as_deref().and_then(|pipe| r.ops.get(pipe)).map_or(0.0, |ops| *ops as f64);
    let none = || "-".to_string();
    let rate = |amount: f64| r.time().map_or_else(none, |time| format!("{:.1}", amount / time));
    let pipe = r.pipe.as_deref().unwrap_or("");
    [
        r.kernel.clone(),
        r.shape.clone(),
        r.calls.to_string(),
        r.median().map_or_else(none, time),
        r.time_ns.map_or_else(none, |t| format!("[{} .. {}]", time(t.p10), time(t.p90))),
        percent(r.share),
        r.of_ceiling.memory.map_or_else(none, |part| format!("{} ({})", rate(r.bytes.low), percent(part))),
        r.of_ceiling.pipe.map_or_else(none, |part| format!("{} {pipe} ({})", rate(busiest), percent(part))),
        format!("{:.2}..{:.2}", r.intensity.low, r.intensity.high),
        side(r.side).to_string(),
        verdict(r),
        r.headroom_ns.map_or_else(none, time),
        timed_by(r.timed_by).to_string(),
    ]
}

fn lines(out: &mut impl Write, rows: &[[String; 13]]) -> io::Result<()> {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: [&str; 13]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "  {}", padded.join("  ").trim_end())
    };
    line(HEAD)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

/// A variant's name as the JSON has it.
pub(in crate::cli) fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_string()
}

/// A number, or nothing where there is none.
fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Prints the kernels as CSV, times in ns.
pub fn csv(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "step,kernel,shape,calls,workgroups,timed_by,time_ns_p10,time_ns_p50,time_ns_p90,share,bytes_low,bytes_high,pipe,ops,intensity_low,intensity_high,side,verdict,floor_ns,headroom_ns,of_memory,of_pipe"
    )?;
    for r in &report.kernels {
        let ops = r.pipe.as_deref().and_then(|pipe| r.ops.get(pipe)).copied().unwrap_or(0);
        writeln!(
            out,
            "\"{}\",{},\"{}\",{},{},{},{},{},{},{},{},{},{},{ops},{},{},{},{},{},{},{},{}",
            r.step,
            r.kernel,
            r.shape,
            r.calls,
            r.workgroups,
            word(r.timed_by),
            number(r.time_ns.map(|t| t.p10)),
            number(r.median()),
            number(r.time_ns.map(|t| t.p90)),
            r.share,
            r.bytes.low,
            r.bytes.high,
            r.pipe.as_deref().unwrap_or(""),
            r.intensity.low,
            r.intensity.high,
            word(r.side),
            word(r.verdict),
            r.floor_ns,
            number(r.headroom_ns),
            number(r.of_ceiling.memory),
            number(r.of_ceiling.pipe),
        )?;
    }
    Ok(())
}
