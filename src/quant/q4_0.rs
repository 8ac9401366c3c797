//! Q4_0: 32 weights of 4 bits, `w = d * (q - 8)`, q from 0 to 15.
//!
//! Block of 18 bytes: d (f16), then 16 bytes of nibbles (elements 0..16 low, 16..32 high). On the
//! GPU: `q - 8` as nibbles of two's complement in the same order; the d of two units in one word.

use super::pack::{f16_at, halves_row, nearest, nibble_bytes, nibbles, peak, put_f16, u16_at, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 18;

/// See the module.
pub(super) struct Q4_0;

impl Format for Q4_0 {
    fn name(&self) -> &'static str {
        "Q4_0"
    }

    fn ggml_type(&self) -> u32 {
        2
    }

    fn block_len(&self) -> usize {
        UNIT
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let d = f16_at(block, 0);
        for (w, q) in out.iter_mut().zip(nibbles(&block[2..])) {
            *w = d * f32::from(q as i8 - 8);
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        // The larger side gets the code that only it has: 0, which is -8 steps.
        let d = put_f16(out, 0, peak(numbers) / -8.0);
        let codes = std::array::from_fn(|e| (nearest(numbers[e], d, -8, 7) + 8) as u8);
        out[2..].copy_from_slice(&nibble_bytes(&codes));
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 2, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 47, float: 67 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (unit, block) in blocks.chunks_exact(BYTES).enumerate() {
            to.q(unit, word(&block[2..]).map(|w| w ^ 0x8888_8888));
        }
        let scales = blocks.chunks_exact(BYTES).map(|block| u16_at(block, 0));
        halves_row(0, scales, to);
    }
}
