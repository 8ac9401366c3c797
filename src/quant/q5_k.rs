//! Q5_K: 256 weights of 5 bits in 8 units, `w = d * sc * q - dmin * m`, q from 0 to 31.
//!
//! Block of 176 bytes: 16 of scales (see [`super::k_scales`]), 32 of fifth bits (bit u of byte e
//! is that of element e of unit u), then 128 of nibbles: each 32 bytes hold two units, the even
//! one low. On the GPU: the nibbles in Q4_0's order and the fifth bits as [`fifth_bits`] lays
//! them, unit by unit.

use super::k_scales::{self, BLOCK, Scales, put_nibbles, unit_nibbles};
use super::pack::{fifth_bits, nibble_bytes, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 176;
const FIFTH: usize = k_scales::BYTES;
const NIBBLES: usize = FIFTH + UNIT;

/// See the module.
pub(super) struct Q5K;

/// The codes of one unit of a block.
fn codes(block: &[u8], unit: usize) -> [u8; UNIT] {
    let low = unit_nibbles(&block[NIBBLES..], unit);
    std::array::from_fn(|e| low[e] | (block[FIFTH + e] >> unit & 1) << 4)
}

impl Format for Q5K {
    fn name(&self) -> &'static str {
        "Q5_K"
    }

    fn ggml_type(&self) -> u32 {
        13
    }

    fn block_len(&self) -> usize {
        BLOCK
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let scales = Scales::read(block);
        for (unit, out) in out.chunks_exact_mut(UNIT).enumerate() {
            let (step, offset) = scales.unit(unit);
            for (w, q) in out.iter_mut().zip(codes(block, unit)) {
                *w = step * f32::from(q) - offset;
            }
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        let codes = Scales::fit(numbers, 31.0, out).codes(numbers, 31);
        for (e, byte) in out[FIFTH..NIBBLES].iter_mut().enumerate() {
            let each = codes.iter().enumerate();
            *byte = each.fold(0, |bits, (unit, codes)| bits | codes[e] >> 4 << unit);
        }
        put_nibbles(&codes, &mut out[NIBBLES..]);
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 1, words: 1 }, Section { units: 2, words: 1 }, Section { units: 8, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 81, float: 103 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (index, block) in blocks.chunks_exact(BYTES).enumerate() {
            for unit in 0..BLOCK / UNIT {
                let codes = codes(block, unit);
                let at = BLOCK / UNIT * index + unit;
                to.q(at, word(&nibble_bytes(&codes)));
                to.aux(0, at, fifth_bits(&codes));
            }
        }
        Scales::repack(blocks, BYTES, 1, to);
    }
}
