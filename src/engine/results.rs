//! From a step's results to tokens, text and ends.

use std::time::Instant;

use super::live::Live;
use super::{Engine, Error, Event, Finish};
use crate::sample;
use crate::scheduler::{Batch, BatchItem, FinishReason, Progress, SeqId, Sequence};

impl Engine {
    /// Samples where tokens are wanted, and tells the scheduler of every item.
    pub(super) fn take_results(
        &mut self,
        batch: &Batch,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let mut next = 0;
        for item in batch.items() {
            let first = next;
            next += item.rows() as usize;
            if item.logits.of_the_prompt() {
                self.take_prompt(item, first, now, events);
            }
            if !item.wants_token() {
                if let Progress::Finished(sequence) = self.scheduler.complete(item, None)? {
                    self.end_prompt(item.seq, &sequence, now, events);
                }
                continue;
            }
            // A token comes of the last of an item's rows.
            let row = next - 1;
            if self.live.get(&item.seq).is_some_and(Live::is_fresh) {
                self.hand_out_prompt(item.seq, now, events);
                self.begin_choices(item, row, now, events)?;
            }
            self.advance(item, row, now, events)?;
        }
        Ok(())
    }

    /// Takes in the states that came back: of each sequence so many from a position on.
    pub(super) fn take_states(&mut self, states: &[(SeqId, u32, usize)]) {
        let width = self.runner.hyper.hidden;
        let mut rows = self.results.states.as_slice();
        for &(seq, start, n) in states {
            let (own, rest) = rows.split_at((n * width).min(rows.len()));
            if let Some(live) = self.live.get_mut(&seq) {
                live.prompt.take_states(start as usize, own, width);
            }
            rows = rest;
        }
    }

    /// Takes in the logits of a prompt's positions.
    fn take_prompt(&mut self, item: &BatchItem, first: usize, now: Instant, events: &mut Vec<Event>) {
        let Some(live) = self.live.get_mut(&item.seq) else { return };
        let vocab = self.runner.hyper.vocab;
        let rows = &self.results.logits[first * vocab..][..item.len as usize * vocab];
        if let Err(error) = live.prompt.take_logits(item.start as usize, rows, vocab) {
            self.fail(item.seq, &error.to_string(), now, events);
        }
    }

    /// Hands out what came of a prompt, if anything was wanted; says whether the request goes on.
    fn hand_out_prompt(&mut self, seq: SeqId, now: Instant, events: &mut Vec<Event>) -> bool {
        let Some(live) = self.live.get_mut(&seq) else { return false };
        match live.prompt.finish() {
            Ok(output) => {
                let id = live.id;
                events.extend(output.map(|output| Event::Prompt { id, output }));
                true
            }
            Err(why) => {
                self.fail(seq, &why, now, events);
                false
            }
        }
    }

    /// The end of a request that wants no text.
    fn end_prompt(&mut self, seq: SeqId, sequence: &Sequence, now: Instant, events: &mut Vec<Event>) {
        let Some(live) = self.live.get(&seq) else { return };
        self.counters.prompt_tokens += live.prompt_tokens() as u64;
        let finish = live.end_of_prompt();
        if self.hand_out_prompt(seq, now, events) {
            self.end(seq, Some(sequence), finish, now, events);
        }
    }

    /// Ends a request that can't go on, through no fault of the engine.
    fn fail(&mut self, seq: SeqId, why: &str, now: Instant, events: &mut Vec<Event>) {
        let sequence = self.scheduler.finish(seq, FinishReason::Error);
        self.end(seq, sequence.as_deref(), Finish::Error(why.to_string()), now, events);
    }

    /// At a request's first token: starts its other choices from the same logits. They share the
    /// prompt's blocks.
    fn begin_choices(
        &mut self,
        item: &BatchItem,
        row: usize,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let Some(elder) = self.live.get(&item.seq) else { return Ok(()) };
        let cached = self.scheduler.sequence(item.seq).map_or(0, Sequence::cached);
        self.counters.prompt_tokens += elder.prompt_tokens() as u64;
        self.counters.cached_tokens += u64::from(cached);
        let choices = self.groups.get(&elder.id).map_or(1, |g| g.choices);
        let siblings: Vec<Live> = (1..choices).map(|index| elder.sibling(index)).collect();
        for sibling in siblings {
            let Some(child) = self.scheduler.fork(item) else { break };
            if let Some(group) = self.groups.get_mut(&sibling.id) {
                group.open.push(child.seq);
            }
            self.live.insert(child.seq, sibling);
            self.advance(&child, row, now, events)?;
        }
        Ok(())
    }

    /// Gives a sequence its next token, from row `row` of the results.
    fn advance(
        &mut self,
        item: &BatchItem,
        row: usize,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        // Aborted while its step ran.
        if !self.live.contains_key(&item.seq) {
            return Ok(());
        }
        let choice = match self.sample(item, row) {
            Ok(choice) => choice,
            Err(error) => {
                self.fail(item.seq, &error.to_string(), now, events);
                return Ok(());
            }
        };
        self.counters.generation_tokens += 1;
        let progress = self.scheduler.complete(item, Some(choice.id))?;
        let Some(live) = self.live.get_mut(&item.seq) else { return Ok(()) };
        let sink = match self.groups.get_mut(&live.id) {
            Some(group) => group.sink(live.index, events),
            None => &mut *events,
        };
        let start = Instant::now();
        let end = live.take(&self.tokenizer, choice, now, sink)?;
        self.last.parts.detokenise += start.elapsed();
        match (end, progress) {
            (end, Progress::Finished(sequence)) => {
                self.end(item.seq, Some(&sequence), end.unwrap_or(Finish::Length), now, events);
            }
            (Some(end), _) => {
                let sequence = self.scheduler.finish(item.seq, FinishReason::Stop);
                self.end(item.seq, sequence.as_deref(), end, now, events);
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// Samples the next token of a sequence from row `row` of the results, which stays as it is.
    fn sample(&mut self, item: &BatchItem, row: usize) -> Result<sample::Choice, Error> {
        let Some(live) = self.live.get_mut(&item.seq) else {
            return Err(Error::Prompt("the sequence is not known any more".into()));
        };
        let vocab = self.runner.hyper.vocab;
        let r = &self.results;
        let failed = |e: sample::SampleError| Error::Prompt(e.to_string());
        if !r.ids.is_empty() {
            return live.argmax(r.ids[row], r.top[row]).map_err(failed);
        }
        self.row.clear();
        if r.candidates.is_empty() {
            self.row.extend_from_slice(&r.logits[row * vocab..][..vocab]);
            return live.sample(&mut self.row).map_err(failed);
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

    /// The last event of a choice, and the request's if it was the last one.
    pub(super) fn end(
        &mut self,
        seq: SeqId,
        sequence: Option<&Sequence>,
        finish: Finish,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        let Some(live) = self.live.remove(&seq) else { return };
        let (id, index) = (live.id, live.index);
        let score = if matches!(finish, Finish::Error(_)) { f64::NEG_INFINITY } else { live.score() };
        let (text, result) = live.finish(finish, sequence, now);
        self.counters.end(&result);
        let event = Event::Finished { id, index, text, result };
        let Some(group) = self.groups.get_mut(&id) else {
            events.push(event);
            return;
        };
        group.sink(index, events).push(event);
        if group.close(seq, index, score)
            && let Some(group) = self.groups.remove(&id)
        {
            group.release(events);
        }
    }
}
