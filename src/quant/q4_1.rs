//! Q4_1: 32 weights of 4 bits, `w = d * q + m`, q from 0 to 15.
//!
//! Block of 20 bytes: d and m (f16), then 16 bytes of nibbles (elements 0..16 low, 16..32 high).
//! On the GPU: the nibbles as they are; `d | m << 16` per unit.

use super::pack::{f16_at, nearest, nibble_bytes, nibbles, put_f16, range, u32_at, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 20;

/// See the module.
pub(super) struct Q4_1;

impl Format for Q4_1 {
    fn name(&self) -> &'static str {
        "Q4_1"
    }

    fn ggml_type(&self) -> u32 {
        3
    }

    fn block_len(&self) -> usize {
        UNIT
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        for (w, q) in out.iter_mut().zip(nibbles(&block[4..])) {
            *w = d * f32::from(q) + m;
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        let (low, high) = range(numbers);
        let m = put_f16(out, 2, low);
        let d = put_f16(out, 0, (high - m) / 15.0);
        let codes = std::array::from_fn(|e| nearest(numbers[e] - m, d, 0, 15) as u8);
        out[4..].copy_from_slice(&nibble_bytes(&codes));
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 1, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 44, float: 98 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (unit, block) in blocks.chunks_exact(BYTES).enumerate() {
            to.q(unit, word(&block[4..]));
            to.aux(0, unit, u32_at(block, 0));
        }
    }
}
