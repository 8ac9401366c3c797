//! A choice in flight: its sampler, its text, its clock.

use std::time::Instant;

use super::prompt::PromptWork;
use super::request::{
    Event, Finish, FinishedRequest, GenerationRequest, RequestId, StopCause, Timings, Wanted,
};
use crate::format::Tokenizer;
use crate::format::tokenizer::{Detokenizer, Specials};
use crate::sample::{Candidates, Choice, End, History, Needs, SampleError, Sampler, StopMatcher};
use crate::scheduler::Sequence;

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub id: RequestId,
    pub index: u32,
    sampler: Sampler,
    history: History,
    eos: Vec<u32>,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    cause: Option<StopCause>,
    prompt_tokens: usize,
    /// What is wanted of the prompt itself.
    pub prompt: PromptWork,
    wanted: Wanted,
    /// Whether log-probabilities are computed only to rank the choices.
    ranks: bool,
    logprobs: f64,
    arrived: Instant,
    pub started: Option<Instant>,
    first: Option<Instant>,
}

impl Live {
    pub fn new(id: RequestId, request: &GenerationRequest, eos: &[u32]) -> Self {
        let mut params = request.params.clone();
        let ranks = params.choices() > params.n && params.logprobs.is_none();
        if ranks {
            params.logprobs = Some(0);
        }
        Self {
            id,
            index: 0,
            stop: StopMatcher::new(&params.stop, params.stop_text),
            // Without a seed of its own, requests still differ from each other, and runs do not.
            sampler: Sampler::new(&params, id.0).with_eos(eos),
            history: History::new(&request.prompt),
            eos: eos.to_vec(),
            detokenizer: Detokenizer::new(Specials::Skip),
            cause: None,
            prompt_tokens: request.prompt.len(),
            prompt: PromptWork::new(request.wanted, &request.prompt),
            wanted: request.wanted,
            ranks,
            logprobs: 0.0,
            arrived: Instant::now(),
            started: None,
            first: None,
        }
    }

    /// Another choice of the same request, before its first token.
    pub fn sibling(&self, index: u32) -> Self {
        let mut sibling = self.clone();
        sibling.index = index;
        sibling.sampler = sibling.sampler.for_choice(index);
        sibling
    }

    pub fn needs(&self) -> Needs {
        self.sampler.params().needs(self.history.output_len())
    }

    /// Whether log-probabilities are reported or rank choices.
    pub fn has_logprobs(&self) -> bool {
        self.sampler.params().logprobs.is_some()
    }

    /// How a request without text ends.
    pub fn end_of_prompt(&self) -> Finish {
        match self.wanted {
            Wanted::Embedding(_) => Finish::Stop,
            Wanted::Text | Wanted::PromptAndText(_) | Wanted::Prompt(_) => Finish::Length,
        }
    }

    /// Whether no token has come yet.
    pub fn is_fresh(&self) -> bool {
        self.first.is_none()
    }

    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Log-probability per token.
    pub fn score(&self) -> f64 {
        self.logprobs / self.history.output_len().max(1) as f64
    }

    /// The device's argmax with its logit, where nothing else is wanted.
    pub fn argmax(&self, id: u32, logit: f32) -> Result<Choice, SampleError> {
        if logit.is_finite() {
            Ok(Choice { id, logprob: None, top: Vec::new() })
        } else {
            Err(SampleError::NotFinite { id, value: logit })
        }
    }

    pub fn sample(&mut self, logits: &mut [f32]) -> Result<Choice, SampleError> {
        self.sampler.sample(logits, &self.history)
    }

    pub fn sample_candidates(&mut self, list: &Candidates<'_>) -> Result<Option<Choice>, SampleError> {
        self.sampler.sample_candidates(list, &self.history)
    }

    /// Takes in a chosen token; says whether it ends the choice.
    pub fn take(
        &mut self,
        tokenizer: &Tokenizer,
        mut choice: Choice,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<Option<Finish>, super::Error> {
        self.first.get_or_insert(now);
        self.history.push(choice.id);
        self.logprobs += choice.logprob.map_or(0.0, f64::from);
        if self.ranks {
            choice.logprob = None;
        }
        let output_len = self.history.output_len();
        let end = self.sampler.params().ends_at(choice.id, output_len, &self.eos);
        let silent = matches!(end, Some(End::Eos | End::StopToken(_)));
        // A head with more rows than the tokenizer has tokens: such a token has no text.
        let known = (choice.id as usize) < tokenizer.vocab_size();
        let piece =
            if silent || !known { String::new() } else { self.detokenizer.push(tokenizer, choice.id)? };
        let mut text = String::new();
        let stopped = if output_len >= self.sampler.params().min_tokens as usize {
            self.stop.push(&piece, &mut text)
        } else {
            text.push_str(&piece);
            None
        };
        events.push(Event::Token { id: self.id, index: self.index, choice, text });
        self.cause = match (stopped, end) {
            (Some(at), _) => Some(StopCause::Text(at)),
            (None, Some(End::Eos)) => Some(StopCause::Eos),
            (None, Some(End::StopToken(id))) => Some(StopCause::Token(id)),
            (None, Some(End::Length) | None) => None,
        };
        Ok(match (self.cause, end) {
            (Some(_), _) => Some(Finish::Stop),
            (None, Some(_)) => Some(Finish::Length),
            (None, None) => None,
        })
    }

    /// The last event. `sequence` is what the scheduler had of it.
    pub fn finish(
        mut self,
        finish: Finish,
        sequence: Option<&Sequence>,
        now: Instant,
    ) -> (String, FinishedRequest) {
        let mut text = String::new();
        if self.stop.found().is_none() {
            let rest = self.detokenizer.finish();
            self.stop.push(&rest, &mut text);
            self.stop.finish(&mut text);
        }
        let since = |t: Option<Instant>| t.unwrap_or(now) - self.arrived;
        let result = FinishedRequest {
            stop: self.cause.filter(|_| finish == Finish::Stop),
            finish,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.history.output_len(),
            dropped_tokens: 0,
            cached_tokens: sequence.map_or(0, |s| s.cached() as usize),
            preemptions: sequence.map_or(0, Sequence::preemptions),
            timings: Timings {
                queued: since(self.started),
                first_token: since(self.first),
                total: now - self.arrived,
            },
        };
        (text, result)
    }
}
