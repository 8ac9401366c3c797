//! QK norm, rotation, and the write into the cache.

use ridgepoint::cost::Role;
use ridgepoint::kernels::rope_cache::{self, CacheType, Heads, QkNorm};

use super::{Counter, floor, issued, work};

/// Where gains and places begin among the words of tables; angles are the first.
const GAINS: usize = 1 << 20;
const PLACES: usize = 2 << 20;

/// The launch as plain loops: 32 lanes, each with four numbers of either half of a head, or with 64 neighbours
/// where the cache has scales.
fn run_rope(h: &Heads, norm: QkNorm, n: usize) -> Counter {
    let mut c = Counter::default();
    let all = h.heads + 2 * h.kv_heads;
    let rotated = h.heads + h.kv_heads;
    let half = h.dim / 8;
    let scaled = h.cache == CacheType::Q8_0;
    let shares = if scaled { h.dim.div_ceil(64) } else { half };
    for token in 0..n {
        for first in (0..all * shares).step_by(32) {
            for lane in first..(all * shares).min(first + 32) {
                let (head, share) = (lane / shares, lane % shares);
                // Words of four bytes: position and slot, the angles of four pairs, gains for either of them.
                c.load_words(Role::Tables, PLACES + 2 * token, 2);
                let quad = |i: usize| (token * all + head) * 2 * half + i;
                let turns = head < rotated;
                if turns && norm != QkNorm::Off {
                    (0..2 * half).for_each(|i| c.load(Role::Input, quad(i)));
                }
                let own: Vec<usize> = if scaled {
                    (16 * share..(16 * share + 16).min(2 * half)).collect()
                } else {
                    vec![share, half + share]
                };
                for i in own {
                    if turns {
                        // Both of a pair, and its angles.
                        c.load(Role::Input, quad(i % half));
                        c.load(Role::Input, quad(half + i % half));
                        c.load_words(Role::Tables, 8 * (token * half + i % half), 8);
                        if norm != QkNorm::Off {
                            // Of the pair, those of Q or those of K.
                            let of = if head < h.heads { 0 } else { half };
                            c.load_words(Role::Tables, GAINS + 8 * (of + i % half), 8);
                        }
                    } else {
                        c.load(Role::Input, quad(i));
                    }
                    let to = if head < h.heads { Role::Output } else { Role::Cache };
                    c.touch(to, quad(i));
                }
            }
            c.end_workgroup();
        }
        for head in 0..all {
            if head < rotated {
                // Two products and a sum; with a norm a square and a sum, its gain's two products; a root.
                c.f32 += (h.dim * if norm == QkNorm::Off { 3 } else { 7 }) as u64;
                c.special += u64::from(norm != QkNorm::Off);
            }
            if head >= h.heads {
                c.packs(h.cache, h.dim);
            }
        }
    }
    c
}

#[test]
fn rotation_and_cache_cost_what_their_loops_do() {
    let shapes = [(3, 1, 8), (9, 3, 64), (8, 2, 128), (32, 8, 128), (2, 2, 256), (4, 1, 24), (7, 1, 40)];
    for (heads, kv_heads, dim) in shapes {
        for cache in CacheType::ALL {
            for norm in [QkNorm::Off, QkNorm::On(1e-6)] {
                for n in [1, 3] {
                    let h = Heads { heads, kv_heads, dim, block: 16, cache };
                    let what = format!("{h:?} {norm:?} {n}");
                    let cost = rope_cache::cost(&h, norm, n);
                    let counted = run_rope(&h, norm, n);
                    assert_eq!(work(&cost), counted.work(), "{what}");
                    assert_eq!(cost.of(Role::Input), counted.both(Role::Input, 16), "{what}");
                    assert_eq!(cost.of(Role::Tables), counted.both(Role::Tables, 4), "{what}");
                    assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 16), "{what}");
                    let rows = (2 * kv_heads * n) as u64;
                    assert_eq!(floor(&cost, Role::Cache), rows * cache.row_bytes(dim) as u64, "{what}");
                }
            }
        }
    }
}

#[test]
fn hand_counted_rotation() {
    let heads = |cache| Heads { heads: 3, kv_heads: 1, dim: 8, block: 16, cache };
    let plain = rope_cache::cost(&heads(CacheType::F32), QkNorm::Off, 2);
    // Q and K, four heads of 8, two tokens: two products and a sum a number.
    assert_eq!(work(&plain), [3 * 4 * 8 * 2, 0, 0]);
    assert_eq!(floor(&plain, Role::Input), 4 * 5 * 8 * 2);
    assert_eq!(floor(&plain, Role::Output), 4 * 3 * 8 * 2);
    assert_eq!(floor(&plain, Role::Cache), 4 * 2 * 8 * 2);
    // Four angles of two words and a place of two, for each token.
    assert_eq!(plain.of(Role::Tables), (2 * 40, 2 * 40));
    // Four operations more a number, and a root for each of eight heads.
    let normed = rope_cache::cost(&heads(CacheType::F32), QkNorm::On(1e-6), 2);
    assert_eq!(work(&normed), [7 * 4 * 8 * 2, 0, 8]);
    assert_eq!(issued(&normed, Role::Input), floor(&normed, Role::Input), "one workgroup a token");
    // Gains of 8 for Q and for K, which each token's workgroup loads.
    assert_eq!(normed.of(Role::Tables), (2 * 40 + 64, 2 * (40 + 64)));
    // Four rows of K and V: a conversion a number.
    let f16 = rope_cache::cost(&heads(CacheType::F16), QkNorm::Off, 2);
    assert_eq!(work(&f16), [3 * 4 * 8 * 2 + 4 * 8, 0, 0]);
    // Magnitude, maximum, product, rounding, conversion a number, and two of the block; a mask each, two words
    // of three shifts and three ors; two divisions.
    let q8_0 = rope_cache::cost(&heads(CacheType::Q8_0), QkNorm::Off, 2);
    assert_eq!(work(&q8_0), [3 * 4 * 8 * 2 + 4 * (8 * 5 + 2), 4 * (8 + 2 * 6), 4 * 2]);
}
