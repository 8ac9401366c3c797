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
    /// Whether unpacking and products are done twice: a counterfactual.
    pub twice: bool,
    /// Whether only the first unit of each row is read, again and again: another one.
    pub collapsed: bool,
    pub bound: HashMap<(linear::Variant, bool), Bound>,
}

impl Linear {
    pub fn bound(&mut self, gpu: &Gpu, n: usize, order: Order) -> Result<(linear::Variant, &Bound), Error> {
        let variant = order.linear(gpu, n);
        let key = (variant, self.twice);
        if !self.bound.contains_key(&key) {
            let program = variant.program(self.format, self.form).flags(self.twice.then_some("TWICE"));
            let pipeline = gpu.pipeline(&program)?;
            let (params, rest) =
                self.buffers.split_first().ok_or_else(|| Error::Step("no buffers".into()))?;
            let step = Binding { buffer: &self.step, offset: 0, size: Some(16) };
            let mut bindings = vec![Binding::from(params), step];
            bindings.extend(rest.iter().map(Binding::from));
            if let Some((offset, size)) = self.picks {
                bindings.push(Binding { buffer: &self.step, offset, size: Some(size) });
            }
            self.bound.insert(key, gpu.bind(&pipeline, &bindings)?);
        }
        Ok((variant, &self.bound[&key]))
    }
}

/// An attention op over one buffer of a layer's cache: which variant runs depends on the step.
#[derive(Debug)]
pub(super) struct Attention {
    pub cache: wgpu::Buffer,
    pub out: wgpu::Buffer,
    /// What is written in place of `out` where workgroups share a tile's keys.
    pub partial: wgpu::Buffer,
    /// What comes in where queries are rotated and the cache is filled before.
    pub cached: Intake,
    /// What comes in where a step computes one token of each sequence.
    pub projected: Intake,
    pub step: wgpu::Buffer,
    pub tiles: (u64, u64),
    pub tables: (u64, u64),
    /// As [`Linear::twice`].
    pub twice: bool,
    pub bound: Vec<((attention::Variant, [bool; 3]), Bound)>,
}

/// How the attention of a step runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub variant: attention::Variant,
    /// Each sequence has one token in the step, which attention rotates and caches itself.
    pub alone: bool,
    /// Workgroups that share a tile's keys along the context.
    pub splits: usize,
}

/// One way into attention: parameters, what is read, and what the rotation needs.
#[derive(Debug)]
pub(super) struct Intake {
    pub kind: attention::Intake,
    pub params: wgpu::Buffer,
    pub input: wgpu::Buffer,
    pub rotation: Vec<wgpu::Buffer>,
}

impl Attention {
    pub fn bound(
        &mut self,
        gpu: &Gpu,
        heads: &Heads,
        Way { variant, alone, splits }: Way,
    ) -> Result<(attention::Intake, &Bound), Error> {
        let split = splits > 1;
        let key = (variant, [alone, split, self.twice]);
        let intake = if alone { &self.projected } else { &self.cached };
        let at = match self.bound.iter().position(|(k, _)| *k == key) {
            Some(at) => at,
            None => {
                let program = variant.program(heads, intake.kind, splits);
                let pipeline = gpu.pipeline(&program.flags(self.twice.then_some("TWICE")))?;
                let part = |(offset, size)| Binding { buffer: &self.step, offset, size: Some(size) };
                let mut bindings = vec![
                    (&intake.params).into(),
                    part((0, 16)),
                    (&intake.input).into(),
                    (&self.cache).into(),
                    part(self.tiles),
                    part(self.tables),
                    if split { &self.partial } else { &self.out }.into(),
                ];
                bindings.extend(intake.rotation.iter().map(Binding::from));
                self.bound.push((key, gpu.bind(&pipeline, &bindings)?));
                self.bound.len() - 1
            }
        };
        Ok((intake.kind, &self.bound[at].1))
    }
}
