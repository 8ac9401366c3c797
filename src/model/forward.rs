//! The kernels of a step, in order: bound once to their buffers, dispatched every step.
//!
//! `h` is the residual stream. Per layer: QKV with the norm fused in; rotation and cache write;
//! attention; output, added to `h`; gate and up with norm and activation; down, added to `h`. In a step
//! of one token of each sequence, attention rotates and caches on the way; in one of few tiles and long
//! contexts it is split along the context, and its rows are put together after it.

mod attention;
mod counterfactual;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

pub use counterfactual::Counterfactual;

use super::Error;
use super::describe;
use super::op::{Attention, Linear, Way};
use super::plan::{Plan, Sections};
use super::scratch::{Scratch, padded};
use super::weights::{Matrix, Weights};
use crate::format::Hyper;
use crate::gpu::{Binding, Bound, Dispatch, Gpu};
use crate::kernels::attention::{Splitting, merge, partial_row};
use crate::kernels::linear::{Activation, Form, Params, collapse};
use crate::kernels::rope_cache::{Heads, QkNorm};
use crate::kernels::{Order, embed, gated, rope_cache};
use crate::profile::Dispatched;
use crate::quant::Format;

/// Told each dispatch of a step, with a way to say what it is.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Dispatch<'_>, &dyn Fn() -> Dispatched) -> Result<(), Error>;

/// One dispatch of a step, whatever its size.
#[derive(Debug)]
enum Op {
    Embed { bound: Bound, units: usize, format: &'static dyn Format, k: usize, held: Range<usize> },
    Linear(Linear),
    Rope { bound: Bound, norm: QkNorm, turned: Heads },
    Attention(Box<Attention>),
    Merge { bound: Bound },
    Gated { bound: Bound, activation: Activation, width: usize },
}

impl Op {
    /// Whether a step has it, whose attention runs in this way.
    fn runs(&self, way: Way) -> bool {
        match self {
            Self::Rope { .. } => !way.alone,
            Self::Merge { .. } => way.splits > 1,
            Self::Embed { .. } | Self::Linear(_) | Self::Attention(_) | Self::Gated { .. } => true,
        }
    }
}

/// All ops of a model.
#[derive(Debug)]
pub(super) struct Forward {
    /// The order of sums in the steps to come.
    pub order: Order,
    /// When their attention is split along the context.
    pub splitting: Splitting,
    heads: Heads,
    /// What one buffer of a layer's cache holds of them.
    part: Heads,
    window: usize,
    /// Partial rows that there is room for.
    partial_rows: usize,
    /// How the last step's attention ran.
    way: Option<Way>,
    ops: Vec<Op>,
    /// The head's ops, which run only where logits are wanted.
    head: Vec<Op>,
}

struct Builder<'a> {
    gpu: &'a Arc<Gpu>,
    hyper: &'a Hyper,
    scratch: &'a Scratch,
    sections: &'a Sections,
    ops: Vec<Op>,
}

/// Where a linear op reads and writes.
struct Wiring<'a> {
    x: &'a wgpu::Buffer,
    x_width: usize,
    y: &'a wgpu::Buffer,
    y_stride: usize,
    y_offset: usize,
    gain: Option<&'a wgpu::Buffer>,
    bias: Option<&'a wgpu::Buffer>,
}

impl Builder<'_> {
    fn uniform(&self, what: &str, bytes: &[u8]) -> wgpu::Buffer {
        self.gpu.uniform_with(what, bytes)
    }

    fn step(&self) -> Binding<'_> {
        self.part((0, 16))
    }

    fn part(&self, (offset, size): (u64, u64)) -> Binding<'_> {
        Binding { buffer: &self.scratch.step, offset, size: Some(size) }
    }

    fn embed(&mut self, m: &Matrix) -> Result<(), Error> {
        for shard in &m.shards {
            let stride = padded(m.k) / 4;
            let params = self.uniform("embed", &embed::params(&shard.layout, m.k, stride, 1.0, shard.first));
            let pipeline = self.gpu.pipeline(&embed::program(m.format))?;
            let bindings = [
                (&params).into(),
                self.step(),
                (&shard.q).into(),
                (&shard.aux).into(),
                self.part(self.sections.ids),
                (&self.scratch.h).into(),
            ];
            let bound = self.gpu.bind(&pipeline, &bindings)?;
            let (units, held) = (shard.layout.units, shard.first..shard.first + shard.outputs);
            self.ops.push(Op::Embed { bound, units, format: m.format, k: m.k, held });
        }
        Ok(())
    }

    fn linear(&mut self, m: &Matrix, form: Form, w: &Wiring<'_>) -> Result<(), Error> {
        for shard in &m.shards {
            let out_rows = shard.outputs;
            let params = Params {
                layout: shard.layout,
                k: m.k,
                x_stride: w.x_width / 4,
                y_stride: w.y_stride,
                y_offset: w.y_offset + shard.first,
                out_rows,
                eps: self.hyper.rms_eps,
                bias_offset: w.y_offset + shard.first,
            };
            let mut buffers = vec![
                self.uniform("linear", &params.bytes()),
                shard.q.clone(),
                shard.aux.clone(),
                w.x.clone(),
                w.y.clone(),
            ];
            buffers.extend(w.gain.cloned());
            buffers.extend(w.bias.cloned());
            self.ops.push(Op::Linear(Linear {
                form,
                m: out_rows * if form.gate.is_some() { 2 } else { 1 },
                k: m.k,
                format: m.format,
                buffers,
                step: self.scratch.step.clone(),
                picks: form.pick.then_some(self.sections.picks),
                twice: false,
                collapsed: false,
                bound: HashMap::new(),
            }));
        }
        Ok(())
    }
}

impl Forward {
    pub fn new(
        gpu: &Arc<Gpu>,
        hyper: &Hyper,
        activation: Activation,
        weights: &Weights,
        scratch: &Scratch,
        caches: &[wgpu::Buffer],
        parts: usize,
        heads: Heads,
        sections: &Sections,
    ) -> Result<Self, Error> {
        let mut b = Builder { gpu, hyper, scratch, sections, ops: Vec::new() };
        let hidden = padded(hyper.hidden);
        let q_rows = hyper.heads * hyper.head_dim;
        let qkv_rows = q_rows + 2 * hyper.kv_heads * hyper.head_dim;
        b.embed(&weights.embedding)?;
        let normed = Form { norm: true, ..Form::default() };
        let added = Form { residual: true, ..Form::default() };
        for (layer, cache) in weights.layers.iter().zip(caches.chunks(parts)) {
            let mut y_offset = 0;
            for m in &layer.qkv {
                let bias = layer.qkv_bias.as_ref();
                let form = Form { bias: bias.is_some(), ..normed };
                let gain = Some(&layer.attention_norm);
                b.linear(
                    m,
                    form,
                    &Wiring {
                        x: &scratch.h,
                        x_width: hidden,
                        y: &scratch.qkv,
                        y_stride: qkv_rows,
                        y_offset,
                        gain,
                        bias,
                    },
                )?;
                y_offset += m.outputs;
            }
            b.attention(cache, layer.qk_norm.as_ref(), heads)?;
            let bias = layer.output_bias.as_ref();
            let form = Form { bias: bias.is_some(), ..added };
            b.linear(
                &layer.output,
                form,
                &Wiring {
                    x: &scratch.attended,
                    x_width: padded(q_rows),
                    y: &scratch.h,
                    y_stride: hidden,
                    y_offset: 0,
                    gain: None,
                    bias,
                },
            )?;
            let gain = Some(&layer.ffn_norm);
            let width = padded(hyper.intermediate);
            match (&scratch.gate_up, layer.gate_up.as_slice()) {
                (_, [paired]) => {
                    let form = Form { gate: Some(activation), ..normed };
                    b.linear(
                        paired,
                        form,
                        &Wiring {
                            x: &scratch.h,
                            x_width: hidden,
                            y: &scratch.mlp,
                            y_stride: width,
                            y_offset: 0,
                            gain,
                            bias: None,
                        },
                    )?;
                }
                (Some(gate_up), apart) => {
                    let mut y_offset = 0;
                    for m in apart {
                        b.linear(
                            m,
                            normed,
                            &Wiring {
                                x: &scratch.h,
                                x_width: hidden,
                                y: gate_up,
                                y_stride: 2 * hyper.intermediate,
                                y_offset,
                                gain,
                                bias: None,
                            },
                        )?;
                        y_offset += m.outputs;
                    }
                    let params = b.uniform("gated", &gated::params(hyper.intermediate, width));
                    let pipeline = gpu.pipeline(&gated::program(activation))?;
                    let bound = gpu.bind(
                        &pipeline,
                        &[(&params).into(), b.step(), gate_up.into(), (&scratch.mlp).into()],
                    )?;
                    b.ops.push(Op::Gated { bound, activation, width: hyper.intermediate });
                }
                (None, _) => return Err(Error::Step("gate and up lie apart, but have no buffer".into())),
            }
            b.linear(
                &layer.down,
                added,
                &Wiring {
                    x: &scratch.mlp,
                    x_width: width,
                    y: &scratch.h,
                    y_stride: hidden,
                    y_offset: 0,
                    gain: None,
                    bias: None,
                },
            )?;
        }
        let ops = std::mem::take(&mut b.ops);
        let form = Form { pick: true, ..normed };
        b.linear(
            weights.head(),
            form,
            &Wiring {
                x: &scratch.h,
                x_width: hidden,
                y: &scratch.logits,
                y_stride: hyper.vocab,
                y_offset: 0,
                gain: Some(&weights.final_norm),
                bias: None,
            },
        )?;
        let row = 4 * partial_row(hyper.head_dim) as u64;
        Ok(Self {
            order: Order::default(),
            splitting: Splitting::of(gpu),
            heads,
            part: heads.part(parts),
            window: hyper.sliding_window.unwrap_or(0),
            partial_rows: (scratch.partial.size() / row) as usize,
            way: None,
            ops,
            head: b.ops,
        })
    }

    /// Builds what steps of these sizes (tokens of one sequence, logits of the last) will run.
    pub fn prepare(&mut self, gpu: &Gpu, tokens: &[usize]) -> Result<(), Error> {
        let order = self.order;
        for &n in tokens {
            for op in &mut self.ops {
                match op {
                    Op::Linear(l) => drop(l.bound(gpu, n, order)?),
                    Op::Attention(a) => {
                        let variant = order.attention(gpu, &self.part, n);
                        let alone = n == 1 && variant.rotates(&self.part);
                        a.bound(gpu, &self.part, Way { variant, alone, splits: 1 })?;
                    }
                    Op::Embed { .. } | Op::Rope { .. } | Op::Merge { .. } | Op::Gated { .. } => {}
                }
            }
        }
        for op in &mut self.head {
            if let Op::Linear(l) = op {
                l.bound(gpu, 1, order)?;
            }
        }
        Ok(())
    }

    /// Hands out a step's dispatches in order, each with a way to say what it is. `longest` is the
    /// longest run of tokens of one sequence.
    pub fn each(&mut self, gpu: &Gpu, plan: &Plan, longest: usize, visit: Visit<'_>) -> Result<(), Error> {
        let (n, heads, part, order) = (plan.tokens, self.heads, self.part, self.order);
        let window = self.window;
        let variant = order.attention(gpu, &part, longest);
        let alone = longest == 1 && variant.rotates(&part);
        let way = Way { variant, alone, splits: plan.splits };
        self.way = Some(way);
        let distinct = OnceCell::new();
        // The same in every layer, and asked for only where a step is described.
        let rows = || *distinct.get_or_init(|| plan.distinct_rows(part.block, window));
        for op in self.ops.iter_mut().filter(|op| op.runs(way)) {
            match op {
                Op::Embed { bound, units, format, k, held } => {
                    let dispatch = Dispatch { bound, grid: embed::grid(*units, n) };
                    visit(dispatch, &|| describe::embed(dispatch, *format, *k, held, plan.ids()))?;
                }
                Op::Linear(l) => linear(l, gpu, n, order, visit)?,
                Op::Rope { bound, norm, turned } => {
                    let dispatch = Dispatch { bound, grid: rope_cache::grid(&heads, n) };
                    visit(dispatch, &|| describe::rope(dispatch, turned, *norm, n))?;
                }
                Op::Attention(a) => {
                    let grid = variant.grid(&part, plan.tiles.len(), way.splits);
                    let (intake, bound) = a.bound(gpu, &part, way)?;
                    let dispatch = Dispatch { bound, grid };
                    visit(dispatch, &|| {
                        describe::attention(dispatch, &part, window, &plan.tiles, way, intake, rows())
                    })?;
                }
                Op::Merge { bound } => {
                    let dispatch = Dispatch { bound, grid: merge::grid(part.heads, part.dim, n) };
                    visit(dispatch, &|| describe::merge(dispatch, &part, way.splits, n))?;
                }
                Op::Gated { bound, activation, width } => {
                    let dispatch = Dispatch { bound, grid: gated::grid(*width, n) };
                    visit(dispatch, &|| describe::gated(dispatch, *activation, *width, n))?;
                }
            }
        }
        if plan.outputs == 0 {
            return Ok(());
        }
        for op in &mut self.head {
            if let Op::Linear(l) = op {
                linear(l, gpu, plan.outputs, order, visit)?;
            }
        }
        Ok(())
    }
}

fn linear(l: &mut Linear, gpu: &Gpu, n: usize, order: Order, visit: Visit<'_>) -> Result<(), Error> {
    let (form, m, k, format, collapsed) = (l.form, l.m, l.k, l.format, l.collapsed);
    let (variant, bound) = l.bound(gpu, n, order)?;
    let dispatch = Dispatch { bound, grid: variant.grid(form, m, n) };
    visit(dispatch, &|| {
        let real = describe::linear(dispatch, format, form, m, k, n, variant);
        if collapsed { Dispatched { cost: collapse(real.cost, format, k), ..real } } else { real }
    })
}
