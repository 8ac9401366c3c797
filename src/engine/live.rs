//! A request in flight: its sampler, its text, its clock.

use std::time::Instant;

use super::request::{Event, Finish, FinishedRequest, GenerationRequest, RequestId, Timings};
use crate::format::Tokenizer;
use crate::format::tokenizer::{Detokenizer, Specials};
use crate::sample::{Candidates, Choice, End, History, Needs, SampleError, Sampler, StopMatcher};

#[derive(Debug)]
pub(super) struct Live {
    pub id: RequestId,
    sampler: Sampler,
    history: History,
    eos: Vec<u32>,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    prompt_tokens: usize,
    arrived: Instant,
    pub started: Option<Instant>,
    first: Option<Instant>,
}

impl Live {
    pub fn new(id: RequestId, request: &GenerationRequest, eos: &[u32]) -> Self {
        let params = &request.params;
        Self {
            id,
            // Without a seed of its own, requests still differ from each other, and runs do not.
            sampler: Sampler::new(params, id.0).with_eos(eos),
            history: History::new(&request.prompt),
            eos: eos.to_vec(),
            detokenizer: Detokenizer::new(Specials::Skip),
            stop: StopMatcher::new(&params.stop, params.stop_text),
            prompt_tokens: request.prompt.len(),
            arrived: Instant::now(),
            started: None,
            first: None,
        }
    }

    pub fn needs(&self) -> Needs {
        self.sampler.params().needs(self.history.output_len())
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

    /// Takes in a chosen token; says whether it ends the request.
    pub fn take(
        &mut self,
        tokenizer: &Tokenizer,
        choice: Choice,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<Option<Finish>, super::Error> {
        self.first.get_or_insert(now);
        self.history.push(choice.id);
        let output_len = self.history.output_len();
        let end = self.sampler.params().ends_at(choice.id, output_len, &self.eos);
        let silent = matches!(end, Some(End::Eos | End::StopToken(_)));
        // A head with more rows than the tokenizer has tokens: such a token has no text.
        let known = (choice.id as usize) < tokenizer.vocab_size();
        let piece =
            if silent || !known { String::new() } else { self.detokenizer.push(tokenizer, choice.id)? };
        let mut text = String::new();
        let stopped = if output_len >= self.sampler.params().min_tokens as usize {
            self.stop.push(&piece, &mut text).is_some()
        } else {
            text.push_str(&piece);
            false
        };
        events.push(Event::Token { id: self.id, choice, text });
        Ok(match end {
            _ if stopped => Some(Finish::Stop),
            Some(End::Length) => Some(Finish::Length),
            Some(End::Eos | End::StopToken(_)) => Some(Finish::Stop),
            None => None,
        })
    }

    /// The last event.
    pub fn finish(mut self, finish: Finish, now: Instant) -> Event {
        let mut text = String::new();
        if self.stop.found().is_none() {
            let rest = self.detokenizer.finish();
            self.stop.push(&rest, &mut text);
            self.stop.finish(&mut text);
        }
        let since = |t: Option<Instant>| t.unwrap_or(now) - self.arrived;
        let result = FinishedRequest {
            finish,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.history.output_len(),
            timings: Timings {
                queued: since(self.started),
                first_token: since(self.first),
                total: now - self.arrived,
            },
        };
        Event::Finished { id: self.id, text, result }
    }
}
