//! What a probe is, and all of them.

use std::fmt;
use std::time::Instant;

use super::slope::Timing;
use super::{chain, fma, launch, memory};
use crate::gpu::{self, Bound, Dispatch, Gpu, Program, Recorder};
use crate::units::{Bytes, Nanos};

/// Every probe.
pub const PROBES: &[&dyn Probe] = &[
    &memory::READ_COLD,
    &memory::READ_RESIDENT,
    &memory::WRITE_COLD,
    &memory::WRITE_RESIDENT,
    &memory::COPY_COLD,
    &memory::COPY_RESIDENT,
    &fma::CHAINS,
    &fma::TILE,
    &chain::F16,
    &chain::DOT4_I8,
    &chain::INT_ALU,
    &chain::SPECIAL,
    &launch::LAUNCH,
];

/// What can go wrong while a ceiling is measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// No probe of that name.
    #[error("no probe measures '{name}'; there are: {}", known())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// A probe's shader computed something else than it should, so its time says nothing.
    #[error(
        "the probe '{probe}' is wrong on {adapter} ({what}), so its speed means nothing: this is a driver or shader bug; `ridgepoint doctor` checks the other kernels"
    )]
    Wrong {
        /// The probe's shader and variant.
        probe: String,
        /// The adapter's name.
        adapter: String,
        /// Where, what was expected and what was found.
        what: String,
    },
    /// The device can't run the probe.
    #[error("'{name}' can't be measured: this device has no {what}")]
    Missing {
        /// The ceiling's name.
        name: &'static str,
        /// What it lacks.
        what: &'static str,
    },
}

fn known() -> String {
    PROBES.iter().map(|p| p.name()).collect::<Vec<_>>().join(", ")
}

/// The unit of a ceiling: 10^9 of something a second, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Unit {
    /// 10^9 bytes a second.
    #[serde(rename = "GB/s")]
    GigabytesPerSecond,
    /// 10^9 floating-point operations a second; a fused multiply-add is two.
    #[serde(rename = "GFLOP/s")]
    GigaflopsPerSecond,
    /// 10^9 integer or special operations a second.
    #[serde(rename = "GOP/s")]
    GigaopsPerSecond,
    /// Nanoseconds; less is better.
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl Unit {
    /// The figure for so much work in so many seconds.
    pub fn figure(self, work: f64, seconds: f64) -> f64 {
        if self == Self::Nanoseconds { seconds / work * 1e9 } else { work / seconds * 1e-9 }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GigabytesPerSecond => "GB/s",
            Self::GigaflopsPerSecond => "GFLOP/s",
            Self::GigaopsPerSecond => "GOP/s",
            Self::Nanoseconds => "ns",
        })
    }
}

/// What part a probe takes in the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// At most so many of its variants.
    pub variants: usize,
    /// Its turn comes every so many rounds.
    pub every: usize,
    /// The memory that it takes, where that is much.
    pub memory: Bytes,
    /// How it is timed.
    pub timing: Timing,
}

impl Part {
    /// What most probes take on this device.
    pub fn of(gpu: &Gpu) -> Self {
        Self { variants: 3, every: 1, memory: Bytes(0), timing: Timing::of(gpu) }
    }
}

/// A small kernel that does one thing as fast as the device can.
pub trait Probe: Sync {
    /// The ceiling that it measures, as reports name it.
    fn name(&self) -> &'static str;
    /// What it does, in one line.
    fn summary(&self) -> &'static str;
    /// The unit of its figure.
    fn unit(&self) -> Unit;
    /// What part it takes in the rounds.
    fn part(&self, gpu: &Gpu) -> Part {
        Part::of(gpu)
    }
    /// Its variants, ready to run and each proved right; the fastest is the ceiling.
    ///
    /// # Errors
    /// When the device can't run it, or runs it wrong.
    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error>;
}

/// A variant of a probe with its buffers.
#[derive(Clone, Debug)]
pub struct Rig {
    /// What runs.
    pub program: Program,
    /// The pipeline with its buffers, one for each buffer that a repeat goes through.
    pub bound: Vec<Bound>,
    /// Workgroups of each dispatch.
    pub groups: u32,
    /// The most workgroups that its buffers have room for.
    pub most_groups: u32,
    /// Operations or bytes of one workgroup.
    pub work_per_group: f64,
}

impl Rig {
    /// Operations or bytes of one repeat.
    pub fn work(&self) -> f64 {
        self.work_per_group * f64::from(self.groups) * self.bound.len() as f64
    }

    /// The wall time of so many repeats in one submission.
    ///
    /// # Errors
    /// When the device fails.
    pub fn time(&self, gpu: &Gpu, repeats: u32) -> Result<Nanos, gpu::Error> {
        let file = self.program.file;
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(file) });
        let mut recorder = Recorder::new(gpu, &mut encoder, file, None);
        for _ in 0..repeats {
            for bound in &self.bound {
                recorder.dispatch(Dispatch { bound, grid: [self.groups, 1, 1] })?;
            }
        }
        drop(recorder);
        let commands = encoder.finish();
        // Recorded before: the clock starts at the submission.
        let start = Instant::now();
        gpu.submit([commands]);
        gpu.wait()?;
        Ok(start.elapsed().into())
    }
}
