//! A simulated device that computes the scheduler's steps.
//!
//! The device's memory holds, for every slot, a digest of the whole text up to that token, which is
//! what keys and values depend on. Each step checks that a sequence finds exactly its own text in
//! its blocks, so that a block shared wrongly, copied wrongly or given away too early is seen. The
//! sampled token depends on that digest only, so each finished text has one right value.

use std::collections::HashMap;

use proptest::prelude::prop;
use ridgepoint::cache::{BlockId, CacheConfig, Salt};
use ridgepoint::scheduler::{
    Batch, BatchItem, FinishReason, PrefixUse, Progress, PromptLogits, Refusal, Request, Scheduler,
    SchedulerConfig, SeqId, TokenSource,
};

/// Few token ids, so that prompts share prefixes by chance.
pub const VOCABULARY: u32 = 3;

fn digest(before: u64, token: u32) -> u64 {
    (before ^ u64::from(token).wrapping_add(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        .rotate_left(23)
}

fn digests(salt: u64, tokens: &[u32]) -> Vec<u64> {
    let next = |before: &mut u64, token: &u32| {
        *before = digest(*before, *token);
        Some(*before)
    };
    tokens.iter().scan(salt, next).collect()
}

/// What the model says after a text; `branch` tells forks apart.
fn next_token(digest: u64, branch: u32) -> u32 {
    ((digest >> 40) as u32).wrapping_add(branch) % VOCABULARY
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub prompt: Vec<u32>,
    pub max_tokens: u32,
    pub priority: i32,
    pub salt: u8,
    pub prefix_use: PrefixUse,
    pub prompt_logits: PromptLogits,
    pub branches: u32,
}

/// What the test knows of a sequence.
struct Text {
    ask: Ask,
    branch: u32,
    /// Every token, those on the device only included.
    tokens: Vec<u32>,
    /// Prompt positions, from the first on, that have given logits for their own sake.
    judged: u32,
}

pub struct Device {
    pub scheduler: Scheduler,
    config: SchedulerConfig,
    /// How many steps' results may be outstanding when the next is scheduled.
    ahead: usize,
    memory: Vec<u64>,
    texts: HashMap<SeqId, Text>,
    /// Steps that ran but whose results weren't told, with the tokens they sampled.
    in_flight: Vec<(Vec<BatchItem>, Vec<Option<u32>>)>,
    /// What each step sampled.
    samples: Vec<Vec<Option<u32>>>,
    pub prefill_limit: Option<u32>,
    pub finished: usize,
}

impl Device {
    pub fn new(config: SchedulerConfig, cache: CacheConfig, ahead: usize, seed: u64) -> Self {
        let mut scheduler = Scheduler::new(config.clone(), cache).expect("the settings agree");
        scheduler.scatter_blocks(seed);
        Self {
            scheduler,
            config,
            ahead,
            memory: vec![0; cache.capacity_tokens() as usize],
            texts: HashMap::new(),
            in_flight: Vec::new(),
            samples: Vec::new(),
            prefill_limit: None,
            finished: 0,
        }
    }

    fn slot(&self, blocks: &[BlockId], position: u32) -> usize {
        let size = self.scheduler.cache().config().block_size;
        (blocks[(position / size) as usize].0 * size + position % size) as usize
    }

    pub fn add(&mut self, ask: Ask) {
        let request = Request {
            prompt: ask.prompt.clone(),
            max_tokens: ask.max_tokens,
            priority: ask.priority,
            salt: Salt::of(&ask.salt.to_string()),
            prefix_use: ask.prefix_use,
            prompt_logits: ask.prompt_logits,
            companion: false,
        };
        let cache = *self.scheduler.cache().config();
        let fits = ask.prompt.len() as u32 + ask.max_tokens.min(1) <= self.config.max_model_len
            && ask.prompt.len() as u64 <= cache.capacity_tokens();
        match self.scheduler.add(request) {
            Ok(id) => {
                assert!(fits);
                let tokens = ask.prompt.clone();
                assert!(self.texts.insert(id, Text { ask, branch: 0, tokens, judged: 0 }).is_none());
            }
            Err(Refusal::TooLong { .. } | Refusal::ExceedsCache { .. }) => assert!(!fits),
            Err(refusal) => assert!(refusal.is_temporary() && fits, "{refusal}"),
        }
    }

    pub fn abort(&mut self, pick: prop::sample::Index) {
        let mut ids: Vec<_> = self.texts.keys().copied().collect();
        ids.sort();
        if ids.is_empty() {
            return;
        }
        let id = *pick.get(&ids);
        let text = self.texts.remove(&id).unwrap();
        let sequence = self.scheduler.abort(id).expect("it isn't over");
        assert!(text.tokens.starts_with(sequence.tokens()));
        assert!(self.scheduler.abort(id).is_none());
    }

    /// Schedules and runs a step; returns whether there was anything to compute.
    pub fn step(&mut self, batch: &mut Batch) -> bool {
        self.scheduler.schedule(batch);
        self.scheduler.audit().unwrap();
        self.check_bounds(batch);

        let size = self.scheduler.cache().config().block_size as usize;
        // In reverse, since the order must not matter.
        for copy in batch.copies().iter().rev() {
            let src = copy.src.index() * size;
            self.memory.copy_within(src..src + size, copy.dst.index() * size);
        }
        let mut checks = Vec::new();
        let mut samples = Vec::new();
        for item in batch.items() {
            let row = self.scheduler.row(item).expect("it was just scheduled");
            let text = &self.texts[&item.seq];
            match item.source {
                TokenSource::Known => {
                    assert_eq!(row.tokens, &text.tokens[item.start as usize..item.end() as usize])
                }
                TokenSource::Pending { step, item: from } => {
                    assert!(step < batch.step() && step + self.ahead as u64 >= batch.step());
                    assert_eq!((item.len, row.tokens.len()), (1, 0));
                    assert_eq!(
                        self.samples[step as usize - 1][from as usize],
                        Some(text.tokens[item.start as usize])
                    );
                }
            }
            let digests = digests(u64::from(text.ask.salt), &text.tokens[..item.end() as usize]);
            let slots: Vec<_> = (0..item.end()).map(|position| self.slot(row.blocks, position)).collect();
            samples.push(item.wants_token().then(|| next_token(*digests.last().unwrap(), text.branch)));
            checks.push((item, slots, digests));
        }
        for (item, slots, digests) in &checks {
            for position in item.start as usize..item.end() as usize {
                self.memory[slots[position]] = digests[position];
            }
        }
        for (item, slots, digests) in &checks {
            for (position, (slot, digest)) in slots.iter().zip(digests).enumerate() {
                assert_eq!(self.memory[*slot], *digest, "{item:?} reads another text at {position}");
            }
        }
        for (item, sample) in batch.items().iter().zip(&samples) {
            if let Some(token) = sample {
                let text = self.texts.get_mut(&item.seq).unwrap();
                assert_eq!(text.tokens.len() as u32, item.end(), "logits are of the last token");
                text.tokens.push(*token);
            }
        }
        for item in batch.items().iter().filter(|item| item.logits.of_the_prompt()) {
            let text = self.texts.get_mut(&item.seq).unwrap();
            assert!(text.ask.prompt_logits == PromptLogits::Each && item.start <= text.judged);
            assert!(item.end() as usize <= text.ask.prompt.len());
            text.judged = text.judged.max(item.end());
        }
        self.samples.push(samples.clone());
        if !batch.is_empty() {
            self.in_flight.push((batch.items().to_vec(), samples));
        }
        let ahead = if batch.is_empty() { 0 } else { self.ahead };
        while self.in_flight.len() > ahead {
            self.tell_results();
        }
        self.scheduler.audit().unwrap();
        !batch.is_empty()
    }

    fn check_bounds(&self, batch: &Batch) {
        let config = &self.config;
        assert!(batch.tokens() <= config.max_num_batched_tokens);
        assert_eq!(batch.tokens(), batch.items().iter().map(|item| item.len).sum::<u32>());
        assert!(
            batch.items().iter().all(|item| item.len > 0 && item.end() < config.max_model_len.max(2) + 1)
        );
        assert!(batch.items().iter().map(|item| item.rows()).sum::<u32>() <= config.max_num_logits);
        assert!(batch.items().len() <= self.scheduler.num_running());
        assert!(self.scheduler.num_running() <= config.max_num_seqs as usize);
        if config.enable_chunked_prefill {
            assert!(batch.prefill_tokens() <= self.prefill_limit.unwrap_or(u32::MAX));
            let threshold = config.long_prefill_token_threshold;
            assert!(threshold == 0 || batch.items().iter().all(|item| item.len <= threshold));
        } else {
            // A prompt is computed in one step.
            assert!(batch.items().iter().all(|item| item.wants_token()
                || item.logits.of_the_prompt()
                || item.end() as usize >= self.texts[&item.seq].ask.prompt.len()));
        }
        if self.ahead == 0 {
            if self.prefill_limit.is_none() {
                assert_eq!(
                    batch.items().len(),
                    self.scheduler.num_running(),
                    "every running sequence advances"
                );
            }
            assert!(!batch.is_empty() || !self.scheduler.has_work(), "somebody advances in every step");
        }
        let mut ids: Vec<_> =
            batch.items().iter().map(|item| item.seq).chain(batch.preempted().iter().copied()).collect();
        ids.sort();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "one item each, and none for the preempted");
    }

    fn tell_results(&mut self) {
        let (items, samples) = self.in_flight.remove(0);
        for (item, sample) in items.iter().zip(samples) {
            // Forks are made where the first token is sampled and its sequence isn't over.
            let branches = match self.texts.get(&item.seq) {
                Some(text) if text.branch == 0 && item.end() as usize == text.ask.prompt.len() => {
                    text.ask.branches
                }
                _ => 0,
            };
            for branch in 1..=branches {
                let Some(child) = self.scheduler.fork(item) else {
                    break;
                };
                let ask = self.texts[&item.seq].ask.clone();
                let last = *digests(u64::from(ask.salt), &ask.prompt).last().unwrap();
                let token = next_token(last, branch);
                let tokens = ask.prompt.iter().copied().chain([token]).collect();
                self.texts.insert(child.seq, Text { ask, branch, tokens, judged: 0 });
                self.complete(&child, Some(token));
            }
            self.complete(item, sample);
        }
    }

    fn complete(&mut self, item: &BatchItem, sample: Option<u32>) {
        let known = self.texts.contains_key(&item.seq);
        match self.scheduler.complete(item, sample).expect("tokens come where they are wanted") {
            Progress::Continues => assert!(known),
            Progress::Stale => assert!(!known),
            Progress::Finished(sequence) => {
                let text = self.texts.remove(&item.seq).expect("it ends once");
                assert_eq!(sequence.status(), ridgepoint::scheduler::Status::Finished(FinishReason::Length));
                assert_eq!(sequence.tokens(), self.right_text(&text));
                if text.ask.prompt_logits == PromptLogits::Each && text.branch == 0 {
                    assert_eq!(text.judged as usize, text.ask.prompt.len());
                }
                self.finished += 1;
            }
        }
    }

    /// What the text must have become, computed without scheduler or cache.
    fn right_text(&self, text: &Text) -> Vec<u32> {
        let ask = &text.ask;
        let capacity = self.scheduler.cache().config().capacity_tokens() as usize;
        let limit = (ask.prompt.len() + ask.max_tokens as usize)
            .min(self.config.max_model_len as usize)
            .min(capacity + 1);
        let mut tokens = ask.prompt.clone();
        while tokens.len() < limit {
            let last = *digests(u64::from(ask.salt), &tokens).last().unwrap();
            tokens.push(next_token(last, text.branch));
        }
        tokens
    }

    /// Steps until nothing is left, in a number of steps that bounds starvation.
    pub fn drain(&mut self) {
        let mut batch = Batch::default();
        let work: usize = self
            .texts
            .values()
            .map(|text| (text.ask.prompt.len() + text.ask.max_tokens as usize) * 2 + 4)
            .sum();
        // The first in rank advances in every step, one token at least.
        let bound = work * 4 + 16;
        let mut steps = 0;
        while self.scheduler.has_work() {
            self.step(&mut batch);
            steps += 1;
            assert!(steps <= bound, "{} sequences don't end", self.texts.len());
        }
        while !self.in_flight.is_empty() {
            self.tell_results();
        }
        assert!(self.texts.is_empty());
        assert_eq!(self.scheduler.cache().pool().used(), 0, "a block leaked");
        assert_eq!(self.scheduler.queued_tokens(), 0);
        self.scheduler.audit().unwrap();
    }
}
