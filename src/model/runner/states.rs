//! The tokens' states after the last norm, brought back for embeddings.
//!
//! The residual stream is what the head would read; the norm is done here, since the kernels have it
//! inside the head: `state[i] = h[i] gain[i] / sqrt(mean(h^2) + eps)`.

use std::time::{Duration, Instant};

use super::super::scratch::padded;
use super::super::{Error, plan::Plan};
use crate::format::Hyper;
use crate::gpu::{Gpu, Readback};

/// Where states are copied to, and the last norm.
#[derive(Debug)]
pub(super) struct States {
    /// One for each step under way, as large as the largest so far: none are wanted where nothing is
    /// embedded.
    readbacks: [Readback; 2],
    gain: Vec<f32>,
    eps: f32,
}

impl States {
    pub fn new(gpu: &Gpu, gain: &wgpu::Buffer, hyper: &Hyper) -> Result<Self, Error> {
        let gain = gpu.download(gain, 0, 4 * hyper.hidden as u64)?;
        Ok(Self {
            readbacks: [Readback::new(gpu, 0), Readback::new(gpu, 0)],
            gain: bytemuck::pod_collect_to_vec(&gain),
            eps: hyper.rms_eps,
        })
    }

    /// Bytes from token to token of the residual stream.
    fn stride(&self) -> u64 {
        4 * padded(self.gain.len()) as u64
    }

    /// Records the copies of a step's wanted states out of the residual stream `h`; gives their number.
    pub fn copy(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        h: &wgpu::Buffer,
        plan: &Plan,
        slot: usize,
    ) -> usize {
        let (rows, stride) = (plan.states.iter().map(|(_, n)| n).sum(), self.stride());
        let readback = &mut self.readbacks[slot];
        if readback.size() < rows as u64 * stride {
            *readback = Readback::new(gpu, rows as u64 * stride);
        }
        let mut to = 0;
        for &(first, n) in &plan.states {
            let bytes = n as u64 * stride;
            readback.copy(encoder, h, first as u64 * stride, bytes, to);
            to += bytes;
        }
        rows
    }

    /// Appends the first `rows` states of a finished step to `out`; gives the time that it took once they
    /// were there.
    pub fn read(
        &self,
        gpu: &Gpu,
        submission: wgpu::SubmissionIndex,
        slot: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<Duration, Error> {
        let stride = self.stride();
        let took = self.readbacks[slot].read_after(gpu, submission, rows as u64 * stride, |bytes| {
            let start = Instant::now();
            for row in bytes.chunks_exact(stride as usize) {
                self.norm(bytemuck::cast_slice(row), out);
            }
            start.elapsed()
        })?;
        Ok(took)
    }

    fn norm(&self, h: &[f32], out: &mut Vec<f32>) {
        let h = &h[..self.gain.len()];
        let mean = h.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / h.len() as f64;
        let scale = 1.0 / (mean + f64::from(self.eps)).sqrt();
        out.extend(h.iter().zip(&self.gain).map(|(&v, &g)| (f64::from(v) * scale * f64::from(g)) as f32));
    }
}
