//! Rotary embedding (Su et al. 2021) of Q and K, and the write of K and V into the paged cache.
//!
//! `(a, b) -> (a cos - b sin, b cos + a sin)` for the pair `(v[i], v[i + D/2])` at the angle
//! `position * f_i`. The angles come from the host in f64, since a shader's `sin` may be off by
//! 2^-11. Models that pair neighbours (2i, 2i+1) have their rows reordered at load.
//! Optionally an RMS norm per head of Q and K first (Qwen3).
//!
//! `qkv` is tokens x (heads + 2 kv_heads) x D; the cache of a layer is
//! `[block][K or V][kv head][slot][D]`.

mod cost;
mod row;

use row::SCALED;

pub use cost::cost;
pub(super) use cost::{angle_bytes, gain_bytes};
pub use row::CacheType;

use super::{Case, Cases, Expected, Input, Kernel, Needs, Noise, U, Values, words};
use crate::gpu::Program;

const WG: u32 = 32;

/// A number, and what it may be off by.
pub(super) type Near = (f32, f32);

/// What the kernels of a layer's attention are specialised on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// KV heads; divides `heads`.
    pub kv_heads: usize,
    /// Size of a head, a multiple of 8 up to 256.
    pub dim: usize,
    /// Tokens of a cache block.
    pub block: usize,
    /// How the cache stores a number.
    pub cache: CacheType,
}

impl Heads {
    /// Query heads that share a KV head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Bytes of one block of one layer: K and V of `block` tokens.
    pub fn block_bytes(&self) -> u64 {
        (2 * self.kv_heads * self.block * self.cache.row_bytes(self.dim)) as u64
    }

    /// How many buffers of at most `most` bytes hold `blocks` blocks of a layer, each with as many KV
    /// heads; `None` if one head alone is larger.
    pub fn parts(&self, blocks: u64, most: u64) -> Option<usize> {
        let head = self.block_bytes() / self.kv_heads as u64 * blocks;
        let fits =
            |parts: &usize| head.checked_mul((self.kv_heads / parts) as u64).is_some_and(|n| n <= most);
        (1..=self.kv_heads).filter(|parts| self.kv_heads.is_multiple_of(*parts)).find(fits)
    }

    /// The heads of one of `parts` buffers: what the attention of a part is specialised on.
    pub fn part(&self, parts: usize) -> Self {
        Self { heads: self.heads / parts, kv_heads: self.kv_heads / parts, ..*self }
    }

    /// What the dispatch for the `at`-th of `parts` buffers turns and caches: the first has all queries.
    pub fn turned(&self, at: usize, parts: usize) -> Self {
        Self { heads: if at == 0 { self.heads } else { 0 }, ..self.part(parts) }
    }

    /// Sets what the cache's layout needs.
    pub(super) fn specialise(&self, program: Program) -> Program {
        let program = match self.cache {
            CacheType::Q8_0 => program.number("VECS", self.dim.div_ceil(16) as u32),
            CacheType::F32 | CacheType::F16 => program,
        };
        program
            .number("D", self.dim as u32)
            .number("BLOCK", self.block as u32)
            .number("KV_HEADS", self.kv_heads as u32)
            .number("HEADS", self.heads as u32)
            .flags(self.cache.flag())
    }

    /// The place of a number in the cache, in numbers. `part` is 0 for K, 1 for V.
    pub(super) fn place(&self, slot: usize, part: usize, head: usize, dim: usize) -> usize {
        let (block, offset) = (slot / self.block, slot % self.block);
        (((block * 2 + part) * self.kv_heads + head) * self.block + offset) * self.dim + dim
    }
}

/// The kernel.
#[derive(Debug)]
pub struct RopeCache;

/// Whether heads are normed before the rotation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkNorm {
    /// Not.
    Off,
    /// RMS norm with this epsilon.
    On(f32),
}

impl QkNorm {
    /// The epsilon; 0 without a norm.
    pub(super) fn eps(self) -> f32 {
        if let Self::On(eps) = self { eps } else { 0.0 }
    }

    pub(super) fn flag(self) -> Option<&'static str> {
        (self != Self::Off).then_some("QK_NORM")
    }
}

/// The program for a cache in `parts` buffers.
pub fn program(heads: &Heads, parts: usize, norm: QkNorm) -> Program {
    let program = heads.specialise(Program::new("rope_cache").number("WG", WG));
    let program =
        program.number("KV", heads.kv_heads as u32).number("KV_HEADS", heads.part(parts).kv_heads as u32);
    program.flags(norm.flag())
}

/// Lanes of a head.
fn shares(h: &Heads) -> usize {
    if h.cache.is_plain() { h.dim / 8 } else { h.dim.div_ceil(2 * SCALED) }
}

/// Workgroups for `n` tokens.
pub fn grid(heads: &Heads, n: usize) -> [u32; 3] {
    let lanes = (heads.heads + 2 * heads.kv_heads) * shares(heads);
    [(lanes as u32).div_ceil(WG), n as u32, 1]
}

/// The uniform buffer's bytes; `first` is the buffer's first KV head.
pub fn params(norm: QkNorm, first: usize) -> Vec<u8> {
    words(&[norm.eps().to_bits(), first as u32, 0, 0])
}

/// (cos, sin) of each position and frequency, positions x D/2 x 2.
pub fn angles(inverse_frequencies: &[f64], positions: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(positions * inverse_frequencies.len() * 2);
    for position in 0..positions {
        for f in inverse_frequencies {
            let (sin, cos) = (position as f64 * f).sin_cos();
            out.extend([cos as f32, sin as f32]);
        }
    }
    out
}

/// One head after norm and rotation, with the tolerance of each number.
///
/// With `|cos|, |sin| <= 1` exact (the table's f32), two products and their sum err by at most
/// `2 u (|a| + |b|)`, and the expected number, an f32 as well, by half of that: 3 u. A norm adds, in
/// units of u: the sum of D squares `D + 1` and its division (2.5 ULP, 5 u) and the epsilon's sum 1, all
/// halved by the root, `inverseSqrt` (2 ULP, 4 u), and the products with gain and number 2.
pub(super) fn rotate(v: &[f32], gain: Option<(&[f32], f32)>, angles: &[f32]) -> Vec<Near> {
    let d = v.len();
    let scale = gain.map_or(1.0, |(_, eps)| {
        let squares: f64 = v.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        1.0 / (squares / d as f64 + f64::from(eps)).sqrt()
    });
    let n: Vec<f64> =
        (0..d).map(|i| f64::from(v[i]) * scale * gain.map_or(1.0, |(g, _)| f64::from(g[i]))).collect();
    let mut out = vec![(0.0, 0.0); d];
    for i in 0..d / 2 {
        let (a, b) = (n[i], n[i + d / 2]);
        let (c, s) = (f64::from(angles[2 * i]), f64::from(angles[2 * i + 1]));
        let rounding = if gain.is_some() { (d as f64 + 7.0) / 2.0 + 9.0 } else { 3.0 };
        let tolerance = rounding * U * (a.abs() + b.abs());
        out[i] = ((a * c - b * s) as f32, tolerance as f32);
        out[i + d / 2] = ((b * c + a * s) as f32, tolerance as f32);
    }
    out
}

/// A row as it lies in the cache.
///
/// WGSL leaves the rounding of `pack2x16float` open: either neighbour is right (some drivers round to
/// the nearest, others towards zero), so it is a whole unit in the last place, 2^-10 of the number. Below
/// 2^-14 an f16 is subnormal, which a device may flush to zero.
///
/// A scaled number is off by half its block's scale, and by as much of itself as the scale was rounded
/// by; the quotient's own rounding (3.5 ULP of at most 127) moves what lies at a tie, within 1e-4 of it.
pub(super) fn stored(row: &[Near], cache: CacheType) -> Vec<Near> {
    const LEAST_NORMAL: f32 = 1.0 / 16_384.0;
    const ULP: f32 = 1.0 / 1024.0;
    match cache {
        CacheType::F32 => row.to_vec(),
        CacheType::F16 => row
            .iter()
            .map(|&(v, off)| {
                let least = v.abs() - off < LEAST_NORMAL;
                (v, off + if least { LEAST_NORMAL } else { (v.abs() + off) * ULP })
            })
            .collect(),
        CacheType::Q8_0 => row
            .chunks(SCALED)
            .flat_map(|block| {
                let top = block.iter().fold(0.0_f32, |m, (v, off)| m.max(v.abs() + off));
                let most_off = block.iter().fold(0.0_f32, |m, (_, off)| m.max(*off));
                let (scale, least) = (top / 127.0, top / 127.0 < LEAST_NORMAL);
                let half_step = scale * 0.5001 + 2.0 * most_off;
                let rounding = move |v: f32| if least { top } else { (v.abs() + scale) * ULP };
                block.iter().map(move |&(v, off)| (v, off + half_step + rounding(v)))
            })
            .collect(),
    }
}

/// Angles of a head of `dim` numbers at `positions` positions.
pub(super) fn test_angles(dim: usize, positions: usize) -> Vec<f32> {
    let frequencies: Vec<f64> = (0..dim / 2).map(|i| 1e4_f64.powf(-2.0 * i as f64 / dim as f64)).collect();
    angles(&frequencies, positions)
}

impl Kernel for RopeCache {
    fn name(&self) -> &'static str {
        "rope_cache"
    }

    fn summary(&self) -> &'static str {
        "QK norm, rotary embedding, and the write into the paged cache"
    }

    fn cases(&self) -> Cases {
        let heads = [(1, 1, 8), (9, 3, 64), (4, 1, 24), (8, 2, 128), (2, 2, 256)];
        let caches = CacheType::ALL;
        let norms = [QkNorm::Off, QkNorm::On(1e-6)];
        Box::new(heads.into_iter().flat_map(move |(heads, kv_heads, dim)| {
            caches.into_iter().flat_map(move |cache| {
                let h = Heads { heads, kv_heads, dim, block: 16, cache };
                norms.into_iter().flat_map(move |norm| {
                    // Whole, and where there are heads to part, the last of as many parts as there are.
                    let parts = if kv_heads > 1 { vec![1, kv_heads] } else { vec![1] };
                    parts
                        .into_iter()
                        .flat_map(move |parts| [1, 2, 5, 17, 31, 48].map(move |n| case(&h, parts, norm, n)))
                })
            })
        }))
    }
}

/// The last of `parts` parts.
fn case(h: &Heads, parts: usize, norm: QkNorm, n: usize) -> Case {
    let part = h.part(parts);
    let first = h.kv_heads - part.kv_heads;
    let mut noise = Noise::new((h.heads * h.dim) as u64);
    let all = h.heads + 2 * h.kv_heads;
    let qkv = noise.floats(n * all * h.dim);
    let table = test_angles(h.dim, 40);
    let gains = noise.floats(2 * h.dim);
    let blocks = 3;
    let slots = noise.shuffled(blocks * h.block);
    let mut places = Vec::new();
    let mut q = Vec::new();
    let mut cache = vec![(0.0, 0.0); blocks * h.block * 2 * part.kv_heads * h.dim];
    for (t, &slot) in slots.iter().take(n).enumerate() {
        let position = noise.below(40);
        places.extend([position as u32, slot]);
        let angles = &table[position * h.dim..][..h.dim];
        for head in 0..all {
            let v = &qkv[(t * all + head) * h.dim..][..h.dim];
            let gain = |from: usize| match norm {
                QkNorm::On(eps) => Some((&gains[from..from + h.dim], eps)),
                QkNorm::Off => None,
            };
            if head < h.heads {
                // The first part's dispatch has rotated these.
                let skipped = vec![(0.0, 0.0); h.dim];
                q.extend(if first == 0 { rotate(v, gain(0), angles) } else { skipped });
                continue;
            }
            let kv = head - h.heads;
            let (k_or_v, kv_head) = (kv / h.kv_heads, kv % h.kv_heads);
            if kv_head < first {
                continue;
            }
            let row = if k_or_v == 0 {
                rotate(v, gain(h.dim), angles)
            } else {
                v.iter().map(|&v| (v, 0.0)).collect()
            };
            let to = part.place(slot as usize, k_or_v, kv_head - first, 0);
            cache[to..to + h.dim].copy_from_slice(&stored(&row, h.cache));
        }
    }
    let cache_bytes = cache.len() / h.dim * h.cache.row_bytes(h.dim);
    let mut inputs = vec![
        Input::Uniform(params(norm, first)),
        Input::Uniform(words(&[n as u32, 0, 0, 0])),
        Input::Storage(bytemuck::cast_slice(&qkv).to_vec()),
        Input::Storage(bytemuck::cast_slice(&table).to_vec()),
        Input::Storage(words(&places)),
        Input::Storage(vec![0; n * h.heads * h.dim * 4]),
        Input::Storage(vec![0; cache_bytes]),
    ];
    if norm != QkNorm::Off {
        inputs.push(Input::Storage(bytemuck::cast_slice(&gains).to_vec()));
    }
    Case {
        label: format!("{h:?} {norm:?}, KV heads from {first}, {n} tokens"),
        program: program(h, parts, norm),
        needs: Needs::default(),
        inputs,
        grid: grid(h, n),
        expected: vec![
            Expected { binding: 5, values: Values::F32(q) },
            Expected { binding: 6, values: Values::Cache(h.cache, h.dim, cache) },
        ],
        cost: cost(&h.turned(parts - 1, parts), norm, n),
    }
}
