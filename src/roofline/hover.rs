//! A row of the report in words: all that a hover tells, and what can't be told for noise.

use std::fmt::Write;

use super::plot::{busiest, words};
use super::report::{KernelRow, Verdict};
use super::svg::{short, time};

/// Words for a figure of a row that noise has swallowed.
pub(super) const LOST: &str = "lost in noise";

/// Whether a row's time can't be told from nothing: then no rate and no gain of it means anything.
pub(super) fn lost(row: &KernelRow) -> bool {
    row.time_ns.p50.min(row.interval_ns.low) <= 0.0 || !row.time_ns.p50.is_finite()
}

/// What a row could gain at best, in words.
pub(super) fn headroom(row: &KernelRow) -> String {
    if lost(row) || (row.verdict == Verdict::Unknown && row.headroom_ns <= 0.0) {
        return LOST.into();
    }
    time(row.headroom_ns)
}

/// Everything about a row, for a hover.
pub(super) fn about(row: &KernelRow) -> String {
    let mut text = format!("{} ({})\n{}\n", row.kernel, row.shape, row.step);
    let known = !lost(row);
    let _ = writeln!(
        text,
        "{} a dispatch, {} calls, {:.1}\u{a0}% of the step",
        if known { time(row.time_ns.p50) } else { LOST.into() },
        row.calls,
        100.0 * row.share
    );
    let _ = writeln!(
        text,
        "median within {} to {} (95\u{a0}%), samples from {} (p10) to {} (p90)\ntimed by: {}",
        time(row.interval_ns.low),
        time(row.interval_ns.high),
        time(row.time_ns.p10),
        time(row.time_ns.p90),
        words(row.timed_by)
    );
    if let Some((pipe, ops)) = busiest(row).filter(|_| known) {
        let of =
            row.of_ceiling.pipe.map_or(String::new(), |p| format!(", {:.0}\u{a0}% of {pipe}", 100.0 * p));
        let _ = writeln!(text, "{}\u{a0}GOP/s{of}", short(ops / row.time_ns.p50));
    }
    if known {
        let _ = write!(
            text,
            "{}\u{a0}GB/s, {:.0}\u{a0}% of memory; ",
            short(row.bytes.low / row.time_ns.p50),
            100.0 * row.of_ceiling.memory
        );
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
    use crate::roofline::sample;

    #[test]
    fn a_hover_says_how_a_row_was_timed_and_what_noise_has_swallowed() {
        let mut row = sample::report().kernels[0].clone();
        let text = about(&row);
        assert!(text.contains("timed by: simulated") && text.contains("(95\u{a0}%)"), "{text}");
        row.time_ns.p50 = -34e6;
        row.headroom_ns = -34e6;
        let text = about(&row);
        assert!(
            text.contains("lost in noise a dispatch") && text.contains("to win: lost in noise"),
            "{text}"
        );
        assert!(!text.contains("GB/s") && !text.contains("GOP/s"), "{text}");
    }
}
