//! F32: plain IEEE 754 single precision.

use super::pack::copy_row;
use super::{Format, RowWriter, Section, Unpacking};

/// See the module.
pub(super) struct F32;

impl Format for F32 {
    fn name(&self) -> &'static str {
        "F32"
    }

    fn ggml_type(&self) -> u32 {
        0
    }

    fn block_len(&self) -> usize {
        1
    }

    fn block_bytes(&self) -> usize {
        4
    }

    fn decode(&self, block: &[u8], out: &mut [f32]) {
        out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    }

    fn encode(&self, numbers: &[f32], out: &mut [u8]) {
        out.copy_from_slice(&numbers[0].to_le_bytes());
    }

    fn words(&self) -> usize {
        8
    }

    fn sections(&self) -> &'static [Section] {
        &[]
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { int: 0, float: 0 }
    }

    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>) {
        copy_row(blocks, to);
    }
}
