//! Continues a prompt with the library: `cargo run --release --example generate -- MODEL PROMPT`.

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

/// Continues a prompt; each piece of text goes to `show` as soon as it is certain.
pub fn generate(
    model: &Path,
    prompt: &str,
    max_tokens: u32,
    show: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted)?;
    let file = ModelFile::open(model)?;
    let tokenizer = file.tokenizer()?;
    let context = file.hyper()?.context_length.min(256);
    let limits = Limits {
        tokens: context,
        outputs: 1,
        context,
        sequences: 1,
        cache: CacheConfig::new(context.div_ceil(16) as u32),
        cache_type: CacheType::F16,
    };
    let runner = Runner::load(&gpu, &file, limits, &mut |_, _| {})?;
    let ids = tokenizer.encode_prompt(prompt, Special::Parse)?;
    let mut engine = Engine::new(
        runner,
        Arc::new(tokenizer),
        SchedulerConfig { max_num_seqs: 1, ..SchedulerConfig::default() },
    )?;
    let params =
        SamplingParams { temperature: 0.0, max_tokens: Some(max_tokens), ..SamplingParams::default() };
    engine.add(GenerationRequest::new(ids, params))?;
    let mut events = Vec::new();
    while engine.has_work() {
        engine.step(&mut events)?;
        for event in events.drain(..) {
            show(event.text());
        }
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(prompt)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: generate MODEL PROMPT");
    };
    generate(Path::new(&model), &prompt, 32, &mut |text| print!("{text}"))?;
    println!();
    Ok(())
}
