//! Q6_K: 256 weights of 6 bits, `w = d * sc * (q - 32)`, q from 0 to 63.
//!
//! Block of 210 bytes: 128 of nibbles, 64 of upper pairs of bits, 16 signed sc (one for 16
//! weights), d (f16). Each half of the block has 64 bytes of nibbles and 32 of pairs for its four
//! units: units 0 and 1 are the low nibbles of the first and the second 32 bytes, units 2 and 3
//! the high ones; unit j's pairs are bits `2j` and `2j + 1` of the 32 bytes.
//!
//! On the GPU: `q - 32` in two's complement, its nibbles in Q4_0's order, its upper pairs as
//! [`upper_pairs`] lays them; four sc in one word for two units; d widened to f32, since it is
//! often too small for a normal f16.

use super::pack::{f16_at, halves_row, nearest, nibble_bytes, peak, put_f16, u16_at, upper_pairs, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BLOCK: usize = 256;
const UNITS: usize = BLOCK / UNIT;
const BYTES: usize = 210;
const PAIRS: usize = 128;
const SCALES: usize = 192;
const D: usize = 208;

/// See the module.
pub(super) struct Q6K;

/// Where a unit lies in a block: its first byte of nibbles and their shift, its first byte of
/// pairs and their shift.
fn places(unit: usize) -> (usize, usize, usize, usize) {
    let (half, j) = (unit / 4, unit % 4);
    (half * 64 + j % 2 * 32, j / 2 * 4, PAIRS + half * 32, j * 2)
}

/// The codes of one unit of a block.
fn codes(block: &[u8], unit: usize) -> [u8; UNIT] {
    let (low, low_shift, pairs, pairs_shift) = places(unit);
    std::array::from_fn(|e| block[low + e] >> low_shift & 15 | (block[pairs + e] >> pairs_shift & 3) << 4)
}

impl Format for Q6K {
    fn name(&self) -> &'static str {
        "Q6_K"
    }

    fn ggml_type(&self) -> u32 {
        14
    }

    fn block_len(&self) -> usize {
        BLOCK
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let d = f16_at(block, D);
        for (unit, out) in out.chunks_exact_mut(UNIT).enumerate() {
            let codes = codes(block, unit);
            for (e, w) in out.iter_mut().enumerate() {
                let sc = block[SCALES + unit * 2 + e / 16] as i8;
                *w = d * f32::from(sc) * f32::from(codes[e] as i8 - 32);
            }
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        // The larger side gets the code that only it has: 0, which is -32 steps; so for d.
        let steps: [f32; 16] = std::array::from_fn(|i| peak(&numbers[16 * i..][..16]) / -32.0);
        let d = put_f16(out, D, peak(&steps) / -128.0);
        out[..SCALES].fill(0);
        for (i, numbers) in numbers.chunks_exact(16).enumerate() {
            let sc = nearest(steps[i], d, -128, 127);
            out[SCALES + i] = sc as u8;
            let (low, low_shift, pairs, pairs_shift) = places(i / 2);
            for (e, &x) in numbers.iter().enumerate() {
                let code = (nearest(x, d * sc as f32, -32, 31) + 32) as u8;
                let e = i % 2 * 16 + e;
                out[low + e] |= (code & 15) << low_shift;
                out[pairs + e] |= code >> 4 << pairs_shift;
            }
        }
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 1, words: 2 }, Section { units: 2, words: 1 }, Section { units: 8, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 77, float: 70 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (index, block) in blocks.chunks_exact(BYTES).enumerate() {
            for unit in 0..UNITS {
                let at = UNITS * index + unit;
                // Two's complement: the top bit of the six turned over.
                let codes = codes(block, unit).map(|q| q ^ 32);
                to.q(at, word(&nibble_bytes(&codes)));
                let [first, second] = upper_pairs(&codes);
                to.aux(0, 2 * at, first);
                to.aux(0, 2 * at + 1, second);
            }
            to.aux(2, index, f16_at(block, D).to_bits());
        }
        let scales = blocks.chunks_exact(BYTES);
        let scales = scales.flat_map(|b| (0..UNITS).map(|unit| u16_at(b, SCALES + 2 * unit)));
        halves_row(1, scales, to);
    }
}
