//! An open device: queue, limits, features, and the errors that a driver reports late.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::adapter::{AdapterChoice, AdapterSummary, pick};
use super::limits::{LimitProfile, refuse_too_low};
use super::pipeline::PipelineCache;
use super::store::Store;
use crate::units::Bytes;

/// What can go wrong between us and the device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No adapter, or none that fits the choice.
    #[error("{0}")]
    Adapter(String),
    /// The driver would not open the device.
    #[error("the driver of {adapter} would not open a device: {reason}")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The device went away (driver reset, unplugged, out of memory).
    #[error(
        "the device was lost: {0}. Results of this run are not usable; start again, with a smaller batch or context if it repeats"
    )]
    Lost(String),
    /// A command was refused by validation or by the driver.
    #[error("the device refused a command: {0}")]
    Device(String),
    /// A shader that can't be expanded or a grid that the device can't run.
    #[error("{0}")]
    Kernel(String),
    /// The device has no memory left.
    #[error(
        "{what} needs {}, which {adapter} has no room for ({left}): give the KV cache less (--kv-cache-memory), or choose \
         a smaller batch or weight format",
        Bytes(*.asked)
    )]
    OutOfMemory {
        /// What was to be allocated.
        what: String,
        /// Bytes asked.
        asked: u64,
        /// The adapter's name.
        adapter: String,
        /// What is left, in words.
        left: String,
    },
    /// More memory was asked for than one buffer or binding may hold.
    #[error("{what} needs {asked} {unit}, but {adapter} allows {allowed}: {hint}")]
    TooLarge {
        /// What was to be allocated.
        what: String,
        /// How much of it.
        asked: u64,
        /// Of what.
        unit: &'static str,
        /// How much there is.
        allowed: u64,
        /// The adapter's name.
        adapter: String,
        /// What to do.
        hint: String,
    },
}

/// Whether modules watch their indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Unchecked (see `gpu/raw.rs` for why that is sound).
    #[default]
    Trusted,
    /// Every index is watched, as `doctor --checked` runs them (see [`Gpu::strays`]).
    Checked,
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Whether modules watch their indices.
    pub checks: Checks,
    /// The limits that it is held to.
    pub limits: LimitProfile,
    /// The folder where compiled pipelines are kept from start to start; `None` keeps none.
    pub pipelines: Option<PathBuf>,
}

/// Faults that arrive outside the call that caused them.
#[derive(Debug, Default)]
struct Faults {
    lost: OnceLock<String>,
    first: Mutex<Option<String>>,
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    /// The adapter's facts.
    pub adapter: AdapterSummary,
    /// Why this adapter was chosen.
    pub why: String,
    /// wgpu's device.
    pub device: wgpu::Device,
    /// wgpu's queue; commands go to it by [`Gpu::submit`], which counts.
    pub queue: wgpu::Queue,
    /// The device's limits.
    pub limits: wgpu::Limits,
    /// The features that are on.
    pub features: wgpu::Features,
    /// Whether modules are checked.
    pub checks: Checks,
    pub(super) pipelines: PipelineCache,
    pub(super) first_room: OnceLock<Result<super::memory::Room, String>>,
    faults: Arc<Faults>,
    submissions: AtomicU64,
}

/// What the kernels can use where it is there; each has a variant that runs without.
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);

impl Gpu {
    /// Opens the chosen adapter with all of its limits and every wanted feature that it has.
    ///
    /// # Errors
    /// When no adapter fits, or its driver refuses.
    pub fn open(choice: &AdapterChoice, checks: Checks) -> Result<Arc<Self>, Error> {
        Self::open_with(choice, &OpenOptions { checks, ..OpenOptions::default() })
    }

    /// As [`Gpu::open`], in every way.
    ///
    /// # Errors
    /// As [`Gpu::open`], and when no kernel could run under the limits.
    pub fn open_with(choice: &AdapterChoice, options: &OpenOptions) -> Result<Arc<Self>, Error> {
        let OpenOptions { checks, limits: profile, pipelines } = options;
        let (adapter, summary, why) = pick(choice).map_err(Error::Adapter)?;
        let asked = profile.limits(adapter.limits());
        refuse_too_low(&asked).map_err(|reason| {
            let hint =
                if *profile == LimitProfile::Adapter { "choose another adapter" } else { "raise --limits" };
            Error::Adapter(format!("{} can't run a model: {reason}; {hint}", summary.name))
        })?;
        let features = adapter.features() & WANTED;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("ridgepoint"),
            required_features: features,
            required_limits: asked,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        }))
        .map_err(|e| Error::Open { adapter: summary.name.clone(), reason: e.to_string() })?;

        let faults = Arc::new(Faults::default());
        let lost = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.lost.set(format!("{reason:?} {message}").trim().to_string());
        });
        let seen = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut first = seen.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }));
        let limits = device.limits();
        let store = pipelines.as_ref().filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE));
        let pipelines = PipelineCache::new(&device, store.map(|folder| Store::new(folder, &summary)));
        Ok(Arc::new(Self {
            adapter: summary,
            why,
            device,
            queue,
            limits,
            features,
            checks: *checks,
            pipelines,
            first_room: OnceLock::new(),
            faults,
            submissions: AtomicU64::new(0),
        }))
    }

    /// Whether a feature is on.
    pub fn has(&self, feature: wgpu::Features) -> bool {
        self.features.contains(feature)
    }

    /// The smallest subgroup that a kernel may meet here; 0 without subgroup operations.
    pub fn min_subgroup(&self) -> u32 {
        if self.has(wgpu::Features::SUBGROUP) { self.adapter.subgroup_size[0] } else { 0 }
    }

    /// Hands commands to the device; none, to send writes on their way. Every submission passes here.
    pub fn submit(&self, commands: impl IntoIterator<Item = wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.queue.submit(commands)
    }

    /// Submissions so far.
    pub fn submissions(&self) -> u64 {
        self.submissions.load(Ordering::Relaxed)
    }

    /// Reports a lost device or the first error since the last check.
    ///
    /// # Errors
    /// The loss or the error.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(reason) = self.faults.lost.get() {
            return Err(Error::Lost(reason.clone()));
        }
        let mut first = self.faults.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        first.take().map_or(Ok(()), |e| Err(Error::Device(e)))
    }

    /// Waits until everything submitted so far is done, and checks.
    ///
    /// # Errors
    /// A lost device, or an error since the last check.
    pub fn wait(&self) -> Result<(), Error> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map(|_| ()).map_err(|e| Error::Device(e.to_string()))
    }

    /// Waits until one submission is done, whatever was submitted after it, and checks.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<(), Error> {
        let polled =
            self.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
        if let Err(error) = polled {
            // A lost device takes no submission, so there is none to wait for: it is asked why.
            self.wait()?;
            return Err(Error::Device(error.to_string()));
        }
        self.check()
    }
}
