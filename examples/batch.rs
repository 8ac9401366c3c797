//! Answers several prompts at once, two choices each:
//!
//! `cargo run --release --example batch -- model.gguf "The sky is" "A good soup needs"`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::{Ahead, Engine, Event, GenerationRequest, Options};
use ridgepoint::format::ModelFile;
use ridgepoint::format::tokenizer::Special;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{CacheBudget, Footprint, Limits, Runner};
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(model) = arguments.next() else {
        anyhow::bail!("usage: batch MODEL PROMPT...");
    };
    let prompts: Vec<String> = arguments.collect();
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted)?;
    let file = ModelFile::open(Path::new(&model))?;
    let hyper = file.hyper()?;
    let tokenizer = Arc::new(file.tokenizer()?);

    // How much of the memory the cache gets, before anything is allocated.
    let (tokens, sequences, context) = (256, 16, hyper.context_length.min(1024));
    let cache_type = CacheType::F16;
    let sizes = Footprint::new(&file, &hyper, tokens, sequences, context, 16, cache_type);
    let cache = CacheConfig::new(sizes.blocks(CacheBudget::Utilization(0.5), &gpu)?);
    let limits = Limits { tokens, outputs: sequences, context, sequences, cache, cache_type };
    let runner = Runner::load(&gpu, &file, limits, &mut |_, _| {})?;
    let config = SchedulerConfig {
        max_num_seqs: sequences as u32,
        max_num_batched_tokens: tokens as u32,
        max_model_len: context as u32,
        ..SchedulerConfig::default()
    };
    let options = Options { ahead: Ahead::WherePossible, ..Options::default() };
    let mut engine = Engine::with_options(runner, Arc::clone(&tokenizer), config, options)?;

    let mut asked = BTreeMap::new();
    for prompt in prompts {
        let ids = tokenizer.encode_prompt(&prompt, Special::Parse)?;
        let params = SamplingParams { n: 2, max_tokens: Some(24), ..SamplingParams::default() };
        asked.insert(engine.add(GenerationRequest::new(ids, params))?, prompt);
    }
    let mut texts = BTreeMap::<_, String>::new();
    let mut events = Vec::new();
    while engine.has_work() {
        engine.step(&mut events)?;
        for event in events.drain(..) {
            let (Event::Token { id, index, text, .. } | Event::Finished { id, index, text, .. }) = event;
            texts.entry((id, index)).or_default().push_str(&text);
        }
    }
    for ((id, index), text) in texts {
        println!("{} [{index}] {text}", asked[&id]);
    }
    let c = engine.stats().counters;
    println!(
        "{} steps for {} tokens of prompt and {} of answer",
        c.steps, c.prompt_tokens, c.generation_tokens
    );
    Ok(())
}
