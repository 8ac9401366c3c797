//! The step loop: schedule, plan, run, sample, emit.
//!
//! An [`Engine`] owns a loaded model, its tokenizer and a scheduler. Requests go in by
//! [`Engine::add`]; each [`Engine::step`] computes one batch and hands out [`Event`]s. It never
//! imports `roofline`: whoever reports joins its records with ceilings.

mod group;
mod live;
mod options;
mod prompt;
mod request;
mod results;
pub mod service;
mod state;
mod stats;
mod step;
pub mod stream;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use group::Group;
use live::Live;
pub use options::{Ahead, Options, Spans};
pub use request::{
    Event, Finish, FinishedRequest, GenerationRequest, Pooling, PromptOutput, RequestId, StopCause, Timings,
    Wanted,
};
pub use stats::{Computed, Counters, Parts, Spanned, Stats, StepRecord};
use step::Flight;
use watch::Watching;

use crate::cache::Salt;
use crate::format;
use crate::format::Tokenizer;
use crate::model::{self, Results, Runner};
use crate::profile::StepTime;
use crate::sample::ParamError;
use crate::scheduler::{
    Batch, CompletionError, ConfigError, PrefixUse, PromptLogits, Refusal, Scheduler, SchedulerConfig, SeqId,
};

/// What can go wrong with the engine or a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model or the device; the engine can't go on.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Settings that contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A request that can't be served as asked.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A request that does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A prompt that the tokenizer or the model's vocabulary can't take.
    #[error("{0}")]
    Prompt(String),
    /// The tokenizer.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// Steps that can't be watched.
    #[error("{0}")]
    Unwatched(String),
    /// Results that don't belong to what was scheduled: a fault of the engine.
    #[error(transparent)]
    Completion(#[from] CompletionError),
}

/// A model that serves requests.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    live: HashMap<SeqId, Live>,
    groups: HashMap<RequestId, Group>,
    next_id: u64,
    options: Options,
    /// A step that runs while the one before it was handled.
    flight: Option<Flight>,
    /// Batches to use again.
    spare: Vec<Batch>,
    /// When the last step's results were there.
    done: Option<Instant>,
    times: StepTime,
    results: Results,
    /// A row of logits that a sampler may change.
    row: Vec<f32>,
    last: StepRecord,
    counters: Counters,
    /// The step whose span comes with the next one.
    unspanned: Option<Computed>,
    watching: Option<Watching>,
}

impl Engine {
    /// An engine around a loaded model. The runner's limits bound the scheduler's.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(runner: Runner, tokenizer: Arc<Tokenizer>, config: SchedulerConfig) -> Result<Self, Error> {
        Self::with_options(runner, tokenizer, config, Options::default())
    }

    /// An engine that runs its steps by `options`.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_options(
        mut runner: Runner,
        tokenizer: Arc<Tokenizer>,
        mut config: SchedulerConfig,
        mut options: Options,
    ) -> Result<Self, Error> {
        runner.set_order(options.order);
        runner.set_spans(options.spans == Spans::On);
        options.ahead = options.ahead.on(&runner.gpu);
        let l = runner.limits;
        config.max_num_seqs = config.max_num_seqs.min(l.sequences.min(l.outputs) as u32);
        config.max_num_logits = config.max_num_logits.min(l.outputs as u32);
        config.max_num_batched_tokens = config.max_num_batched_tokens.min(l.tokens as u32);
        config.max_model_len = config.max_model_len.min(l.context as u32);
        let scheduler = Scheduler::new(config, l.cache)?;
        Ok(Self {
            runner,
            tokenizer,
            scheduler,
            live: HashMap::new(),
            groups: HashMap::new(),
            next_id: 0,
            options,
            flight: None,
            spare: Vec::new(),
            done: None,
            times: StepTime::default(),
            results: Results::default(),
            row: Vec::new(),
            last: StepRecord::default(),
            counters: Counters::default(),
            unspanned: None,
            watching: None,
        })
    }

    /// The loaded model.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The scheduler: queue lengths, cache use, counters.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// What the last step did.
    pub fn last_step(&self) -> StepRecord {
        self.last
    }

    /// What is known of the time that steps take.
    pub fn step_time(&self) -> &StepTime {
        &self.times
    }

    /// Builds the kernels that a prompt of `prompt` tokens and the decode after it will run.
    ///
    /// # Errors
    /// When the driver refuses a kernel.
    pub fn prepare(&mut self, prompt: usize) -> Result<(), Error> {
        let most = self.runner.limits.tokens;
        let last_chunk = prompt % most;
        let mut sizes = vec![1, prompt.clamp(1, most)];
        sizes.extend((last_chunk > 0).then_some(last_chunk));
        Ok(self.runner.prepare(&sizes)?)
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When it is malformed, names unknown tokens, or could never fit.
    pub fn add(&mut self, request: GenerationRequest) -> Result<RequestId, Error> {
        self.take(&request, false)
    }

    /// Takes requests that came together in, all or none; only the first has others' in front of it.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_all(&mut self, requests: &[GenerationRequest]) -> Result<Vec<RequestId>, Error> {
        let mut taken = Vec::with_capacity(requests.len());
        for request in requests {
            match self.take(request, !taken.is_empty()) {
                Ok(id) => taken.push(id),
                Err(error) => {
                    taken.into_iter().for_each(|id| self.abort(id));
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn take(&mut self, request: &GenerationRequest, companion: bool) -> Result<RequestId, Error> {
        let vocab = self.runner.hyper.vocab;
        request.params.validate(vocab)?;
        if request.prompt.is_empty() {
            return Err(Error::Prompt("the prompt is empty: expected at least one token".into()));
        }
        if let Some(id) = request.prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Prompt(format!(
                "the prompt's token id {id} is not below the model's vocabulary of {vocab}"
            )));
        }
        if !request.wanted.text() && request.params.choices() > 1 {
            return Err(Error::Prompt("no text is wanted, so there is one choice: expected n = 1".into()));
        }
        let room = (self.runner.limits.context as u32).saturating_sub(request.prompt.len() as u32);
        let max_tokens =
            if request.wanted.text() { request.params.max_tokens.unwrap_or(room).max(1) } else { 0 };
        let mut scheduled = crate::scheduler::Request::new(request.prompt.clone(), max_tokens);
        if request.wanted != Wanted::Text {
            scheduled.prefix_use = PrefixUse::Recompute;
        }
        if let Wanted::Prompt(_) | Wanted::PromptAndText(_) = request.wanted {
            scheduled.prompt_logits = PromptLogits::Each;
        }
        scheduled.priority = request.priority;
        scheduled.companion = companion;
        scheduled.salt = request.cache_salt.as_deref().map_or_else(Salt::default, Salt::of);
        let seq = self.scheduler.add(scheduled)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.counters.requests += 1;
        self.groups.insert(id, Group::new(request.params.choices(), request.params.n, seq));
        self.live.insert(seq, Live::new(id, request, self.tokenizer.eos_ids()));
        Ok(id)
    }

    /// Ends a request that nobody waits for any more, with all of its choices, and frees their
    /// blocks; no more of its events come. Unknown ids are passed over.
    pub fn abort(&mut self, id: RequestId) {
        let Some(group) = self.groups.remove(&id) else { return };
        for seq in group.open {
            self.scheduler.abort(seq);
            self.live.remove(&seq);
            self.counters.aborted += 1;
        }
    }

    /// Forgets every cached prefix that no running request holds; says how many blocks could be found
    /// before.
    pub fn reset_prefix_cache(&mut self) -> u32 {
        self.scheduler.reset_prefix_cache()
    }

    /// What holds now, and the counts since the start.
    pub fn stats(&self) -> Stats {
        let cache = self.scheduler.cache();
        Stats {
            running: self.scheduler.num_running(),
            waiting: self.scheduler.num_waiting(),
            queued_tokens: self.scheduler.queued_tokens(),
            blocks: cache.pool().total(),
            blocks_used: cache.pool().used(),
            blocks_cached: cache.indexed(),
            block_size: cache.config().block_size,
            cache_type: self.runner.limits.cache_type,
            prefix: cache.counters(),
            counters: Counters { preemptions: self.scheduler.preemptions(), ..self.counters },
        }
    }

    /// Whether any request is not finished.
    pub fn has_work(&self) -> bool {
        self.scheduler.has_work()
    }
}
