//! Q5_0: 32 weights of 5 bits, `w = d * (q - 16)`, q from 0 to 31.
//!
//! Block of 22 bytes: d (f16), 32 fifth bits (bit e is element e's), then 16 bytes of nibbles
//! (elements 0..16 low, 16..32 high). On the GPU: `q - 16` in two's complement, its nibbles in
//! the same order, its fifth bits as [`fifth_bits`] lays them; the d of two units in one word.

use super::pack::{
    f16_at, fifth_bits, five_bit_codes, halves_row, nearest, peak, put_f16, put_five_bit_codes, u16_at, word,
};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 22;

/// See the module.
pub(super) struct Q5_0;

impl Format for Q5_0 {
    fn name(&self) -> &'static str {
        "Q5_0"
    }

    fn ggml_type(&self) -> u32 {
        6
    }

    fn block_len(&self) -> usize {
        UNIT
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let d = f16_at(block, 0);
        for (w, q) in out.iter_mut().zip(five_bit_codes(&block[2..])) {
            *w = d * f32::from(q as i8 - 16);
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        // The larger side gets the code that only it has: 0, which is -16 steps.
        let d = put_f16(out, 0, peak(numbers) / -16.0);
        let codes = std::array::from_fn(|e| (nearest(numbers[e], d, -16, 15) + 16) as u8);
        put_five_bit_codes(&codes, &mut out[2..]);
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 1, words: 1 }, Section { units: 2, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 74, float: 67 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (unit, block) in blocks.chunks_exact(BYTES).enumerate() {
            to.q(unit, word(&block[6..]));
            to.aux(0, unit, !fifth_bits(&five_bit_codes(&block[2..])));
        }
        let scales = blocks.chunks_exact(BYTES).map(|block| u16_at(block, 0));
        halves_row(1, scales, to);
    }
}
