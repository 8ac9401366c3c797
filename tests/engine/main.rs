//! The engine on a tiny model: choices of a request, figures, and that nothing but the request itself
//! decides its text.

mod ahead;
mod bound;
mod choices;
mod determinism;
mod invariance;
mod memory;
mod pairs;
mod prompt;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::{
    Engine, Event, FinishedRequest, GenerationRequest, Options, PromptOutput, RequestId,
};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::Noise;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Limits, Runner};
use ridgepoint::sample::{Choice, SamplingParams};
use ridgepoint::scheduler::SchedulerConfig;

static GPU: LazyLock<Arc<Gpu>> =
    LazyLock::new(|| Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter"));

/// Tokens of the model's vocabulary that have text.
const WORDS: usize = 300;

/// How an engine is set up; the default has room for all that a test adds.
#[derive(Clone, Debug)]
struct Setup {
    blocks: u32,
    prefixes: bool,
    config: SchedulerConfig,
    options: Options,
}

impl Default for Setup {
    fn default() -> Self {
        let config = SchedulerConfig {
            max_num_seqs: 32,
            max_num_batched_tokens: 256,
            max_model_len: 256,
            ..SchedulerConfig::default()
        };
        Self { blocks: 256, prefixes: true, config, options: Options::default() }
    }
}

impl Setup {
    fn limits(&self) -> Limits {
        Limits {
            tokens: self.config.max_num_batched_tokens as usize,
            outputs: 32,
            context: 256,
            sequences: 32,
            cache: CacheConfig { enable_prefix_caching: self.prefixes, ..CacheConfig::new(self.blocks) },
            cache_type: CacheType::F16,
        }
    }

    fn runner(&self, file: &ModelFile) -> Runner {
        Runner::load(&GPU, file, self.limits(), &mut |_, _| {}).unwrap()
    }

    fn engine(&self) -> Engine {
        let file = tiny();
        let tokenizer = Arc::new(file.tokenizer().unwrap());
        let config = self.config.clone();
        Engine::with_options(self.runner(&file), tokenizer, config, self.options).unwrap()
    }
}

fn tiny() -> ModelFile {
    ModelFile::open(Path::new("tests/data/tiny/llama")).unwrap()
}

/// `n` random token ids.
fn prompt(n: usize, seed: u64) -> Vec<u32> {
    Noise::new(seed).shuffled(WORDS).into_iter().cycle().take(n).map(|id| id + 2).collect()
}

/// Sampling at a temperature that keeps the choice open, for exactly `tokens` tokens.
fn sampled(seed: i64, tokens: u32) -> SamplingParams {
    SamplingParams {
        seed: Some(seed),
        ignore_eos: true,
        max_tokens: Some(tokens),
        ..SamplingParams::default()
    }
}

fn greedy(tokens: u32) -> SamplingParams {
    SamplingParams { temperature: 0.0, ..sampled(0, tokens) }
}

/// What came of one choice.
#[derive(Clone, Debug, Default)]
struct Answer {
    tokens: Vec<u32>,
    choices: Vec<Choice>,
    text: String,
    result: Option<FinishedRequest>,
}

#[derive(Debug, Default)]
struct Answers(BTreeMap<(RequestId, u32), Answer>, BTreeMap<RequestId, PromptOutput>);

impl Answers {
    fn take(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Prompt { id, output } => {
                    assert!(self.1.insert(id, output).is_none(), "a prompt's output comes once");
                }
                Event::Token { id, index, choice, text } => {
                    let answer = self.0.entry((id, index)).or_default();
                    assert!(answer.result.is_none(), "a token after the end");
                    answer.tokens.push(choice.id);
                    answer.choices.push(choice);
                    answer.text += &text;
                }
                Event::Finished { id, index, text, result } => {
                    let answer = self.0.entry((id, index)).or_default();
                    answer.text += &text;
                    assert!(answer.result.replace(result).is_none(), "it ends once");
                }
            }
        }
    }

    fn of(&self, id: RequestId, index: u32) -> &Answer {
        &self.0[&(id, index)]
    }
}

/// Steps until nothing is left to do, and checks that nothing is left behind.
fn drain(engine: &mut Engine) -> Answers {
    let mut answers = Answers::default();
    let mut events = Vec::new();
    let mut steps = 0;
    while engine.has_work() {
        engine.step(&mut events).unwrap();
        answers.take(&mut events);
        engine.scheduler().audit().unwrap();
        steps += 1;
        assert!(steps < 5000, "it doesn't end");
    }
    assert_eq!(engine.stats().blocks_used, 0, "a block leaked");
    answers
}

/// One request alone.
fn alone(engine: &mut Engine, request: GenerationRequest) -> Answers {
    engine.add(request).unwrap();
    drain(engine)
}
