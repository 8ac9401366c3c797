//! The two-level scales of Q4_K and Q5_K: 256 weights in 8 units, `w = d * sc * q - dmin * m`,
//! with d and dmin (f16) per block, sc and m (6 bits) per unit.
//!
//! They take 16 bytes: d, dmin, then 12 bytes. The first 4 of the 12 hold sc of units 0..4 and
//! the next 4 their m, in the low six bits; the last 4 hold the low four bits of sc (low nibble)
//! and of m (high nibble) of units 4..8, whose upper two bits are the top bits of the bytes of
//! units 0..4.
//!
//! On the GPU: `sc | m << 8` in 16 bits a unit, and `d | dmin << 16` per block.

use super::pack::{f16_at, halves_row, nearest, put_f16, range, u32_at};
use super::{RowWriter, UNIT};

/// Weights per block.
pub(super) const BLOCK: usize = 256;
/// Units per block.
const UNITS: usize = BLOCK / UNIT;
/// Bytes that [`Scales::read`] reads.
pub(super) const BYTES: usize = 16;

/// The scales of one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scales {
    d: f32,
    dmin: f32,
    sc: [u8; UNITS],
    m: [u8; UNITS],
}

impl Scales {
    /// The scales of a block that starts with them.
    pub(super) fn read(block: &[u8]) -> Self {
        let bytes = &block[4..BYTES];
        let unpack = |first: usize, shift: usize, unit: usize| match unit {
            0..4 => bytes[first + unit] & 63,
            _ => bytes[4 + unit] >> shift & 15 | bytes[first + unit - 4] >> 6 << 4,
        };
        Self {
            d: f16_at(block, 0),
            dmin: f16_at(block, 2),
            sc: std::array::from_fn(|unit| unpack(0, 0, unit)),
            m: std::array::from_fn(|unit| unpack(4, 4, unit)),
        }
    }

    /// Fits the scales to 256 numbers, for codes from 0 to `levels`, and writes them.
    pub(super) fn fit(numbers: &[f32], levels: f32, block: &mut [u8]) -> Self {
        // A unit's lowest number lies at -dmin * m, its highest `levels` steps above; zero is
        // always in between, since m has no sign.
        let ranges: [(f32, f32); UNITS] = std::array::from_fn(|unit| {
            let (low, high) = range(&numbers[unit * UNIT..][..UNIT]);
            (low.min(0.0), high)
        });
        let most = |value: fn(&(f32, f32)) -> f32| ranges.iter().map(value).fold(0.0, f32::max);
        let d = put_f16(block, 0, most(|(low, high)| high - low) / levels / 63.0);
        let dmin = put_f16(block, 2, most(|(low, _)| -low) / 63.0);
        let m = ranges.map(|(low, _)| nearest(-low, dmin, 0, 63) as u8);
        let sc = std::array::from_fn(|unit| {
            let top = ranges[unit].1 + dmin * f32::from(m[unit]);
            nearest(top / levels, d, 0, 63) as u8
        });
        let bytes = &mut block[4..BYTES];
        for unit in 0..UNITS / 2 {
            let later = unit + 4;
            bytes[unit] = sc[unit] | sc[later] >> 4 << 6;
            bytes[4 + unit] = m[unit] | m[later] >> 4 << 6;
            bytes[8 + unit] = sc[later] & 15 | (m[later] & 15) << 4;
        }
        Self { d, dmin, sc, m }
    }

    /// Step and offset of a unit: `w = step * q - offset`.
    pub(super) fn unit(&self, unit: usize) -> (f32, f32) {
        let step = self.d * f32::from(self.sc[unit]);
        (step, self.dmin * f32::from(self.m[unit]))
    }

    /// The nearest codes for the numbers that these scales were fitted to, unit by unit.
    pub(super) fn codes(&self, numbers: &[f32], levels: i32) -> [[u8; UNIT]; UNITS] {
        std::array::from_fn(|unit| {
            let (step, offset) = self.unit(unit);
            let numbers = &numbers[unit * UNIT..][..UNIT];
            std::array::from_fn(|e| nearest(numbers[e] + offset, step, 0, levels) as u8)
        })
    }

    /// Writes the scales of a row of blocks of `block_bytes` each to two sections, from `section`.
    pub(super) fn repack(blocks: &[u8], block_bytes: usize, section: usize, to: &mut RowWriter<'_>) {
        let blocks = blocks.chunks_exact(block_bytes);
        let pairs = blocks.clone().flat_map(|block| {
            let Self { sc, m, .. } = Self::read(block);
            (0..UNITS).map(move |unit| u16::from_le_bytes([sc[unit], m[unit]]))
        });
        halves_row(section, pairs, to);
        for (index, block) in blocks.enumerate() {
            to.aux(section + 1, index, u32_at(block, 0));
        }
    }
}

/// The nibbles of a unit in Q4_K and Q5_K: each 32 bytes hold two units, the even one low.
pub(super) fn unit_nibbles(bytes: &[u8], unit: usize) -> [u8; UNIT] {
    let bytes = &bytes[unit / 2 * UNIT..][..UNIT];
    std::array::from_fn(|e| bytes[e] >> (unit % 2 * 4) & 15)
}

/// The inverse of [`unit_nibbles`] for a whole block (the low four bits of each code count).
pub(super) fn put_nibbles(codes: &[[u8; UNIT]; UNITS], bytes: &mut [u8]) {
    for (pair, bytes) in codes.as_chunks::<2>().0.iter().zip(bytes.chunks_exact_mut(UNIT)) {
        for (e, byte) in bytes.iter_mut().enumerate() {
            *byte = pair[0][e] & 15 | (pair[1][e] & 15) << 4;
        }
    }
}
