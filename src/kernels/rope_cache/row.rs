//! How a row of the KV cache, one head's K or V of one token, lies in memory, and what it takes to read or
//! write one.

use crate::cost::Work;
use crate::units::Flops;

/// How the cache stores a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// Signed bytes, and a 16-bit float that they are multiples of for each 32 of a row.
    Q8_0,
}

/// Numbers that share a scale.
pub(super) const SCALED: usize = 32;

impl CacheType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of a row of `dim` numbers: whole words of 16 bytes.
    pub fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => 4 * dim,
            Self::F16 => 2 * dim,
            // The last word holds up to eight scales.
            Self::Q8_0 => dim.next_multiple_of(16) + 16,
        }
    }

    /// Whether attention can write a row itself: a scale takes the whole row's numbers together.
    pub fn is_plain(self) -> bool {
        self != Self::Q8_0
    }

    /// Operations that make the `dim` numbers of a row of what is loaded, counted as a weight format's are.
    pub(in crate::kernels) fn reading(self, dim: usize) -> Work {
        let (dim, scales) = (dim as u64, dim.div_ceil(SCALED) as u64);
        let (int, float) = match self {
            Self::F32 => (0, 0),
            // A conversion each.
            Self::F16 => (0, dim),
            // Two shifts take a byte out; it and its scale are made floats, and multiplied.
            Self::Q8_0 => (2 * dim, 2 * dim + scales),
        };
        Work { int: Flops(int), f32: Flops(float), ..Work::default() }
    }

    /// Operations that make what is stored of the `dim` numbers of a row.
    pub(in crate::kernels) fn writing(self, dim: usize) -> Work {
        let (dim, scales) = (dim as u64, dim.div_ceil(SCALED) as u64);
        let [float, int, special] = match self {
            Self::F32 => [0; 3],
            // A conversion each.
            Self::F16 => [dim, 0, 0],
            // Of each number the magnitude, a maximum, a product, the rounding, a conversion; a mask, and three
            // shifts and three ors for four. Of each scale a comparison, a conversion; two divisions.
            Self::Q8_0 => [5 * dim + 2 * scales, dim + 6 * (dim / 4), 2 * scales],
        };
        Work { f32: Flops(float), int: Flops(int), special: Flops(special), ..Work::default() }
    }

    pub(super) fn flag(self) -> Option<&'static str> {
        match self {
            Self::F32 => Some("CACHE_F32"),
            Self::F16 => None,
            Self::Q8_0 => Some("CACHE_Q8_0"),
        }
    }

    /// A row's numbers as the cache gives them back.
    pub fn rounded(self, row: &[f32]) -> Vec<f32> {
        self.decode(&self.encode(row), row.len())
    }

    /// A row's bytes in the cache.
    pub(in crate::kernels) fn encode(self, row: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => bytemuck::cast_slice(row).to_vec(),
            Self::F16 => {
                let halves: Vec<half::f16> = row.iter().map(|&v| half::f16::from_f32(v)).collect();
                bytemuck::cast_slice(&halves).to_vec()
            }
            Self::Q8_0 => {
                let mut bytes = vec![0; self.row_bytes(row.len())];
                let scales_at = bytes.len() - 16;
                for (i, block) in row.chunks(SCALED).enumerate() {
                    let top = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                    let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
                    let d = half::f16::from_f32(top / 127.0).to_le_bytes();
                    bytes[scales_at + 2 * i..][..2].copy_from_slice(&d);
                    for (byte, v) in bytes[SCALED * i..].iter_mut().zip(block) {
                        *byte = (v * inverse).round() as i8 as u8;
                    }
                }
                bytes
            }
        }
    }

    /// A row of `dim` numbers from its bytes.
    pub(in crate::kernels) fn decode(self, bytes: &[u8], dim: usize) -> Vec<f32> {
        match self {
            Self::F32 => bytemuck::pod_collect_to_vec(bytes),
            Self::F16 => {
                bytemuck::pod_collect_to_vec::<_, half::f16>(bytes).iter().map(|v| v.to_f32()).collect()
            }
            Self::Q8_0 => {
                let (numbers, scales) = bytes.split_at(bytes.len() - 16);
                let scale = |i: usize| half::f16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]).to_f32();
                (0..dim).map(|i| f32::from(numbers[i] as i8) * scale(i / SCALED)).collect()
            }
        }
    }
}
