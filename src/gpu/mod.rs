//! The GPU: which adapter, what it can do, and how WGSL becomes a recorded pass.
//!
//! `adapter` lists and chooses, `device` opens, `expand` turns a file of `shaders/` into one
//! module's text, `raw` creates it without runtime checks, `pipeline` builds and caches what can be
//! dispatched, `buffer` moves bytes, `memory` says how much of it there is. `translate` writes a module in the back ends' languages, and `isa`
//! asks drivers' compilers what they make of it.

mod adapter;
mod buffer;
mod device;
mod expand;
mod isa;
mod memory;
mod pipeline;
mod raw;
mod translate;

pub use adapter::{AdapterChoice, AdapterSummary, adapters, choose};
pub use buffer::{Readback, align};
pub use device::{Checks, Error, Gpu};
pub use expand::{Program, SHADERS, expand};
pub use isa::{Compiled, Compiler, IsaAdapter, Statistic, isa_adapters};
pub use memory::{Room, host_available};
pub use pipeline::{Binding, Bound, Dispatch, Pipeline, Recorder};
pub use translate::{Translation, Uses};
