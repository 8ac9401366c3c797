//! F16: IEEE 754 half precision.

use super::pack::{copy_row, f16_at, put_f16};
use super::{Format, RowWriter, Section, Unpacking};

/// See the module.
pub(super) struct F16;

impl Format for F16 {
    fn name(&self) -> &'static str {
        "F16"
    }

    fn ggml_type(&self) -> u32 {
        1
    }

    fn block_len(&self) -> usize {
        1
    }

    fn block_bytes(&self) -> usize {
        2
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        out[0] = f16_at(block, 0);
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        put_f16(out, 0, numbers[0]);
    }

    fn words(&self) -> usize {
        4
    }

    fn sections(&self) -> &'static [Section] {
        &[]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 0, float: 32 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        copy_row(blocks, to);
    }
}
