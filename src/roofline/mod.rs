//! What bounds a kernel, and what to do about it: measured times joined with costs and ceilings.
//!
//! `report` is the JSON report, which everything that prints, draws or compares reads. `svg` is a
//! canvas, `plot` the roofline, `charts` the other pictures, `html` the page with all of them, `trace`
//! the steps for Perfetto.

pub mod charts;
pub mod html;
pub mod plot;
pub mod report;
#[cfg(test)]
mod sample;
pub mod svg;
pub mod trace;
