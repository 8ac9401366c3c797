//! `ridgepoint perplexity`: how well a model predicts a text.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::load::KvCacheDtype;
use super::model_arg::GpuLayersArg;
use super::quantize::QuantizeArg;
use super::sequence::{STEP, Sequence, Sizes};
use super::text::read_text;
use super::{Global, ModelArg};
use crate::format::ModelFile;
use crate::format::tokenizer::{Special, Tokenizer};
use crate::model::Outputs;
use crate::sample::log_softmax_top;

/// The context when nobody asks for another, in tokens.
const CONTEXT: usize = 512;

/// Rows of logits that come back from a step: a vocabulary of 150,000 makes 38 MB of them.
const ROWS: usize = 64;

/// Print the perplexity of a text under a model, as llama.cpp's tool does.
///
/// The text is tokenized whole, special tokens left text, and cut into chunks of the context's
/// length; a rest is left out. Each chunk is computed from an empty cache, with BOS in the place
/// of its first token if the model adds BOS, and the tokens of its second half are scored.
/// With --json: {"ppl":..,"chunks":[..]}, the latter being the value over all chunks so far.
#[derive(Debug, Args)]
pub struct Perplexity {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    layers: GpuLayersArg,
    #[command(flatten)]
    quantize: QuantizeArg,
    /// The text, UTF-8; `-` reads standard input
    #[arg(value_name = "FILE", required_unless_present = "file")]
    text: Option<PathBuf>,
    /// The same, as llama.cpp's users give it
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Tokens of a chunk [default: 512, or the model's context if that is shorter]
    #[arg(long, short = 'c', value_name = "TOKENS")]
    ctx_size: Option<usize>,
    /// Compute only the first so many chunks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    /// How the KV cache stores a number
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    kv_cache_dtype: KvCacheDtype,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Perplexity {
    /// Computes and prints.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut file = ModelFile::open(&self.model.resolve(global)?)?;
        self.quantize.apply(&mut file, global)?;
        let hyper = file.hyper()?;
        self.layers.are_all(hyper.layers)?;
        let longest = hyper.context_length;
        let context = self.ctx_size.unwrap_or(CONTEXT.min(longest));
        // With 3 tokens, one is scored: the last, after the second.
        if context < 3 || context > longest {
            anyhow::bail!("--ctx-size {context}: expected 3 to {longest} tokens, the model's own context");
        }
        let tokenizer = file.tokenizer()?;
        let tokens = self.tokens(&tokenizer, context)?;
        let sizes = Sizes { context, step: STEP, outputs: ROWS, cache: self.kv_cache_dtype };
        let mut sequence = Sequence::open(global, file, sizes)?;
        let count = tokens.len() / context;
        let count = self.chunks.map_or(count, |n| count.min(n as usize));
        let mut score = Score::default();
        let mut running = Vec::with_capacity(count);
        for chunk in tokens.chunks_exact(context).take(count) {
            let start = Instant::now();
            score.add(&mut sequence, chunk, tokenizer.bos_to_add())?;
            running.push(score.perplexity());
            if !global.quiet {
                eprintln!(
                    "chunk {}/{count}: {:.4} ({:.1} s)",
                    running.len(),
                    score.perplexity(),
                    start.elapsed().as_secs_f64()
                );
            }
        }
        let mut out = io::stdout().lock();
        if self.json {
            let result = json!({ "ppl": score.perplexity(), "chunks": running });
            serde_json::to_writer(&mut out, &result)?;
            writeln!(out)?;
        } else {
            writeln!(
                out,
                "perplexity {:.4}, of {} tokens in {count} chunks of {context}",
                score.perplexity(),
                score.tokens
            )?;
        }
        Ok(())
    }

    /// The text's tokens: at least one chunk of them.
    fn tokens(&self, tokenizer: &Tokenizer, context: usize) -> anyhow::Result<Vec<u32>> {
        let path = self.text.as_ref().or(self.file.as_ref()).context("no text is named")?;
        let (name, text) = if path == Path::new("-") {
            let name = "standard input".to_string();
            let text = read_text(&mut io::stdin().lock(), &name)?;
            (name, text)
        } else {
            let name = path.display().to_string();
            let mut file = File::open(path).with_context(|| format!("opening {name}"))?;
            let text = read_text(&mut file, &name)?;
            (name, text)
        };
        let tokens = tokenizer.encode_prompt(&text, Special::Text)?;
        if tokens.len() < context {
            anyhow::bail!(
                "{name} has {} token{}, fewer than one chunk of {context}: take a longer text or a smaller --ctx-size",
                tokens.len(),
                if tokens.len() == 1 { "" } else { "s" }
            );
        }
        Ok(tokens)
    }
}

/// What was scored so far.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    /// Sum of the negative log-probabilities.
    nll: f64,
    /// How many they are.
    tokens: usize,
}

impl Score {
    fn perplexity(&self) -> f64 {
        (self.nll / self.tokens as f64).exp()
    }

    /// Scores a chunk: the logits at positions `len / 2` to `len - 2` on the token after each.
    fn add(&mut self, sequence: &mut Sequence, chunk: &[u32], bos: Option<u32>) -> anyhow::Result<()> {
        let mut inputs = chunk[..chunk.len() - 1].to_vec();
        if let Some(bos) = bos {
            inputs[0] = bos;
        }
        let half = chunk.len() / 2;
        sequence.clear();
        for part in inputs[..half].chunks(STEP) {
            sequence.extend(part, Outputs::None)?;
        }
        let targets = chunk[half + 1..].chunks(ROWS);
        for (part, targets) in inputs[half..].chunks(ROWS).zip(targets) {
            let rows = sequence.extend(part, Outputs::Tail(part.len()))?;
            for (row, &target) in rows.chunks_exact(rows.len() / part.len()).zip(targets) {
                let (norm, _) = log_softmax_top(row, 0)?;
                let logit = row
                    .get(target as usize)
                    .context("a token of the text lies outside the model's vocabulary")?;
                self.nll += norm - f64::from(*logit);
            }
            self.tokens += part.len();
        }
        Ok(())
    }
}
