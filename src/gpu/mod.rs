//! The GPU: which adapter, what it can do, and how WGSL becomes a recorded pass.
//!
//! `adapter` lists and chooses, `device` opens, `expand` turns a file of `shaders/` into one
//! module's text, `bounds` watches its indices where that is asked for, `raw` creates it without
//! runtime checks, `pipeline` builds and caches what can be dispatched, `store` keeps on disk what
//! was compiled, `buffer` moves bytes, `memory` says how much of it there is, `limits` what a device
//! may use, `recorder` and `pace` keep submissions short. `translate` writes a module in the back
//! ends' languages, and `isa` asks drivers' compilers what they make of it.

mod adapter;
mod bounds;
mod buffer;
mod device;
mod expand;
mod isa;
mod limits;
mod memory;
mod pace;
mod pipeline;
mod raw;
mod recorder;
mod store;
mod translate;

pub use adapter::{AdapterChoice, AdapterSummary, adapters, choose};
pub use bounds::{Known, Sound};
pub use buffer::{Readback, align};
pub use device::{Checks, Error, Gpu, OpenOptions};
pub use expand::{Program, SHADERS, expand};
pub use isa::{Compiled, Compiler, IsaAdapter, Statistic, isa_adapters};
pub use limits::LimitProfile;
pub(crate) use memory::meminfo;
pub use memory::{Room, host_available};
pub use pace::Pace;
pub use pipeline::{Binding, Bound, Dispatch, Pipeline};
pub use recorder::Recorder;
pub use store::Kept;
pub use translate::{Translation, Uses};
