//! Whether the last bits of a result may depend on what else is in the step.
//!
//! Floating-point sums depend on their order. The fastest variant for one column splits K in another
//! way than the fastest for many, so a sequence's logits differ in their last bits with its
//! neighbours and with how its prompt was cut. Under [`Order::Fixed`] every sum has one order:
//!
//! * linear: one way to split K at every width. On software drivers that is a chain of multiply-adds
//!   along K in a lane ([`linear::Variant::Lanes`]), which the columns of a lane don't touch; on
//!   others the split over the lanes of a workgroup ([`linear::Variant::Split`]), at the price that
//!   long prompts go without tiles.
//! * attention: one lane layout whatever the chunk, keys in rounds that begin at multiples of the
//!   round's size, no split along the context.

use super::attention::{Splitting, Tile};
use super::rope_cache::Heads;
use super::{attention, broadcasts, linear};
use crate::gpu::Gpu;

/// The order of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Whatever is fastest for the step.
    #[default]
    Free,
    /// One that depends on the sequence alone.
    Fixed,
}

impl Order {
    /// The linear kernel's variant for `n` columns.
    pub fn linear(self, gpu: &Gpu, n: usize) -> linear::Variant {
        if self == Self::Free {
            return linear::Variant::choose(gpu, n);
        }
        let columns = [1, 2, 4].into_iter().find(|&c| n <= c as usize).unwrap_or(8);
        if broadcasts(gpu) { linear::Variant::Lanes { columns } } else { linear::Variant::Split { columns } }
    }

    /// Workgroups that share the keys of each of `tiles` along the context, where `rows` partial rows have
    /// room.
    pub fn splits(
        self,
        rule: Splitting,
        heads: &Heads,
        variant: attention::Variant,
        window: usize,
        tiles: &[Tile],
        rows: usize,
    ) -> usize {
        match self {
            Self::Free => rule.splits(heads, variant, window, tiles, rows),
            Self::Fixed => 1,
        }
    }

    /// The attention kernel's variant for a step whose longest run of tokens is `longest`.
    pub fn attention(self, gpu: &Gpu, heads: &Heads, longest: usize) -> attention::Variant {
        match self {
            Self::Free => attention::Variant::choose(gpu, heads, longest),
            // Right for chunks too, and there far ahead of a key per lane.
            Self::Fixed if broadcasts(gpu) => attention::Variant::Lanes { heads: 1 },
            Self::Fixed => attention::Variant::Tiled,
        }
    }
}
