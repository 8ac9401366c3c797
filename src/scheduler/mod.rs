//! Who computes what in the next step.
//!
//! There are no phases. Each sequence has a number of computed tokens that chases the number of
//! its tokens; a prompt's chunk and a decoded token differ only in how far behind it is. Each step
//! has one token budget: running sequences take from it first, in order of rank, then waiting ones
//! are admitted. When the cache's blocks run out, the sequence of the last rank gives up its
//! blocks, keeps its output, and is computed again later.
//!
//! The scheduler is pure: no GPU, no clock, no thread. A step costs time in proportion to the
//! running sequences, whatever the number waiting, and allocates nothing in steady state.
//!
//! The engine's loop, with the next step scheduled before this one's tokens are known if it likes:
//!
//! ```
//! use ridgepoint::cache::CacheConfig;
//! use ridgepoint::scheduler::{Batch, Progress, Request, Scheduler, SchedulerConfig};
//!
//! let mut scheduler = Scheduler::new(SchedulerConfig::default(), CacheConfig::new(64))?;
//! scheduler.add(Request::new(vec![1, 2, 3], 2))?;
//! let mut batch = Batch::default();
//! while scheduler.has_work() {
//!     scheduler.schedule(&mut batch);
//!     for item in batch.items() {
//!         // ... run the model on scheduler.row(item), sample where item.wants_token() ...
//!         let token = item.wants_token().then_some(7);
//!         if let Progress::Finished(sequence) = scheduler.complete(item, token)? {
//!             assert_eq!(sequence.output(), [7, 7]);
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod audit;
mod batch;
mod config;
mod fork;
mod results;
mod sequence;
mod state;
mod step;
mod store;

pub use admission::Refusal;
pub use batch::{Batch, BatchItem, Logits, Row, TokenSource};
pub use config::{ConfigError, Policy, SchedulerConfig};
pub use results::{CompletionError, Progress};
pub use sequence::{FinishReason, PrefixUse, PromptLogits, Request, SeqId, Sequence, Status};
pub use state::Scheduler;
