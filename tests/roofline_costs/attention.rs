//! Attention, with its caches, splits and rotation, and what puts the splits together.

use ridgepoint::cost::{Cost, Role};
use ridgepoint::kernels::attention::{self, Intake, Tile, Variant, merge};
use ridgepoint::kernels::rope_cache::{CacheType, Heads, QkNorm};

use super::{Counter, floor, issued, work};

const fn run(first: u32, tokens: u32, position: u32, table: u32) -> Tile {
    Tile { first, tokens, position, table }
}

/// The cost with tables of blocks that no two sequences share.
fn cost_of(
    h: &Heads,
    window: usize,
    tiles: &[Tile],
    variant: Variant,
    intake: Intake,
    splits: usize,
) -> Cost {
    let rows = attention::distinct_rows(h.block, window, tiles, &Vec::from_iter(0..64));
    attention::cost(h, window, tiles, variant, intake, splits, rows)
}

/// Where other words of tables than the tiles' begin.
const IDS: usize = 1 << 20;
const ANGLES: usize = 2 << 20;
const GAINS: usize = 3 << 20;

/// The launch as plain loops: a workgroup has a tile, `together` heads and a share of the rounds of keys.
fn run_attention(
    h: &Heads,
    window: usize,
    tiles: &[Tile],
    (together, round): (usize, usize),
    intake: Intake,
    splits: usize,
) -> Counter {
    let mut c = Counter::default();
    let group = h.heads / h.kv_heads;
    let cached = |tile: &Tile, key: usize, kv: usize| ((tile.table as usize) << 32) + key * h.kv_heads + kv;
    let low_of = |position: usize| if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
    // A vector of a token in what comes in: its heads' queries, then K, then V.
    let vectors = h.heads + 2 * h.kv_heads;
    for (at, tile) in tiles.iter().enumerate() {
        let begin = tile.position as usize;
        let end = begin + tile.tokens as usize;
        let from = low_of(begin) / round * round;
        let rounds = (end - from).div_ceil(round);
        for first in (0..h.heads).step_by(together) {
            let kv = first / group;
            for z in 0..splits {
                // Words of four bytes: the tile, and a block's id for each round of keys.
                c.load_words(Role::Tables, 4 * at, 4);
                let id = |key: usize| IDS + tile.table as usize * 1000 + key / h.block;
                let share = from + rounds * z / splits * round..from + rounds * (z + 1) / splits * round;
                for key in share.clone() {
                    c.load(Role::Tables, id(key));
                    let seen = (low_of(begin)..end).contains(&key);
                    let thing = cached(tile, key, kv);
                    if seen { c.load(Role::Cache, thing) } else { c.pad(Role::Cache, thing) }
                }
                for position in begin..end {
                    let token = tile.first as usize + position - begin;
                    for head in first..first + together {
                        c.load(Role::Input, token * vectors + head);
                        let numbers = if splits > 1 { h.dim + 4 } else { h.dim };
                        let row = (z * 1000 + token) * h.heads + head;
                        (0..numbers).for_each(|i| c.touch(Role::Output, row * numbers + i));
                        for _key in share.clone().filter(|k| (low_of(position)..=position).contains(k)) {
                            c.f32 += 4 * h.dim as u64;
                            c.special += 1;
                        }
                    }
                    if let Intake::Projected(norm) = intake {
                        // Where the new row goes, its angles, gains for Q and for K.
                        c.load(Role::Tables, id(position));
                        c.load_words(Role::Tables, ANGLES + token * h.dim, h.dim);
                        if norm != QkNorm::Off {
                            c.load_words(Role::Tables, GAINS, 2 * h.dim);
                        }
                        c.load(Role::Input, token * vectors + h.heads + kv);
                        c.load(Role::Input, token * vectors + h.heads + h.kv_heads + kv);
                    }
                }
                c.end_workgroup();
            }
        }
    }
    // A row of K and one of V, once however many look at it.
    for _row in 0..c.bytes(Role::Cache, 2) {
        c.unpacks(h.cache, h.dim);
    }
    if let Intake::Projected(norm) = intake {
        for vector in 0..tiles.len() * vectors {
            let vector = vector % vectors;
            if vector < h.heads + h.kv_heads {
                // Two products and a sum a number; with a norm a square and a sum, its gain's two products.
                c.f32 += (h.dim * if norm == QkNorm::Off { 3 } else { 7 }) as u64;
                c.special += u64::from(norm != QkNorm::Off);
            }
            if vector >= h.heads {
                c.packs(h.cache, h.dim);
            }
        }
    }
    c
}

fn variants() -> [(Variant, usize); 4] {
    let lanes = |heads| Variant::Lanes { heads };
    [(Variant::Keys, 8), (lanes(1), 8), (lanes(3), 8), (Variant::Tiled, 16)]
}

fn matches(cost: &Cost, counted: &Counter, h: &Heads, what: &str) {
    let row = 2 * h.cache.row_bytes(h.dim) as u64;
    assert_eq!(work(cost), counted.work(), "{what}");
    assert_eq!(cost.of(Role::Cache), counted.both(Role::Cache, row), "{what}");
    assert_eq!(cost.of(Role::Input), counted.both(Role::Input, 4 * h.dim as u64), "{what}");
    assert_eq!(cost.of(Role::Tables), counted.both(Role::Tables, 4), "{what}");
    assert_eq!(floor(cost, Role::Output), counted.bytes(Role::Output, 4), "{what}");
}

#[test]
fn attention_costs_what_its_loops_do() {
    // A prefill of 40, a chunk of 5 at 21, decodes at 0 and 99.
    let runs = [run(0, 40, 0, 0), run(40, 5, 21, 3), run(45, 1, 0, 5), run(46, 1, 99, 6)];
    for cache in CacheType::ALL {
        let h = Heads { heads: 6, kv_heads: 2, dim: 16, block: 16, cache };
        for (variant, round) in variants() {
            let tiles: Vec<Tile> = runs.iter().flat_map(|r| r.cut(variant.tile_tokens(&h))).collect();
            let together = h.heads / variant.grid(&h, tiles.len(), 1)[1] as usize;
            for (window, splits) in [(0, 1), (7, 1), (30, 1), (0, 3), (7, 5)] {
                if matches!(variant, Variant::Lanes { .. }) && splits > 1 {
                    continue;
                }
                let what = format!("{cache:?} {variant:?} window {window}, {splits} splits");
                let cost = cost_of(&h, window, &tiles, variant, Intake::Cached, splits);
                let counted = run_attention(&h, window, &tiles, (together, round), Intake::Cached, splits);
                matches(&cost, &counted, &h, &what);
                assert!(issued(&cost, Role::Cache) > floor(&cost, Role::Cache), "tiles read rows again");
            }
        }
    }
}

#[test]
fn heads_too_wide_for_rounds_of_16_have_rounds_of_8() {
    let h = Heads { heads: 2, kv_heads: 1, dim: 136, block: 16, cache: CacheType::F16 };
    let tiles = [run(0, 1, 8, 0)];
    let cost = cost_of(&h, 0, &tiles, Variant::Tiled, Intake::Cached, 1);
    let counted = run_attention(&h, 0, &tiles, (2, 8), Intake::Cached, 1);
    matches(&cost, &counted, &h, "two rounds");
    assert_eq!(issued(&cost, Role::Cache), 16 * 2 * 136 * 2);
}

#[test]
fn attention_that_rotates_costs_what_its_loops_do() {
    let tile = |first, position, table| run(first, 1, position, table);
    let tiles = [tile(0, 0, 0), tile(1, 40, 2), tile(2, 99, 9)];
    let variant = Variant::Keys;
    for cache in [CacheType::F32, CacheType::F16] {
        // One workgroup of a KV head's three queries, and two of eight of its sixteen.
        for (heads, dim) in [(6, 16), (32, 64)] {
            let h = Heads { heads, kv_heads: 2, dim, block: 16, cache };
            let together = h.heads / variant.grid(&h, tiles.len(), 1)[1] as usize;
            for norm in [QkNorm::Off, QkNorm::On(1e-6)] {
                for splits in [1, 3] {
                    let what = format!("{h:?} {norm:?} {splits}");
                    let intake = Intake::Projected(norm);
                    let cost = cost_of(&h, 0, &tiles, variant, intake, splits);
                    let mut counted = run_attention(&h, 0, &tiles, (together, 8), intake, splits);
                    // The new rows of K and V are written once.
                    *counted.loads.entry(Role::Cache).or_default() += (tiles.len() * h.kv_heads) as u64;
                    matches(&cost, &counted, &h, &what);
                }
            }
        }
    }
}

/// Two heads of 8 that share a KV head, one token at position 4, by one workgroup.
#[test]
fn hand_counted_decode() {
    let heads = |cache| Heads { heads: 2, kv_heads: 1, dim: 8, block: 16, cache };
    let cost = |cache| cost_of(&heads(cache), 0, &[run(0, 1, 4, 0)], Variant::Keys, Intake::Cached, 1);
    // Five keys: two products of 8 and two sums for each of two heads, an exponential each. Of the cache's ten
    // rows of 8 numbers, each a conversion; the round's other three keys are loaded, too.
    let f16 = cost(CacheType::F16);
    assert_eq!(work(&f16), [5 * 2 * 4 * 8 + 10 * 8, 0, 5 * 2]);
    assert_eq!(f16.of(Role::Cache), (10 * 16, 16 * 16));
    assert_eq!(
        (f16.of(Role::Input), f16.of(Role::Tables)),
        ((64, 64), (20, 20)),
        "a tile, and one block's id"
    );
    // Bytes, and a word of scales, of which one is used.
    let q8_0 = cost(CacheType::Q8_0);
    assert_eq!(work(&q8_0), [5 * 2 * 4 * 8 + 10 * (8 * 2 + 1), 10 * 8 * 2, 5 * 2]);
    assert_eq!(q8_0.of(Role::Cache), (10 * 32, 16 * 32));
    assert_eq!(work(&cost(CacheType::F32)), [5 * 2 * 4 * 8, 0, 5 * 2]);
}

/// What puts splits together, as plain loops: 32 lanes, each a vec4 of a head.
fn run_merge(heads: usize, dim: usize, splits: usize, n: usize) -> Counter {
    let mut c = Counter::default();
    let quads = dim / 4;
    for token in 0..n {
        for first in (0..heads * quads).step_by(32) {
            for lane in first..(heads * quads).min(first + 32) {
                let (head, quad) = (lane / quads, lane % quads);
                for z in 0..splits {
                    let row = ((z * n + token) * heads + head) * (quads + 1);
                    c.load(Role::Input, row + quads);
                    c.load(Role::Input, row + quad);
                    c.f32 += 4 * 2;
                    // What a head's lanes all compute is the head's.
                    c.f32 += if quad == 0 { 2 } else { 0 };
                    c.special += u64::from(quad == 0);
                }
                c.special += u64::from(quad == 0);
                c.touch(Role::Output, (token * heads + head) * quads + quad);
            }
            c.end_workgroup();
        }
    }
    c
}

#[test]
fn merging_costs_what_its_loops_do() {
    for (heads, dim, splits, n) in [(6, 16, 5, 1), (9, 64, 2, 3), (14, 40, 3, 2), (2, 256, 7, 1)] {
        let cost = merge::cost(heads, dim, splits, n);
        let counted = run_merge(heads, dim, splits, n);
        assert_eq!(work(&cost), counted.work());
        assert_eq!(cost.of(Role::Input), counted.both(Role::Input, 16), "{heads} heads of {dim}");
        assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 16));
    }
}

/// The rows that attention's splits leave are those that are put together: tokens x heads x splits of them.
#[test]
fn splits_of_attention_cost_their_rows() {
    let h = Heads { heads: 6, kv_heads: 2, dim: 16, block: 16, cache: CacheType::F16 };
    let tiles = [run(0, 1, 99, 0)];
    let variant = Variant::Keys;
    let [whole, split] = [1, 5].map(|splits| cost_of(&h, 0, &tiles, variant, Intake::Cached, splits));
    assert_eq!(
        (split.work, split.of(Role::Cache)),
        (whole.work, whole.of(Role::Cache)),
        "each key is read once"
    );
    assert_eq!(issued(&split, Role::Input), 5 * issued(&whole, Role::Input));
    assert_eq!(floor(&split, Role::Input), floor(&whole, Role::Input));
    // A head's 16 numbers, its maximum, its sum, and two of padding.
    assert_eq!(floor(&split, Role::Output), 4 * 5 * 6 * (16 + 4));
    let merged = merge::cost(h.heads, h.dim, 5, 1);
    assert_eq!(floor(&merged, Role::Input), floor(&split, Role::Output));
    assert_eq!(floor(&merged, Role::Output), floor(&whole, Role::Output));
    // One workgroup has all 24 lanes of the six heads.
    assert_eq!(issued(&merged, Role::Input), floor(&merged, Role::Input));
    // Ten lanes of each head of 40: six of the seven workgroups before the last end within a head.
    let ragged = merge::cost(24, 40, 5, 1);
    assert_eq!(issued(&ragged, Role::Input), floor(&ragged, Role::Input) + 6 * 5 * 16);
    // A weight for each row and a division for each head; multiply-adds of the numbers and of the sum.
    assert_eq!((merged.work.special.0, merged.work.f32.0), (6 * 5 + 6, 6 * 5 * 2 * 17));
}
