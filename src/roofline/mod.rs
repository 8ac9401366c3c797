//! What bounds a kernel, and what to do about it: measured times joined with costs and ceilings.
//!
//! `report` is the JSON report, which everything that prints, draws or compares reads.

pub mod report;
