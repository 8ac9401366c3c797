//! A row of the report in words: all that a hover tells, and what can't be told for noise.

use std::fmt::Write;

use super::plot::{busiest, words};
use super::report::{KernelRow, Verdict};
use super::svg::{short, time};

/// Words for a figure of a row that noise has swallowed.
pub(crate) const LOST: &str = "lost in noise";

/// Whether a row's time can't be told from nothing: then no rate and no gain of it means anything.
pub(crate) fn lost(row: &KernelRow) -> bool {
    row.time().is_none() || !row.interval_ns.is_some_and(|interval| interval.low > 0.0)
}

/// What a row could gain at best, in words.
pub(crate) fn headroom(row: &KernelRow) -> String {
    match row.headroom_ns {
        Some(won) if !lost(row) && (won > 0.0 || row.verdict == Verdict::OverRoof) => time(won),
        // As fast as costs and ceilings allow, give or take what noise does to either.
        Some(_) if !lost(row) && row.verdict != Verdict::Unknown => "none".into(),
        Some(_) if !lost(row) => "not known".into(),
        _ => LOST.into(),
    }
}

/// From one time to another, in words.
pub(super) fn range(low: f64, high: f64) -> String {
    format!("{} to {}", time(low), time(high))
}

/// Everything about a row, for a hover.
pub(super) fn about(row: &KernelRow) -> String {
    let mut text = format!("{} ({})\n{}\n", row.kernel, row.shape, row.step);
    let known = row.time().filter(|_| !lost(row));
    let _ = writeln!(
        text,
        "{} a dispatch, {} calls, {:.1}\u{a0}% of the step",
        known.map_or(LOST.into(), time),
        row.calls,
        100.0 * row.share
    );
    if let Some((times, interval)) = row.time_ns.zip(row.interval_ns) {
        let _ = writeln!(
            text,
            "median within {} (95\u{a0}%), samples from {} (p10 to p90)",
            range(interval.low, interval.high),
            range(times.p10, times.p90)
        );
    }
    let _ = writeln!(text, "timed by: {}", words(row.timed_by));
    let part = |of: Option<f64>| of.map_or("–".into(), |part| format!("{:.0}\u{a0}%", 100.0 * part));
    if let (Some((pipe, ops)), Some(time)) = (busiest(row), known) {
        let of = row.of_ceiling.pipe;
        let _ = writeln!(text, "{}\u{a0}GOP/s, {} of {pipe}", short(ops / time), part(of));
    }
    if row.ops.len() > 1 {
        let all: Vec<String> =
            row.ops.iter().map(|(pipe, ops)| format!("{} {pipe}", short(*ops as f64))).collect();
        let _ = writeln!(text, "operations: {}", all.join(", "));
    }
    if let Some(time) = known {
        let (rate, of) = (short(row.bytes.low / time), row.of_ceiling.memory);
        let _ = write!(text, "{rate}\u{a0}GB/s, {} of memory; ", part(of));
    }
    let _ = writeln!(text, "{} to {} operations a byte", short(row.intensity.low), short(row.intensity.high));
    let _ = write!(
        text,
        "{}: {}\nat best {}; of the step to win: {}",
        words(row.verdict),
        row.reason,
        time(row.floor_ns),
        headroom(row)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::report::Percentiles;
    use crate::roofline::sample;

    #[test]
    fn a_hover_says_how_a_row_was_timed_and_what_noise_has_swallowed() {
        let mut row = sample::report().kernels[0].clone();
        let text = about(&row);
        assert!(text.contains("operations: 4.1k fma_f32, 4.1k int_alu"), "{text}");
        assert!(text.contains("timed by: simulated") && text.contains("(95\u{a0}%)"), "{text}");
        row.time_ns = row.time_ns.map(|times| Percentiles { p50: -34e6, ..times });
        row.headroom_ns = None;
        let text = about(&row);
        assert!(
            text.contains("lost in noise a dispatch") && text.contains("to win: lost in noise"),
            "{text}"
        );
        assert!(!text.contains("GB/s") && !text.contains("GOP/s"), "{text}");
    }
}
