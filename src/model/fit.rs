//! What a device's limits allow of a model's buffers: asked before a weight is read.

use super::Architecture;
use super::architecture::Tensor;
use super::footprint::{gate_up_apart, gpu_bytes};
use super::plan::{Bounds, Sections};
use super::runner::{Limits, Runner};
use super::scratch::{Scratch, padded, result_bytes};
use crate::format::{Hyper, ModelFile};
use crate::gpu::{Error, Gpu, Room};
use crate::kernels::rope_cache::Heads;
use crate::units::Bytes;

/// A buffer that must fit one binding, and what makes it as large as it is.
struct Need {
    what: &'static str,
    /// Bytes of one of `count`.
    each: u64,
    count: usize,
    /// What `count` is, in words, and how it is lowered.
    unit: &'static str,
    way: &'static str,
}

/// What is known of a model before a weight is read.
pub(super) struct Fitted {
    pub(super) architecture: &'static Architecture,
    pub(super) hyper: Hyper,
    pub(super) heads: Heads,
    pub(super) bounds: Bounds,
    /// Buffers of a layer's cache.
    pub(super) parts: usize,
    pub(super) sections: Sections,
}

impl Fitted {
    pub(super) fn new(gpu: &Gpu, file: &ModelFile, limits: &Limits) -> Result<Self, super::Error> {
        let path = file.path();
        let unsupported = |what: String| super::Error::Unsupported { path: path.to_path_buf(), what };
        let architecture = Architecture::of(file)?;
        let hyper = file.hyper()?;
        let hyper = Runner::check(hyper, architecture, path)?;
        // Before anything is added up by sizes that the weights contradict.
        let name = architecture.tensor(file.kind(), Tensor::Embedding, 0);
        if let Some(embedding) = file.tensor(&name)
            && (embedding.rows(), embedding.columns()) != (hyper.vocab, hyper.hidden)
        {
            return Err(unsupported(format!(
                "the tensor '{name}' has the shape {:?}; the configuration asks for {} x {} (the vocabulary and the \
                 width of the hidden states)",
                embedding.shape, hyper.vocab, hyper.hidden
            )));
        }
        let heads = Heads {
            heads: hyper.heads,
            kv_heads: hyper.kv_heads,
            dim: hyper.head_dim,
            block: limits.cache.block_size as usize,
            cache: limits.cache_type,
        };
        let blocks_per_sequence = limits.context.div_ceil(heads.block);
        let bounds = Bounds {
            tokens: limits.tokens,
            outputs: limits.outputs,
            positions: limits.context,
            block: heads.block,
            blocks: limits.cache.num_blocks as usize,
            vocab: hyper.vocab,
            tables: limits.sequences * blocks_per_sequence,
        };
        if !limits.cache.block_size.is_multiple_of(16) {
            return Err(unsupported(format!(
                "--block-size {} is no multiple of 16, which the attention kernels ask for",
                limits.cache.block_size
            )));
        }
        let parts = cache_parts(gpu, &hyper, limits, &heads)?;
        let sections = Sections::new(&bounds);
        Sum::new(file, &hyper, limits, &sections, &heads)
            .fits(&gpu.adapter.name, gpu.room(), limits.cache.capacity_tokens())
            .map_err(super::Error::Memory)?;
        Ok(Self { architecture, hyper, heads, bounds, parts, sections })
    }
}

/// Bytes that a model is about to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    weights: u64,
    /// Activations and results.
    step: u64,
    cache: u64,
}

impl Sum {
    /// By arithmetic, from the header.
    pub(super) fn new(
        file: &ModelFile,
        h: &Hyper,
        limits: &Limits,
        sections: &Sections,
        heads: &Heads,
    ) -> Self {
        let apart = gate_up_apart(file, h);
        let blocks = u64::from(limits.cache.num_blocks).saturating_mul(h.layers as u64);
        Self {
            weights: file.tensors().map(gpu_bytes).fold(0, u64::saturating_add),
            step: sections.bytes()
                + Scratch::bytes(h, limits.tokens, limits.outputs, limits.context, apart)
                + result_bytes(h, limits.tokens, limits.outputs),
            cache: heads.block_bytes().saturating_mul(blocks),
        }
    }

    /// Refuses what the device's memory can't hold, where the device tells how much it has.
    ///
    /// # Errors
    /// What was asked for, what there is, and what would fit; in words.
    pub(super) fn fits(
        &self,
        adapter: &str,
        room: Result<Room, String>,
        capacity: u64,
    ) -> Result<(), String> {
        let Ok(room) = room else { return Ok(()) };
        let all = self.weights.saturating_add(self.step).saturating_add(self.cache);
        if all <= room.free {
            return Ok(());
        }
        let left = room.free.saturating_sub(self.weights.saturating_add(self.step));
        let tokens = (u128::from(left) * u128::from(capacity) / u128::from(self.cache.max(1))) as u64;
        let way = match (room.free.checked_sub(self.weights), tokens) {
            (None, _) => "choose a smaller model, or the same in a smaller weight format".into(),
            (_, tokens) if tokens >= 16 => {
                format!("a cache of {tokens} tokens would fit: lower --max-model-len")
            }
            _ => "lower --max-num-batched-tokens, or choose a smaller model or weight format".into(),
        };
        Err(format!(
            "weights of {}, activations of {} and a KV cache of {} take {}, but {adapter} has {} free ({}): {way}",
            Bytes(self.weights),
            Bytes(self.step),
            Bytes(self.cache),
            Bytes(all),
            Bytes(room.free),
            room.source
        ))
    }
}

/// How many buffers a layer's cache takes, after every buffer of the step was held to the limits.
///
/// # Errors
/// What was asked for, what there is, and what would fit.
pub(super) fn cache_parts(gpu: &Gpu, h: &Hyper, limits: &Limits, heads: &Heads) -> Result<usize, Error> {
    let allowed = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
    let widest = gpu.limits.max_compute_workgroups_per_dimension as usize;
    let qkv = (h.heads + 2 * h.kv_heads) * h.head_dim;
    let (batch, ubatch) = ("tokens of a step", "lower --max-num-batched-tokens");
    let step = |what, floats: usize| Need {
        what,
        each: 4 * floats as u64,
        count: limits.tokens,
        unit: batch,
        way: ubatch,
    };
    let needs = [
        step("the residual stream", padded(h.hidden)),
        step("Q, K and V", qkv),
        step("the attention output", padded(h.heads * h.head_dim)),
        step("the feed-forward network's gate and up", 2 * padded(h.intermediate)),
        Need {
            what: "the logits",
            each: 4 * h.vocab as u64,
            count: limits.outputs,
            unit: "tokens whose logits a step wants",
            way: "run fewer sequences at a time, or want fewer logits of a step",
        },
        Need {
            what: "the rotary angles",
            each: 4 * h.head_dim as u64,
            count: limits.context,
            unit: "tokens of context",
            way: "lower --max-model-len",
        },
    ];
    for need in needs {
        refuse(gpu, &need, allowed)?;
    }
    if limits.tokens > widest {
        return Err(Error::TooLarge {
            what: format!("a step of {} tokens", limits.tokens),
            asked: limits.tokens as u64,
            unit: "workgroups in a row",
            allowed: widest as u64,
            adapter: gpu.adapter.name.clone(),
            hint: format!("--max-num-batched-tokens {widest} fits"),
        });
    }
    let blocks = u64::from(limits.cache.num_blocks);
    heads.parts(blocks, allowed).ok_or_else(|| {
        let head = heads.block_bytes() / heads.kv_heads as u64;
        Error::TooLarge {
            what: format!("one KV head of one layer's cache for {} tokens", blocks * heads.block as u64),
            asked: head * blocks,
            unit: "bytes in one buffer",
            allowed,
            adapter: gpu.adapter.name.clone(),
            hint: format!(
                "{} tokens in all sequences together fit (--max-model-len, and fewer sequences), or fewer \
                 bytes with --kv-cache-dtype f16 or q8_0",
                allowed / head * heads.block as u64
            ),
        }
    })
}

/// What to do, where so many fit.
fn hint(fit: u64, way: &str) -> String {
    match fit {
        0 => "not even one fits: choose another model or another adapter".into(),
        1 => format!("1 fits: {way}"),
        n => format!("{n} fit: {way}"),
    }
}

fn refuse(gpu: &Gpu, need: &Need, allowed: u64) -> Result<(), Error> {
    let asked = need.each.saturating_mul(need.count as u64);
    if asked <= allowed {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: format!("{} of {} {}", need.what, need.count, need.unit),
        asked,
        unit: "bytes in one buffer",
        allowed,
        adapter: gpu.adapter.name.clone(),
        hint: hint(allowed / need.each.max(1), need.way),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        const GIB: u64 = 1 << 30;
        let refused = |weights, step, cache, free| {
            let room = Ok(Room { total: free, free, source: "a test" });
            Sum { weights, step, cache }.fits("the card", room, 4096).err().unwrap_or_default()
        };
        assert_eq!(refused(4 * GIB, GIB, GIB, 6 * GIB), "");
        let huge = refused(u64::MAX, GIB, GIB, 8 * GIB);
        assert!(huge.contains("has 8.0 GiB free (a test)") && huge.contains("a smaller model"), "{huge}");
        assert!(refused(4 * GIB, GIB, 4 * GIB, 6 * GIB).contains("1024 tokens would fit"));
        assert!(refused(4 * GIB, 3 * GIB, GIB, 6 * GIB).contains("--max-num-batched-tokens"));
        let unknown = Sum { weights: 9, step: 9, cache: 9 }.fits("", Err("who knows".into()), 1);
        assert_eq!(unknown, Ok(()));
    }

    #[test]
    fn hints_can_be_followed() {
        assert_eq!(hint(7, "lower --x"), "7 fit: lower --x");
        assert_eq!(hint(1, "lower --x"), "1 fits: lower --x");
        assert!(hint(0, "lower --x").starts_with("not even one fits: choose another model"));
    }
}
