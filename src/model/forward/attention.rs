//! What of a layer lies between its Q, K and V and its output's product: rotation with cache write, attention,
//! and the putting together of its splits, for each buffer of the layer's cache.

use super::super::Error;
use super::super::op::{Attention, Intake};
use super::super::scratch::padded;
use super::{Builder, Forward, Op};
use crate::gpu::{Binding, Gpu};
use crate::kernels::attention::{self, Tile, merge};
use crate::kernels::rope_cache::{self, Heads, QkNorm};

impl Builder<'_> {
    /// `caches`: the layer's buffers; `gains`: of the norm of heads, where there is one.
    pub(super) fn attention(
        &mut self,
        caches: &[wgpu::Buffer],
        gains: Option<&wgpu::Buffer>,
        heads: Heads,
    ) -> Result<(), Error> {
        let (gpu, scratch, sections) = (self.gpu, self.scratch, self.sections);
        let parts = caches.len();
        let part = heads.part(parts);
        let norm = if gains.is_some() { QkNorm::On(self.hyper.rms_eps) } else { QkNorm::Off };
        let pipeline = gpu.pipeline(&rope_cache::program(&heads, parts, norm))?;
        for (i, cache) in caches.iter().enumerate() {
            let params = self.uniform("rope", &rope_cache::params(norm, i * part.kv_heads));
            let mut bindings: Vec<Binding<'_>> = vec![
                (&params).into(),
                self.step(),
                (&scratch.qkv).into(),
                (&scratch.angles).into(),
                self.part(sections.places),
                (&scratch.q).into(),
                cache.into(),
            ];
            bindings.extend(gains.map(Binding::from));
            let bound = gpu.bind(&pipeline, &bindings)?;
            self.ops.push(Op::Rope { bound, norm, turned: heads.turned(i, parts) });
        }
        let window = self.hyper.sliding_window.unwrap_or(0);
        let o_stride = padded(heads.heads * heads.dim) / 4;
        let pipeline = gpu.pipeline(&merge::program())?;
        for (i, cache) in caches.iter().enumerate() {
            let intake = |kind, input: &wgpu::Buffer, rotation| {
                let params = attention::params(&heads, (i, parts), window, o_stride, kind);
                let params = gpu.uniform_with("attention", &params);
                Intake { kind, params, input: input.clone(), rotation }
            };
            let mut rotation = vec![scratch.angles.clone()];
            rotation.extend(gains.cloned());
            self.ops.push(Op::Attention(Box::new(Attention {
                cache: cache.clone(),
                out: scratch.attended.clone(),
                partial: scratch.partial.clone(),
                cached: intake(attention::Intake::Cached, &scratch.q, Vec::new()),
                projected: intake(attention::Intake::Projected(norm), &scratch.qkv, rotation),
                step: scratch.step.clone(),
                tiles: sections.tiles,
                tables: sections.tables,
                twice: false,
                bound: Vec::new(),
            })));
            let params = merge::params(part.heads, part.dim, o_stride, i * part.heads);
            let params = self.uniform("merge", &params);
            let bindings =
                [(&params).into(), self.step(), (&scratch.partial).into(), (&scratch.attended).into()];
            self.ops.push(Op::Merge { bound: gpu.bind(&pipeline, &bindings)? });
        }
        Ok(())
    }
}

impl Forward {
    /// Workgroups that share the keys of each of a step's tiles along the context.
    pub fn splits(&self, gpu: &Gpu, longest: usize, tiles: &[Tile]) -> usize {
        let variant = self.order.attention(gpu, &self.part, longest);
        self.order.splits(self.splitting, &self.part, variant, self.window, tiles, self.partial_rows)
    }

    /// The least position below `context` at which a step of `n` tokens of one sequence is split, if there is one.
    pub fn splits_from(&self, gpu: &Gpu, n: usize, context: usize) -> Option<usize> {
        let position = (2 * self.splitting.keys).saturating_sub(n);
        let run = Tile { first: 0, tokens: n as u32, position: position as u32, table: 0 };
        let most = self.order.attention(gpu, &self.part, n).tile_tokens(&self.part);
        let tiles: Vec<Tile> = run.cut(most).collect();
        (position + n <= context && self.splits(gpu, n, &tiles) > 1).then_some(position)
    }
}
