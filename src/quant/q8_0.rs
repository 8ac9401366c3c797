//! Q8_0: 32 weights of 8 bits, `w = d * q`, q from -128 to 127.
//!
//! Block of 34 bytes: d (f16), then 32 signed bytes. On the GPU: the bytes as they are; the d of
//! two units in one word.

use super::pack::{f16_at, halves_row, nearest, peak, put_f16, u16_at, word};
use super::{Format, RowWriter, Section, UNIT, Unpacking};

const BYTES: usize = 34;

/// See the module.
pub(super) struct Q8_0;

impl Format for Q8_0 {
    fn name(&self) -> &'static str {
        "Q8_0"
    }

    fn ggml_type(&self) -> u32 {
        8
    }

    fn block_len(&self) -> usize {
        UNIT
    }

    fn block_bytes(&self) -> usize {
        BYTES
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        let d = f16_at(block, 0);
        for (w, &q) in out.iter_mut().zip(&block[2..]) {
            *w = d * f32::from(q as i8);
        }
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        let d = put_f16(out, 0, peak(numbers).abs() / 127.0);
        for (q, &x) in out[2..].iter_mut().zip(numbers) {
            *q = nearest(x, d, -127, 127) as u8;
        }
    }

    fn words(&self) -> usize {
        2
    }

    fn sections(&self) -> &'static [Section] {
        &[Section { units: 2, words: 1 }]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 35, float: 66 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        for (unit, block) in blocks.chunks_exact(BYTES).enumerate() {
            to.q(2 * unit, word(&block[2..18]));
            to.q(2 * unit + 1, word(&block[18..]));
        }
        halves_row(0, blocks.chunks_exact(BYTES).map(|block| u16_at(block, 0)), to);
    }
}
