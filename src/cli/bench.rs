//! `ridgepoint bench model`: llama-bench's tests and field names, beside this device's own ceilings.
//!
//! `pp N` computes a prompt of N tokens, `tg N` generates N tokens one by one, `pp N+tg M` does one
//! after the other; each from a context that holds `d` tokens already. Tokenisation and sampling are
//! not measured. `of_fma` divides 2 x parameters (embedding left out) x tokens/s by the measured f32
//! FMA rate, `of_read` divides the weights' bytes x steps/s by the measured cold read rate.

mod llama_bench;
mod output;

use std::collections::BTreeMap;
use std::time::Instant;

use clap::{Args, Subcommand};
use llama_bench::{Fixed, Numbers};
use output::{Batches, Output, Printer, Row};

use super::cpu_profile::CpuProfile;
use super::load::{LoadArgs, Opened, keep_pipelines};
use super::progress::while_slow;
use super::{BUILD, COMMIT, Global};
use crate::cache::BlockId;
use crate::format::{self, ModelFile};
use crate::model::{Entry, Outputs, Results, Runner, Want};
use crate::profile::{Budget, measure};

/// Measure speed
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prefill and decode speed of a model
    Model(Model),
}

#[derive(Debug, Args)]
struct Model {
    /// The model, instead of --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    profile: CpuProfile,
    /// Prompt tokens, comma-separated, ranges as 128-512+128 or 128-512*2; 0 for no such test
    #[arg(long, short = 'p', value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<Numbers>,
    /// Generated tokens, in the same way; 0 for no such test
    #[arg(long, short = 'n', value_delimiter = ',', default_value = "128")]
    n_gen: Vec<Numbers>,
    /// A prompt and then generated tokens, as one test (also as -pg); may be repeated
    #[arg(long = "pg", visible_alias = "prompt-gen", value_name = "PROMPT,GEN", value_parser = pair)]
    prompt_gen: Vec<(usize, usize)>,
    /// Tokens that the context holds before each test, in the same way
    #[arg(long, short = 'd', value_delimiter = ',', default_value = "0", value_name = "N_DEPTH")]
    n_depth: Vec<Numbers>,
    /// Tokens of a prompt that are handed over at once, in the same way: a step computes so many, and never
    /// more than --ubatch-size
    #[arg(long, short = 'b', value_delimiter = ',', default_value = "2048", value_name = "N_BATCH")]
    batch_size: Vec<Numbers>,
    #[command(flatten)]
    fixed: Fixed,
    /// How often each test runs, after one warm-up
    #[arg(long, short = 'r', default_value_t = 5)]
    repetitions: usize,
    /// How results are printed
    #[arg(long, short = 'o', value_enum, default_value = "md")]
    output: Output,
}

/// One test: so many tokens of prompt, then so many generated, after so many that are there.
#[derive(Clone, Copy, Debug)]
struct Test {
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    n_batch: usize,
}

/// `512,128` as a prompt and a generation in one test.
fn pair(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once(',').and_then(|(p, n)| Some((p.parse().ok()?, n.parse().ok()?)));
    numbers.ok_or_else(|| "expected two numbers, such as 512,128".into())
}

impl Bench {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let What::Model(model) = &self.what;
        model.profile.around_until_interrupted(global, || model.run(global))
    }
}

impl Model {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        if self.repetitions == 0 {
            anyhow::bail!("-r 0: expected at least one repetition");
        }
        if Numbers::all(&self.batch_size).contains(&0) {
            anyhow::bail!("-b 0: expected at least one token");
        }
        let load = self.load.named(self.positional.as_ref());
        let opened = load.open(global)?;
        let tests = self.tests();
        if tests.is_empty() {
            anyhow::bail!("nothing to test: give -p, -n or -pg a number above 0");
        }
        let longest =
            tests.iter().map(|t| t.n_prompt.saturating_add(t.n_gen).saturating_add(t.n_depth)).max();
        if longest.unwrap_or(0) > opened.context {
            anyhow::bail!(
                "a test of {} tokens does not fit the context of {}: raise --max-model-len",
                longest.unwrap_or(0),
                opened.context
            );
        }
        let limits = load.limits(&opened, 1, 1);
        Runner::fits(&opened.gpu, &opened.file, &limits)?;
        // Before the model is loaded: the read probe takes memory of its own.
        let ceilings = measure(&opened.gpu, &["fma_f32", "read_cold"], Budget::Full)?;
        let ceiling = |name: &str| ceilings.iter().find(|c| c.name == name).map(|c| c.value);
        let (Some(fma), Some(read)) = (ceiling("fma_f32"), ceiling("read_cold")) else {
            anyhow::bail!("the ceilings could not be measured")
        };
        let mut runner = opened.runner(global, limits)?;
        let batches = if Numbers::all(&self.batch_size).len() > 1 { Batches::Differ } else { Batches::Same };
        let mut printer = Printer::new(std::io::stdout().lock(), self.output, batches);
        for test in tests {
            printer.row(&self.test(global, &opened, &mut runner, test, fma, read)?)?;
        }
        keep_pipelines(&opened.gpu);
        Ok(printer.end()?)
    }

    /// Every test at every depth and batch, prompts first, as llama-bench orders them.
    fn tests(&self) -> Vec<Test> {
        let prompts = Numbers::all(&self.n_prompt).into_iter().map(|p| (p, 0));
        let generated = Numbers::all(&self.n_gen).into_iter().map(|n| (0, n));
        let both = prompts.chain(generated).chain(self.prompt_gen.iter().copied());
        let both: Vec<(usize, usize)> = both.filter(|&(p, n)| p > 0 || n > 0).collect();
        let (depths, batches) = (Numbers::all(&self.n_depth), Numbers::all(&self.batch_size));
        let at = depths.iter().flat_map(|&depth| batches.iter().map(move |&batch| (depth, batch)));
        let test = |(n_prompt, n_gen), (n_depth, n_batch)| Test { n_prompt, n_gen, n_depth, n_batch };
        at.flat_map(|at| both.iter().map(move |&test_of| test(test_of, at))).collect()
    }

    fn test(
        &self,
        global: &Global,
        opened: &Opened,
        runner: &mut Runner,
        test: Test,
        fma: f64,
        read: f64,
    ) -> anyhow::Result<Row> {
        let Test { n_prompt, n_gen, n_depth, n_batch } = test;
        let n = n_prompt + n_gen;
        let test_time = format::utc_now();
        let vocab = runner.hyper.vocab as u64;
        let tokens: Vec<u32> = (0..(n_depth + n) as u64).map(|i| (i * 7919 % vocab) as u32).collect();
        let blocks: Vec<BlockId> = (0..runner.limits.cache.num_blocks).map(BlockId).collect();
        let most = runner.limits.tokens;
        let step = most.min(n_batch);
        let mut results = Results::default();
        // The tokens from `from` to `to` in steps of `step`; the last one's logits are wanted.
        let mut compute = |from: usize, to: usize, step: usize, each: Outputs| -> anyhow::Result<()> {
            for start in (from..to).step_by(step) {
                let end = (start + step).min(to);
                let outputs = if end == to { Outputs::Last } else { each };
                let entry = Entry { tokens: &tokens[start..end], start, blocks: &blocks, outputs };
                runner.run(&[entry], Want::Argmax, &mut results)?;
            }
            Ok(())
        };
        // What lies there stays there: no test writes below its depth.
        while_slow(global, "the tokens before the test", || compute(0, n_depth, most, Outputs::None))?;
        let mut once = || -> anyhow::Result<u64> {
            let start = Instant::now();
            let middle = n_depth + n_prompt;
            compute(n_depth, middle, step, Outputs::None)?;
            compute(middle, middle + n_gen, 1, Outputs::Last)?;
            Ok(start.elapsed().as_nanos() as u64)
        };
        while_slow(global, "a first run, which compiles kernels", &mut once)?;
        let samples_ns = (0..self.repetitions).map(|_| once()).collect::<anyhow::Result<Vec<u64>>>()?;
        let samples_ts: Vec<f64> = samples_ns.iter().map(|&ns| n as f64 * 1e9 / ns as f64).collect();
        let spread = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            (mean, (squares / (values.len().max(2) - 1) as f64).sqrt())
        };
        let times: Vec<f64> = samples_ns.iter().map(|&ns| ns as f64).collect();
        let ((avg_ns, stddev_ns), (avg_ts, stddev_ts)) = (spread(&times), spread(&samples_ts));
        let size = |f: &dyn Fn(&str) -> bool| -> u64 {
            opened.file.tensors().filter(|t| f(&t.name)).map(|t| (t.rows() * t.columns()) as u64).sum()
        };
        let all = size(&|_| true);
        let embedding = size(&|name| name.contains("embd") || name.contains("embed_tokens"));
        let kv = runner.limits.cache_type.name().to_string();
        let gpu = &opened.gpu.adapter;
        let weights = opened.file.weight_bytes();
        let steps = (n_prompt.div_ceil(step) + n_gen) as u64;
        Ok(Row {
            build_commit: COMMIT.to_owned(),
            build_number: BUILD.parse()?,
            cpu_info: cpu_info(),
            gpu_info: gpu.name.clone(),
            backends: gpu.backend.clone(),
            model_filename: opened.path.display().to_string(),
            model_type: model_type(&opened.file, &runner.hyper.architecture, all),
            model_size: weights,
            model_n_params: all,
            n_batch,
            n_ubatch: most,
            type_k: kv.clone(),
            type_v: kv,
            devices: gpu.name.clone(),
            n_prompt,
            n_gen,
            n_depth,
            test_time,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
            fma_gflops: fma,
            read_gbps: read,
            of_fma: 2.0 * (all - embedding) as f64 * avg_ts / (fma * 1e9),
            // Bytes a ns are 10^9 a second. A prompt reads the weights once a step.
            of_read: (weights * steps) as f64 / (avg_ns * read),
        })
    }
}

/// Architecture, size and the format of most weights, as llama-bench names a model.
fn model_type(file: &ModelFile, architecture: &str, parameters: u64) -> String {
    let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in file.tensors() {
        *formats.entry(tensor.format.name()).or_default() += tensor.rows() * tensor.columns();
    }
    let most = formats.into_iter().max_by_key(|&(_, n)| n).map_or("", |(name, _)| name);
    let (size, unit) = match parameters as f64 {
        n if n < 1e6 => (n / 1e3, 'K'),
        n if n < 1e9 => (n / 1e6, 'M'),
        n => (n / 1e9, 'B'),
    };
    let digits = usize::from(size < 10.0);
    format!("{architecture} {size:.digits$}{unit} {most}")
}

/// The processor's name, where the system tells.
fn cpu_info() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}
