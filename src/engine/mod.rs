//! The step loop: schedule, plan, run, sample, emit.
//!
//! An [`Engine`] owns a loaded model, its tokenizer and a scheduler. Requests go in by
//! [`Engine::add`]; each [`Engine::step`] computes one batch and hands out [`Event`]s. It never
//! imports `roofline`: whoever reports joins its records with ceilings.

mod live;
mod request;
pub mod service;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use live::Live;
pub use request::{Event, Finish, FinishedRequest, GenerationRequest, RequestId, Timings};

use crate::format::Tokenizer;
use crate::model::{self, Entry, Outputs, Results, Runner, Want};
use crate::sample::{Needs, ParamError};
use crate::scheduler::{
    Batch, BatchItem, CompletionError, ConfigError, FinishReason, Refusal, Scheduler, SchedulerConfig, SeqId,
};
use crate::{format, kernels, sample};

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
    /// Results that don't belong to what was scheduled: a fault of the engine.
    #[error(transparent)]
    Completion(#[from] CompletionError),
}

/// What the last step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepRecord {
    /// Tokens computed.
    pub tokens: u32,
    /// Sequences in the batch.
    pub sequences: usize,
    /// Choosing the batch.
    pub schedule: Duration,
    /// Recording, running on the GPU, reading back.
    pub run: Duration,
    /// Sampling, detokenising, stop conditions.
    pub sample: Duration,
}

/// A model that serves requests.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    live: HashMap<SeqId, Live>,
    next_id: u64,
    batch: Batch,
    results: Results,
    last: StepRecord,
}

impl Engine {
    /// An engine around a loaded model. The runner's limits bound the scheduler's.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(
        runner: Runner,
        tokenizer: Arc<Tokenizer>,
        mut config: SchedulerConfig,
    ) -> Result<Self, Error> {
        let l = runner.limits;
        config.max_num_seqs = config.max_num_seqs.min(l.sequences.min(l.outputs) as u32);
        config.max_num_batched_tokens = config.max_num_batched_tokens.min(l.tokens as u32);
        config.max_model_len = config.max_model_len.min(l.context as u32);
        let scheduler = Scheduler::new(config, l.cache)?;
        Ok(Self {
            runner,
            tokenizer,
            scheduler,
            live: HashMap::new(),
            next_id: 0,
            batch: Batch::default(),
            results: Results::default(),
            last: StepRecord::default(),
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
        let vocab = self.runner.hyper.vocab;
        request.params.validate(vocab)?;
        if request.params.n != 1 {
            return Err(Error::Prompt(format!(
                "n = {}: one answer per request is what this engine gives",
                request.params.n
            )));
        }
        if request.prompt.is_empty() {
            return Err(Error::Prompt("the prompt is empty: expected at least one token".into()));
        }
        if let Some(id) = request.prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Prompt(format!(
                "the prompt's token id {id} is not below the model's vocabulary of {vocab}"
            )));
        }
        let room = (self.runner.limits.context as u32).saturating_sub(request.prompt.len() as u32);
        let max_tokens = request.params.max_tokens.unwrap_or(room).max(1);
        let mut scheduled = crate::scheduler::Request::new(request.prompt.clone(), max_tokens);
        scheduled.priority = request.priority;
        let seq = self.scheduler.add(scheduled)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.live.insert(seq, Live::new(id, &request, self.tokenizer.eos_ids()));
        Ok(id)
    }

    /// Ends a request that nobody waits for any more. Unknown ids are passed over.
    pub fn abort(&mut self, id: RequestId) {
        let found = self.live.iter().find(|(_, l)| l.id == id).map(|(seq, _)| *seq);
        if let Some(seq) = found {
            self.scheduler.abort(seq);
            self.live.remove(&seq);
        }
    }

    /// Forgets every cached prefix; how many blocks could be found before.
    pub fn reset_prefix_cache(&mut self) -> u32 {
        self.scheduler.reset_prefix_cache()
    }

    /// Whether any request is not finished.
    pub fn has_work(&self) -> bool {
        self.scheduler.has_work()
    }

    /// Computes one batch and appends what came of it to `events`.
    ///
    /// # Errors
    /// When the device fails; requests that fail on their own end with [`Finish::Error`].
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        let start = Instant::now();
        let mut batch = std::mem::take(&mut self.batch);
        self.scheduler.schedule(&mut batch);
        let scheduled = Instant::now();
        let outcome = if batch.is_empty() { Ok(()) } else { self.run(&batch, scheduled) };
        let ran = Instant::now();
        let outcome = outcome.and_then(|()| self.take_results(&batch, ran, events));
        self.last = StepRecord {
            tokens: batch.tokens(),
            sequences: batch.items().len(),
            schedule: scheduled - start,
            run: ran - scheduled,
            sample: ran.elapsed(),
        };
        self.batch = batch;
        outcome
    }

    fn run(&mut self, batch: &Batch, now: Instant) -> Result<(), Error> {
        self.runner.copy_blocks(batch.copies())?;
        let mut entries = Vec::with_capacity(batch.items().len());
        let mut want = Want::Argmax;
        for item in batch.items() {
            let Some(row) = self.scheduler.row(item) else { continue };
            let outputs = if item.wants_token() { Outputs::Last } else { Outputs::None };
            entries.push(Entry {
                tokens: row.tokens,
                start: item.start as usize,
                blocks: row.blocks,
                outputs,
            });
            if let Some(live) = self.live.get_mut(&item.seq) {
                live.started.get_or_insert(now);
                if item.wants_token() {
                    want = want.max(wanted(live.needs()));
                }
            }
        }
        Ok(self.runner.run(&entries, want, &mut self.results)?)
    }

    fn take_results(&mut self, batch: &Batch, now: Instant, events: &mut Vec<Event>) -> Result<(), Error> {
        let mut row = 0;
        for item in batch.items() {
            let token = if item.wants_token() {
                row += 1;
                match self.sample(item, row - 1) {
                    Ok(token) => Some(token),
                    Err(error) => {
                        self.fail(item.seq, &error.to_string(), now, events);
                        continue;
                    }
                }
            } else {
                None
            };
            let progress = self.scheduler.complete(item, token.as_ref().map(|t| t.id))?;
            let (Some(choice), Some(live)) = (token, self.live.get_mut(&item.seq)) else { continue };
            let full = matches!(progress, crate::scheduler::Progress::Finished(_));
            let end = live.take(&self.tokenizer, choice, now, events)?;
            let end = end.or(full.then_some(Finish::Length));
            if let Some(finish) = end {
                self.scheduler.finish(item.seq, FinishReason::Stop);
                if let Some(live) = self.live.remove(&item.seq) {
                    events.push(live.finish(finish, now));
                }
            }
        }
        Ok(())
    }

    /// Samples the next token of a sequence from row `row` of the results.
    fn sample(&mut self, item: &BatchItem, row: usize) -> Result<sample::Choice, Error> {
        let Some(live) = self.live.get_mut(&item.seq) else {
            return Err(Error::Prompt("the sequence is not known any more".into()));
        };
        let vocab = self.runner.hyper.vocab;
        let r = &mut self.results;
        let failed = |e: sample::SampleError| Error::Prompt(e.to_string());
        if !r.ids.is_empty() {
            return live.argmax(r.ids[row], r.top[row]).map_err(failed);
        }
        if r.candidates.is_empty() {
            return live.sample(&mut r.logits[row * vocab..][..vocab]).map_err(failed);
        }
        let k = r.candidates.len() / r.logsumexp.len();
        let list = sample::Candidates {
            ids: &r.candidates[row * k..][..k],
            logits: &r.logits[row * k..][..k],
            logsumexp: r.logsumexp[row],
            vocab,
        };
        if let Some(choice) = live.sample_candidates(&list).map_err(failed)? {
            return Ok(choice);
        }
        // Only the whole row can tell, and it is still on the device.
        let mut logits = self.runner.logits_row(row)?;
        live.sample(&mut logits).map_err(failed)
    }

    fn fail(&mut self, seq: SeqId, why: &str, now: Instant, events: &mut Vec<Event>) {
        tracing::error!("a request failed: {why}");
        self.scheduler.finish(seq, FinishReason::Error);
        if let Some(live) = self.live.remove(&seq) {
            events.push(live.finish(Finish::Error(why.to_string()), now));
        }
    }
}

/// What the device must bring back.
fn wanted(needs: Needs) -> Want {
    match needs {
        Needs::Argmax => Want::Argmax,
        Needs::TopK(k) | Needs::TopMass(k) if k <= kernels::top_k::CANDIDATES => Want::Candidates,
        Needs::TopK(_) | Needs::TopMass(_) | Needs::FullRow => Want::Rows,
    }
}
