//! Q5_1: 32 weights of 5 bits, `w = d * q + m`, q from 0 to 31.
//!
//! Block of 24 bytes: d and m (f16), 32 fifth bits (bit e is element e's), then 16 bytes of
//! nibbles (elements 0..16 low, 16..32 high). On the GPU: the nibbles as they are, the fifth bits
//! as [`fifth_bits`] lays them, and `d | m << 16` per unit.

use super::pack::{
    f16_at, fifth_bits, five_bit_codes, nearest, put_f16, put_five_bit_codes, range, u32_at, word,
};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 24;

/// See the module.
pub(super) struct Q5_1;

impl Format for Q5_1 {
    fn name(&self) -> &'static str {
        "Q5_1"
    }

    fn ggml_type(&self) -> u32 {
        7
    }

    fn block_len(&self) -> usize {
        UNIT
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        for (w, q) in out.iter_mut().zip(five_bit_codes(&block[4..])) {
            *w = d * f32::from(q) + m;
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        let (low, high) = range(numbers);
        let m = put_f16(out, 2, low);
        let d = put_f16(out, 0, (high - m) / 31.0);
        let codes = std::array::from_fn(|e| nearest(numbers[e] - m, d, 0, 31) as u8);
        put_five_bit_codes(&codes, &mut out[4..]);
    }

    fn words(&self) -> usize {
        1
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 1, words: 1 }, Section { units: 1, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 75, float: 98 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (unit, block) in blocks.chunks_exact(BYTES).enumerate() {
            to.q(unit, word(&block[8..]));
            to.aux(0, unit, fifth_bits(&five_bit_codes(&block[4..])));
            to.aux(1, unit, u32_at(block, 0));
        }
    }
}
