//! The activations of a step: buffers made once, for the largest step.

use super::Error;
use super::plan::Sections;
use crate::format::Hyper;
use crate::gpu::Gpu;
use crate::kernels::{argmax, attention, rope_cache, top_k};
use crate::quant::UNIT;

/// The scratch buffers of a step, each of one use so that independent ops need no barrier.
#[derive(Debug)]
pub(super) struct Scratch {
    pub step: wgpu::Buffer,
    pub h: wgpu::Buffer,
    pub qkv: wgpu::Buffer,
    pub q: wgpu::Buffer,
    pub attended: wgpu::Buffer,
    /// What splits of attention along the context leave.
    pub partial: wgpu::Buffer,
    pub gate_up: Option<wgpu::Buffer>,
    pub mlp: wgpu::Buffer,
    pub logits: wgpu::Buffer,
    pub angles: wgpu::Buffer,
}

/// Floats from token to token of an activation that is read as whole units.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(UNIT)
}

/// Bytes of what steps of `tokens` tokens, of which `outputs` give logits, bring back: what was selected of
/// the logits, and two steps' ways to the host, of results and of states. Those of states are made when
/// something is embedded for the first time, and are counted from the beginning.
pub(super) fn result_bytes(h: &Hyper, tokens: usize, outputs: usize) -> u64 {
    let candidates = top_k::out_words(top_k::CANDIDATES.min(h.vocab));
    let row = argmax::OUT_WORDS + candidates + 2 * h.vocab.max(candidates);
    4 * (outputs * row + tokens * 2 * padded(h.hidden)) as u64
}

impl Scratch {
    /// Bytes for steps of `tokens` tokens, of which `outputs` give logits, at `positions` positions, beside
    /// the step's numbers ([`Sections::bytes`]).
    pub fn bytes(h: &Hyper, tokens: usize, outputs: usize, positions: usize, gate_up_apart: bool) -> u64 {
        let qkv = (h.heads + 2 * h.kv_heads) * h.head_dim;
        let q = h.heads * h.head_dim;
        let apart = if gate_up_apart { 2 * h.intermediate } else { 0 };
        let per_token = padded(h.hidden) + qkv + q + padded(q) + apart + padded(h.intermediate);
        let partial = attention::partial_rows() * attention::partial_row(h.head_dim);
        4 * (tokens * per_token + partial + outputs * h.vocab + positions * h.head_dim) as u64
    }

    pub fn new(
        gpu: &Gpu,
        h: &Hyper,
        sections: &Sections,
        tokens: usize,
        outputs: usize,
        positions: usize,
        gate_up_apart: bool,
    ) -> Result<Self, Error> {
        let storage = |what: &str, n: usize| gpu.storage(what, 4 * n as u64);
        let q = h.heads * h.head_dim;
        // Where a binding holds less, there are fewer splits.
        let binding = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size) / 4;
        let partial = attention::partial_rows() * attention::partial_row(h.head_dim);
        let angles = rope_cache::angles(&h.rope.inverse_frequencies(), positions);
        Ok(Self {
            step: gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("step"),
                size: sections.bytes(),
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::UNIFORM
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
            h: storage("residual stream", tokens * padded(h.hidden))?,
            qkv: storage("QKV", tokens * (h.heads + 2 * h.kv_heads) * h.head_dim)?,
            q: storage("rotated queries", tokens * q)?,
            attended: storage("attention output", tokens * padded(q))?,
            partial: storage("attention's partial rows", partial.min(binding as usize))?,
            gate_up: if gate_up_apart {
                Some(storage("gate and up", tokens * 2 * h.intermediate)?)
            } else {
                None
            },
            mlp: storage("gated", tokens * padded(h.intermediate))?,
            logits: storage("logits", outputs * h.vocab)?,
            angles: gpu.storage_with("rotary angles", bytemuck::cast_slice(&angles))?,
        })
    }
}
