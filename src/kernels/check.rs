//! Runs a case on a device and compares it with the reference.

use super::{Case, Input, Values};
use crate::gpu::{Binding, Dispatch, Error, Gpu, Recorder};
use crate::quant::{Format, Layout, Packed};

/// How a case went.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Within tolerance; the largest error as a share of its tolerance.
    Right {
        /// Largest error over tolerance, at most 1.
        worst: f64,
    },
    /// The first number outside its tolerance, in words.
    Wrong(String),
    /// The device lacks what the variant needs.
    Unsupported,
}

/// A seeded stream of test numbers (SplitMix64), so that a case is the same on every machine.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// `n` numbers in -1..1.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }

    /// The numbers 0..n in random order.
    pub fn shuffled(&mut self, n: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            all.swap(i, self.below(i + 1));
        }
        all
    }
}

/// A random matrix of a format: what the GPU gets, and the numbers that it means.
#[derive(Debug)]
pub struct TestMatrix {
    /// The GPU's words.
    pub packed: Packed,
    /// Numbers per row.
    pub k: usize,
    /// The numbers, row by row.
    pub numbers: Vec<f32>,
}

impl TestMatrix {
    /// `m` rows of `k` numbers in -1..1, encoded.
    pub fn new(format: &'static dyn Format, m: usize, k: usize, noise: &mut Noise) -> Self {
        let mut packed = Packed::new(format, m, k);
        let mut numbers = vec![0.0; m * k];
        let mut bytes = vec![0; k / format.block_len() * format.block_bytes()];
        for (row, out) in numbers.chunks_mut(k).enumerate() {
            out.iter_mut().for_each(|v| *v = noise.unit());
            let blocks = bytes.chunks_mut(format.block_bytes());
            for (numbers, block) in out.chunks_mut(format.block_len()).zip(blocks) {
                format.encode(numbers, block);
                format.decode(block, numbers);
            }
            packed.put(row, &bytes);
        }
        Self { packed, k, numbers }
    }

    /// One row's numbers.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.k..][..self.k]
    }

    /// Sizes and places.
    pub fn layout(&self) -> Layout {
        self.packed.layout
    }

    /// The two bindings, `q` and `aux`.
    pub fn inputs(&self) -> [Input; 2] {
        [
            Input::Storage(bytemuck::cast_slice(&self.packed.q).to_vec()),
            Input::Storage(bytemuck::cast_slice(&self.packed.aux).to_vec()),
        ]
    }
}

/// Runs one case and judges it.
///
/// # Errors
/// When the device fails; a wrong number is an [`Outcome`].
pub fn run_case(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    Ok(run_outputs(gpu, case)?.map_or(Outcome::Unsupported, |outputs| judge(case, &outputs)))
}

/// Runs one case and brings back the bytes of each binding in `case.expected`, in that order; `None`
/// if the device lacks what the variant needs.
///
/// # Errors
/// When the device fails, or an index strays on a device that watches them.
pub fn run_outputs(gpu: &Gpu, case: &Case) -> Result<Option<Vec<Vec<u8>>>, Error> {
    if !case.needs.met_by(gpu) {
        return Ok(None);
    }
    let pipeline = gpu.pipeline(&case.program)?;
    let mut buffers = Vec::with_capacity(case.inputs.len());
    for input in &case.inputs {
        buffers.push(match input {
            Input::Uniform(data) => gpu.uniform_with("case", data),
            Input::Storage(data) => gpu.storage_with("case", data)?,
        });
    }
    let bindings: Vec<Binding<'_>> = buffers.iter().map(Binding::from).collect();
    let bound = gpu.bind(&pipeline, &bindings)?;
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = Recorder::new(gpu, &mut encoder, &case.label, None);
    pass.dispatch(Dispatch { bound: &bound, grid: case.grid })?;
    drop(pass);
    gpu.submit([encoder.finish()]);
    let mut outputs = Vec::with_capacity(case.expected.len());
    for expected in &case.expected {
        let buffer = &buffers[expected.binding];
        outputs.push(gpu.download(buffer, 0, buffer.size())?);
    }
    gpu.strays_of(&bound)?;
    Ok(Some(outputs))
}

/// Compares what [`run_outputs`] brought back with the reference.
pub fn judge(case: &Case, outputs: &[Vec<u8>]) -> Outcome {
    let mut worst = 0.0_f64;
    for (expected, bytes) in case.expected.iter().zip(outputs) {
        match compare(bytes, &expected.values) {
            Ok(w) => worst = worst.max(w),
            Err(what) => return Outcome::Wrong(format!("binding {}: {what}", expected.binding)),
        }
    }
    Outcome::Right { worst }
}

fn compare(bytes: &[u8], values: &Values) -> Result<f64, String> {
    let words: &[u32] = bytemuck::cast_slice(bytes);
    let mut worst = 0.0_f64;
    let mut near = |i: usize, got: f32, (want, tolerance): (f32, f32)| {
        if want.is_nan() {
            return Ok(());
        }
        let error = (f64::from(got) - f64::from(want)).abs();
        if error <= f64::from(tolerance) {
            worst = worst.max(error / f64::from(tolerance).max(f64::MIN_POSITIVE));
            Ok(())
        } else {
            Err(format!("number {i} is {got}, expected {want} within {tolerance:e}"))
        }
    };
    match values {
        Values::F32(expected) => {
            for (i, &e) in expected.iter().enumerate() {
                near(i, f32::from_bits(words[i]), e)?;
            }
        }
        Values::Cache(cache, dim, expected) => {
            let rows = bytes.chunks(cache.row_bytes(*dim)).flat_map(|row| cache.decode(row, *dim));
            for (i, (got, &e)) in rows.zip(expected).enumerate() {
                near(i, got, e)?;
            }
        }
        Values::U32(expected) => exact(words, 0, expected)?,
        Values::U32Rows { skip, rows } => {
            let mut at = 0;
            for row in rows {
                exact(words, at + skip, row)?;
                at += skip + row.len();
            }
        }
    }
    Ok(worst)
}

fn exact(words: &[u32], from: usize, expected: &[u32]) -> Result<(), String> {
    for (i, (got, want)) in words[from..].iter().zip(expected).enumerate() {
        if got != want {
            return Err(format!("word {} is {got}, expected {want}", from + i));
        }
    }
    Ok(())
}
