//! The scheduler against a naive one: plain lists, everything counted anew, sorted and searched in
//! full. Both get the same random traffic and must choose the same work in every step.

use proptest::prelude::*;
use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{Batch, Policy, Progress, Request, Scheduler, SchedulerConfig};

/// A sequence, named by its place in the list of all that were ever added.
#[derive(Clone, Debug)]
struct Plain {
    prompt: u32,
    known: u32,
    limit: u32,
    computed: u32,
    priority: i32,
    running: bool,
    over: bool,
}

struct Naive {
    config: SchedulerConfig,
    block_size: u32,
    num_blocks: u32,
    all: Vec<Plain>,
}

#[derive(Debug, PartialEq, Eq)]
struct Choice {
    /// Name, start, length, whether a token is wanted.
    items: Vec<(usize, u32, u32, bool)>,
    preempted: Vec<usize>,
}

impl Naive {
    fn key(&self, name: usize) -> (i32, usize) {
        match self.config.policy {
            Policy::Fcfs => (0, name),
            Policy::Priority => (self.all[name].priority, name),
        }
    }

    /// Names in order of service.
    fn those(&self, which: impl Fn(&Plain) -> bool) -> Vec<usize> {
        let mut names: Vec<_> = (0..self.all.len()).filter(|name| which(&self.all[*name])).collect();
        names.sort_by_key(|name| self.key(*name));
        names
    }

    fn blocks(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size)
    }

    /// Blocks that are free when each running sequence has what it has computed or will in this step.
    fn free(&self) -> u32 {
        let owned =
            self.those(|p| p.running).iter().map(|name| self.blocks(self.all[*name].computed)).sum::<u32>();
        self.num_blocks - owned
    }

    fn remaining(&self, name: usize) -> u32 {
        let p = &self.all[name];
        p.known.min(p.prompt.max(p.limit - 1)) - p.computed
    }

    fn chunk(&self, remaining: u32, tokens: u32) -> u32 {
        if remaining > 1 && !self.config.enable_chunked_prefill {
            return if remaining <= tokens { remaining } else { 0 };
        }
        let threshold = self.config.long_prefill_token_threshold;
        remaining.min(tokens).min(if threshold == 0 { u32::MAX } else { threshold })
    }

    fn take(&mut self, name: usize, len: u32, choice: &mut Choice) {
        let p = &mut self.all[name];
        let start = p.computed;
        p.computed += len;
        let wants = p.computed == p.known && p.known < p.limit;
        choice.items.push((name, start, len, wants));
    }

    fn schedule(&mut self) -> Choice {
        let mut choice = Choice { items: vec![], preempted: vec![] };
        let mut budget = self.config.max_num_batched_tokens;
        let mut done = 0;
        while let Some(&name) = self.those(|p| p.running).get(done) {
            let behind = (self.those(|p| p.running).len() - done - 1) as u32;
            let len = self.chunk(self.remaining(name), budget - behind);
            let computed = self.all[name].computed;
            let more = self.blocks(computed + len) - self.blocks(computed);
            while more > self.free() && self.all[name].running {
                let last = *self.those(|p| p.running).last().unwrap();
                self.all[last].running = false;
                self.all[last].computed = 0;
                choice.preempted.push(last);
            }
            if self.all[name].running {
                self.take(name, len, &mut choice);
                budget -= len;
                done += 1;
            }
        }
        while choice.preempted.is_empty() && budget > 0 {
            let running = self.those(|p| p.running);
            let Some(&name) = self.those(|p| !p.running && !p.over).first() else {
                break;
            };
            let promised: u32 = running
                .iter()
                .map(|r| self.blocks(self.all[*r].known) - self.blocks(self.all[*r].computed))
                .sum();
            let len = self.chunk(self.remaining(name), budget);
            let fits = self.blocks(self.all[name].known) + promised <= self.free();
            if running.len() == self.config.max_num_seqs as usize || len == 0 || !fits {
                break;
            }
            self.all[name].running = true;
            self.take(name, len, &mut choice);
            budget -= len;
        }
        choice
    }

    /// Returns who ended.
    fn complete(&mut self, choice: &Choice) -> Vec<usize> {
        let mut ended = vec![];
        for (name, _, _, wants) in &choice.items {
            let p = &mut self.all[*name];
            p.known += u32::from(*wants);
            if p.known == p.limit && p.computed >= p.prompt {
                (p.over, p.running) = (true, false);
                ended.push(*name);
            }
        }
        ended
    }
}

#[derive(Clone, Debug)]
enum Action {
    Add { prompt: u32, max_tokens: u32, priority: i32 },
    Abort(prop::sample::Index),
    Step,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        3 => (1..40_u32, 0..20_u32, -3..4_i32)
            .prop_map(|(prompt, max_tokens, priority)| Action::Add { prompt, max_tokens, priority }),
        1 => any::<prop::sample::Index>().prop_map(Action::Abort),
        6 => Just(Action::Step),
    ];
    prop::collection::vec(action, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_choose_the_same(
        max_num_seqs in 1..8_u32,
        extra in 0..40_u32,
        max_model_len in 2..64_u32,
        threshold in 0..8_u32,
        enable_chunked_prefill in any::<bool>(),
        policy in prop_oneof![Just(Policy::Fcfs), Just(Policy::Priority)],
        block_size in 1..6_u32,
        num_blocks in 1..30_u32,
        mut actions in actions(),
    ) {
        let least = if enable_chunked_prefill { 0 } else { max_model_len };
        let config = SchedulerConfig {
            max_num_seqs,
            max_num_batched_tokens: (max_num_seqs + extra).max(least),
            max_model_len,
            long_prefill_token_threshold: threshold,
            enable_chunked_prefill,
            policy,
            ..Default::default()
        };
        let cache = CacheConfig { block_size, num_blocks, enable_prefix_caching: false };
        let mut scheduler = Scheduler::new(config.clone(), cache).unwrap();
        let mut naive = Naive { config, block_size, num_blocks, all: vec![] };
        // The scheduler's name of each sequence.
        let mut ids = vec![];
        let mut batch = Batch::default();
        // As many steps as it takes to end whatever was added.
        actions.extend(std::iter::repeat_n(Action::Step, 80 * 60));
        for action in actions {
            match action {
                Action::Add { prompt, max_tokens, priority } => {
                    let request = Request { priority, ..Request::new(vec![0; prompt as usize], max_tokens) };
                    let fits = prompt + max_tokens.min(1) <= max_model_len && prompt <= block_size * num_blocks;
                    let added = scheduler.add(request);
                    prop_assert_eq!(added.is_ok(), fits);
                    if let Ok(id) = added {
                        let limit = (prompt + max_tokens).min(max_model_len).min(block_size * num_blocks + 1);
                        ids.push(id);
                        naive.all.push(Plain { prompt, known: prompt, limit, computed: 0, priority, running: false, over: false });
                    }
                }
                Action::Abort(pick) => {
                    let left = naive.those(|p| !p.over);
                    if !left.is_empty() {
                        let name = *pick.get(&left);
                        (naive.all[name].over, naive.all[name].running) = (true, false);
                        prop_assert!(scheduler.abort(ids[name]).is_some());
                    }
                }
                Action::Step => {
                    if !scheduler.has_work() {
                        prop_assert!(naive.those(|p| !p.over).is_empty());
                        continue;
                    }
                    scheduler.schedule(&mut batch);
                    let name = |id| ids.iter().rposition(|other| *other == id).unwrap();
                    let choice = Choice {
                        items: batch.items().iter().map(|i| (name(i.seq), i.start, i.len, i.wants_token())).collect(),
                        preempted: batch.preempted().iter().map(|id| name(*id)).collect(),
                    };
                    let expected = naive.schedule();
                    prop_assert_eq!(&choice, &expected);
                    prop_assert_eq!(scheduler.cache().pool().free(), naive.free());
                    let mut ended = vec![];
                    for item in batch.items() {
                        if let Progress::Finished(_) = scheduler.complete(item, item.wants_token().then_some(0)).unwrap() {
                            ended.push(name(item.seq));
                        }
                    }
                    prop_assert_eq!(ended, naive.complete(&expected));
                }
            }
        }
        prop_assert!(!scheduler.has_work());
    }
}
