//! BF16: the upper half of an F32.

use half::bf16;

use super::pack::{copy_row, u16_at};
use super::{Format, RowWriter, Section, Unpacking};

/// See the module.
pub(super) struct BF16;

impl Format for BF16 {
    fn name(&self) -> &'static str {
        "BF16"
    }

    fn ggml_type(&self) -> u32 {
        30
    }

    fn block_len(&self) -> usize {
        1
    }

    fn block_bytes(&self) -> usize {
        2
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        out[0] = bf16::from_bits(u16_at(block, 0)).to_f32();
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        out.copy_from_slice(&bf16::from_f32(numbers[0]).to_le_bytes());
    }

    fn words(&self) -> usize {
        4
    }

    fn sections(&self) -> &'static [Section] {
        &[]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 32, float: 0 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        copy_row(blocks, to);
    }
}
