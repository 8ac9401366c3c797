//! The GPU: which adapter, what it can do, and how WGSL becomes a recorded pass.
//!
//! `adapter` lists and chooses, `device` opens, `expand` turns a file of `shaders/` into one
//! module's text, `bounds` watches its indices where that is asked for, `raw` creates it without runtime checks, `pipeline` builds and caches what can be
//! dispatched, `store` keeps what was compiled on disk, `buffer` moves bytes, `limits` says what a device may use, and
//! `recorder` and `pace` keep submissions short.

mod adapter;
mod bounds;
mod buffer;
mod device;
mod expand;
mod limits;
mod pace;
mod pipeline;
mod raw;
mod recorder;
mod store;

pub use adapter::{AdapterChoice, AdapterSummary, adapters, choose};
pub use buffer::{Readback, align};
pub use device::{Checks, Error, Gpu, OpenOptions};
pub use expand::{Program, SHADERS, expand};
pub use limits::LimitProfile;
pub use pace::Pace;
pub use pipeline::{Binding, Bound, Dispatch, Pipeline};
pub use recorder::Recorder;
pub use store::Kept;
