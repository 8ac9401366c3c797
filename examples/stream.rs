//! Streams several answers at once: `cargo run --release --example stream -- MODEL PROMPT...`.
//!
//! The engine runs on a thread of its own and is asked from async code. Each request's events come as an
//! async stream; dropping a stream aborts its request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::service::{Loading, Service, State};
use ridgepoint::engine::{Engine, Event, Finish, GenerationRequest};
use ridgepoint::format::tokenizer::Special;
use ridgepoint::format::{ModelFile, Tokenizer};
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Limits, Runner};
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

/// Reads a model; on the engine's thread, which tells how far it is.
fn load(
    model: &Path,
    tokenizer: Arc<Tokenizer>,
    progress: &mut dyn FnMut(Loading),
) -> anyhow::Result<Engine> {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted)?;
    let file = ModelFile::open(model)?;
    let context = file.hyper()?.context_length.min(256);
    let limits = Limits {
        tokens: context,
        outputs: 16,
        context,
        sequences: 16,
        cache: CacheConfig::new(16 * context.div_ceil(16) as u32),
        cache_type: CacheType::F16,
    };
    let runner =
        Runner::load(&gpu, &file, limits, &mut |done, total| progress(Loading::weights(done, total)))?;
    Ok(Engine::new(runner, tokenizer, SchedulerConfig { max_num_seqs: 16, ..SchedulerConfig::default() })?)
}

/// Streams a continuation of each prompt; `show` is given a prompt's place and text as it comes.
pub async fn stream(
    model: PathBuf,
    prompts: &[String],
    max_tokens: u32,
    show: &dyn Fn(usize, &str),
) -> anyhow::Result<()> {
    let tokenizer = Arc::new(ModelFile::open(&model)?.tokenizer()?);
    let own = tokenizer.clone();
    let service = Service::start(
        Box::new(move |progress| load(&model, own, progress).map_err(|error| format!("{error:#}"))),
        Box::new(()),
    )?;
    let mut state = service.watch();
    let state = state.wait_for(|state| !matches!(state, State::Loading(_))).await?.clone();
    anyhow::ensure!(state == State::Ready, "the engine is not ready: {state:?}");
    let answers = prompts.iter().enumerate().map(|(place, prompt)| {
        let (service, tokenizer) = (&service, &tokenizer);
        async move {
            let params = SamplingParams {
                temperature: 0.0,
                max_tokens: Some(max_tokens),
                ..SamplingParams::default()
            };
            let ids = tokenizer.encode_prompt(prompt, Special::Parse)?;
            let mut events = service.stream(GenerationRequest::new(ids, params)).await?;
            while let Some(event) = events.next().await {
                let event = event.with_context(|| format!("prompt {place}"))?;
                show(place, event.text());
                if let Event::Finished { result, .. } = event
                    && let Finish::Error(why) = result.finish
                {
                    anyhow::bail!("prompt {place}: {why}");
                }
            }
            Ok(())
        }
    });
    try_join_all(answers).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), prompts) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        anyhow::bail!("usage: stream MODEL PROMPT...");
    };
    anyhow::ensure!(!prompts.is_empty(), "usage: stream MODEL PROMPT...");
    stream(PathBuf::from(model), &prompts, 32, &|place, text| println!("{place}: {text:?}")).await
}
