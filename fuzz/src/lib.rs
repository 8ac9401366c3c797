//! The parts of Ridgepoint that read files, from its own sources.
//!
//! They need nothing of the GPU; so fuzzing builds in a minute and not with all of wgpu, and only what
//! is fuzzed carries the fuzzer's counters.

#[path = "../../src/format/mod.rs"]
pub mod format;
#[path = "../../src/quant/mod.rs"]
pub mod quant;
#[path = "../../src/units.rs"]
pub mod units;

// So that the tests' own file finds what it names.
extern crate self as ridgepoint;

/// What each target does with its bytes.
#[path = "../../tests/hostile/bodies.rs"]
pub mod bodies;
