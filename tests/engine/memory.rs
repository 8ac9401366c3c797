//! What the memory holds: foreseen before it is allocated, refused with figures where it doesn't fit.

use clap::Parser;
use ridgepoint::cache::BlockId;
use ridgepoint::cli::engine_args::EngineArgs;
use ridgepoint::engine::{Ahead, GenerationRequest};
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::Order;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{CacheBudget, Entry, Footprint, Outputs, Results, Runner, Want};
use ridgepoint::scheduler::Policy;
use ridgepoint::units::Bytes;

use super::{GPU, Setup, alone, greedy, prompt, tiny};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    engine: EngineArgs,
}

fn args(line: &str) -> Result<EngineArgs, clap::Error> {
    Line::try_parse_from(std::iter::once("test").chain(line.split_whitespace())).map(|l| l.engine)
}

fn sizes() -> Footprint {
    let file = tiny();
    let hyper = file.hyper().unwrap();
    Footprint::new(&file, &hyper, 256, 32, 256, 16, CacheType::F16)
}

#[test]
fn what_is_foreseen_is_what_is_allocated() {
    let runner = Setup::default().runner(&tiny());
    let sizes = sizes();
    // Stacked matrices share the word that each would pad its scales with.
    let weights = runner.memory.weights.0;
    assert!(
        sizes.weights >= weights && sizes.weights <= weights + weights / 100,
        "{} {weights}",
        sizes.weights
    );
    assert_eq!(sizes.scratch, runner.memory.scratch.0 + runner.memory.results.0);
    assert_eq!(sizes.block * 256, runner.memory.cache.0);
}

/// Buffers for the states of what is embedded are made at the first request, and were counted before.
#[test]
fn embeddings_take_no_more_than_was_foreseen() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).unwrap();
    let setup = Setup::default();
    let mut runner = Runner::load(&gpu, &tiny(), setup.limits(), &mut |_, _| {}).unwrap();
    // Only wgpu's Vulkan and DX12 tell.
    let readbacks = || -> Option<Vec<u64>> {
        let report = gpu.device.generate_allocator_report()?;
        Some(report.allocations.iter().filter(|a| a.name == "readback").map(|a| a.size).collect())
    };
    let ids = prompt(runner.limits.tokens, 3);
    let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
    let entry = Entry { tokens: &ids, start: 0, blocks: &blocks, outputs: Outputs::States(ids.len()) };
    let before = readbacks();
    let mut results = Results::default();
    for _ in 0..3 {
        runner.run(&[entry], Want::Argmax, &mut results).unwrap();
        assert_eq!(results.states.len(), ids.len() * runner.hyper.hidden);
    }
    let Some((before, after)) = before.zip(readbacks()) else {
        assert_ne!(gpu.adapter.backend, "vulkan");
        return;
    };
    let [before, after] = [before, after].map(|all| all.iter().sum::<u64>());
    let rows = 2 * ids.len() as u64 * 4 * runner.hyper.hidden as u64;
    assert!(after >= before + rows - 64, "{before} {after}");
    assert!(after <= runner.memory.results.0, "{after} {:?}", runner.memory);
}

#[test]
fn a_cache_of_the_asked_size_is_made() {
    let sizes = sizes();
    assert_eq!(sizes.blocks(CacheBudget::Bytes(Bytes(sizes.block * 10)), &GPU).unwrap(), 10);
    // All that 32 sequences of 256 tokens can use, and no more.
    assert_eq!(sizes.blocks(CacheBudget::Utilization(0.9), &GPU).unwrap(), 32 * 16);
    let error = sizes.blocks(CacheBudget::Bytes(Bytes(1 << 50)), &GPU).unwrap_err().to_string();
    assert!(error.contains("would fit") || error.contains("fits"), "{error}");
}

#[test]
fn a_cache_smaller_than_the_context_serves_short_requests() {
    let mut engine = Setup { blocks: 8, ..Setup::default() }.engine();
    let ids: Vec<_> =
        (0..8).map(|i| engine.add(GenerationRequest::new(prompt(8, i), greedy(6))).unwrap()).collect();
    engine.step(&mut Vec::new()).unwrap();
    assert_eq!(engine.stats().running, 8, "they run at once");
    drop(ids);
    let too_long = engine.add(GenerationRequest::new(prompt(200, 1), greedy(6))).unwrap_err().to_string();
    assert!(too_long.contains("needs 13 cache blocks") && too_long.contains("has 8"), "{too_long}");
    let cut = alone(&mut engine, GenerationRequest::new(prompt(120, 1), greedy(200)));
    let cut = cut.0.values().next_back().unwrap();
    assert_eq!(cut.result.as_ref().unwrap().output_tokens, 9, "128 places, the last token needs none");
}

#[test]
fn flags_become_settings() {
    let defaults = args("").unwrap();
    let config = defaults.scheduler(2048);
    assert!(config.enable_chunked_prefill);
    assert_eq!((config.max_num_seqs, config.max_queue), (64, 256));
    assert_eq!(defaults.options().ahead, Ahead::Auto);
    assert_eq!(args("--async-scheduling").unwrap().options().ahead, Ahead::On);
    assert_ne!(Ahead::Auto.on(&GPU), Ahead::Auto);
    let all = args(
        "--max-num-seqs 8 --kv-cache-memory-bytes 12MiB --no-enable-chunked-prefill --max-queue 3 \
         --long-prefill-token-threshold 32 --no-enable-prefix-caching --scheduling-policy priority \
         --max-num-queued-tokens 4096 --max-step-ms 50 --batch-invariant --no-async-scheduling \
         --kv-cache-dtype f32 --block-size 32 --max-model-len 512 --max-num-batched-tokens 600",
    )
    .unwrap();
    assert_eq!(all.kv_cache_memory, Some(Bytes(12 << 20)));
    let config = all.scheduler(512);
    assert!(!config.enable_chunked_prefill && all.no_enable_prefix_caching);
    assert_eq!((config.policy, config.max_queue, config.max_num_seqs), (Policy::Priority, 3, 8));
    assert_eq!((config.max_num_queued_tokens, config.long_prefill_token_threshold), (4096, 32));
    assert_eq!(all.options().order, Order::Fixed);
    assert_eq!(all.options().max_step, Some(std::time::Duration::from_millis(50)));
    assert_eq!(all.options().ahead, Ahead::Never);
    // The last of a pair counts.
    assert!(args("--no-enable-chunked-prefill --enable-chunked-prefill").unwrap().enable_chunked_prefill);
    for bad in [
        "--gpu-memory-utilization 1.5",
        "--gpu-memory-utilization 0",
        "--kv-cache-memory lots",
        "--kv-cache-memory 1GiB --gpu-memory-utilization 0.5",
        "--max-step-ms 0",
        "--scheduling-policy fifo",
        "--kv-cache-dtype q3",
    ] {
        assert!(args(bad).is_err(), "{bad}");
    }
}
