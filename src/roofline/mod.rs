//! What bounds a kernel, and what to do about it: measured times joined with costs and ceilings.
//!
//! `report` is the JSON report, which everything that prints, draws or compares reads; `roof` turns
//! a cost into the least time that the ceilings allow, `verdict` judges a time against it,
//! `analyse` makes a step's rows.

mod analyse;
pub mod report;
mod roof;
pub mod verdict;

pub use analyse::{Group, MeasuredStep};
pub use roof::{Floors, Roof};
