//! What of two reports can be judged, and why the rest can't.

use super::place::Pairs;
use super::significance::{self, Medians};
use crate::roofline::hover::lost;
use crate::roofline::predict::weakness;
use crate::roofline::report::{KernelRow, Report, Verdict};

/// Of which report a reason is.
const SIDES: [&str; 2] = ["in the baseline", "here"];

/// Why the rows of a step can't be judged, if that is so in either report.
pub(super) fn weak(reports: [&Report; 2], name: &str) -> Option<String> {
    let why = |(report, side): (&Report, &str)| {
        let step = report.steps.iter().find(|step| step.name == name)?;
        let rows: Vec<&KernelRow> = report.kernels.iter().filter(|row| row.step == name).collect();
        weakness(step, &rows).map(|why| format!("{side}, {why}"))
    };
    reports.into_iter().zip(SIDES).find_map(why)
}

/// A chance, or why there is none.
pub(super) type Chance = Result<f64, String>;

/// Of two rows.
pub(super) fn rows(a: &KernelRow, b: &KernelRow) -> Chance {
    for (row, side) in [a, b].into_iter().zip(SIDES) {
        if row.verdict == Verdict::Unknown {
            return Err(format!("{side}, {}", row.reason));
        }
        if lost(row) {
            return Err(format!("{side}, its time is lost in noise"));
        }
    }
    significance::p(Medians::of(a), Medians::of(b)).ok_or_else(few)
}

fn few() -> String {
    "too few samples for an interval".to_string()
}

/// The kernels of a step together.
pub(super) struct Sums {
    /// Of the tested rows, both reports'.
    pub tested: [f64; 2],
    /// Rows that are in neither.
    pub left_out: usize,
    /// The chance.
    pub p: Chance,
}

/// Of a step's rows that have a time beyond noise: of a pair in both reports, and of rows of one report
/// alone if all of these do, since what is lost of them would be missing on one side only.
pub(super) fn step(pairs: &Pairs<'_>, name: &str) -> Sums {
    let sound = |row: &KernelRow| Medians::of(row).is_some();
    let both: Vec<_> = pairs.both.iter().filter(|(a, _)| a.step == name).collect();
    let tested: Vec<_> = both.iter().filter(|(a, b)| sound(a) && sound(b)).collect();
    let alone = [&pairs.only_in_baseline, &pairs.only_here]
        .map(|rows| rows.iter().copied().filter(|row| row.step == name).collect::<Vec<_>>());
    let whole = alone.iter().flatten().all(|row| sound(row));
    let [more, other] = alone.map(|rows| (rows.len(), if whole { rows } else { Vec::new() }));
    let left_out = both.len() - tested.len() + more.0 - more.1.len() + other.0 - other.1.len();
    let baseline: Vec<&KernelRow> = tested.iter().map(|(a, _)| *a).chain(more.1).collect();
    let here: Vec<&KernelRow> = tested.iter().map(|(_, b)| *b).chain(other.1).collect();
    let time = |rows: &[&KernelRow]| rows.iter().filter_map(|r| Some(r.calls as f64 * r.time()?)).sum();
    let medians = |rows: &[&KernelRow]| Medians::sum(rows.iter().copied());
    let p = if tested.is_empty() {
        Err("no row of it has a time beyond noise in both".to_string())
    } else {
        significance::p(medians(&baseline), medians(&here)).ok_or_else(few)
    };
    Sums { tested: [time(&baseline), time(&here)], left_out, p }
}
