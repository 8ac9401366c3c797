//! What a device's limits allow of a model's buffers: asked before a weight is read.

use super::runner::Limits;
use super::scratch::padded;
use crate::format::Hyper;
use crate::gpu::{Error, Gpu};
use crate::kernels::rope_cache::Heads;

/// A buffer that must fit one binding, and what makes it as large as it is.
struct Need {
    what: &'static str,
    /// Bytes of one of `count`.
    each: u64,
    count: usize,
    /// What `count` is, in words, and the flag that sets it.
    unit: &'static str,
    flag: &'static str,
}

/// How many buffers a layer's cache takes, after every buffer of the step was held to the limits.
///
/// # Errors
/// What was asked for, what there is, and what would fit.
pub(super) fn cache_parts(gpu: &Gpu, h: &Hyper, limits: &Limits, heads: &Heads) -> Result<usize, Error> {
    let allowed = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
    let widest = gpu.limits.max_compute_workgroups_per_dimension as usize;
    let qkv = (h.heads + 2 * h.kv_heads) * h.head_dim;
    let (batch, ubatch) = ("tokens of a step", "--max-num-batched-tokens");
    let step = |what, floats: usize| Need {
        what,
        each: 4 * floats as u64,
        count: limits.tokens,
        unit: batch,
        flag: ubatch,
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
            unit: "rows of logits a step",
            flag: "fewer sequences at a time, or steps that want fewer logits",
        },
        Need {
            what: "the rotary angles",
            each: 4 * h.head_dim as u64,
            count: limits.context,
            unit: "tokens of context",
            flag: "--max-model-len",
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
        hint: format!("{} fit: lower {}", allowed / need.each.max(1), need.flag),
    })
}
