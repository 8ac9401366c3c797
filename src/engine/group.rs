//! The choices of one request, and the best of them where only those are wanted.

use super::Event;
use crate::scheduler::SeqId;

/// Events of a choice that may yet be dropped.
#[derive(Debug, Default)]
struct Held {
    /// Log-probability per token; -inf for a choice that failed.
    score: f64,
    events: Vec<Event>,
}

impl Held {
    fn tokens(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Token { .. })).count()
    }
}

/// A request's choices.
#[derive(Debug)]
pub(super) struct Group {
    /// Choices to make in all.
    pub choices: u32,
    /// Sequences that aren't over; the first choice's alone until its first token.
    pub open: Vec<SeqId>,
    /// Choices that are handed out.
    keep: u32,
    /// A place per choice where some are dropped in the end.
    held: Vec<Held>,
}

impl Group {
    /// `choices` to make, `keep` to hand out, one of them begun.
    pub fn new(choices: u32, keep: u32, first: SeqId) -> Self {
        Self { choices, open: vec![first], keep, held: Vec::new() }
    }

    fn selects(&self) -> bool {
        self.choices > self.keep
    }

    /// Where the events of choice `index` go.
    pub fn sink<'a>(&'a mut self, index: u32, events: &'a mut Vec<Event>) -> &'a mut Vec<Event> {
        if !self.selects() {
            return events;
        }
        let index = index as usize;
        if self.held.len() <= index {
            self.held.resize_with(index + 1, Held::default);
        }
        &mut self.held[index].events
    }

    /// Takes a choice off the open ones; says whether it was the last.
    pub fn close(&mut self, seq: SeqId, index: u32, score: f64) -> bool {
        self.open.retain(|open| *open != seq);
        if let Some(held) = self.held.get_mut(index as usize) {
            held.score = score;
        }
        self.open.is_empty()
    }

    /// Hands out the events of the best choices, the best one as index 0.
    pub fn release(mut self, events: &mut Vec<Event>) {
        // A stable sort: equal ones stay in the order of their indices.
        self.held.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut dropped: usize =
            self.held.drain((self.keep as usize).min(self.held.len())..).map(|held| held.tokens()).sum();
        for (place, held) in (0..).zip(self.held) {
            events.extend(held.events.into_iter().map(|mut event| {
                if let Event::Token { index, .. } | Event::Finished { index, .. } = &mut event {
                    *index = place;
                }
                if let Event::Finished { result, .. } = &mut event {
                    result.dropped_tokens = std::mem::take(&mut dropped);
                }
                event
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RequestId;
    use super::*;
    use crate::cache::CacheConfig;
    use crate::sample::Choice;
    use crate::scheduler::{Request, Scheduler, SchedulerConfig};

    fn token(id: u32, index: u32) -> Event {
        let choice = Choice { id, logprob: None, top: Vec::new() };
        Event::Token { id: RequestId(0), index, choice, text: String::new() }
    }

    #[test]
    fn the_best_come_out_under_new_indices_once_all_are_over() {
        let mut scheduler = Scheduler::new(SchedulerConfig::default(), CacheConfig::new(8)).unwrap();
        let mut seq = || scheduler.add(Request::new(vec![1], 1)).unwrap();
        let seqs = [seq(), seq(), seq(), seq()];
        let mut group = Group::new(4, 2, seqs[0]);
        group.open.extend(&seqs[1..]);
        let mut events = Vec::new();
        for index in [2, 0, 3, 1] {
            group.sink(index, &mut events).push(token(index, index));
        }
        assert!(events.is_empty());
        let scores = [-2.0, f64::NEG_INFINITY, -0.5, -2.0];
        for index in 0..4 {
            assert_eq!(group.close(seqs[index], index as u32, scores[index]), index == 3);
        }
        group.release(&mut events);
        let got: Vec<(u32, u32)> = events
            .iter()
            .filter_map(|e| match e {
                Event::Token { index, choice, .. } => Some((*index, choice.id)),
                _ => None,
            })
            .collect();
        assert_eq!(got, [(0, 2), (1, 0)]);
    }
}
