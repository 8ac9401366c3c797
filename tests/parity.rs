//! Logits of small models against references by transformers, and greedy continuations, on this
//! adapter: whole prompts, chunks of 1, 5 and 16, token by token, f32 and f16 cache, shuffled blocks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use ridgepoint::cache::{BlockId, CacheConfig};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, LimitProfile, OpenOptions};
use ridgepoint::kernels::attention::Splitting;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::kernels::{Noise, U};
use ridgepoint::model::{Entry, Limits, Outputs, Reference, Results, Runner, Want};
use serde::Deserialize;

static GPU: LazyLock<Arc<Gpu>> =
    LazyLock::new(|| Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter"));

#[derive(Deserialize)]
struct Case {
    prompt: Vec<u32>,
    last_logits: Vec<f32>,
    greedy: Vec<u32>,
    greedy_margin: Vec<f32>,
}

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

const BLOCKS: u32 = 12;

fn load(gpu: &Arc<Gpu>, path: &Path, cache_type: CacheType) -> Runner {
    let file = ModelFile::open(path).unwrap();
    let limits = Limits {
        tokens: 80.min(gpu.limits.max_compute_workgroups_per_dimension as usize),
        outputs: 4,
        context: 128,
        sequences: 2,
        cache: CacheConfig::new(BLOCKS),
        cache_type,
    };
    Runner::load(gpu, &file, limits, &mut |_, _| {}).unwrap()
}

/// Logits after the last of `tokens`, computed from position `start` on in chunks.
fn logits(runner: &mut Runner, blocks: &[BlockId], tokens: &[u32], start: usize, chunk: usize) -> Vec<f32> {
    let mut results = Results::default();
    let mut at = start;
    for part in tokens[start..].chunks(chunk) {
        let entry = Entry { tokens: part, start: at, blocks, outputs: Outputs::Last };
        runner.run(&[entry], Want::Rows, &mut results).unwrap();
        at += part.len();
    }
    results.logits
}

fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Compares every case; gives the largest relative difference.
fn check(
    gpu: &Arc<Gpu>,
    name: &str,
    path: &Path,
    expected: &Expected,
    cache_type: CacheType,
    tolerance: f32,
) {
    let mut runner = load(gpu, path, cache_type);
    let most = runner.limits.tokens;
    let mut worst = 0.0_f32;
    for (i, case) in expected.cases.iter().enumerate() {
        let mut blocks = Noise::new(i as u64).shuffled(BLOCKS as usize);
        let blocks: Vec<BlockId> = blocks.drain(..).map(BlockId).collect();
        for chunk in [80, 16, 5, 1].map(|chunk| most.min(chunk)) {
            let got = logits(&mut runner, &blocks, &case.prompt, 0, chunk);
            let off = difference(&got, &case.last_logits);
            assert!(
                off <= tolerance,
                "{name} {cache_type:?}, prompt {i} in chunks of {chunk}: off by {off:e}"
            );
            worst = worst.max(off);
        }
        let largest = case.last_logits.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let mut tokens = case.prompt.clone();
        for (step, (&want, &margin)) in case.greedy.iter().zip(&case.greedy_margin).enumerate() {
            let start = if step == 0 { 0 } else { tokens.len() - 1 };
            let row = logits(&mut runner, &blocks, &tokens, start, most);
            let got = ridgepoint::kernels::argmax::reference(&row);
            assert!(
                got == want || margin <= 2.0 * tolerance * largest,
                "{name} {cache_type:?}, prompt {i}, step {step}: {got}, expected {want} by {margin}"
            );
            tokens.push(want);
        }
    }
    println!("{name} {cache_type:?}: largest difference {:.5} % of the largest logit", 100.0 * worst);
}

const F32: (CacheType, f32) = (CacheType::F32, 0.0005);
const F16: (CacheType, f32) = (CacheType::F16, 0.005);

#[test]
fn architectures_agree_with_transformers() {
    let root = PathBuf::from("tests/data/tiny");
    for name in ["llama", "llama3-rope", "mistral-window", "qwen2", "qwen3"] {
        let dir = root.join(name);
        let expected = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap();
        for (cache, tolerance) in [F32, F16] {
            check(&GPU, name, &dir, &expected, cache, tolerance);
        }
    }
}

/// Bytes are coarse, so the reference rounds its keys and values as the cache does; what is left is f32 sums,
/// and a number between two bytes that falls to the other side.
#[test]
fn a_cache_of_bytes_rounds_and_does_no_more() {
    for name in ["llama", "llama3-rope", "mistral-window", "qwen2", "qwen3"] {
        let dir = PathBuf::from("tests/data/tiny").join(name);
        let expected = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap();
        let reference = Reference::read(&ModelFile::open(&dir).unwrap()).unwrap();
        let mut runner = load(&GPU, &dir, CacheType::Q8_0);
        let (mut worst, mut rounding) = (0.0_f32, 0.0_f32);
        for (i, case) in expected.cases.iter().enumerate() {
            let blocks = Noise::new(i as u64).shuffled(BLOCKS as usize);
            let blocks: Vec<BlockId> = blocks.into_iter().map(BlockId).collect();
            let want = reference.logits_through(&case.prompt, CacheType::Q8_0).unwrap();
            rounding = rounding.max(difference(&want, &case.last_logits));
            for chunk in [80, 16, 5, 1] {
                let off = difference(&logits(&mut runner, &blocks, &case.prompt, 0, chunk), &want);
                assert!(off <= 0.005, "{name}, prompt {i} in chunks of {chunk}: off by {off:e}");
                worst = worst.max(off);
            }
        }
        println!(
            "{name} Q8_0: {:.4} % of the largest logit from the rounded reference, which is {:.2} % from transformers",
            100.0 * worst,
            100.0 * rounding
        );
    }
}

/// WebGPU's defaults, and less: every matrix and every layer's cache is larger than a binding, and no
/// dispatch may be wider than 16 workgroups.
#[test]
fn low_limits_change_nothing() {
    for (name, binding) in [("llama", 24_576), ("qwen3", 49_152)] {
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: binding,
            max_compute_workgroups_per_dimension: 16,
            ..wgpu::Limits::default()
        };
        let options = OpenOptions { limits: LimitProfile::Custom(Box::new(limits)), ..Default::default() };
        let gpu = Gpu::open_with(&AdapterChoice::Best, &options).expect("an adapter");
        assert_eq!(gpu.limits.max_storage_buffer_binding_size, binding);
        let dir = PathBuf::from("tests/data/tiny").join(name);
        let expected = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap();
        check(&gpu, name, &dir, &expected, F32.0, F32.1);
    }
}

/// The last tokens of two sequences of unlike length in one step, their keys shared by more and more workgroups,
/// against the step that isn't split.
#[test]
fn splits_along_the_context_change_the_order_of_sums_alone() {
    const LENGTHS: [usize; 2] = [120, 41];
    for name in ["llama", "mistral-window", "qwen3"] {
        // Rotated on the way, and before.
        for cache in [CacheType::F32, CacheType::Q8_0] {
            let mut runner = load(&GPU, &PathBuf::from("tests/data/tiny").join(name), cache);
            let mut noise = Noise::new(7);
            let blocks: Vec<BlockId> = noise.shuffled(BLOCKS as usize).into_iter().map(BlockId).collect();
            let tables = blocks.split_at(8);
            let tokens =
                LENGTHS.map(|n| (0..n).map(|_| noise.below(runner.hyper.vocab) as u32).collect::<Vec<_>>());
            for (tokens, blocks) in tokens.iter().zip([tables.0, tables.1]) {
                logits(&mut runner, blocks, &tokens[..tokens.len() - 1], 0, 80);
            }
            let entries: Vec<Entry<'_>> = tokens
                .iter()
                .zip([tables.0, tables.1])
                .map(|(tokens, blocks)| Entry {
                    tokens: &tokens[tokens.len() - 1..],
                    start: tokens.len() - 1,
                    blocks,
                    outputs: Outputs::Last,
                })
                .collect();
            let layers = runner.hyper.layers;
            let mut decode = |most| {
                // Without a limit of workgroups, and a key enough for one.
                runner.set_splitting(Splitting { groups: usize::MAX, keys: 1, most });
                let merges = runner.describe(&entries, Want::Rows).unwrap();
                let merges = merges.iter().filter(|d| d.kernel == "attention_merge").count();
                assert_eq!(merges, if most > 1 { layers } else { 0 });
                let mut results = Results::default();
                runner.run(&entries, Want::Rows, &mut results).unwrap();
                results.logits
            };
            let whole = decode(1);
            // What either may be off by, of each layer's attention (`kernels/attention/proof.rs`).
            let tolerance = 2.0 * layers as f64 * (32.0 + 3.0 * LENGTHS[0] as f64) * 2.0 * U;
            for most in [2, 3, 8, 64] {
                let off = f64::from(difference(&decode(most), &whole));
                println!("{name} {cache:?}, {most} splits: off by {off:.1e} of {tolerance:.1e}");
                assert!(off <= tolerance, "{name} {cache:?}, {most} splits: off by {off:e}");
            }
        }
    }
}

#[derive(Deserialize)]
struct ByFile {
    files: std::collections::BTreeMap<String, Expected>,
}

#[test]
fn formats_agree_with_dequantised_weights() {
    let root = PathBuf::from("tests/data/quant-models");
    let expected = std::fs::read_to_string(root.join("expected.json")).unwrap();
    let expected: ByFile = serde_json::from_str(&expected).unwrap();
    assert_eq!(expected.files.len(), 11);
    for (name, expected) in &expected.files {
        for (cache, tolerance) in [F32, F16] {
            check(&GPU, name, &root.join(name), expected, cache, tolerance);
        }
    }
}
