//! What a step's dispatches are, in the words and costs of reports.

use std::ops::Range;

use super::op::Way;
use crate::gpu::Dispatch;
use crate::kernels::attention::{self, Intake, Tile, merge};
use crate::kernels::linear::{self, Activation, Form};
use crate::kernels::rope_cache::{self, Heads, QkNorm};
use crate::kernels::{argmax, embed, gated, top_k};
use crate::profile::Dispatched;
use crate::quant::Format;

fn dispatched(dispatch: Dispatch<'_>, shape: String, cost: crate::cost::Cost) -> Dispatched {
    Dispatched {
        kernel: dispatch.bound.pipeline.kernel().to_string(),
        shape,
        cost,
        workgroups: dispatch.grid.iter().map(|&n| u64::from(n)).product(),
    }
}

/// `held`: the ids of the shard.
pub(super) fn embed(
    d: Dispatch<'_>,
    format: &dyn Format,
    k: usize,
    held: &Range<usize>,
    ids: &[u32],
) -> Dispatched {
    let from = if held.start > 0 { format!(" from {}", held.start) } else { String::new() };
    let shape = format!("{} {k} x {}{from}", format.name(), ids.len());
    dispatched(d, shape, embed::cost(format, k, held.clone(), ids))
}

pub(super) fn linear(
    d: Dispatch<'_>,
    format: &dyn Format,
    form: Form,
    m: usize,
    k: usize,
    n: usize,
    variant: linear::Variant,
) -> Dispatched {
    let fused = [
        (form.norm, "norm"),
        (form.bias, "bias"),
        (form.gate.is_some(), "gated"),
        (form.residual, "residual"),
        (form.pick, "head"),
    ];
    let fused: String = fused.iter().filter(|(on, _)| *on).map(|(_, name)| format!(" {name}")).collect();
    let shape = format!("{} {m}x{k} x {n}{fused}", format.name());
    dispatched(d, shape, linear::cost(format, form, m, k, n, variant))
}

pub(super) fn rope(d: Dispatch<'_>, h: &Heads, norm: QkNorm, n: usize) -> Dispatched {
    let normed = if norm == QkNorm::Off { "" } else { " norm" };
    let shape = format!("{}+{} heads of {} x {n}{normed}", h.heads, h.kv_heads, h.dim);
    dispatched(d, shape, rope_cache::cost(h, norm, n))
}

pub(super) fn attention(
    d: Dispatch<'_>,
    h: &Heads,
    window: usize,
    tiles: &[Tile],
    way: Way,
    intake: Intake,
    distinct: u64,
) -> Dispatched {
    let tokens: u32 = tiles.iter().map(|t| t.tokens).sum();
    let longest = tiles.iter().map(|t| t.position + t.tokens).max().unwrap_or(0);
    let fused = match intake {
        Intake::Cached => "",
        Intake::Projected(QkNorm::Off) => " rope",
        Intake::Projected(QkNorm::On(_)) => " norm rope",
    };
    let split = if way.splits > 1 { format!(" in {}", way.splits) } else { String::new() };
    let shape =
        format!("{}/{} heads of {} x {tokens} to {longest}{split}{fused}", h.heads, h.kv_heads, h.dim);
    dispatched(d, shape, attention::cost(h, window, tiles, way.variant, intake, way.splits, distinct))
}

pub(super) fn merge(d: Dispatch<'_>, h: &Heads, splits: usize, n: usize) -> Dispatched {
    let shape = format!("{splits} of {} heads of {} x {n}", h.heads, h.dim);
    dispatched(d, shape, merge::cost(h.heads, h.dim, splits, n))
}

pub(super) fn gated(d: Dispatch<'_>, activation: Activation, width: usize, n: usize) -> Dispatched {
    dispatched(d, format!("{width} x {n}"), gated::cost(activation, width, n))
}

pub(super) fn argmax(d: Dispatch<'_>, vocab: usize, rows: usize) -> Dispatched {
    dispatched(d, format!("{vocab} x {rows}"), argmax::cost(vocab, rows))
}

pub(super) fn top_k(d: Dispatch<'_>, vocab: usize, k: usize, rows: usize) -> Dispatched {
    dispatched(d, format!("{k} of {vocab} x {rows}"), top_k::cost(vocab, k, rows))
}
