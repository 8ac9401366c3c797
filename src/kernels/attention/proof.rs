//! What the attention kernels must give, in plain loops, and the cases that hold them to it.

use std::ops::Range;

use super::super::rope_cache::{self, CacheType, Near};
use super::super::shapes::{DECODES, STEPS, WINDOWS};
use super::super::{Case, Cases, Expected, Input, Kernel, Noise, U, Values, dot_tolerance, words};
use super::{Heads, Intake, QkNorm, Tile, Variant, cost, distinct_rows, divisor, params, partial_row};

/// One query over some of its keys, each number with its tolerance.
struct Partial {
    /// The sum of the weighted values, before the division.
    out: Vec<(f64, f64)>,
    /// The largest score, which the weights are relative to.
    top: (f64, f64),
    /// The sum of the weights.
    sum: (f64, f64),
}

impl Partial {
    /// The output where these are all keys.
    fn whole(&self) -> Vec<Near> {
        self.out.iter().map(|(v, off)| ((v / self.sum.0) as f32, (off / self.sum.0) as f32)).collect()
    }

    /// A row for [`super::Merge`].
    fn row(&self) -> Vec<Near> {
        let near = |&(v, off): &(f64, f64)| (v as f32, off as f32);
        self.out.iter().chain([&self.top, &self.sum, &(0.0, 0.0), &(0.0, 0.0)]).map(near).collect()
    }
}

/// Queries, keys and values are rows of D, each number with what it may be off by.
fn reference(q: &[Near], keys: &[&[Near]], values: &[&[Near]]) -> Partial {
    let d = q.len();
    let scale = 1.0 / (d as f64).sqrt();
    let mut worst = 0.0_f64;
    let scores: Vec<f64> = keys
        .iter()
        .map(|k| {
            let (mut sum, mut magnitude, mut slack) = (0.0, 0.0, 0.0);
            for (&(a, da), &(b, db)) in q.iter().zip(*k) {
                let [a, da, b, db] = [a, da, b, db].map(f64::from);
                sum += a * b * scale;
                magnitude += (a * b).abs() * scale;
                slack += (a.abs() * db + b.abs() * da + da * db) * scale;
            }
            worst = worst.max(dot_tolerance(d, magnitude) + slack);
            sum
        })
        .collect();
    // What a kernel begins with.
    let top = scores.iter().copied().fold(f64::from(-1e30_f32), f64::max);
    let lowest = scores.iter().copied().fold(top, f64::min);
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    // Each weight: the score's error, exp's (3 + 2|x| ulp), one rounding per round of keys.
    let relative = 2.0 * worst + (32.0 + 2.0 * (top - lowest) + 3.0 * keys.len() as f64) * 2.0 * U;
    let out = (0..d).map(|i| {
        let (mut out, mut magnitude, mut slack) = (0.0, 0.0, 0.0);
        for (w, v) in weights.iter().zip(values) {
            let (value, off) = v[i];
            out += w * f64::from(value);
            magnitude += w * f64::from(value.abs());
            slack += w * f64::from(off) * (1.0 + 2.0 * relative);
        }
        (out, 2.0 * relative * magnitude + 1e-7 * magnitude + slack)
    });
    Partial { out: out.collect(), top: (top, worst), sum: (sum, relative * sum) }
}

/// The keys of a tile that the `z`-th of `splits` workgroups takes: whole rounds, as equal as they can be.
fn keys_of(tile: &Tile, window: usize, round: usize, (z, splits): (usize, usize)) -> Range<usize> {
    let begin = tile.first_key(window) as usize / round * round;
    let rounds = ((tile.position + tile.tokens) as usize - begin).div_ceil(round);
    begin + rounds * z / splits * round..begin + rounds * (z + 1) / splits * round
}

/// Floats between the rows of a case's output.
const GAP: usize = 8;

/// The last of the `parts` buffers of a layer's cache, keys shared by `splits` workgroups. `step`: (tokens
/// computed, position of the first) of each sequence.
fn case(
    variant: Variant,
    whole: &Heads,
    parts: usize,
    intake: Intake,
    splits: usize,
    window: usize,
    step: &[(usize, usize)],
) -> Case {
    let h = &whole.part(parts);
    let (at, dim) = (parts - 1, whole.dim);
    let mut noise = Noise::new((whole.heads * dim + window) as u64);
    let n: usize = step.iter().map(|(tokens, _)| tokens).sum();
    let per_sequence = |&(tokens, position): &(usize, usize)| (tokens + position).div_ceil(h.block);
    let blocks: usize = step.iter().map(per_sequence).sum::<usize>() + 3;
    // Shuffled: a sequence's blocks are never neighbours by assumption.
    let mut free = noise.shuffled(blocks).into_iter();
    let (mut cache, mut stored) = (Vec::<Near>::new(), Vec::new());
    for _ in 0..blocks * h.block * 2 * h.kv_heads {
        let row: Vec<f32> = noise.floats(dim).iter().map(|v| 2.0 * v).collect();
        let bytes = h.cache.encode(&row);
        cache.extend(h.cache.decode(&bytes, dim).into_iter().map(|v| (v, 0.0)));
        stored.extend(bytes);
    }
    let rows = match intake {
        Intake::Cached => whole.heads,
        Intake::Projected(_) => whole.heads + 2 * whole.kv_heads,
    };
    let input = noise.floats(n * rows * dim);
    let row = |t: usize, head: usize| &input[(t * rows + head) * dim..][..dim];
    let gains = noise.floats(2 * dim);
    let most = step.iter().map(|(tokens, position)| tokens + position).max().unwrap_or(1);
    let angles = rope_cache::test_angles(dim, most);
    let mut tables = Vec::new();
    let mut tiles = Vec::new();
    let o_stride = whole.heads * dim + GAP;
    let partial = partial_row(dim);
    let floats = if splits > 1 { splits * n * h.heads * partial } else { n * o_stride };
    let mut expected = vec![(0.0, 0.0); floats];
    let mut first = 0;
    for sequence in step {
        let &(tokens, position) = sequence;
        let table = tables.len();
        tables.extend(free.by_ref().take(per_sequence(sequence)));
        let run = Tile {
            first: first as u32,
            tokens: tokens as u32,
            position: position as u32,
            table: table as u32,
        };
        let own_tiles: Vec<Tile> = run.cut(variant.tile_tokens(h)).collect();
        let slot = |j: usize| tables[table + j / h.block] as usize * h.block + j % h.block;
        for t in 0..tokens {
            let pos = position + t;
            let turned = |head: usize, gains: &[f32]| match intake {
                Intake::Cached => row(first + t, head).iter().map(|&v| (v, 0.0)).collect(),
                Intake::Projected(norm) => {
                    let gains = (norm != QkNorm::Off).then_some((gains, norm.eps()));
                    rope_cache::rotate(row(first + t, head), gains, &angles[pos * dim..][..dim])
                }
            };
            if intake != Intake::Cached {
                for kv_head in 0..h.kv_heads {
                    let key = whole.heads + at * h.kv_heads + kv_head;
                    let value = row(first + t, key + whole.kv_heads);
                    let new =
                        [turned(key, &gains[dim..]), value.iter().map(|&v| (v, 0.0)).collect::<Vec<Near>>()];
                    for (part, new) in new.into_iter().enumerate() {
                        let to = h.place(slot(pos), part, kv_head, 0);
                        cache[to..to + dim].copy_from_slice(&rope_cache::stored(&new, h.cache));
                    }
                }
            }
            let low = if window == 0 { 0 } else { (pos + 1).saturating_sub(window) };
            let tile = &own_tiles[t / variant.tile_tokens(h)];
            for own in 0..h.heads {
                let head = at * h.heads + own;
                let query = turned(head, &gains[..dim]);
                for z in 0..splits {
                    let share = keys_of(tile, window, variant.round(h) as usize, (z, splits));
                    let cached = |part: usize| -> Vec<&[Near]> {
                        let place = |j| h.place(slot(j), part, own / h.group(), 0);
                        let seen = low.max(share.start)..(pos + 1).min(share.end);
                        seen.map(|j| &cache[place(j)..][..dim]).collect()
                    };
                    let found = reference(&query, &cached(0), &cached(1));
                    let (to, numbers) = if splits > 1 {
                        (((z * n + first + t) * h.heads + own) * partial, found.row())
                    } else {
                        ((first + t) * o_stride + head * dim, found.whole())
                    };
                    expected[to..to + numbers.len()].copy_from_slice(&numbers);
                }
            }
        }
        tiles.extend(own_tiles);
        first += tokens;
    }
    let mut inputs = vec![
        Input::Uniform(params(whole, (at, parts), window, o_stride / 4, intake)),
        Input::Uniform(words(&[n as u32, 0, tiles.len() as u32, splits as u32])),
        Input::Storage(bytemuck::cast_slice(&input).to_vec()),
        Input::Storage(stored),
        Input::Storage(bytemuck::cast_slice(&tiles).to_vec()),
        Input::Storage(words(&tables)),
        Input::Storage(vec![0; expected.len() * 4]),
    ];
    let mut outputs = vec![Expected { binding: 6, values: Values::F32(expected) }];
    if let Intake::Projected(norm) = intake {
        inputs.push(Input::Storage(bytemuck::cast_slice(&angles).to_vec()));
        if norm != QkNorm::Off {
            inputs.push(Input::Storage(bytemuck::cast_slice(&gains).to_vec()));
        }
        outputs.push(Expected { binding: 3, values: Values::Cache(h.cache, dim, cache) });
    }
    Case {
        label: format!(
            "{variant:?} {whole:?} part {at} of {parts} {intake:?} window {window}, {splits} splits, \
             (tokens, position) {step:?}"
        ),
        program: variant.program(h, intake, splits),
        needs: variant.needs(),
        inputs,
        grid: variant.grid(h, tiles.len(), splits),
        expected: outputs,
        cost: cost(
            h,
            window,
            &tiles,
            variant,
            intake,
            splits,
            distinct_rows(h.block, window, &tiles, &tables),
        ),
    }
}

/// Head layouts of real models and their corners: MHA, GQA, MQA, every kind of head size.
const LAYOUTS: [(usize, usize, usize); 9] = [
    (1, 1, 8),
    (4, 2, 16),
    (3, 1, 24),
    (4, 4, 40),
    (9, 3, 64),
    (14, 2, 64),
    (8, 2, 128),
    (32, 1, 32),
    (2, 1, 256),
];

fn layouts() -> impl Iterator<Item = Heads> {
    LAYOUTS.into_iter().flat_map(|(heads, kv_heads, dim)| {
        CacheType::ALL.into_iter().map(move |cache| Heads { heads, kv_heads, dim, block: 16, cache })
    })
}

/// Any step, over a cache that holds all that it looks at.
fn cached(variants: fn(&Heads) -> Vec<Variant>) -> impl Iterator<Item = Case> + Send {
    layouts().flat_map(move |h| {
        variants(&h).into_iter().flat_map(move |variant| {
            WINDOWS.into_iter().flat_map(move |window| {
                STEPS.into_iter().map(move |step| case(variant, &h, 1, Intake::Cached, 1, window, step))
            })
        })
    })
}

/// Steps of one token of each sequence that rotate and cache on the way; with a norm the cache is one of
/// as many parts as there are KV heads. Layouts take turns with the two, so that each meets both caches and
/// both kinds of head: a program more takes the driver longer than all of its cases.
fn projected() -> impl Iterator<Item = Case> + Send {
    layouts().filter(|h| h.cache.is_plain()).enumerate().flat_map(move |(i, h)| {
        let turn = (i / 2 + i) % 2 == 0;
        let (norm, parts) = if turn { (QkNorm::Off, 1) } else { (QkNorm::On(1e-6), h.kv_heads) };
        let intake = Intake::Projected(norm);
        WINDOWS.into_iter().flat_map(move |window| {
            DECODES.into_iter().map(move |step| case(Variant::Keys, &h, parts, intake, 1, window, step))
        })
    })
}

/// Keys shared by fewer workgroups than there are rounds, unevenly, and by more, so that some have none. A few
/// layouts stand for all: what differs from [`cached`] and [`projected`] is which keys and where to.
fn split(variant: Variant, of: &'static [(Heads, Intake)]) -> impl Iterator<Item = Case> + Send {
    of.iter().flat_map(move |&(h, intake)| {
        let steps: &[&[(usize, usize)]] = if intake == Intake::Cached { &STEPS } else { &DECODES };
        let parts = if matches!(intake, Intake::Projected(QkNorm::On(_))) { h.kv_heads } else { 1 };
        WINDOWS.into_iter().flat_map(move |window| {
            steps.iter().flat_map(move |step| {
                [2, 3, 7]
                    .into_iter()
                    .map(move |splits| case(variant, &h, parts, intake, splits, window, step))
            })
        })
    })
}

const fn layout((heads, kv_heads, dim): (usize, usize, usize), cache: CacheType) -> Heads {
    Heads { heads, kv_heads, dim, block: 16, cache }
}

const KEYS_SPLIT: [(Heads, Intake); 5] = [
    (layout((9, 3, 64), CacheType::F16), Intake::Projected(QkNorm::Off)),
    (layout((8, 2, 128), CacheType::F16), Intake::Projected(QkNorm::On(1e-6))),
    (layout((3, 1, 24), CacheType::F32), Intake::Projected(QkNorm::On(1e-6))),
    (layout((14, 2, 64), CacheType::F16), Intake::Cached),
    (layout((4, 2, 16), CacheType::Q8_0), Intake::Cached),
];

const TILED_SPLIT: [(Heads, Intake); 5] = [
    (layout((9, 3, 64), CacheType::F16), Intake::Cached),
    (layout((4, 4, 40), CacheType::F32), Intake::Cached),
    (layout((3, 1, 24), CacheType::Q8_0), Intake::Cached),
    (layout((2, 1, 256), CacheType::F16), Intake::Cached),
    (layout((32, 1, 32), CacheType::F16), Intake::Cached),
];

/// The kernel that scores a key per lane.
#[derive(Debug)]
pub struct Keys;

impl Kernel for Keys {
    fn name(&self) -> &'static str {
        "attention_keys"
    }

    fn summary(&self) -> &'static str {
        "paged attention of single tokens, a key per lane; rotates and caches where asked"
    }

    fn cases(&self) -> Cases {
        Box::new(cached(|_| vec![Variant::Keys]).chain(projected()).chain(split(Variant::Keys, &KEYS_SPLIT)))
    }
}

/// The broadcast kernel.
#[derive(Debug)]
pub struct Lanes;

impl Kernel for Lanes {
    fn name(&self) -> &'static str {
        "attention_lanes"
    }

    fn summary(&self) -> &'static str {
        "paged attention, a query per lane, keys broadcast from registers"
    }

    fn cases(&self) -> Cases {
        Box::new(cached(|h| {
            let wide = divisor(h.group(), (256 / h.dim).clamp(1, 4));
            let mut heads = vec![1, wide];
            heads.dedup();
            heads.into_iter().map(|heads| Variant::Lanes { heads: heads as u32 }).collect()
        }))
    }
}

/// The staged kernel.
#[derive(Debug)]
pub struct Tiled;

impl Kernel for Tiled {
    fn name(&self) -> &'static str {
        "attention_tiled"
    }

    fn summary(&self) -> &'static str {
        "paged attention, keys staged in workgroup memory"
    }

    fn cases(&self) -> Cases {
        Box::new(cached(|_| vec![Variant::Tiled]).chain(split(Variant::Tiled, &TILED_SPLIT)))
    }
}
