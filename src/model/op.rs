//! Ops whose variant depends on the step's size: bound once per variant, at first use.

use std::collections::HashMap;

use super::Error;
use crate::gpu::{Binding, Bound, Gpu};
use crate::kernels::linear::Form;
use crate::kernels::rope_cache::Heads;
use crate::kernels::{Order, attention, linear};

/// A linear op: which variant runs depends on the columns, what it is bound to does not.
#[derive(Debug)]
pub(super) struct Linear {
    pub form: Form,
    pub m: usize,
    pub k: usize,
    pub format: &'static dyn crate::quant::Format,
    pub buffers: Vec<wgpu::Buffer>,
    pub step: wgpu::Buffer,
    pub picks: Option<(u64, u64)>,
    pub bound: HashMap<linear::Variant, Bound>,
}

impl Linear {
    pub fn bound(&mut self, gpu: &Gpu, n: usize, order: Order) -> Result<(linear::Variant, &Bound), Error> {
        let variant = order.linear(gpu, n);
        if !self.bound.contains_key(&variant) {
            let pipeline = gpu.pipeline(&variant.program(self.format, self.form))?;
            let (params, rest) =
                self.buffers.split_first().ok_or_else(|| Error::Step("no buffers".into()))?;
            let step = Binding { buffer: &self.step, offset: 0, size: Some(16) };
            let mut bindings = vec![Binding::from(params), step];
            bindings.extend(rest.iter().map(Binding::from));
            if let Some((offset, size)) = self.picks {
                bindings.push(Binding { buffer: &self.step, offset, size: Some(size) });
            }
            self.bound.insert(variant, gpu.bind(&pipeline, &bindings)?);
        }
        Ok((variant, &self.bound[&variant]))
    }
}

#[derive(Debug)]
pub(super) struct Attention {
    pub buffers: [wgpu::Buffer; 4],
    pub step: wgpu::Buffer,
    pub tiles: (u64, u64),
    pub tables: (u64, u64),
    pub window: usize,
    pub bound: Vec<(attention::Variant, Bound)>,
}

impl Attention {
    pub fn bound(&mut self, gpu: &Gpu, heads: &Heads, variant: attention::Variant) -> Result<&Bound, Error> {
        let at = match self.bound.iter().position(|(v, _)| *v == variant) {
            Some(at) => at,
            None => {
                let pipeline = gpu.pipeline(&variant.program(heads))?;
                let part = |(offset, size)| Binding { buffer: &self.step, offset, size: Some(size) };
                let [params, q, cache, o] = &self.buffers;
                let bound = gpu.bind(
                    &pipeline,
                    &[
                        params.into(),
                        part((0, 16)),
                        q.into(),
                        cache.into(),
                        part(self.tiles),
                        part(self.tables),
                        o.into(),
                    ],
                )?;
                self.bound.push((variant, bound));
                self.bound.len() - 1
            }
        };
        Ok(&self.bound[at].1)
    }
}
