//! `ridgepoint serve` as clients meet it: friendly, hostile, and those that people use.

mod api;
mod caps;
mod harness;
mod hostile;
mod metrics;
mod sdk;
