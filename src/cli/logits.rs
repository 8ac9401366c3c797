//! `ridgepoint logits`: what a model computes for a prompt, number by number.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::load::KvCacheDtype;
use super::model_arg::GpuLayersArg;
use super::quantize::QuantizeArg;
use super::sequence::{STEP, Sequence, Sizes};
use super::token_ids::TokenIds;
use super::{Global, ModelArg};
use crate::format::tokenizer::{Special, Tokenizer};
use crate::format::{Hyper, ModelFile};
use crate::model::Outputs;
use crate::sample::log_softmax_top;

/// Print a model's logits after a prompt, and how probable it finds what follows.
///
/// With --json: {"ids":[..],"logits":[..],"greedy":[..],"steps":[{"id":..,"logprob":..,
/// "top":[[id,logprob],..]},..]}. "ids" is the prompt and "logits" the whole row after it. There
/// is a step per token of --then or --greedy: its id, the natural logarithm of its probability,
/// and the most probable tokens in its place ("top"). "greedy" has the most probable id of each
/// step: with --greedy that is the continuation, with --then what the model would have said there.
#[derive(Debug, Args)]
pub struct Logits {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    layers: GpuLayersArg,
    #[command(flatten)]
    quantize: QuantizeArg,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    follow: Follow,
    /// How many of the most probable tokens a step lists
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Compute the prompt in steps of so many tokens (1: token by token) [default: 512]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,
    /// How the KV cache stores a number
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    kv_cache_dtype: KvCacheDtype,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Prompt {
    /// The prompt as token ids, taken as they are
    #[arg(long, value_name = "1,2,3", allow_hyphen_values = true)]
    ids: Option<TokenIds>,
    /// The prompt as text, special tokens parsed, with BOS in front if the model adds it
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Follow {
    /// Tokens that follow the prompt, each computed on its own
    #[arg(long, value_name = "4,5,6", allow_hyphen_values = true)]
    then: Option<TokenIds>,
    /// Follow the prompt with so many tokens, the most probable ones, whatever they are: an end
    /// token ends nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    greedy: usize,
}

/// What follows the prompt.
#[derive(Clone, Copy, Debug)]
enum Steps<'a> {
    Forced(&'a [u32]),
    Greedy(usize),
}

impl Steps<'_> {
    fn count(self) -> usize {
        match self {
            Self::Forced(ids) => ids.len(),
            Self::Greedy(n) => n,
        }
    }
}

/// The result, as it is printed.
#[derive(Debug, Serialize)]
struct Report {
    ids: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    id: u32,
    logprob: f32,
    top: Vec<(u32, f32)>,
}

impl Logits {
    /// Computes and prints.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut file = ModelFile::open(&self.model.resolve(global)?)?;
        self.quantize.apply(&mut file, global)?;
        let hyper = file.hyper()?;
        self.layers.are_all(hyper.layers)?;
        let ids = self.prompt.encode(&file, &hyper)?;
        let steps = match &self.follow.then {
            Some(then) => Steps::Forced(then.check("--then", hyper.vocab)?),
            None => Steps::Greedy(self.follow.greedy),
        };
        let (prompt, follow) = (ids.len(), steps.count());
        if prompt.saturating_add(follow) > hyper.context_length {
            anyhow::bail!(
                "the prompt of {prompt} tokens and the {follow} that follow it are longer than the \
                 model's context of {} tokens",
                hyper.context_length
            );
        }
        // Pieces for the table; a model without a tokenizer still has ids.
        let tokenizer = if self.json { None } else { file.tokenizer().ok() };
        let chunk = self.chunk.map_or(STEP, |n| n as usize).min(prompt);
        let sizes = Sizes { context: prompt + follow, step: chunk, outputs: 1, cache: self.kv_cache_dtype };
        let mut sequence = Sequence::open(global, file, sizes)?;
        let report = compute(&mut sequence, ids, chunk, steps, self.top)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        } else {
            report.print(tokenizer.as_ref(), self.top, &mut out)?;
        }
        Ok(())
    }
}

impl Prompt {
    fn encode(&self, file: &ModelFile, hyper: &Hyper) -> anyhow::Result<Vec<u32>> {
        let (flag, ids) = match (&self.prompt, &self.ids) {
            (Some(text), _) => {
                let ids = file.tokenizer()?.encode_prompt(text, Special::Parse)?;
                ("--prompt", TokenIds(ids))
            }
            (None, ids) => ("--ids", ids.clone().unwrap_or_default()),
        };
        Ok(ids.check(flag, hyper.vocab)?.to_vec())
    }
}

fn compute(
    sequence: &mut Sequence,
    ids: Vec<u32>,
    chunk: usize,
    steps: Steps<'_>,
    top: usize,
) -> anyhow::Result<Report> {
    let mut logits = Vec::new();
    let chunks = ids.len().div_ceil(chunk);
    for (i, part) in ids.chunks(chunk).enumerate() {
        let outputs = if i + 1 == chunks { Outputs::Last } else { Outputs::None };
        logits = sequence.extend(part, outputs)?.to_vec();
    }
    // Refuses a row that is not finite even where there are no steps.
    log_softmax_top(&logits, 0)?;
    let mut report = Report { ids, logits: logits.clone(), greedy: Vec::new(), steps: Vec::new() };
    for i in 0..steps.count() {
        if let Some(last) = report.steps.last() {
            logits = sequence.extend(&[last.id], Outputs::Last)?.to_vec();
        }
        let (norm, mut list) = log_softmax_top(&logits, top.max(1))?;
        let best = list[0].0;
        let id = match steps {
            Steps::Forced(ids) => ids[i],
            Steps::Greedy(_) => best,
        };
        list.truncate(top);
        report.greedy.push(best);
        report.steps.push(Step { id, logprob: (f64::from(logits[id as usize]) - norm) as f32, top: list });
    }
    Ok(report)
}

impl Report {
    /// A table for people: the most probable tokens after the prompt, and a line per step.
    fn print(&self, tokenizer: Option<&Tokenizer>, top: usize, out: &mut dyn Write) -> anyhow::Result<()> {
        let piece = |id: u32| {
            let bytes = tokenizer.and_then(|t| t.piece(id).ok());
            bytes.map_or_else(String::new, |b| format!("{:?}", String::from_utf8_lossy(b)))
        };
        writeln!(out, "After {} prompt tokens:", self.ids.len())?;
        writeln!(out, "{:>8}  {:>10}  {:>9}  PIECE", "ID", "LOGIT", "LOGPROB")?;
        for (id, logprob) in log_softmax_top(&self.logits, top)?.1 {
            let logit = self.logits[id as usize];
            writeln!(out, "{id:>8}  {logit:>10.4}  {logprob:>9.4}  {}", piece(id))?;
        }
        if !self.steps.is_empty() {
            writeln!(out, "\n{:>8}  {:>8}  {:>9}  {:>8}  PIECE", "STEP", "ID", "LOGPROB", "ARGMAX")?;
        }
        for (i, (step, best)) in self.steps.iter().zip(&self.greedy).enumerate() {
            let Step { id, logprob, .. } = step;
            writeln!(out, "{i:>8}  {id:>8}  {logprob:>9.4}  {best:>8}  {}", piece(*id))?;
        }
        Ok(())
    }
}
