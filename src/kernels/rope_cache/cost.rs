//! What norm, rotation and the write into the cache cost.

use super::super::meetings;
use super::row::SCALED;
use super::{Heads, QkNorm, WG, shares};
use crate::cost::{Cost, Role, Work};
use crate::units::Flops;

/// Bytes of a token's position and slot.
const PLACE: u64 = 8;

/// Bytes of Q, K and V of a token that workgroups load: a number once each, but a head that is normed, or
/// whose halves several lanes have, whole by each workgroup that has some of it.
fn loaded(h: &Heads, norm: QkNorm) -> u64 {
    let rotated = h.heads + h.kv_heads;
    let whole = norm != QkNorm::Off || !h.cache.is_plain();
    let heads = if whole { meetings(rotated, shares(h), WG as usize) } else { rotated as u64 };
    4 * h.dim as u64 * (heads + h.kv_heads as u64)
}

/// Bytes that workgroups load of a table with four pairs for each 8 numbers of a head, by lanes `from..to`: each
/// what its lanes need, at most all.
fn loaded_pairs(h: &Heads, from: usize, to: usize) -> u64 {
    let each = if h.cache.is_plain() { 1 } else { SCALED / 2 };
    let wg = WG as usize;
    let lanes = |group: usize| to.min(group + wg).saturating_sub(from.max(group));
    let of = |group: usize| (lanes(group) * each).min(h.dim / 8) as u64;
    (0..to).step_by(wg).map(|group| 32 * of(group)).sum()
}

/// Bytes of tables that a launch of `n` tokens needs and that workgroups load: each token's angles and place, and
/// the gains of Q and of K.
fn tables(h: &Heads, norm: QkNorm, n: usize) -> (u64, u64) {
    let (queries, rotated) = (h.heads * shares(h), (h.heads + h.kv_heads) * shares(h));
    let groups = ((h.heads + 2 * h.kv_heads) * shares(h)).div_ceil(WG as usize) as u64;
    let gains = if norm == QkNorm::Off { 0 } else { gain_bytes(h) };
    let gains_loaded = loaded_pairs(h, 0, queries) + loaded_pairs(h, queries, rotated);
    let each =
        if norm == QkNorm::Off { 0 } else { gains_loaded } + loaded_pairs(h, 0, rotated) + PLACE * groups;
    let n = n as u64;
    (n * (angle_bytes(h) + PLACE) + gains, n * each)
}

/// Bytes of a position's angles.
pub(in crate::kernels) fn angle_bytes(h: &Heads) -> u64 {
    4 * h.dim as u64
}

/// Bytes of the gains of those that are turned here: of Q, if there are queries, and of K.
pub(in crate::kernels) fn gain_bytes(h: &Heads) -> u64 {
    4 * h.dim as u64 * if h.heads > 0 { 2 } else { 1 }
}

/// The cost of `n` tokens, of the heads that a dispatch turns ([`Heads::turned`]).
pub fn cost(h: &Heads, norm: QkNorm, n: usize) -> Cost {
    let rotated = ((h.heads + h.kv_heads) * h.dim * n) as u64;
    let all = ((h.heads + 2 * h.kv_heads) * h.dim * n) as u64;
    let q = (h.heads * h.dim * n * 4) as u64;
    let cache = (2 * h.kv_heads * h.cache.row_bytes(h.dim) * n) as u64;
    // Of each number a square and a sum, and the gain; of each head a root.
    let normed = if norm == QkNorm::Off { [0; 2] } else { [4 * rotated, rotated / h.dim as u64] };
    let rows = (2 * h.kv_heads * n) as u64;
    let writing = h.cache.writing(h.dim);
    let work = Work {
        f32: Flops(3 * rotated + normed[0] + rows * writing.f32.0),
        int: Flops(rows * writing.int.0),
        special: Flops(normed[1] + rows * writing.special.0),
        ..Work::default()
    };
    let issued = n as u64 * loaded(h, norm);
    let (needed, asked) = tables(h, norm, n);
    Cost { work, traffic: vec![] }
        .moves(Role::Input, 4 * all, issued)
        .moves(Role::Output, q, q)
        .moves(Role::Cache, cache, cache)
        .moves(Role::Tables, needed, asked)
}

#[cfg(test)]
mod tests {
    use super::super::CacheType;
    use super::*;

    #[test]
    fn the_parts_of_a_cache_cost_the_whole_together() {
        let h = Heads { heads: 8, kv_heads: 4, dim: 16, block: 16, cache: CacheType::F16 };
        for norm in [QkNorm::Off, QkNorm::On(1e-6)] {
            let whole = cost(&h, norm, 5);
            for parts in [2, 4] {
                let of: Vec<Cost> = (0..parts).map(|at| cost(&h.turned(at, parts), norm, 5)).collect();
                assert_eq!(of.iter().map(|c| c.work.f32.0).sum::<u64>(), whole.work.f32.0);
                for role in [Role::Input, Role::Output, Role::Cache] {
                    let both: Vec<(u64, u64)> = of.iter().map(|c| c.of(role)).collect();
                    let sum = (both.iter().map(|b| b.0).sum(), both.iter().map(|b| b.1).sum());
                    assert_eq!(sum, whole.of(role), "{role:?}");
                }
                assert!(of[1..].iter().all(|c| c.of(Role::Output) == (0, 0)), "the first has all queries");
            }
        }
    }
}
