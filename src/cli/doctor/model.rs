//! A tiny llama, made here, through the whole engine against the plain forward pass: file, weights,
//! paged cache, prefill, decode.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::report::{Checked, ModelReport, ModelRun};
use super::status::Status;
use crate::cache::{BlockId, CacheConfig};
use crate::format::ModelFile;
use crate::gpu::{self, Gpu};
use crate::kernels::Noise;
use crate::kernels::rope_cache::CacheType;
use crate::model::{Entry, Error, Limits, Outputs, Reference, Results, Runner, Want};
use crate::quant::{self, Format};

const LAYERS: usize = 2;
const HIDDEN: usize = 96;
const INNER: usize = 160;
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;
const VOCAB: usize = 300;
const CONTEXT: usize = 128;
/// Tokens of the prompt: three blocks and a rest.
const PROMPT: usize = 53;
const BLOCKS: u32 = 8;

/// What logits may be off by, as a share of the largest one, from a reference whose keys and values are
/// rounded as the cache rounds. f32 sums are right to a few 1e-5; a number that lies between two that the
/// cache can hold may fall to the other side.
const CACHES: [(CacheType, f64); 3] =
    [(CacheType::F32, 5e-4), (CacheType::F16, 5e-3), (CacheType::Q8_0, 5e-3)];
/// Tokens of a step.
const CHUNKS: [(usize, &str); 3] = [(PROMPT, "whole"), (16, "in chunks of 16"), (1, "token by token")];

/// Runs the model in every way, a second time on `checked` where there is one.
///
/// # Errors
/// When the model can't be written or read back, or the device is lost. Every other failure is a
/// result.
pub fn examine(gpu: &Arc<Gpu>, checked: Option<&Arc<Gpu>>, status: &Status) -> anyhow::Result<ModelReport> {
    let began = Instant::now();
    let written = TinyFile::write()?;
    let file = ModelFile::open(&written.path)?;
    let mut noise = Noise::new(2);
    let prompt: Vec<u32> = (0..PROMPT).map(|_| noise.below(VOCAB) as u32).collect();
    let blocks: Vec<BlockId> = noise.shuffled(BLOCKS as usize).into_iter().map(BlockId).collect();
    let reference = Reference::read(&file)?;
    if let Some(gpu) = checked {
        // What the kernels' cases bound was asked about there.
        gpu.strays().ok();
    }
    let mut report = ModelReport {
        summary: format!(
            "{LAYERS} layers of {HIDDEN}, {HEADS} heads of {HEAD_DIM} over {KV_HEADS}, Q4_1 and Q8_0, {PROMPT} tokens in shuffled blocks"
        ),
        runs: Vec::new(),
        failures: Vec::new(),
        checked: checked.map(|_| Checked::default()),
        seconds: 0.0,
    };
    for (cache, tolerance) in CACHES {
        let want = reference.logits_through(&prompt, cache)?;
        let cache_name = cache.name();
        let load = |gpu: &Arc<Gpu>, how: &str| {
            status.now(&format!("tiny model: compiling, {cache_name} cache{how}"));
            let limits = Limits {
                tokens: PROMPT,
                outputs: 1,
                context: CONTEXT,
                sequences: 1,
                cache: CacheConfig::new(BLOCKS),
                cache_type: cache,
            };
            Runner::load(gpu, &file, limits, &mut |_, _| {})
        };
        let mut runners = vec![("", load(gpu, ""))];
        if let Some(gpu) = checked {
            runners.push((", with checks on", load(gpu, " with checks on")));
        }
        for (chunk, chunk_name) in CHUNKS {
            let mut rows = Vec::new();
            for (how, runner) in &mut runners {
                let label = format!("{cache_name} cache, {chunk_name}{how}");
                status.now(&format!("tiny model: {label}"));
                let ran = match runner {
                    Ok(runner) => logits(runner, &blocks, &prompt, chunk),
                    Err(error) => {
                        report.failures.push(format!("{label}: {error}"));
                        continue;
                    }
                };
                match ran {
                    Ok(got) => {
                        report.runs.push(ModelRun { label, difference: difference(&got, &want), tolerance });
                        rows.push(got);
                    }
                    Err(Error::Gpu(lost @ gpu::Error::Lost(_))) => return Err(lost.into()),
                    Err(error) => report.failures.push(format!("{label}: {error}")),
                }
            }
            if let (Some(checked), [a, b]) = (&mut report.checked, rows.as_slice()) {
                let bits = |row: &[f32]| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                checked.differ += usize::from(bits(a) != bits(b));
                checked.right += usize::from(difference(b, &want) <= tolerance);
                checked.wrong +=
                    usize::from(difference(b, &want).is_nan() || difference(b, &want) > tolerance);
            }
        }
    }
    if let Some(Err(error)) = checked.map(|gpu| gpu.strays()) {
        report.failures.push(format!("with checks on: {error}"));
    }
    report.seconds = began.elapsed().as_secs_f64();
    status.line(&format!("tiny model: {} runs in {:.1} s", report.runs.len(), report.seconds));
    Ok(report)
}

/// Logits after the last token of a prompt.
fn logits(runner: &mut Runner, blocks: &[BlockId], prompt: &[u32], chunk: usize) -> Result<Vec<f32>, Error> {
    let mut results = Results::default();
    for (i, tokens) in prompt.chunks(chunk).enumerate() {
        let entry = Entry { tokens, start: i * chunk, blocks, outputs: Outputs::Last };
        runner.run(&[entry], Want::Rows, &mut results)?;
    }
    Ok(results.logits)
}

/// The largest difference as a share of the largest expected logit; NaN if anything is.
fn difference(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() || got.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    f64::from(off) / f64::from(largest)
}

/// The model in a file of the temporary folder, gone when dropped.
struct TinyFile {
    path: PathBuf,
}

impl TinyFile {
    fn write() -> io::Result<Self> {
        let bytes = gguf();
        // `create_new` never follows or overwrites what somebody else put there.
        for n in 0..64 {
            let path =
                std::env::temp_dir().join(format!("ridgepoint-doctor-{}-{n}.gguf", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let written = Self { path };
                    file.write_all(&bytes)?;
                    return Ok(written);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{}: it is full of the doctor's files", std::env::temp_dir().display()),
        ))
    }
}

impl Drop for TinyFile {
    fn drop(&mut self) {
        // A file left in the temporary folder is not worth an error.
        let _ = fs::remove_file(&self.path);
    }
}

/// The whole model as a GGUF file, version 3, the same on every machine.
fn gguf() -> Vec<u8> {
    const ALIGN: usize = 32;
    let count = |n: usize| (4_u32, (n as u32).to_le_bytes());
    let real = |v: f32| (6_u32, v.to_le_bytes());
    let values = [
        ("llama.block_count", count(LAYERS)),
        ("llama.embedding_length", count(HIDDEN)),
        ("llama.feed_forward_length", count(INNER)),
        ("llama.attention.head_count", count(HEADS)),
        ("llama.attention.head_count_kv", count(KV_HEADS)),
        ("llama.attention.key_length", count(HEAD_DIM)),
        ("llama.attention.value_length", count(HEAD_DIM)),
        ("llama.vocab_size", count(VOCAB)),
        ("llama.context_length", count(CONTEXT)),
        ("llama.attention.layer_norm_rms_epsilon", real(1e-5)),
        ("llama.rope.freq_base", real(10_000.0)),
    ];
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let tensors = tensors();
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((values.len() as u64 + 1).to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8_u32.to_le_bytes());
    text(&mut out, "llama");
    for (key, (kind, bytes)) in values {
        text(&mut out, key);
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    }
    let mut data = Vec::new();
    let mut noise = Noise::new(1);
    for (name, format, rows, columns) in tensors {
        text(&mut out, &name);
        let dims: &[usize] = if rows == 1 { &[columns] } else { &[columns, rows] };
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|&d| out.extend((d as u64).to_le_bytes()));
        out.extend(format.ggml_type().to_le_bytes());
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        out.extend((data.len() as u64).to_le_bytes());
        // Gains near 1; matrices that keep the size of what they multiply.
        let (centre, spread) = if rows == 1 { (1.0, 0.2) } else { (0.0, (3.0 / columns as f32).sqrt()) };
        let numbers: Vec<f32> = (0..rows * columns).map(|_| centre + spread * noise.unit()).collect();
        let start = data.len();
        data.resize(start + numbers.len() / format.block_len() * format.block_bytes(), 0);
        format.encode_row(&numbers, &mut data[start..]);
    }
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    out.extend(data);
    out
}

/// Name, format, rows and columns of every tensor. The embedding is the head as well.
fn tensors() -> Vec<(String, &'static dyn Format, usize, usize)> {
    const F32: u32 = 0;
    const Q4_1: u32 = 3;
    const Q8_0: u32 = 8;
    let mut all = Vec::new();
    let mut push = |name: String, number, rows, columns| {
        all.extend(quant::by_ggml_type(number).map(|format| (name, format, rows, columns)));
    };
    push("token_embd.weight".into(), Q8_0, VOCAB, HIDDEN);
    push("output_norm.weight".into(), F32, 1, HIDDEN);
    for i in 0..LAYERS {
        let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        for (name, number, rows, columns) in [
            ("attn_norm", F32, 1, HIDDEN),
            ("attn_q", Q4_1, q, HIDDEN),
            ("attn_k", Q4_1, kv, HIDDEN),
            ("attn_v", Q8_0, kv, HIDDEN),
            ("attn_output", Q4_1, HIDDEN, q),
            ("ffn_norm", F32, 1, HIDDEN),
            ("ffn_gate", Q4_1, INNER, HIDDEN),
            ("ffn_up", Q4_1, INNER, HIDDEN),
            ("ffn_down", Q8_0, HIDDEN, INNER),
        ] {
            push(format!("blk.{i}.{name}.weight"), number, rows, columns);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_sound_and_its_truth_is_no_constant() {
        let written = TinyFile::write().unwrap();
        let path = written.path.clone();
        let file = ModelFile::open(&path).unwrap();
        let reference = Reference::read(&file).unwrap();
        let a = reference.logits(&[1, 2, 3]).unwrap();
        let b = reference.logits(&[3, 2, 3]).unwrap();
        assert!(a.len() == VOCAB && difference(&a, &b) > 0.01);
        drop((written, file));
        assert!(!path.exists());
    }

    #[test]
    fn this_adapter_runs_it_rightly() {
        let gpu = Gpu::open(&gpu::AdapterChoice::Best, gpu::Checks::Trusted).unwrap();
        let report = examine(&gpu, None, &Status::new(true)).unwrap();
        assert!(report.failures.is_empty() && report.runs.len() == CACHES.len() * CHUNKS.len(), "{report:?}");
        for run in &report.runs {
            assert!(run.difference > 0.0 && run.difference <= run.tolerance, "{run:?}");
        }
    }

    #[test]
    fn a_nan_is_a_difference() {
        assert!(difference(&[f32::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!((difference(&[1.0, -2.0], &[1.0, -4.0]) - 0.5).abs() < 1e-9);
    }
}
