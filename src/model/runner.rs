//! A loaded model: runs steps over a paged cache and brings back what was asked for.

mod states;
mod step;
mod submit;

use std::path::Path;
use std::sync::Arc;

use super::fit;
use super::forward::Forward;
use super::plan::{Bounds, Entry, Outputs, Plan, Sections};
use super::scratch::{Scratch, result_bytes};
use super::weights::{Loader, Weights};
use super::{Architecture, Error, LoadProgress};
use crate::cache::{BlockCopy, BlockId, CacheConfig};
use crate::format::{Hyper, ModelFile};
use crate::gpu::{Bound, Gpu, Pace, Readback};
use crate::kernels::attention::Splitting;
use crate::kernels::rope_cache::{CacheType, Heads};
use crate::kernels::{Order, argmax, top_k};
use crate::profile::Spans;
use crate::units::Bytes;

use states::States;
pub use step::Profile;
pub use submit::{Feed, Held, HostWork, InFlight};

/// The sizes that a runner is built for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most tokens in a step.
    pub tokens: usize,
    /// Most tokens of a step whose logits are wanted.
    pub outputs: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most sequences in a step.
    pub sequences: usize,
    /// The cache's blocks.
    pub cache: CacheConfig,
    /// How the cache stores a number.
    pub cache_type: CacheType,
}

/// What the memory holds.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Weights on the GPU.
    pub weights: Bytes,
    /// The KV cache.
    pub cache: Bytes,
    /// Activations of the largest step.
    pub scratch: Bytes,
    /// What steps bring back, and embeddings: those buffers are made when the first is asked for.
    pub results: Bytes,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> Bytes {
        Bytes(self.weights.0 + self.cache.0 + self.scratch.0 + self.results.0)
    }
}

/// What a step brings back for each wanted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// The id of the largest logit.
    Argmax,
    /// The [`top_k::CANDIDATES`] largest logits and the softmax normaliser.
    Candidates,
    /// All logits.
    Rows,
}

/// A step's results, a row per wanted token, in the order of the entries.
#[derive(Debug, Default)]
pub struct Results {
    /// Ids of the largest logits ([`Want::Argmax`]).
    pub ids: Vec<u32>,
    /// The largest logits themselves ([`Want::Argmax`]).
    pub top: Vec<f32>,
    /// Logits ([`Want::Rows`]: the vocabulary; [`Want::Candidates`]: the candidates).
    pub logits: Vec<f32>,
    /// The candidates' ids.
    pub candidates: Vec<u32>,
    /// log(sum(exp(logits))) of each row ([`Want::Candidates`]).
    pub logsumexp: Vec<f32>,
    /// Final states, `hidden` numbers a row, of the tokens of [`Outputs::States`], whatever the [`Want`].
    pub states: Vec<f32>,
}

impl Results {
    fn clear(&mut self) {
        self.ids.clear();
        self.top.clear();
        self.logits.clear();
        self.candidates.clear();
        self.logsumexp.clear();
        self.states.clear();
    }

    /// Takes what the device wrote; `k` is the number of candidates.
    fn fill(&mut self, bytes: &[u8], want: Want, k: usize) {
        match want {
            Want::Argmax => {
                for best in bytemuck::cast_slice::<u8, [u32; 2]>(bytes) {
                    self.ids.push(best[0]);
                    self.top.push(f32::from_bits(best[1]));
                }
            }
            Want::Rows => self.logits.extend_from_slice(bytemuck::cast_slice(bytes)),
            Want::Candidates => {
                let words: &[u32] = bytemuck::cast_slice(bytes);
                for row in words.chunks_exact(top_k::out_words(k)) {
                    self.logsumexp.push(f32::from_bits(row[0]) + f32::from_bits(row[1]).ln());
                    self.candidates.extend_from_slice(&row[2..2 + k]);
                    self.logits.extend(row[2 + k..].iter().map(|&w| f32::from_bits(w)));
                }
            }
        }
    }
}

/// A model on the GPU.
#[derive(Debug)]
pub struct Runner {
    /// The device.
    pub gpu: Arc<Gpu>,
    /// The model's sizes.
    pub hyper: Hyper,
    /// Its architecture.
    pub architecture: &'static Architecture,
    /// What it was built for.
    pub limits: Limits,
    /// What the memory holds.
    pub memory: Memory,
    heads: Heads,
    bounds: Bounds,
    sections: Sections,
    // Keeps the buffers that the ops are bound to.
    weights: Weights,
    caches: Vec<wgpu::Buffer>,
    /// Buffers that a layer's cache takes.
    parts: usize,
    scratch: Scratch,
    forward: Forward,
    argmax: (Bound, wgpu::Buffer),
    top_k: (Bound, wgpu::Buffer),
    candidates: usize,
    readbacks: [Readback; 2],
    states: States,
    /// Which of them the next step uses.
    slot: usize,
    /// Rows of the last step's argmax, 0 if it made none.
    fed_rows: usize,
    plan: Plan,
    pace: Pace,
    /// One span a step, where they are asked for.
    spans: Option<Spans>,
    /// The span that the last collected step brought, ns: of the step before it.
    span: Option<f64>,
}

impl Runner {
    /// Whether a model and its largest step fit the device, by arithmetic: for whoever has other things to
    /// do before the weights are read.
    ///
    /// # Errors
    /// As [`Runner::load`], but for what only the weights tell.
    pub fn fits(gpu: &Gpu, file: &ModelFile, limits: &Limits) -> Result<(), Error> {
        fit::Fitted::new(gpu, file, limits).map(drop)
    }

    /// Loads a model's weights and makes room for its cache and its largest step.
    ///
    /// # Errors
    /// When the file is not sound, the architecture or a shape can't be run, or memory runs out.
    pub fn load(
        gpu: &Arc<Gpu>,
        file: &ModelFile,
        limits: Limits,
        progress: LoadProgress<'_>,
    ) -> Result<Self, Error> {
        let fit::Fitted { architecture, hyper, heads, bounds, parts, sections } =
            fit::Fitted::new(gpu, file, &limits)?;
        let weights = Loader::new(gpu, file, &hyper, architecture, progress).load()?;
        let gate_up_apart = weights.layers.iter().any(|l| l.gate_up.len() > 1);
        let scratch = Scratch::new(
            gpu,
            &hyper,
            &sections,
            limits.tokens,
            limits.outputs,
            limits.context,
            gate_up_apart,
        )?;
        let layer_bytes = heads.block_bytes() * u64::from(limits.cache.num_blocks);
        let mut caches = Vec::with_capacity(weights.layers.len() * parts);
        for i in 0..weights.layers.len() * parts {
            let what = format!("the KV cache of layer {}", i / parts);
            caches.push(gpu.storage(&what, layer_bytes / parts as u64)?);
        }
        let forward = Forward::new(
            gpu,
            &hyper,
            architecture.activation,
            &weights,
            &scratch,
            &caches,
            parts,
            heads,
            &sections,
        )?;
        let candidates = top_k::CANDIDATES.min(hyper.vocab);
        let select = |program, params: Vec<u8>, words: usize| -> Result<(Bound, wgpu::Buffer), Error> {
            let pipeline = gpu.pipeline(&program)?;
            let params = gpu.uniform_with("select", &params);
            let out = gpu.storage("selected", 4 * (words * limits.outputs) as u64)?;
            let bound = gpu.bind(&pipeline, &[(&params).into(), (&scratch.logits).into(), (&out).into()])?;
            Ok((bound, out))
        };
        let argmax = select(argmax::program(), argmax::params(hyper.vocab), argmax::OUT_WORDS)?;
        let top_k =
            select(top_k::program(candidates), top_k::params(hyper.vocab), top_k::out_words(candidates))?;
        let states = States::new(gpu, &weights.final_norm, &hyper)?;
        gpu.check()?;
        let memory = Memory {
            weights: Bytes(weights.bytes),
            cache: Bytes(layer_bytes * weights.layers.len() as u64),
            scratch: Bytes(
                sections.bytes()
                    + Scratch::bytes(&hyper, limits.tokens, limits.outputs, limits.context, gate_up_apart),
            ),
            results: Bytes(result_bytes(&hyper, limits.tokens, limits.outputs)),
        };
        let most = 4 * (limits.outputs * hyper.vocab.max(top_k::out_words(candidates))) as u64;
        Ok(Self {
            gpu: Arc::clone(gpu),
            hyper,
            architecture,
            limits,
            memory,
            heads,
            bounds,
            sections,
            states,
            weights,
            caches,
            parts,
            scratch,
            forward,
            argmax,
            top_k,
            candidates,
            readbacks: [Readback::new(gpu, most), Readback::new(gpu, most)],
            slot: 0,
            fed_rows: 0,
            plan: Plan::default(),
            pace: Pace::default(),
            spans: None,
            span: None,
        })
    }

    /// What the architecture's switches and the kernels ask of the sizes, before any weight is read.
    ///
    /// # Errors
    /// Says which size or switch can't be run.
    pub fn check(mut hyper: Hyper, architecture: &Architecture, path: &Path) -> Result<Hyper, Error> {
        let fail = |what: String| Err(Error::Unsupported { path: path.to_path_buf(), what });
        if hyper.rope.rotary_dim != hyper.head_dim {
            return fail(format!(
                "its rotary embedding turns {} of {} dimensions of a head; only all of them is implemented",
                hyper.rope.rotary_dim, hyper.head_dim
            ));
        }
        if !hyper.head_dim.is_multiple_of(8) || hyper.head_dim > 256 {
            return fail(format!(
                "heads of {} numbers: the attention kernels take multiples of 8 up to 256",
                hyper.head_dim
            ));
        }
        if hyper.mlp_bias == Some(true) {
            return fail("the feed-forward network has biases, which no kernel adds".into());
        }
        if let Some(activation) = &hyper.activation {
            let expected = serde_json::to_value(architecture.activation).unwrap_or_default();
            if expected.as_str() != Some(activation.as_str()) {
                return fail(format!(
                    "the activation '{activation}': the architecture '{}' runs with {expected}",
                    architecture.name
                ));
            }
        }
        if hyper.sliding_window.is_some() && !architecture.sliding_window {
            return fail(format!(
                "a sliding window, which the architecture '{}' does not have",
                architecture.name
            ));
        }
        // A window as wide as the context changes nothing.
        hyper.sliding_window = hyper.sliding_window.filter(|&w| w < hyper.context_length);
        Ok(hyper)
    }

    /// Bytes of the weights that every step reads, and of the head, which those read besides that want
    /// logits. Of an embedding that is no head tokens read a row each.
    pub fn read_bytes(&self) -> [u64; 2] {
        let head = self.weights.head().bytes();
        let embedding = self.weights.head.as_ref().map_or(0, |_| self.weights.embedding.bytes());
        [self.memory.weights.0 - head - embedding, head]
    }

    /// Bytes of one block of the cache over all layers.
    pub fn block_bytes(hyper: &Hyper, block: usize, cache: CacheType) -> u64 {
        let heads = Heads { heads: hyper.heads, kv_heads: hyper.kv_heads, dim: hyper.head_dim, block, cache };
        heads.block_bytes() * hyper.layers as u64
    }

    /// Sets the order of sums from the next step on.
    pub fn set_order(&mut self, order: Order) {
        self.forward.order = order;
    }

    /// Sets when attention is split along the context, from the next step on.
    pub fn set_splitting(&mut self, splitting: Splitting) {
        self.forward.splitting = splitting;
    }

    /// Builds the kernels that steps of these sizes will run, and runs each once on block 0, since
    /// some drivers compile at the first dispatch. Call it before any request.
    ///
    /// # Errors
    /// When the driver refuses a kernel.
    pub fn prepare(&mut self, tokens: &[usize]) -> Result<(), Error> {
        self.forward.prepare(&self.gpu, tokens)?;
        let mut results = Results::default();
        for &n in tokens {
            // Above 8 tokens the kernels are those of any longer prompt.
            let ids = vec![0; n.min(16).min(self.heads.block).min(self.limits.tokens)];
            let split = self.forward.splits_from(&self.gpu, ids.len(), self.limits.context);
            for start in [Some(0), split].into_iter().flatten() {
                let blocks = vec![BlockId(0); (start + ids.len()).div_ceil(self.heads.block)];
                let entry = Entry { tokens: &ids, start, blocks: &blocks, outputs: Outputs::Last };
                for want in [Want::Argmax, Want::Candidates] {
                    self.run(&[entry], want, &mut results)?;
                }
            }
        }
        Ok(())
    }

    /// Copies blocks of the cache in every layer: before the step that writes them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn copy_blocks(&self, copies: &[BlockCopy]) -> Result<(), Error> {
        if copies.is_empty() {
            return Ok(());
        }
        let bytes = self.heads.block_bytes() / self.parts as u64;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // A buffer can't be copied onto itself: through a scratch block.
        let staging = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("block copy"),
            size: bytes,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        for cache in &self.caches {
            for copy in copies {
                encoder.copy_buffer_to_buffer(cache, u64::from(copy.src.0) * bytes, &staging, 0, bytes);
                encoder.copy_buffer_to_buffer(&staging, 0, cache, u64::from(copy.dst.0) * bytes, bytes);
            }
        }
        self.gpu.submit([encoder.finish()]);
        Ok(self.gpu.check()?)
    }
}
