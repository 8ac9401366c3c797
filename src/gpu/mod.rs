//! The GPU: which adapter, what it can do, and how WGSL becomes a recorded pass.
//!
//! `adapter` lists and chooses, `device` opens, `expand` turns a file of `shaders/` into one
//! module's text, `raw` creates it without runtime checks, `pipeline` builds and caches what can be
//! dispatched, `buffer` moves bytes, `memory` says how much of it there is.

mod adapter;
mod buffer;
mod device;
mod expand;
mod memory;
mod pipeline;
mod raw;

pub use adapter::{AdapterChoice, AdapterSummary, adapters, choose};
pub use buffer::{Readback, align};
pub use device::{Checks, Error, Gpu};
pub use expand::{Program, SHADERS, expand};
pub use memory::{Room, host_available};
pub use pipeline::{Binding, Bound, Dispatch, Pipeline, Recorder};
