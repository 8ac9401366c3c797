//! A step that differs in one thing, to see what its kernels wait for. Its results mean nothing; no
//! kernel's control flow depends on data, so its time does.

use super::{Forward, Op};
use crate::gpu::Gpu;
use crate::kernels::linear::STRIDE;
use crate::quant::BAND;

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counterfactual {
    /// Nothing.
    Real,
    /// Weights and rows of the cache are unpacked twice and multiplied twice, and broadcast twice where
    /// lanes do that. Loads, staging and barriers, the norm and the softmax are the same.
    Twice,
    /// Weights are one unit of each row, loaded as often as there are units: as many instructions,
    /// a fraction of the bytes. (What attention loads is its block tables', so its caller's.)
    Collapsed,
}

impl Forward {
    /// Changes the dispatches that `of` names by their place in the last step, which gave logits; the
    /// others become real again.
    pub fn counterfactual(&mut self, gpu: &Gpu, change: Counterfactual, of: &dyn Fn(usize) -> bool) {
        let way = self.way;
        let ops = self.ops.iter_mut().chain(&mut self.head);
        let ops = ops.filter(|op| way.is_none_or(|way| op.runs(way)));
        for (at, op) in ops.enumerate() {
            let change = if of(at) { change } else { Counterfactual::Real };
            let twice = change == Counterfactual::Twice;
            match op {
                Op::Linear(l) => {
                    l.twice = twice;
                    l.collapsed = change == Counterfactual::Collapsed;
                    if let Some(params) = l.buffers.first() {
                        let stride = if l.collapsed { 0 } else { BAND as u32 };
                        gpu.write(params, STRIDE, &stride.to_le_bytes());
                    }
                }
                Op::Attention(a) => a.twice = twice,
                Op::Embed { .. } | Op::Rope { .. } | Op::Merge { .. } | Op::Gated { .. } => {}
            }
        }
        // Else the next step would carry these writes.
        gpu.submit([]);
    }
}
