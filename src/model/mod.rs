//! A model on the GPU: which architecture a file holds (`models/*.toml`), its weights in the GPU's
//! layouts, the plan of a step, and the kernels that a step runs.

mod architecture;
mod describe;
mod fit;
mod footprint;
mod forward;
mod op;
mod plan;
mod reference;
mod runner;
mod scratch;
mod weights;

pub use architecture::{ARCHITECTURES, Architecture, Tensor};
pub use footprint::{CacheBudget, Footprint, SOFTWARE_CACHE, gpu_bytes};
pub use forward::Counterfactual;
pub use plan::{Entry, Outputs};
pub use reference::Reference;
pub use runner::{Feed, Held, HostWork, InFlight, Limits, Memory, Profile, Results, Runner, Want};
pub use weights::LoadProgress;

use std::path::PathBuf;

use crate::{format, gpu};

/// What can go wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error(transparent)]
    File(#[from] format::Error),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// A model that this engine can't run, and why.
    #[error("{path}: {what}")]
    Unsupported {
        /// The model's path.
        path: PathBuf,
        /// What was expected, what was found, what to do.
        what: String,
    },
    /// Memory that isn't there, what would fit, and by which flag.
    #[error("{0}")]
    Memory(String),
    /// A step that can't be run as asked.
    #[error("{0}")]
    Step(String),
}
