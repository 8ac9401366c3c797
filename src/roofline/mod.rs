//! What bounds a kernel, and what to do about it: measured times joined with costs and ceilings.
//!
//! `report` is the JSON report, which everything that prints, draws or compares reads; `roof` turns
//! a cost into the least time that the ceilings allow, `verdict` judges a time against it,
//! `analyse` makes a step's rows, `device` measures what belongs to the device and keeps it (`machine`: whose figures
//! those are), `timer` grades its timestamps, `sound` looks at figures that were read, `doubts` says which ceilings to measure again. `svg` is a canvas, `plot` the roofline with its `roofs`, `charts` the other
//! pictures, `html` the page with all of them (`hover`: a row in words, `marks`: shapes of dots, `legend`: what they mean), `trace` the steps for Perfetto;
//! `compare` sets reports side by side.

mod analyse;
pub mod charts;
pub mod compare;
mod device;
mod doubts;
pub mod elasticity;
mod hover;
pub mod html;
mod intervals;
mod legend;
mod machine;
mod marks;
pub mod plot;
mod predict;
mod read;
pub mod report;
mod roof;
mod roofs;
#[cfg(test)]
mod sample;
mod sound;
pub mod svg;
mod timer;
pub mod trace;
pub mod verdict;
mod window;
mod words;

pub use analyse::{Group, MeasuredStep};
pub use device::{DeviceReport, Key, Remeasure};
pub(crate) use hover::{LOST, headroom, lost};
pub use intervals::{ABOVE_NULL, Reading, grouped, reading, stamp_cost};
pub use predict::{Baseline, Overlap, reformatted, unit_bytes, weakness};
pub use roof::{Floors, Roof};
pub use timer::{grade, graded};
pub use window::steps;
pub use words::summary;
