//! Answers several prompts at once: `cargo run --release --example batch -- MODEL PROMPT...`.
//!
//! All requests go into one engine, which computes them together: a step reads the weights once for
//! all of them.

use std::path::Path;
use std::sync::Arc;

use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::{Engine, GenerationRequest};
use ridgepoint::format::ModelFile;
use ridgepoint::format::tokenizer::Special;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Limits, Runner};
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

/// Continuations of the prompts, in their order, and how many steps it took to compute them all.
pub fn answer(model: &Path, prompts: &[String], max_tokens: u32) -> anyhow::Result<(Vec<String>, usize)> {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted)?;
    let file = ModelFile::open(model)?;
    let tokenizer = file.tokenizer()?;
    let context = file.hyper()?.context_length.min(256);
    let sequences = prompts.len();
    let limits = Limits {
        tokens: context,
        outputs: sequences,
        context,
        sequences,
        // One pool for all: no sequence reserves more than it has.
        cache: CacheConfig::new((sequences * context.div_ceil(16)) as u32),
        cache_type: CacheType::F16,
    };
    let runner = Runner::load(&gpu, &file, limits, &mut |_, _| {})?;
    let mut ids = Vec::new();
    for prompt in prompts {
        ids.push(tokenizer.encode_prompt(prompt, Special::Parse)?);
    }
    let config = SchedulerConfig { max_num_seqs: sequences as u32, ..SchedulerConfig::default() };
    let mut engine = Engine::new(runner, Arc::new(tokenizer), config)?;
    let mut requests = Vec::new();
    for ids in ids {
        let params =
            SamplingParams { temperature: 0.0, max_tokens: Some(max_tokens), ..SamplingParams::default() };
        requests.push(engine.add(GenerationRequest::new(ids, params))?);
    }
    let mut texts = vec![String::new(); requests.len()];
    let mut events = Vec::new();
    let mut steps = 0;
    while engine.has_work() {
        engine.step(&mut events)?;
        steps += 1;
        for event in events.drain(..) {
            if let Some(place) = requests.iter().position(|request| *request == event.request()) {
                texts[place].push_str(event.text());
            }
        }
    }
    Ok((texts, steps))
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), prompts) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        anyhow::bail!("usage: batch MODEL PROMPT...");
    };
    anyhow::ensure!(!prompts.is_empty(), "usage: batch MODEL PROMPT...");
    let (texts, steps) = answer(Path::new(&model), &prompts, 32)?;
    for (prompt, text) in prompts.iter().zip(texts) {
        println!("{prompt}{text}\n");
    }
    eprintln!("{} prompts in {steps} steps", prompts.len());
    Ok(())
}
