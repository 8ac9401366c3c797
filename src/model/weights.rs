//! From a model file to buffers: row by row into the GPU's layouts, one shard in memory at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Architecture, Error, Tensor};
use crate::format::{Hyper, Kind, ModelFile, TensorInfo};
use crate::gpu::Gpu;
use crate::kernels::linear::{Form, LEAST_ROWS};
use crate::quant::{BAND, Format, Layout, Packed};

/// Told how many bytes of the file are on the GPU, of how many.
pub type LoadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Rows of a matrix that fit one binding.
#[derive(Debug)]
pub(super) struct Shard {
    pub layout: Layout,
    /// The first of the matrix's outputs that lies here.
    pub first: usize,
    pub outputs: usize,
    pub q: wgpu::Buffer,
    pub aux: wgpu::Buffer,
}

/// A matrix on the GPU: tensors of one format, stacked.
#[derive(Debug)]
pub(super) struct Matrix {
    pub format: &'static dyn Format,
    pub k: usize,
    /// Outputs: rows, or half of them if gate and up rows are paired.
    pub outputs: usize,
    pub shards: Vec<Shard>,
}

impl Matrix {
    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.q.size() + shard.aux.size()).sum()
    }
}

/// Whether a matrix's rows come in pairs for a gated activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Single,
    /// The first half of the stack is gates, the second their partners; a shard holds both.
    Paired,
}

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub attention_norm: wgpu::Buffer,
    /// Q, K and V, stacked where their formats are equal.
    pub qkv: Vec<Matrix>,
    /// Their biases, one after the other.
    pub qkv_bias: Option<wgpu::Buffer>,
    /// Gains of Q's heads, then of K's.
    pub qk_norm: Option<wgpu::Buffer>,
    pub output: Matrix,
    pub output_bias: Option<wgpu::Buffer>,
    pub ffn_norm: wgpu::Buffer,
    /// One paired matrix, or gate and up apart.
    pub gate_up: Vec<Matrix>,
    pub down: Matrix,
}

/// All weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub embedding: Matrix,
    pub layers: Vec<Layer>,
    pub final_norm: wgpu::Buffer,
    /// `None`: the embedding.
    pub head: Option<Matrix>,
    /// Bytes on the GPU.
    pub bytes: u64,
}

impl Weights {
    pub fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

pub(super) struct Loader<'a> {
    gpu: &'a Arc<Gpu>,
    file: &'a ModelFile,
    hyper: &'a Hyper,
    architecture: &'static Architecture,
    used: BTreeSet<String>,
    bytes: u64,
    read: u64,
    /// Bytes of all tensors.
    total: u64,
    progress: LoadProgress<'a>,
}

/// Bytes read from the file at a time.
const PIECE: usize = 1 << 20;

impl<'a> Loader<'a> {
    pub fn new(
        gpu: &'a Arc<Gpu>,
        file: &'a ModelFile,
        hyper: &'a Hyper,
        architecture: &'static Architecture,
        progress: LoadProgress<'a>,
    ) -> Self {
        let total = file.tensors().map(|tensor| tensor.bytes).sum();
        Self { gpu, file, hyper, architecture, used: BTreeSet::new(), bytes: 0, read: 0, total, progress }
    }

    pub fn load(mut self) -> Result<Weights, Error> {
        let h = self.hyper;
        let (q_rows, kv_rows) = (h.heads * h.head_dim, h.kv_heads * h.head_dim);
        let embedding = self.matrix(&[(Tensor::Embedding, h.vocab)], 0, h.hidden, Rows::Single)?;
        let mut layers = Vec::with_capacity(h.layers.min(1024));
        for i in 0..h.layers {
            let attention_norm = self.vector(Tensor::AttentionNorm, i, h.hidden)?;
            let qkv = [(Tensor::Q, q_rows), (Tensor::K, kv_rows), (Tensor::V, kv_rows)];
            let qkv = self.stacks(&qkv, i, h.hidden)?;
            let biases = [(Tensor::QBias, q_rows), (Tensor::KBias, kv_rows), (Tensor::VBias, kv_rows)];
            let biased = h.attention_bias == Some(true);
            let qkv_bias = self.optional_vectors(&biases, i, self.architecture.qkv_bias || biased)?;
            let norms = [(Tensor::QNorm, h.head_dim), (Tensor::KNorm, h.head_dim)];
            let qk_norm =
                if self.architecture.qk_norm { self.optional_vectors(&norms, i, true)? } else { None };
            let output = self.matrix(&[(Tensor::Output, h.hidden)], i, q_rows, Rows::Single)?;
            let output_bias = self.optional_vectors(&[(Tensor::OutputBias, h.hidden)], i, biased)?;
            let ffn_norm = self.vector(Tensor::FfnNorm, i, h.hidden)?;
            let gate_up = [(Tensor::Gate, h.intermediate), (Tensor::Up, h.intermediate)];
            let same = self.info(Tensor::Gate, i)?.format == self.info(Tensor::Up, i)?.format;
            let gate_up = if same {
                vec![self.matrix(&gate_up, i, h.hidden, Rows::Paired)?]
            } else {
                self.stacks(&gate_up, i, h.hidden)?
            };
            let down = self.matrix(&[(Tensor::Down, h.hidden)], i, h.intermediate, Rows::Single)?;
            layers.push(Layer {
                attention_norm,
                qkv,
                qkv_bias,
                qk_norm,
                output,
                output_bias,
                ffn_norm,
                gate_up,
                down,
            });
        }
        let final_norm = self.vector(Tensor::FinalNorm, 0, h.hidden)?;
        let head_name = self.name(Tensor::Head, 0);
        let head = match (h.tied, self.file.tensor(&head_name)) {
            (Some(true), _) | (None, None) => {
                self.used.insert(head_name);
                None
            }
            (_, Some(_)) => Some(self.matrix(&[(Tensor::Head, h.vocab)], 0, h.hidden, Rows::Single)?),
            (Some(false), None) => {
                return Err(self.unsupported(format!(
                    "there is no tensor '{head_name}', and the head is not tied to the embedding"
                )));
            }
        };
        self.refuse_unused()?;
        // A head that is tied may stand in the file as well.
        (self.progress)(self.total, self.total);
        Ok(Weights { embedding, layers, final_norm, head, bytes: self.bytes })
    }

    /// A tensor that nothing uses would be mathematics left out.
    fn refuse_unused(&self) -> Result<(), Error> {
        let harmless = |name: &str| name == "rope_freqs.weight" || name.ends_with("rotary_emb.inv_freq");
        let unused: Vec<&str> = self
            .file
            .tensors()
            .map(|t| t.name.as_str())
            .filter(|n| !self.used.contains(*n) && !harmless(n))
            .collect();
        match unused.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(self.unsupported(format!(
                "{} tensors have no place in the architecture '{}' ('{first}' is the first): \
                 running without them would give wrong results",
                unused.len(),
                self.architecture.name
            ))),
        }
    }

    fn unsupported(&self, what: String) -> Error {
        Error::Unsupported { path: self.file.path().to_path_buf(), what }
    }

    fn name(&self, tensor: Tensor, layer: usize) -> String {
        self.architecture.tensor(self.file.kind(), tensor, layer)
    }

    fn info(&self, tensor: Tensor, layer: usize) -> Result<&'a TensorInfo, Error> {
        let name = self.name(tensor, layer);
        self.file.tensor(&name).ok_or_else(|| {
            self.unsupported(format!(
                "there is no tensor '{name}', which this model's architecture and configuration call for"
            ))
        })
    }

    /// A tensor of exactly `rows` x `columns`.
    fn shaped(
        &mut self,
        tensor: Tensor,
        layer: usize,
        rows: usize,
        columns: usize,
    ) -> Result<&'a TensorInfo, Error> {
        let info = self.info(tensor, layer)?;
        if (info.rows(), info.columns()) != (rows, columns) || info.shape.len() > 2 {
            return Err(self.unsupported(format!(
                "the tensor '{}' has the shape {:?}; the model's sizes ask for {rows} x {columns}",
                info.name, info.shape
            )));
        }
        self.used.insert(info.name.clone());
        Ok(info)
    }

    fn numbers(&mut self, info: &TensorInfo) -> Result<Vec<f32>, Error> {
        let mut bytes = Vec::new();
        self.file.read_rows(info, 0..info.rows(), &mut bytes)?;
        let mut numbers = vec![0.0; info.rows() * info.columns()];
        info.format.decode_row(&bytes, &mut numbers);
        self.advance(info.bytes);
        Ok(numbers)
    }

    fn advance(&mut self, bytes: u64) {
        self.read += bytes;
        (self.progress)(self.read, self.total);
    }

    /// A vector, padded with zeros to whole units.
    fn vector(&mut self, tensor: Tensor, layer: usize, n: usize) -> Result<wgpu::Buffer, Error> {
        let info = self.shaped(tensor, layer, 1, n)?;
        let mut numbers = self.numbers(info)?;
        numbers.resize(n.next_multiple_of(crate::quant::UNIT), 0.0);
        self.bytes += 4 * numbers.len() as u64;
        Ok(self.gpu.storage_with(&info.name, bytemuck::cast_slice(&numbers))?)
    }

    /// Vectors one after the other: all of them, or none if none is there and none is required.
    fn optional_vectors(
        &mut self,
        list: &[(Tensor, usize)],
        layer: usize,
        required: bool,
    ) -> Result<Option<wgpu::Buffer>, Error> {
        let there = list.iter().any(|&(t, _)| self.file.tensor(&self.name(t, layer)).is_some());
        if !there && !required {
            return Ok(None);
        }
        let mut all = Vec::new();
        for &(tensor, n) in list {
            let info = self.shaped(tensor, layer, 1, n)?;
            let numbers = self.numbers(info)?;
            let permuted = matches!(tensor, Tensor::QBias | Tensor::KBias) && self.permutes();
            all.extend((0..n).map(|row| numbers[if permuted { self.stored_row(row) } else { row }]));
        }
        self.bytes += 4 * all.len() as u64;
        Ok(Some(self.gpu.storage_with(&self.name(list[0].0, layer), bytemuck::cast_slice(&all))?))
    }

    fn permutes(&self) -> bool {
        self.architecture.gguf_permutes_qk && self.file.kind() == Kind::Gguf
    }

    /// Where GGUF keeps the row that belongs at `row`: it stores the pair (i, i + D/2) of a head as
    /// neighbours (2i, 2i + 1).
    fn stored_row(&self, row: usize) -> usize {
        let d = self.hyper.head_dim;
        let (head, i) = (row / d, row % d);
        head * d + 2 * (i % (d / 2)) + i / (d / 2)
    }

    /// Neighbours of equal format become one matrix.
    fn stacks(&mut self, list: &[(Tensor, usize)], layer: usize, k: usize) -> Result<Vec<Matrix>, Error> {
        let mut out = Vec::new();
        let mut start = 0;
        while start < list.len() {
            let format = self.info(list[start].0, layer)?.format;
            let mut end = start + 1;
            while end < list.len() && self.info(list[end].0, layer)?.format == format {
                end += 1;
            }
            out.push(self.matrix(&list[start..end], layer, k, Rows::Single)?);
            start = end;
        }
        Ok(out)
    }

    /// Stacks tensors of one format into a matrix, in as many shards as bindings allow.
    fn matrix(
        &mut self,
        list: &[(Tensor, usize)],
        layer: usize,
        k: usize,
        rows: Rows,
    ) -> Result<Matrix, Error> {
        let mut stack = Vec::new();
        for &(tensor, n) in list {
            let permuted = matches!(tensor, Tensor::Q | Tensor::K) && self.permutes();
            stack.push((self.shaped(tensor, layer, n, k)?, permuted));
        }
        let format = stack[0].0.format;
        let total: usize = list.iter().map(|(_, n)| n).sum();
        let pair = if rows == Rows::Paired { 2 } else { 1 };
        let outputs = total / pair;
        let [q, aux] = Layout::row_bytes(format, k).map(|n| n * pair as u64);
        let limit = self.gpu.limits.max_storage_buffer_binding_size.min(self.gpu.limits.max_buffer_size);
        let groups = u64::from(self.gpu.limits.max_compute_workgroups_per_dimension);
        // A band that a shard does not fill is padded.
        let fits = (limit / q.max(aux)) as usize / BAND * BAND;
        // A dispatch may be no wider than the device allows either.
        let fits = fits.min(groups as usize * LEAST_ROWS);
        if fits == 0 {
            return Err(self.unsupported(format!(
                "{BAND} rows of '{}' are larger than the adapter's largest binding, {limit} bytes",
                stack[0].0.name
            )));
        }
        // Even shards rather than full ones and a rest.
        let per_shard = outputs.div_ceil(outputs.div_ceil(fits));
        let mut shards = Vec::new();
        for first in (0..outputs).step_by(per_shard) {
            let n = per_shard.min(outputs - first);
            let up_row = Form::up_row(n);
            let mut packed = Packed::new(format, (pair - 1) * up_row + n, k);
            for half in 0..pair {
                self.fill(&mut packed, &stack, half * up_row, half * outputs + first, n)?;
            }
            let name = format!("{} rows {first}..{}", stack[0].0.name, first + n);
            let q = self.gpu.storage_with(&name, bytemuck::cast_slice(&packed.q))?;
            let aux = self.gpu.storage_with(&name, bytemuck::cast_slice(&packed.aux))?;
            self.bytes += packed.layout.bytes();
            shards.push(Shard { layout: packed.layout, first, outputs: n, q, aux });
            // Lets wgpu drop its staging copy before the next one is made.
            drop(packed);
            self.gpu.submit([]);
            self.gpu.wait()?;
        }
        Ok(Matrix { format, k, outputs, shards })
    }

    /// Writes the rows `first..first + n` of a stack of tensors to the rows from `to` on.
    fn fill(
        &mut self,
        packed: &mut Packed,
        stack: &[(&TensorInfo, bool)],
        to: usize,
        first: usize,
        n: usize,
    ) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut start = 0;
        for &(info, permuted) in stack {
            let (low, high) = (first.max(start), (first + n).min(start + info.rows()));
            let row_bytes = info.row_bytes();
            // Whole heads at a time, so that a permuted row's place is in the piece.
            let grain = self.hyper.head_dim;
            let step = (PIECE / row_bytes).max(1).next_multiple_of(grain);
            let mut at = low;
            while at < high {
                let local = at - start;
                let from = local / grain * grain;
                let until = (from + step).min(info.rows());
                let end = high.min(start + until);
                self.file.read_rows(info, from..until, &mut bytes)?;
                for row in at..end {
                    let stored = if permuted { self.stored_row(row - start) } else { row - start };
                    packed.put(to + row - first, &bytes[(stored - from) * row_bytes..][..row_bytes]);
                }
                self.advance(info.bytes / info.rows() as u64 * (end - at) as u64);
                at = end;
            }
            start += info.rows();
        }
        Ok(())
    }
}
