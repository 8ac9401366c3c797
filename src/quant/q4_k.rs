//! Q4_K: 256 weights of 4 bits in 8 units, `w = d * sc * q - dmin * m`, q from 0 to 15.
//!
//! Block of 144 bytes: 16 of scales (see [`super::k_scales`]), then 128 of nibbles: each 32 bytes
//! hold two units, the even one low. On the GPU: the nibbles in Q4_0's order, unit by unit.

use super::k_scales::{self, BLOCK, Scales, put_nibbles, unit_nibbles};
use super::pack::{nibble_bytes, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 144;

/// See the module.
pub(super) struct Q4K;

impl Format for Q4K {
    fn name(&self) -> &'static str {
        "Q4_K"
    }

    fn ggml_type(&self) -> u32 {
        12
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
            let codes = unit_nibbles(&block[k_scales::BYTES..], unit);
            for (w, q) in out.iter_mut().zip(codes) {
                *w = step * f32::from(q) - offset;
            }
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        let scales = Scales::fit(numbers, 15.0, out);
        put_nibbles(&scales.codes(numbers, 15), &mut out[k_scales::BYTES..]);
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 2, words: 1 }, Section { units: 8, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 50, float: 103 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (index, block) in blocks.chunks_exact(BYTES).enumerate() {
            for unit in 0..BLOCK / UNIT {
                let codes = unit_nibbles(&block[k_scales::BYTES..], unit);
                to.q(BLOCK / UNIT * index + unit, word(&nibble_bytes(&codes)));
            }
        }
        Scales::repack(blocks, BYTES, 0, to);
    }
}
