//! Pipelines: built once per program, bound to buffers, recorded into a pass.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::{Checks, Error, Gpu};
use super::expand::{Program, expand};
use super::raw;

/// How a binding is declared in the WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Uniform,
    Read,
    ReadWrite,
}

/// A program ready to run.
#[derive(Debug)]
pub struct Pipeline {
    /// The program's label, which captures and reports show.
    pub label: String,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    accesses: Vec<(u32, Access)>,
}

/// A buffer, or a part of one, for a binding.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The buffer.
    pub buffer: &'a wgpu::Buffer,
    /// Byte offset, aligned as the device wants it.
    pub offset: u64,
    /// Bytes, or all the rest.
    pub size: Option<u64>,
}

impl<'a> From<&'a wgpu::Buffer> for Binding<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self { buffer, offset: 0, size: None }
    }
}

/// A pipeline with its buffers: everything but the grid.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
}

/// One dispatch of a step.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a> {
    /// What runs.
    pub bound: &'a Bound,
    /// Workgroups along x, y, z.
    pub grid: [u32; 3],
}

/// A program's place: locked while it is built, so that others are built beside it.
type Slot = Arc<Mutex<Option<Arc<Pipeline>>>>;

#[derive(Debug, Default)]
pub(super) struct PipelineCache {
    slots: Mutex<BTreeMap<Program, Slot>>,
}

/// Reads `@group(0) @binding(N) var<...>` lines of an expanded module.
fn accesses(text: &str) -> Vec<(u32, Access)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("@group(0) @binding(") else { continue };
        let Some((index, rest)) = rest.split_once(')') else { continue };
        let access = if rest.contains("var<uniform>") {
            Access::Uniform
        } else if rest.contains("read_write") {
            Access::ReadWrite
        } else {
            Access::Read
        };
        if let Ok(index) = index.parse() {
            found.push((index, access));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    found
}

impl Gpu {
    /// The pipeline of a program, built at first use.
    ///
    /// # Errors
    /// When the program does not expand, or the driver refuses it.
    pub fn pipeline(&self, program: &Program) -> Result<Arc<Pipeline>, Error> {
        let slot = {
            let mut slots = self.pipelines.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(program.clone()).or_default())
        };
        let mut built = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = built.as_ref() {
            return Ok(Arc::clone(found));
        }
        let pipeline = Arc::new(self.build(program)?);
        *built = Some(Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn build(&self, program: &Program) -> Result<Pipeline, Error> {
        let label = program.label();
        let text = expand(program).map_err(Error::Kernel)?;
        let accesses = accesses(&text);
        let entries: Vec<wgpu::BindGroupLayoutEntry> = accesses
            .iter()
            .map(|&(binding, access)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&label),
            entries: &entries,
        });
        let module = match self.checks {
            Checks::Trusted => raw::trusted_module(&self.device, &label, &text),
            Checks::Checked => self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
            }),
        };
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                // Every kernel writes a slot of workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Kernel(format!("the kernel '{label}' was refused: {error}")));
        }
        Ok(Pipeline { label, pipeline, layout, accesses })
    }

    /// Binds buffers to a pipeline, in the order of its binding numbers.
    ///
    /// # Errors
    /// When the count differs from the shader's, or a binding breaks a limit.
    pub fn bind(&self, pipeline: &Arc<Pipeline>, bindings: &[Binding<'_>]) -> Result<Bound, Error> {
        if bindings.len() != pipeline.accesses.len() {
            return Err(Error::Kernel(format!(
                "the kernel '{}' has {} bindings, {} were given",
                pipeline.label,
                pipeline.accesses.len(),
                bindings.len()
            )));
        }
        let entries: Vec<wgpu::BindGroupEntry<'_>> = pipeline
            .accesses
            .iter()
            .zip(bindings)
            .map(|(&(binding, _), b)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: b.buffer,
                    offset: b.offset,
                    size: b.size.and_then(std::num::NonZero::new),
                }),
            })
            .collect();
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Kernel(format!("bindings of '{}' were refused: {error}", pipeline.label)));
        }
        Ok(Bound { pipeline: Arc::clone(pipeline), group })
    }
}

/// Records dispatches in order into one compute pass.
#[derive(Debug)]
pub struct Recorder<'a> {
    pass: wgpu::ComputePass<'a>,
    limit: u32,
}

impl Pipeline {
    /// The kernel's name: its file under `shaders/`.
    pub fn kernel(&self) -> &str {
        self.label.split(' ').next().unwrap_or_default()
    }
}

impl<'a> Recorder<'a> {
    /// Opens a pass.
    pub fn new(
        gpu: &Gpu,
        encoder: &'a mut wgpu::CommandEncoder,
        label: &str,
        timestamps: Option<wgpu::ComputePassTimestampWrites<'a>>,
    ) -> Self {
        let pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(label),
            timestamp_writes: timestamps,
        });
        Self { pass, limit: gpu.limits.max_compute_workgroups_per_dimension }
    }

    /// Writes a timestamp between dispatches, where the device can.
    pub fn stamp(&mut self, set: &wgpu::QuerySet, query: u32) {
        self.pass.write_timestamp(set, query);
    }

    /// Records one dispatch; an empty grid records nothing.
    ///
    /// # Errors
    /// When the grid is wider than the device allows.
    pub fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), Error> {
        let [x, y, z] = dispatch.grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        if dispatch.grid.iter().any(|&n| n > self.limit) {
            return Err(Error::Kernel(format!(
                "the kernel '{}' needs a grid of {x} x {y} x {z} workgroups; the device allows {} along each dimension: use a smaller --ubatch-size",
                dispatch.bound.pipeline.label, self.limit
            )));
        }
        self.pass.set_pipeline(&dispatch.bound.pipeline.pipeline);
        self.pass.set_bind_group(0, &dispatch.bound.group, &[]);
        self.pass.dispatch_workgroups(x, y, z);
        Ok(())
    }
}
