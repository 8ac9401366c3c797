//! `ridgepoint bench model`: llama-bench's tests and field names, beside this device's own ceilings.
//!
//! `pp N` computes a prompt of N tokens, `tg N` generates N tokens one by one from an empty context;
//! tokenisation and sampling are not measured. `of_fma` divides 2 x parameters (embedding left out)
//! x tokens/s by the measured f32 FMA rate, `of_read` divides the file's bytes x tokens/s by the
//! measured cold read rate.

use std::io::Write;
use std::time::Instant;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::Global;
use super::cpu_profile::CpuProfile;
use super::load::{LoadArgs, Opened};
use crate::cache::BlockId;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A Markdown table
    Md,
    /// A JSON list
    Json,
}

#[derive(Debug, Args)]
struct Model {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    profile: CpuProfile,
    /// Prompt tokens, comma-separated; 0 for no such test
    #[arg(long, short = 'p', value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<usize>,
    /// Generated tokens, comma-separated; 0 for no such test
    #[arg(long, short = 'n', value_delimiter = ',', default_value = "128")]
    n_gen: Vec<usize>,
    /// How often each test runs, after one warm-up
    #[arg(long, short = 'r', default_value_t = 5)]
    repetitions: usize,
    /// How results are printed
    #[arg(long, short = 'o', value_enum, default_value = "md")]
    output: Output,
}

/// One test's figures, by llama-bench's names where it has them.
#[derive(Debug, Serialize)]
struct Row {
    gpu_info: String,
    backends: String,
    model_filename: String,
    model_type: String,
    model_size: u64,
    model_n_params: u64,
    n_ubatch: usize,
    type_k: String,
    type_v: String,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    avg_ns: u64,
    stddev_ns: u64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
    fma_gflops: f64,
    read_gbps: f64,
    of_fma: f64,
    of_read: f64,
}

impl Bench {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let What::Model(model) = &self.what;
        model.profile.around(global.quiet, || model.run(global))
    }
}

impl Model {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        if self.repetitions == 0 {
            anyhow::bail!("-r 0: expected at least one repetition");
        }
        let opened = self.load.open(global)?;
        let tests: Vec<(usize, usize)> =
            self.n_prompt.iter().map(|&p| (p, 0)).chain(self.n_gen.iter().map(|&n| (0, n))).collect();
        let longest = tests.iter().map(|(p, n)| p.max(n)).max().copied().unwrap_or(0);
        if longest > opened.context {
            anyhow::bail!(
                "a test of {longest} tokens does not fit the context of {}: raise --max-model-len",
                opened.context
            );
        }
        // Before the model is loaded: the read probe takes memory of its own.
        let ceilings = measure(&opened.gpu, &["fma_f32", "read_cold"], Budget::Full)?;
        let ceiling = |name: &str| ceilings.iter().find(|c| c.name == name).map(|c| c.value);
        let (Some(fma), Some(read)) = (ceiling("fma_f32"), ceiling("read_cold")) else {
            anyhow::bail!("the ceilings could not be measured")
        };
        let mut runner = opened.runner(global, self.load.limits(&opened, 1, 1))?;
        let mut rows = Vec::new();
        for (n_prompt, n_gen) in tests.into_iter().filter(|(p, n)| p + n > 0) {
            rows.push(self.test(&opened, &mut runner, n_prompt, n_gen, fma, read)?);
        }
        self.print(&rows)
    }

    fn test(
        &self,
        opened: &Opened,
        runner: &mut Runner,
        n_prompt: usize,
        n_gen: usize,
        fma: f64,
        read: f64,
    ) -> anyhow::Result<Row> {
        let n = n_prompt + n_gen;
        let vocab = runner.hyper.vocab as u64;
        let tokens: Vec<u32> = (0..n as u64).map(|i| (i * 7919 % vocab) as u32).collect();
        let blocks: Vec<BlockId> = (0..runner.limits.cache.num_blocks).map(BlockId).collect();
        let chunk = if n_gen > 0 { 1 } else { runner.limits.tokens };
        let mut results = Results::default();
        let mut once = || -> anyhow::Result<u64> {
            let start = Instant::now();
            for (i, part) in tokens.chunks(chunk).enumerate() {
                let outputs = if n_gen > 0 || (i + 1) * chunk >= n { Outputs::Last } else { Outputs::None };
                let entry = Entry { tokens: part, start: i * chunk, blocks: &blocks, outputs };
                runner.run(&[entry], Want::Argmax, &mut results)?;
            }
            Ok(start.elapsed().as_nanos() as u64)
        };
        once()?;
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
        let kv = format!("{:?}", runner.limits.cache_type).to_lowercase();
        let gpu = &opened.gpu.adapter;
        Ok(Row {
            gpu_info: gpu.name.clone(),
            backends: gpu.backend.clone(),
            model_filename: opened.path.display().to_string(),
            model_type: runner.hyper.name.clone().unwrap_or_else(|| runner.hyper.architecture.clone()),
            model_size: opened.file.file_bytes(),
            model_n_params: all,
            n_ubatch: runner.limits.tokens,
            type_k: kv.clone(),
            type_v: kv,
            n_prompt,
            n_gen,
            n_depth: 0,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
            fma_gflops: fma,
            read_gbps: read,
            of_fma: 2.0 * (all - embedding) as f64 * avg_ts / (fma * 1e9),
            of_read: opened.file.file_bytes() as f64 * avg_ts / (read * 1e9),
        })
    }

    fn print(&self, rows: &[Row]) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.output == Output::Json {
            serde_json::to_writer_pretty(&mut out, rows)?;
            writeln!(out)?;
            return Ok(());
        }
        writeln!(
            out,
            "| model | size | params | backend | test | t/s | fma_gflops | read_gbps | of_fma | of_read |"
        )?;
        writeln!(out, "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for r in rows {
            let test = if r.n_gen > 0 { format!("tg{}", r.n_gen) } else { format!("pp{}", r.n_prompt) };
            writeln!(
                out,
                "| {} | {} | {:.2} M | {} | {test} | {:.2} ± {:.2} | {:.1} | {:.1} | {:.1} % | {:.1} % |",
                r.model_type,
                crate::units::Bytes(r.model_size),
                r.model_n_params as f64 / 1e6,
                r.backends,
                r.avg_ts,
                r.stddev_ts,
                r.fma_gflops,
                r.read_gbps,
                100.0 * r.of_fma,
                100.0 * r.of_read
            )?;
        }
        Ok(())
    }
}
