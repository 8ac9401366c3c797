//! Causal attention over a paged cache, prefill chunks and decodes in one launch:
//!
//! `o[t][h] = sum_j softmax_j(q[t][h] . k[j] / sqrt(D)) v[j]`, j from max(0, pos - window + 1) to pos
//!
//! with query heads sharing KV heads in groups (GQA; Ainslie et al. 2023), blocks of the cache found
//! through tables (Kwon et al. 2023), and the softmax computed online (Milakov & Gimelshein 2018;
//! Dao et al. 2022). The host cuts a step's tokens into [`Tile`]s; a workgroup takes one tile and a
//! few heads. Two kernels: [`Lanes`] broadcasts keys from registers, [`Tiled`] stages them in
//! workgroup memory.

use super::rope_cache::{CacheType, Heads};
use super::shapes::{STEPS, WINDOWS};
use super::{
    Case, Cases, Expected, Input, Kernel, LANE_NEEDS, Needs, Noise, U, Values, broadcasts, dot_tolerance,
    words,
};
use crate::cost::{Cost, Role, Work};
use crate::gpu::{Gpu, Program};
use crate::units::Flops;

/// Neighbouring tokens of one sequence: what a workgroup works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Tile {
    /// The first token's place in the step.
    pub first: u32,
    /// Tokens.
    pub tokens: u32,
    /// The first token's position in its sequence.
    pub position: u32,
    /// Where the sequence's block table starts.
    pub table: u32,
}

impl Tile {
    /// Cuts `tokens` neighbouring tokens into tiles of at most `most`.
    pub fn cut(self, most: usize) -> impl Iterator<Item = Self> {
        let most = most as u32;
        (0..self.tokens.div_ceil(most)).map(move |i| Self {
            first: self.first + i * most,
            tokens: most.min(self.tokens - i * most),
            position: self.position + i * most,
            table: self.table,
        })
    }
}

/// How the work is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A query per lane; `heads` of a token in one lane.
    Lanes {
        /// Heads of a token that one lane holds.
        heads: u32,
    },
    /// Keys staged in workgroup memory.
    Tiled,
}

/// Lanes of a workgroup of [`Variant::Lanes`]: one subgroup on a software driver.
const LANES: usize = 8;
/// Queries of a workgroup of [`Variant::Tiled`].
const QUERIES: usize = 16;

/// The largest divisor of `n` that is at most `most`.
fn divisor(n: usize, most: usize) -> usize {
    (1..=n.min(most)).rev().find(|d| n.is_multiple_of(*d)).unwrap_or(1)
}

impl Variant {
    /// The variant for a step whose longest run of tokens of one sequence is `longest`.
    pub fn choose(gpu: &Gpu, h: &Heads, longest: usize) -> Self {
        if broadcasts(gpu) {
            let group = h.heads / h.kv_heads;
            let heads = if longest < LANES { 1 } else { divisor(group, (256 / h.dim).clamp(1, 4)) };
            Self::Lanes { heads: heads as u32 }
        } else {
            Self::Tiled
        }
    }

    /// Query heads of a workgroup.
    fn heads_per_group(self, h: &Heads) -> usize {
        let group = h.heads / h.kv_heads;
        match self {
            Self::Lanes { heads: 1 } => divisor(group, LANES),
            Self::Lanes { heads } => heads as usize,
            Self::Tiled => divisor(group, QUERIES),
        }
    }

    /// Tokens of a tile, at most.
    pub fn tile_tokens(self, h: &Heads) -> usize {
        let per_group = self.heads_per_group(h);
        match self {
            Self::Lanes { heads } => LANES / (per_group / heads as usize),
            Self::Tiled => QUERIES / per_group,
        }
    }

    /// The program.
    pub fn program(self, h: &Heads) -> Program {
        let per_group = self.heads_per_group(h) as u32;
        let program = match self {
            Self::Lanes { heads } => Program::new("attention_lanes")
                .number("WG", LANES as u32)
                .number("HL", heads)
                .number("KT", 8)
                .flag("WIDE"),
            Self::Tiled => Program::new("attention_tiled").number("KT", if h.dim > 128 { 8 } else { 16 }),
        };
        h.specialise(program).number("HB", per_group)
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        match self {
            Self::Lanes { .. } => LANE_NEEDS,
            Self::Tiled => Needs::default(),
        }
    }

    /// Workgroups for `tiles` tiles.
    pub fn grid(self, h: &Heads, tiles: usize) -> [u32; 3] {
        [tiles as u32, (h.heads / self.heads_per_group(h)) as u32, 1]
    }
}

/// The uniform buffer's bytes. `window` 0: every earlier key is seen; strides of the output and of the
/// queries in vec4s; `first`: the first query head that the cache's buffer serves.
pub fn params(h: &Heads, window: usize, o_stride: usize, q_stride: usize, first: usize) -> Vec<u8> {
    let scale = (1.0 / (h.dim as f64).sqrt()) as f32;
    let n = |v: usize| v as u32;
    words(&[scale.to_bits(), n(window), n(o_stride), n(q_stride), n(first), 0, 0, 0])
}

/// The cost of tiles: two products of D per query and key seen, an exponential each.
pub fn cost(h: &Heads, window: usize, tiles: &[Tile], variant: Variant) -> Cost {
    let (mut pairs, mut tokens) = (0, 0);
    // Rows of the cache: what each tile reads, and each row of a sequence once.
    let (mut read, mut distinct) = (0, 0);
    let first = |position: u32| if window == 0 { 0 } else { (position + 1).saturating_sub(window as u32) };
    let mut of: Option<(u32, u32, u32)> = None;
    for tile in tiles {
        let seen = |position: u32| u64::from(position + 1 - first(position));
        let (low, end) = (first(tile.position), tile.position + tile.tokens);
        pairs += (tile.position..end).map(seen).sum::<u64>();
        read += u64::from(end - low);
        tokens += u64::from(tile.tokens);
        // Tiles of one sequence are neighbours and share its table.
        let before = of.filter(|(table, ..)| *table == tile.table);
        let start = before.map_or(low, |(_, low, _)| low);
        let counted = before.map_or(0, |(_, low, end)| u64::from(end - low));
        distinct += u64::from(end - start) - counted;
        of = Some((tile.table, start, end));
    }
    let (heads, dim) = (h.heads as u64, h.dim as u64);
    let row = 2 * dim * h.cache.bytes() as u64;
    let per_row = row * h.kv_heads as u64;
    let q = tokens * heads * dim * 4;
    let rereads = (h.heads / h.kv_heads / variant.heads_per_group(h)) as u64;
    let pairs = pairs * heads;
    Cost {
        work: Work { f32: Flops(4 * dim * pairs), special: Flops(pairs), ..Work::default() },
        traffic: vec![],
    }
    .moves(Role::Cache, distinct * per_row, read * per_row * rereads)
    .moves(Role::Input, q, q)
    .moves(Role::Output, q, q)
    .moves(Role::Tables, 16 * tiles.len() as u64, 16 * tiles.len() as u64)
}

/// One query's output with the tolerance of each number. Keys and values are rows of D.
fn reference(q: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<(f32, f32)> {
    let d = q.len();
    let scale = 1.0 / (d as f64).sqrt();
    let mut worst = 0.0_f64;
    let scores: Vec<f64> = keys
        .iter()
        .map(|k| {
            let terms = q.iter().zip(*k).map(|(&a, &b)| f64::from(a) * f64::from(b) * scale);
            let magnitude: f64 = terms.clone().map(f64::abs).sum();
            worst = worst.max(dot_tolerance(d, magnitude));
            terms.sum()
        })
        .collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    // Each weight: the score's error, exp's (3 + 2|x| ulp), one rounding per round of keys.
    let relative = 2.0 * worst + (32.0 + 2.0 * (top - lowest) + 3.0 * keys.len() as f64) * 2.0 * U;
    (0..d)
        .map(|i| {
            let terms = weights.iter().zip(values).map(|(w, v)| w / sum * f64::from(v[i]));
            let magnitude: f64 = terms.clone().map(f64::abs).sum();
            (terms.sum::<f64>() as f32, (2.0 * relative * magnitude + 1e-7 * magnitude) as f32)
        })
        .collect()
}

/// Floats between the rows of a case's output.
const GAP: usize = 8;

/// `step`: (tokens computed, position of the first) of each sequence.
fn case(variant: Variant, h: &Heads, window: usize, step: &[(usize, usize)]) -> Case {
    let mut noise = Noise::new((h.heads * h.dim + window) as u64);
    let n: usize = step.iter().map(|(tokens, _)| tokens).sum();
    let q = noise.floats(n * h.heads * h.dim);
    let per_sequence = |&(tokens, position): &(usize, usize)| (tokens + position).div_ceil(h.block);
    let blocks: usize = step.iter().map(per_sequence).sum::<usize>() + 3;
    // Shuffled: a sequence's blocks are never neighbours by assumption.
    let mut free = noise.shuffled(blocks).into_iter();
    let cache: Vec<f32> = noise
        .floats(blocks * h.block * 2 * h.kv_heads * h.dim)
        .into_iter()
        .map(|v| if h.cache == CacheType::F16 { half::f16::from_f32(2.0 * v).to_f32() } else { 2.0 * v })
        .collect();
    let mut tables = Vec::new();
    let mut tiles = Vec::new();
    let mut expected = Vec::new();
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
        tiles.extend(run.cut(variant.tile_tokens(h)));
        for t in 0..tokens {
            let pos = position + t;
            let low = if window == 0 { 0 } else { (pos + 1).saturating_sub(window) };
            for head in 0..h.heads {
                let kv_head = head / (h.heads / h.kv_heads);
                let row = |part: usize| {
                    let tables = &tables;
                    let cache = &cache;
                    (low..=pos).map(move |j| {
                        let slot = tables[table + j / h.block] as usize * h.block + j % h.block;
                        &cache[h.place(slot, part, kv_head, 0)..][..h.dim]
                    })
                };
                let query = &q[((first + t) * h.heads + head) * h.dim..][..h.dim];
                expected.extend(reference(query, &row(0).collect::<Vec<_>>(), &row(1).collect::<Vec<_>>()));
            }
            expected.extend([(0.0, 0.0); GAP]);
        }
        first += tokens;
    }
    let stored = match h.cache {
        CacheType::F32 => bytemuck::cast_slice(&cache).to_vec(),
        CacheType::F16 => {
            let halves: Vec<half::f16> = cache.iter().map(|&v| half::f16::from_f32(v)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
    };
    Case {
        label: format!("{variant:?} {h:?} window {window}, (tokens, position) {step:?}"),
        program: variant.program(h),
        needs: variant.needs(),
        inputs: vec![
            Input::Uniform(params(h, window, h.heads * h.dim / 4 + GAP / 4, h.heads * h.dim / 4, 0)),
            Input::Uniform(words(&[n as u32, 0, tiles.len() as u32, 0])),
            Input::Storage(bytemuck::cast_slice(&q).to_vec()),
            Input::Storage(stored),
            Input::Storage(bytemuck::cast_slice(&tiles).to_vec()),
            Input::Storage(words(&tables)),
            Input::Storage(vec![0; expected.len() * 4]),
        ],
        grid: variant.grid(h, tiles.len()),
        expected: vec![Expected { binding: 6, values: Values::F32(expected) }],
        cost: cost(h, window, &tiles, variant),
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

fn cases(variants: fn(&Heads) -> Vec<Variant>) -> Cases {
    Box::new(LAYOUTS.into_iter().flat_map(move |(heads, kv_heads, dim)| {
        [CacheType::F32, CacheType::F16].into_iter().flat_map(move |cache| {
            let h = Heads { heads, kv_heads, dim, block: 16, cache };
            variants(&h).into_iter().flat_map(move |variant| {
                WINDOWS.into_iter().flat_map(move |window| {
                    STEPS.into_iter().map(move |step| case(variant, &h, window, step))
                })
            })
        })
    }))
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
        cases(|h| {
            let wide = divisor(h.heads / h.kv_heads, (256 / h.dim).clamp(1, 4));
            let mut heads = vec![1, wide];
            heads.dedup();
            heads.into_iter().map(|heads| Variant::Lanes { heads: heads as u32 }).collect()
        })
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
        cases(|_| vec![Variant::Tiled])
    }
}
