//! The report as text: a line per kernel and shape, the steps' reconciliation, the words.

use std::io::{self, Write};

use crate::cli::printable::one_line;
use crate::roofline::plot::words;
use crate::roofline::report::{Confirmed, KernelRow, Report, Side, TimedBy, Verdict};
use crate::roofline::{LOST, headroom, lost};

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
        Verdict::ComputeBound => format!("compute bound ({})", row.pipe.as_deref().unwrap_or("?")),
        other => words(other),
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
        Side::Unknown => "unknown",
    }
}

fn percent(part: f64) -> String {
    // A sum with 0 is never -0.
    format!("{:.0}%", (100.0 * part).round() + 0.0)
}

/// Prints the report.
pub fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let d = &report.device;
    writeln!(out, "{}", one_line(&format!("{} ({}, {})", d.name, d.backend, d.driver)))?;
    if d.software {
        let processor = d.processor.as_ref().map_or(String::new(), |p| format!(" ({})", one_line(p)));
        writeln!(out, "a software adapter: these are the processor's figures{processor}, no GPU's")?;
    }
    let reason = if report.timer.reason.is_empty() { "" } else { ": " };
    writeln!(out, "timer {}{reason}{}", word(report.timer.grade), one_line(&report.timer.reason))?;
    for step in &report.steps {
        writeln!(out)?;
        writeln!(out, "{}", one_line(&step.name))?;
        let rows = report.kernels.iter().filter(|r| r.step == step.name);
        let cells: Vec<[String; 13]> = rows.map(cells).collect();
        lines(out, &cells)?;
        let span = step.gpu_ns.map_or("not known".to_string(), time);
        writeln!(
            out,
            "  kernels {}, GPU span {span}, wall {}: coverage {}, profiling tax {}, GPU idle {}; host: plan {}, record {}, submit {}, wait {}",
            Some(step.kernels_ns).filter(|ns| *ns > 0.0).map_or_else(|| LOST.to_string(), time),
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
    // By sentences, since a line may be longer than what is shown of one.
    report.summary.lines().try_for_each(|line| {
        let sentences: Vec<String> = line.split(". ").map(one_line).collect();
        writeln!(out, "{}", sentences.join(". "))
    })
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
    let known = r.time().filter(|_| !lost(r));
    let pipe = r.pipe.as_deref().unwrap_or("");
    // A rate, and what part of its ceiling that is.
    let rate = |amount: f64, of: Option<f64>, unit: &str| match known.zip(of) {
        Some((time, part)) => format!("{:.1} {unit}({})", amount / time, percent(part)),
        None => none(),
    };
    [
        one_line(&r.kernel),
        one_line(&r.shape),
        r.calls.to_string(),
        known.map_or_else(|| LOST.to_string(), time),
        r.time_ns.map_or_else(none, |t| format!("[{} .. {}]", time(t.p10), time(t.p90))),
        percent(r.share),
        rate(r.bytes.low, r.of_ceiling.memory, ""),
        rate(busiest, r.of_ceiling.pipe, &format!("{} ", one_line(pipe))),
        format!("{:.2}..{:.2}", r.intensity.low, r.intensity.high),
        side(r.side).to_string(),
        one_line(&verdict(r)),
        headroom(r),
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

/// Prints the kernels as CSV, times in ns. What is not known is empty.
pub fn csv(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.map(|(name, _)| name).join(","))?;
    for row in &report.kernels {
        writeln!(out, "{}", COLUMNS.map(|(_, cell)| cell(row)).join(","))?;
    }
    Ok(())
}

/// A column of CSV: its name, and its cell of a row.
type Column = (&'static str, fn(&KernelRow) -> String);

const COLUMNS: [Column; 38] = [
    ("step", |r| quoted(&r.step)),
    ("kernel", |r| quoted(&r.kernel)),
    ("shape", |r| quoted(&r.shape)),
    ("calls", |r| r.calls.to_string()),
    ("workgroups", |r| r.workgroups.to_string()),
    ("timed_by", |r| word(r.timed_by)),
    ("time_ns_p10", |r| known(r.time_ns.map(|times| times.p10))),
    ("time_ns_p50", |r| known(r.time_ns.map(|times| times.p50))),
    ("time_ns_p90", |r| known(r.time_ns.map(|times| times.p90))),
    ("samples", |r| r.samples.map_or(String::new(), |samples| samples.to_string())),
    ("interval_ns_low", |r| known(r.interval_ns.map(|interval| interval.low))),
    ("interval_ns_high", |r| known(r.interval_ns.map(|interval| interval.high))),
    ("share", |r| r.share.to_string()),
    ("bytes_low", |r| r.bytes.low.to_string()),
    ("bytes_high", |r| r.bytes.high.to_string()),
    ("pipe", |r| r.pipe.as_deref().map_or(String::new(), quoted)),
    ("ops", |r| ops(r, r.pipe.as_deref().unwrap_or_default())),
    ("ops_fma_f32", |r| ops(r, "fma_f32")),
    ("ops_fma_f16", |r| ops(r, "fma_f16")),
    ("ops_dot4_i8", |r| ops(r, "dot4_i8")),
    ("ops_int_alu", |r| ops(r, "int_alu")),
    ("ops_special", |r| ops(r, "special")),
    ("intensity_low", |r| r.intensity.low.to_string()),
    ("intensity_high", |r| r.intensity.high.to_string()),
    ("side", |r| word(r.side)),
    ("verdict", |r| word(r.verdict)),
    ("confirmed", |r| r.confirmed.map(word).unwrap_or_default()),
    ("elasticity_arithmetic", |r| known(r.elasticity.map(|e| e.arithmetic.value))),
    ("elasticity_arithmetic_low", |r| known(r.elasticity.map(|e| e.arithmetic.low))),
    ("elasticity_arithmetic_high", |r| known(r.elasticity.map(|e| e.arithmetic.high))),
    ("elasticity_bytes", |r| known(r.elasticity.map(|e| e.bytes.value))),
    ("elasticity_bytes_low", |r| known(r.elasticity.map(|e| e.bytes.low))),
    ("elasticity_bytes_high", |r| known(r.elasticity.map(|e| e.bytes.high))),
    ("floor_ns", |r| r.floor_ns.to_string()),
    ("headroom_ns", |r| known(r.headroom_ns)),
    ("of_memory", |r| known(r.of_ceiling.memory)),
    ("of_pipe", |r| known(r.of_ceiling.pipe)),
    ("reason", |r| quoted(&r.reason)),
];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn known(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| v.to_string())
}

fn ops(r: &KernelRow, pipe: &str) -> String {
    r.ops.get(pipe).copied().unwrap_or(0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Pipe;

    #[test]
    fn csv_has_all_that_a_row_knows() {
        let text = include_str!("../../../tests/data/roofline/simulated.json");
        let mut report = Report::from_json(text).unwrap();
        report.kernels[0].reason = "it says \"so\", twice".into();
        report.kernels[0].kernel = "a, \"b\"".into();
        report.kernels[0].pipe = Some("fma, or not".into());
        let mut out = Vec::new();
        csv(&mut out, &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        let head: Vec<&str> = out.lines().next().unwrap().split(',').collect();
        for name in
            ["interval_ns_low", "interval_ns_high", "confirmed", "elasticity_bytes_low", "timed_by", "reason"]
        {
            assert!(head.contains(&name), "{name}: {head:?}");
        }
        assert_eq!(out.lines().count(), 1 + report.kernels.len());
        let first = out.lines().nth(1).unwrap();
        assert!(first.ends_with(",\"it says \"\"so\"\", twice\""), "{out}");
        assert!(first.contains(",\"a, \"\"b\"\"\",") && first.contains(",\"fma, or not\","), "{first}");
        report.kernels.clear();
        let mut out = Vec::new();
        csv(&mut out, &report).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().trim_end().split(',').collect::<Vec<_>>(), head);
    }

    #[test]
    fn kernels_that_come_to_nothing_are_lost_and_nothing_is_minus_zero() {
        let text = include_str!("../../../tests/data/roofline/simulated.json");
        let mut report = Report::from_json(text).unwrap();
        (report.steps[0].kernels_ns, report.steps[0].coverage) = (-105.7e3, None);
        report.steps[0].profiling_tax = Some(-0.003);
        let mut out = Vec::new();
        print(&mut out, &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        let line = out.lines().find(|line| line.contains("  kernels ")).unwrap();
        assert!(line.contains("kernels lost in noise,") && line.contains("coverage not known"), "{line}");
        assert!(line.contains("profiling tax 0%"), "{line}");
    }

    #[test]
    fn csv_has_the_operations_of_every_pipe() {
        let text = include_str!("../../../tests/data/roofline/simulated.json");
        let row = &Report::from_json(text).unwrap().kernels[3];
        let of = |name: &str| {
            let column = COLUMNS.iter().find(|(n, _)| *n == name);
            column.map(|(_, cell)| cell(row).parse::<u64>().ok())
        };
        assert!(row.ops.len() > 1, "{row:?}");
        for pipe in [Pipe::F32, Pipe::F16, Pipe::Dot4I8, Pipe::Int, Pipe::Special].map(Pipe::name) {
            let ops = row.ops.get(pipe).copied().unwrap_or(0);
            assert_eq!(of(&format!("ops_{pipe}")), Some(Some(ops)), "{pipe}");
        }
    }

    #[test]
    fn a_row_that_is_lost_in_noise_has_no_rate_and_no_gain_and_steers_no_terminal() {
        let text = include_str!("../../../tests/data/roofline/simulated.json");
        let mut report = Report::from_json(text).unwrap();
        let row = &mut report.kernels[0];
        row.interval_ns.as_mut().unwrap().low = -1.0;
        row.kernel = "a\x1b[2Jb".into();
        report.device.name = "c\x07".into();
        let mut out = Vec::new();
        print(&mut out, &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        let row = out.lines().find(|line| line.contains("a\\u{1b}[2Jb")).unwrap();
        assert_eq!(row.matches("lost in noise").count(), 2, "{row}");
        assert!(!row.contains("fma_f32 (") && !row.contains("%)"), "{row}");
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out}");
    }
}
