//! Pipelines: built once per program, bound to buffers, recorded into a pass.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bounds::{Sound, watch};
use super::device::{Checks, Error, Gpu};
use super::expand::{Program, expand};
use super::raw;
use super::store::{Kept, Store};

/// How a binding is declared in the WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
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
    /// The arrays that a checked module watches.
    watched: Vec<String>,
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
    /// Where a checked module says which arrays were indexed outside their bounds.
    strays: Option<wgpu::Buffer>,
}

impl Bound {
    /// Records a dispatch of it.
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>, [x, y, z]: [u32; 3]) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
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
    /// What was bound with checks on and not asked about yet.
    watched: Mutex<Vec<Bound>>,
    /// Of each program that was built with checks on.
    sound: Mutex<Vec<Sound>>,
    /// The driver's own cache, and the file that it is kept in.
    driver: Option<(wgpu::PipelineCache, Store)>,
}

impl PipelineCache {
    /// Empty; what the driver compiles goes to `store` when asked, and begins with what it holds.
    pub fn new(device: &wgpu::Device, store: Option<Store>) -> Self {
        let driver = store.map(|store| (raw::pipeline_cache(device, store.read().as_deref()), store));
        Self { driver, ..Self::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `@group(0) @binding(N) var<...>` lines of an expanded module.
pub(super) fn accesses(text: &str) -> Vec<(u32, Access)> {
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

impl Pipeline {
    /// The kernel's name: its file under `shaders/`.
    pub fn kernel(&self) -> &str {
        self.label.split(' ').next().unwrap_or_default()
    }
}

impl Gpu {
    /// The pipeline of a program, built at first use.
    ///
    /// # Errors
    /// When the program does not expand, or the driver refuses it.
    pub fn pipeline(&self, program: &Program) -> Result<Arc<Pipeline>, Error> {
        let slot = {
            let mut slots = lock(&self.pipelines.slots);
            Arc::clone(slots.entry(program.clone()).or_default())
        };
        let mut built = lock(&slot);
        if let Some(found) = built.as_ref() {
            return Ok(Arc::clone(found));
        }
        let pipeline = Arc::new(self.build(program)?);
        *built = Some(Arc::clone(&pipeline));
        Ok(pipeline)
    }

    /// Keeps what the driver has compiled so far for the next start, where the device was opened with
    /// a folder for it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn keep_pipelines(&self) -> io::Result<Kept> {
        let Some((cache, store)) = &self.pipelines.driver else { return Ok(Kept::Off) };
        cache.get_data().map_or(Ok(Kept::Off), |data| store.write(&data))
    }

    fn build(&self, program: &Program) -> Result<Pipeline, Error> {
        let label = program.label();
        let mut text = expand(program).map_err(Error::Kernel)?;
        let mut watched = Vec::new();
        if self.checks == Checks::Checked {
            let module = watch(&text).map_err(|e| Error::Kernel(format!("the kernel '{label}': {e}")))?;
            lock(&self.pipelines.sound).push(module.sound);
            (text, watched) = (module.text, module.arrays);
        }
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
        let module = raw::trusted_module(&self.device, &label, &text);
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
            cache: self.pipelines.driver.as_ref().map(|(cache, _)| cache),
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Kernel(format!("the kernel '{label}' was refused: {error}")));
        }
        Ok(Pipeline { label, pipeline, layout, accesses, watched })
    }

    /// Binds buffers to a pipeline, in the order of its binding numbers.
    ///
    /// # Errors
    /// When the count differs from the shader's, or a binding breaks a limit.
    pub fn bind(&self, pipeline: &Arc<Pipeline>, bindings: &[Binding<'_>]) -> Result<Bound, Error> {
        let strays = match pipeline.watched.as_slice() {
            [] => None,
            _ => Some(self.storage("indices outside their bounds", 4)?),
        };
        let mut bindings = bindings.to_vec();
        bindings.extend(strays.as_ref().map(Binding::from));
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
            .zip(&bindings)
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
        let bound = Bound { pipeline: Arc::clone(pipeline), group, strays };
        if bound.strays.is_some() {
            lock(&self.pipelines.watched).push(bound.clone());
        }
        Ok(bound)
    }

    /// Whether every index of everything that was bound since the last call, and has run, was within
    /// its array, and every loop ended: of a device with [`Checks::Checked`]. On any other nothing is known, and that is an
    /// error too.
    ///
    /// # Errors
    /// Names the kernel and the arrays of indices that strayed, or its loops.
    pub fn strays(&self) -> Result<(), Error> {
        if self.checks != Checks::Checked {
            return Err(Error::Kernel("indices are watched on a device with checks only".into()));
        }
        let watched = std::mem::take(&mut *lock(&self.pipelines.watched));
        watched.iter().try_for_each(|bound| self.strays_of(bound))
    }

    /// How each program that was built with [`Checks::Checked`] is known to be sound.
    pub fn sound(&self) -> Vec<Sound> {
        lock(&self.pipelines.sound).clone()
    }

    /// As [`Gpu::strays`], of one.
    ///
    /// # Errors
    /// As [`Gpu::strays`].
    pub fn strays_of(&self, bound: &Bound) -> Result<(), Error> {
        let Some(buffer) = &bound.strays else { return Ok(()) };
        let bits: u32 = bytemuck::pod_read_unaligned(&self.download(buffer, 0, 4)?);
        let names = bound.pipeline.watched.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        match names.as_slice() {
            [] => Ok(()),
            names => Err(Error::Kernel(format!(
                "the kernel '{}' goes beyond {}",
                bound.pipeline.label,
                names.join(", ")
            ))),
        }
    }
}
