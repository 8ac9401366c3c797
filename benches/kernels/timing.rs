//! Timing a case by the wall clock, through copies of its buffers.

use std::time::{Duration, Instant};

use anyhow::Context;
use ridgepoint::gpu::{self, Binding, Bound, Dispatch, Gpu, Recorder};
use ridgepoint::kernels::{Case, Input};
use ridgepoint::profile::stats::Samples;
use ridgepoint::profile::{Repeat, Timing, batch, pool};
use ridgepoint::units::{Bytes, Nanos};

use crate::report::quick;

/// Copies at most: small cases would need thousands, whose binding would be what is timed.
const MOST_COPIES: u64 = 64;
/// Samples of a figure.
const SAMPLES: usize = 9;
/// Some clocks take 400 ms to ramp.
const WARM_UP: Duration = Duration::from_millis(500);
/// What a case may take at most.
const PATIENCE: Duration = Duration::from_secs(8);

/// A case with its copies on the device.
pub struct Timed<'a> {
    gpu: &'a Gpu,
    case: &'a Case,
    bound: Vec<Bound>,
    /// The buffers of each copy that the case says something of.
    outputs: Vec<Vec<wgpu::Buffer>>,
    bytes: u64,
    next: usize,
}

impl<'a> Timed<'a> {
    /// Binds as many copies of the buffers as exceed the caches.
    pub fn new(gpu: &'a Gpu, case: &'a Case) -> anyhow::Result<Self> {
        let each: u64 = case
            .inputs
            .iter()
            .map(|input| match input {
                Input::Uniform(data) | Input::Storage(data) => data.len() as u64,
            })
            .sum();
        let copies = if quick() { 2 } else { pool(gpu).0.div_ceil(each.max(1)).clamp(2, MOST_COPIES) };
        let pipeline = gpu.pipeline(&case.program)?;
        let (mut bound, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..copies {
            let mut buffers = Vec::with_capacity(case.inputs.len());
            for input in &case.inputs {
                buffers.push(match input {
                    Input::Uniform(data) => gpu.uniform_with("bench", data),
                    Input::Storage(data) => gpu.storage_with("bench", data)?,
                });
            }
            let bindings: Vec<Binding<'_>> = buffers.iter().map(Binding::from).collect();
            bound.push(gpu.bind(&pipeline, &bindings)?);
            outputs.push(case.expected.iter().map(|e| buffers[e.binding].clone()).collect());
            // Uploads are staged in memory until the queue takes them.
            gpu.submit([]);
            gpu.wait()?;
        }
        Ok(Self { gpu, case, bound, outputs, bytes: each, next: 0 })
    }

    /// How many copies there are.
    pub fn copies(&self) -> usize {
        self.bound.len()
    }

    /// What the last dispatch left in its copy: bytes of each binding that the case says something of. Where each
    /// adds to what the one before left, one more is made from where they began.
    pub fn last(&mut self) -> anyhow::Result<Vec<Vec<u8>>> {
        if self.case.program.flags.contains("RESIDUAL") {
            let next = self.next % self.bound.len();
            for (expected, buffer) in self.case.expected.iter().zip(&self.outputs[next]) {
                if let Some(Input::Storage(data)) = self.case.inputs.get(expected.binding) {
                    self.gpu.write(buffer, 0, data);
                }
            }
            self.run(1)?;
        }
        let last = self.next.checked_sub(1).context("nothing was dispatched")? % self.bound.len();
        let buffers = self.outputs[last].iter();
        Ok(buffers.map(|b| self.gpu.download(b, 0, b.size())).collect::<Result<_, _>>()?)
    }

    /// Bytes of one.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.bytes)
    }

    /// Seconds of a dispatch: samples of (T(2n) - T(n)) / n.
    pub fn measure(&mut self) -> anyhow::Result<Samples> {
        if quick() {
            return Samples::new(vec![self.run(1)?.seconds()]).context("no time passed");
        }
        let (n, _) = batch(self)?;
        let start = Instant::now();
        while start.elapsed() < WARM_UP {
            self.run(n)?;
        }
        let start = Instant::now();
        let mut seconds = Vec::new();
        let mut lost = 0;
        while seconds.len() < SAMPLES && lost < SAMPLES && (seconds.len() < 3 || start.elapsed() < PATIENCE) {
            let once = self.run(n)?.seconds();
            let twice = self.run(2 * n)?.seconds();
            // A disturbed T(n) can exceed T(2n): no sample.
            if twice > once { seconds.push((twice - once) / f64::from(n)) } else { lost += 1 }
        }
        Samples::new(seconds).context("the machine is too busy: no pair of runs gave a time")
    }
}

impl Repeat for Timed<'_> {
    fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = Recorder::new(self.gpu, &mut encoder, &self.case.label, None);
        for _ in 0..repeats {
            let bound = &self.bound[self.next % self.bound.len()];
            pass.dispatch(Dispatch { bound, grid: self.case.grid })?;
            self.next += 1;
        }
        drop(pass);
        let commands = encoder.finish();
        let start = Instant::now();
        self.gpu.submit([commands]);
        self.gpu.wait()?;
        Ok(start.elapsed().into())
    }

    fn timing(&self) -> Timing {
        Timing::GPU
    }
}
