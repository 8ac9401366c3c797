//! Ridgepoint: a portable LLM inference engine on wgpu that knows its own roofline.
//!
//! The folders are layers; a module imports only modules listed above it (`tests/house.rs`).
#![warn(missing_docs)]

pub mod units;

pub mod gpu;

pub mod quant;

pub mod cost;

pub mod kernels;

pub mod profile;

pub mod roofline;

pub mod format;

pub mod hub;

pub mod cache;

pub mod scheduler;

pub mod model;

pub mod sample;

pub mod engine;

pub mod server;

pub mod cli;
