//! `ridgepoint serve` as clients meet it: friendly, hostile, and those that people use.

mod api;
mod caps;
mod debug;
mod ending;
mod harness;
mod hostile;
#[path = "../kept/mod.rs"]
mod kept;
mod log;
mod metrics;
mod pairs;
#[path = "../pipelines/mod.rs"]
mod pipelines;
mod sdk;
