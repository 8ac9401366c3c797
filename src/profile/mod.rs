//! What this device can do, measured: ceilings, how they are timed, and statistics.
//!
//! A figure of a kernel means little alone; beside a ceiling measured on the same device, driver
//! and shader checks it says how much is left. `probe` says what a probe is and lists them all,
//! `fma`, `chain`, `memory` (as large as `host` tells) and `launch` are the probes, `slope` times, `rounds` times
//! all in turn, `ceiling` puts it together, `stats` summarises samples for whoever reports them.
//!
//! # Method
//! - Noise-filled buffers, larger than any cache; quadratic chains that no compiler folds; what is
//!   computed is stored. (The rules of clpeak's probes, whose author found each by being misled.)
//! - A probe is proved right before it is timed: a shader that does nothing is very fast.
//! - A warm-up by time, since clocks ramp for some 400 ms; dispatches large enough that launching
//!   them is small; batches of at least 50 ms on a GPU, of 10 ms on a processor, where neighbours leave
//!   gaps no longer than that.
//! - No timestamps: the wall time of n repeats is taken from that of 2n (of launches on a processor, 8n), so that
//!   the round trip through driver and queue cancels, the same on every back end.
//! - Everything is measured in rounds, each probe after all others, until leaving any round out changes a
//!   figure by no more than 5 %: what slows a machine down can last for seconds. The shortest runs of all
//!   rounds count, since everything that disturbs makes a run longer; of launches on a processor, which luck
//!   makes shorter, the lower quartile. (After CubeCL's rule, whose whole
//!   window once sat at a low clock.)
//! - The figures are under-estimates by construction: only arithmetic and bytes that must happen
//!   are counted. A kernel above its ceiling is a finding about the ceiling.

mod ceiling;
mod chain;
mod curve;
mod fma;
mod host;
mod launch;
mod memory;
mod native;
mod probe;
mod record;
mod ring;
mod rounds;
mod slope;
mod span;
pub mod stats;
mod step_time;
pub mod timer;
mod watch;

pub use ceiling::{Ceiling, Rounds, ceilings, measure};
pub use curve::{At, Level, levels, points};
pub use launch::{Fill, Grid, Nothing, fill, grids};
pub use memory::{Kind, Memory, RESIDENT, pool};
pub use native::native;
pub use probe::{Error, PROBES, Part, Probe, Rig, Unit};
pub use record::{Dispatched, Stamps, StepTimes};
pub use ring::{Counts, Ring};
pub use rounds::{Asked, Contest, in_rounds};
pub use slope::{Budget, Draws, Repeat, Slope, Timing, batch};
pub use span::{Resolved, Spans};
pub use step_time::{LEAST, StepTime, StepWork};
pub use watch::{Watch, Watched, shared};
