//! The report of a simulated device that the tests of this folder draw and compare.

use super::report::Report;

/// Of `tests/data/roofline/simulated.json`.
pub fn report() -> Report {
    Report::from_json(include_str!("../../tests/data/roofline/simulated.json")).unwrap()
}
