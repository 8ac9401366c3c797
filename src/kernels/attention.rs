//! Causal attention over a paged cache, prefill chunks and decodes in one launch:
//!
//! `o[t][h] = sum_j softmax_j(q[t][h] . k[j] / sqrt(D)) v[j]`, j from max(0, pos - window + 1) to pos
//!
//! with query heads sharing KV heads in groups (GQA; Ainslie et al. 2023), blocks of the cache found
//! through tables (Kwon et al. 2023), and the softmax computed online (Milakov & Gimelshein 2018;
//! Dao et al. 2022). The host cuts a step's tokens into [`Tile`]s; a workgroup takes one tile and a
//! few heads. Three kernels: [`Lanes`] broadcasts keys from registers, [`Keys`] scores
//! a key per lane, [`Tiled`] stages keys in workgroup memory.
//!
//! Where tiles and heads are too few to fill the device, several workgroups share a tile's keys along the
//! context, each for its own maximum and sum (Dao et al. 2023), and a fourth kernel, [`Merge`], puts their
//! rows together. [`Splitting`] is the rule.
//!
//! In a step that computes one token of each sequence [`Keys`] also does the rotation and the write into the
//! cache (`rope_cache`), in the same order of operations, so that the bits are the same:
//! [`Intake::Projected`]. [`Tiled`] could, but one such program took llvmpipe's compiler up to a minute.

mod cost;
pub mod merge;
mod proof;

use std::sync::LazyLock;
use std::thread;

use super::rope_cache::{Heads, QkNorm};
use super::{LANE_NEEDS, Needs, broadcasts, words};
use crate::gpu::{Gpu, Program};

pub use cost::{cost, distinct_rows};
pub use merge::Merge;
pub use proof::{Keys, Lanes, Tiled};

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

    /// The first key that it sees, with a window or without (0).
    fn first_key(&self, window: usize) -> u32 {
        first_key(self.position, window)
    }

    /// Keys that it sees.
    fn keys(&self, window: usize) -> usize {
        (self.position + self.tokens - self.first_key(window)) as usize
    }
}

fn first_key(position: u32, window: usize) -> u32 {
    if window == 0 { 0 } else { (position + 1).saturating_sub(window as u32) }
}

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intake {
    /// Rotated queries, tokens x heads x D; keys and values lie in the cache.
    Cached,
    /// Q, K and V as the projection left them, tokens x (heads + 2 KV heads) x D, in tiles of one
    /// token: they are rotated, and K and V cached, on the way.
    Projected(QkNorm),
}

/// How the work is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A key per lane, for tiles of one token.
    Keys,
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
        if !broadcasts(gpu) {
            Self::Tiled
        } else if longest < LANES {
            Self::Keys
        } else {
            Self::lanes(h)
        }
    }

    /// [`Self::Lanes`] with as many heads in a lane as its registers hold.
    pub fn lanes(h: &Heads) -> Self {
        Self::Lanes { heads: divisor(h.group(), (256 / h.dim).clamp(1, 4)) as u32 }
    }

    /// Whether it rotates and caches steps of single tokens itself. A `q8_0` row's scales need 32 numbers
    /// at once.
    pub fn rotates(self, h: &Heads) -> bool {
        self == Self::Keys && h.cache.is_plain()
    }

    /// Query heads of a workgroup.
    fn heads_per_group(self, h: &Heads) -> usize {
        let group = h.group();
        match self {
            // So many queries that they stay near.
            Self::Keys => divisor(group, (512 / h.dim).clamp(1, LANES)),
            Self::Lanes { heads: 1 } => divisor(group, LANES),
            Self::Lanes { heads } => heads as usize,
            Self::Tiled => divisor(group, QUERIES),
        }
    }

    /// Tokens of a tile, at most.
    pub fn tile_tokens(self, h: &Heads) -> usize {
        let per_group = self.heads_per_group(h);
        match self {
            Self::Keys => 1,
            Self::Lanes { heads } => LANES / (per_group / heads as usize),
            Self::Tiled => QUERIES / per_group,
        }
    }

    /// Keys of a round: what workgroups along the context share are whole rounds.
    fn round(self, h: &Heads) -> u32 {
        match self {
            Self::Keys | Self::Lanes { .. } => LANES as u32,
            Self::Tiled if h.dim > 128 => 8,
            Self::Tiled => 16,
        }
    }

    /// The program, of one of `splits` along the context.
    pub fn program(self, h: &Heads, intake: Intake, splits: usize) -> Program {
        let per_group = self.heads_per_group(h) as u32;
        let program = match self {
            Self::Keys => Program::new("attention_keys").number("WG", LANES as u32).flag("WIDE"),
            Self::Lanes { heads } => Program::new("attention_lanes")
                .number("WG", LANES as u32)
                .number("HL", heads)
                .number("KT", self.round(h))
                .flag("WIDE"),
            Self::Tiled => Program::new("attention_tiled").number("KT", self.round(h)),
        };
        let program = h.specialise(program).number("HB", per_group).flags((splits > 1).then_some("SPLIT"));
        match intake {
            Intake::Cached => program,
            Intake::Projected(norm) => program.flag("ROPE").flags(norm.flag()),
        }
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        match self {
            Self::Keys | Self::Lanes { .. } => LANE_NEEDS,
            Self::Tiled => Needs::default(),
        }
    }

    /// Workgroups for `tiles` tiles, `splits` along the context.
    pub fn grid(self, h: &Heads, tiles: usize, splits: usize) -> [u32; 3] {
        [tiles as u32, (h.heads / self.heads_per_group(h)) as u32, splits as u32]
    }
}

/// When workgroups share a tile's keys along the context, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splitting {
    /// Workgroups that fill the device: no more are made of fewer.
    pub groups: usize,
    /// Keys that are worth a workgroup, and a share of the dispatch that puts the rows together.
    pub keys: usize,
    /// Splits, at most.
    pub most: usize,
}

/// wgpu doesn't say how many cores a GPU has. This many workgroups keep most of them busy.
const GPU_GROUPS: usize = 128;

/// Workgroups that fill a software driver: the cores. Six on two of them gained nothing over three: 9.6, 11.0
/// and 11.6 tokens/s at 2048 tokens of context, in turn with 10.8, 11.5 and 10.5.
fn software_groups() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

impl Splitting {
    /// The rule for a device.
    pub fn of(gpu: &Gpu) -> Self {
        let most = (gpu.limits.max_compute_workgroups_per_dimension as usize).min(64);
        // Keys are estimates, of what pays for another dispatch: not measured on a GPU yet.
        if gpu.adapter.is_software() {
            Self { groups: software_groups(), keys: 256, most }
        } else {
            Self { groups: GPU_GROUPS, keys: 64, most }
        }
    }

    /// Splits for a step's `tiles`, where `rows` partial rows have room; 1 for none.
    pub fn splits(&self, h: &Heads, variant: Variant, window: usize, tiles: &[Tile], rows: usize) -> usize {
        if matches!(variant, Variant::Lanes { .. }) {
            return 1;
        }
        let groups: u32 = variant.grid(h, tiles.len(), 1).iter().product();
        let longest = tiles.iter().map(|tile| tile.keys(window)).max().unwrap_or(0);
        let tokens: usize = tiles.iter().map(|tile| tile.tokens as usize).sum();
        let most = [
            self.groups / (groups as usize).max(1),
            longest / self.keys.max(1),
            rows / (tokens * h.heads).max(1),
            self.most,
        ];
        most.into_iter().min().unwrap_or(1).max(1)
    }
}

/// Floats of a partial row: a head's output, its maximum and sum, and two of padding.
pub fn partial_row(dim: usize) -> usize {
    dim + 4
}

/// Partial rows that the rule leaves behind, at most, on whatever device: each workgroup has
/// `QUERIES` at most.
pub fn partial_rows() -> usize {
    GPU_GROUPS.max(software_groups()) * QUERIES
}

/// The uniform buffer's bytes, for the `at`-th of `parts` buffers of a layer's cache. `window` 0: every
/// earlier key is seen; `o_stride`: vec4s from token to token of the output.
pub fn params(
    whole: &Heads,
    (at, parts): (usize, usize),
    window: usize,
    o_stride: usize,
    intake: Intake,
) -> Vec<u8> {
    let part = whole.part(parts);
    let scale = (1.0 / (whole.dim as f64).sqrt()) as f32;
    let quads = whole.dim / 4;
    let keys = whole.heads + at * part.kv_heads;
    let (rows, eps) = match intake {
        Intake::Cached => (whole.heads, 0.0),
        Intake::Projected(norm) => (whole.heads + 2 * whole.kv_heads, norm.eps()),
    };
    let n = |v: usize| v as u32;
    words(&[
        scale.to_bits(),
        n(window),
        n(o_stride),
        n(rows * quads),
        n(at * part.heads),
        n(keys * quads),
        n((keys + whole.kv_heads) * quads),
        eps.to_bits(),
        0,
        0,
        0,
        0,
    ])
}
