//! `roofline --workload`: the steps of an engine that serves a file of requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::meter::Config;
use super::setup::SetupArgs;
use crate::cli::Global;
use crate::engine::{Engine, GenerationRequest, Options};
use crate::format::tokenizer::Special;
use crate::roofline::report::Report;
use crate::sample::SamplingParams;
use crate::scheduler::SchedulerConfig;

/// Requests to serve.
#[derive(Debug, Args)]
pub struct Workload {
    /// Report on the steps that serve these requests instead, all at once: a JSON object a line, with
    /// `prompt` (text) or `prompt_tokens` (how many), and `max_tokens`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["confirm", "prefill", "contexts", "batch", "seconds"])]
    workload: Option<PathBuf>,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Where it stands in its file.
    #[serde(skip)]
    number: usize,
    prompt: Option<String>,
    prompt_tokens: Option<usize>,
    max_tokens: u32,
}

fn lines(path: &Path) -> anyhow::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("{}:{}", path.display(), number + 1);
        let such =
            || format!(r#"{}: expected an object such as {{"prompt_tokens": 64, "max_tokens": 32}}"#, at());
        let line = Line { number: number + 1, ..serde_json::from_str(line).with_context(such)? };
        anyhow::ensure!(
            line.prompt.is_some() != line.prompt_tokens.is_some()
                && line.max_tokens > 0
                && line.prompt_tokens != Some(0)
                && line.prompt.as_deref() != Some(""),
            "{}: expected either a prompt that is not empty or prompt_tokens of at least 1, and max_tokens of at least 1",
            at()
        );
        found.push(line);
    }
    anyhow::ensure!(!found.is_empty(), "{} holds no request: expected a JSON object a line", path.display());
    anyhow::ensure!(
        found.len() <= MOST,
        "{} holds {} requests, expected at most {MOST}: all are served at once",
        path.display(),
        found.len()
    );
    Ok(found)
}

impl Workload {
    /// Whether there is a file.
    pub fn is_named(&self) -> bool {
        self.workload.is_some()
    }

    /// The report of the file's requests, if one was named; of `steps` steps at most.
    pub fn report(&self, global: &Global, setup: &SetupArgs, steps: u64) -> Option<anyhow::Result<Report>> {
        self.workload.as_deref().map(|path| served(global, setup, path, steps))
    }
}

/// Most requests of a file: all are served at once.
const MOST: usize = 1024;
/// Most tokens of their prompts together.
const MOST_TOKENS: usize = 1 << 24;

/// Whether a request of so many tokens of prompt can be served.
fn within(path: &Path, line: &Line, prompt: usize, context: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        prompt.saturating_add(line.max_tokens as usize) <= context,
        "{}:{}: {prompt} tokens of prompt and {} of answer: expected at most {context} together, which is the model's context",
        path.display(),
        line.number,
        line.max_tokens
    );
    Ok(())
}

fn served(global: &Global, setup: &SetupArgs, path: &Path, steps: u64) -> anyhow::Result<Report> {
    let lines = lines(path)?;
    let context = setup.context_length(global)?;
    for line in &lines {
        within(path, line, line.prompt_tokens.unwrap_or(1), context)?;
    }
    let all: usize = lines.iter().filter_map(|line| line.prompt_tokens).sum();
    anyhow::ensure!(
        all <= MOST_TOKENS,
        "{}: {all} tokens of prompts, expected at most {MOST_TOKENS}",
        path.display()
    );
    let tokenizer = Arc::new(setup.tokenizer(global)?);
    let vocab = tokenizer.vocab_size().max(1);
    let mut requests = Vec::new();
    for line in &lines {
        let prompt = match (&line.prompt, line.prompt_tokens) {
            (Some(text), _) => tokenizer.encode_prompt(text, Special::Text)?,
            (None, n) => (0..n.unwrap_or(1)).map(|i| (i * 7919 % vocab) as u32).collect(),
        };
        within(path, line, prompt.len(), context)?;
        let max_tokens = Some(line.max_tokens);
        // Greedy and without an end, so that the same file makes the same steps.
        let params =
            SamplingParams { max_tokens, temperature: 0.0, ignore_eos: true, ..SamplingParams::default() };
        requests.push(GenerationRequest::new(prompt, params));
    }
    let length = |r: &GenerationRequest| r.prompt.len() + r.params.max_tokens.unwrap_or(0) as usize;
    let context = requests.iter().map(length).max().unwrap_or(1);
    let longest = requests.iter().map(|r| r.prompt.len()).max().unwrap_or(1).clamp(1, setup.step_tokens()?);
    let prompts = Config { tokens: longest, sequences: 1, context };
    let decodes = Config { tokens: 1, sequences: requests.len(), context };
    let prepared = setup.prepare(global, &[prompts, decodes])?;
    let timer = &prepared.device.timer;
    let stamps = timer.around_a_dispatch(prepared.runner.gpu.device.features()).with_context(|| {
        format!(
            "--workload: {}: leave --workload out, and kernels are left out of made-up steps, which needs no stamps",
            timer.refusal()
        )
    })?;
    let limits = prepared.runner.limits;
    let config = SchedulerConfig {
        max_num_seqs: limits.sequences as u32,
        max_num_batched_tokens: limits.tokens as u32,
        max_model_len: limits.context as u32,
        ..SchedulerConfig::default()
    };
    let mut engine = Engine::with_options(prepared.runner, tokenizer, config, Options::default())?;
    engine.prepare(longest)?;
    for (request, line) in requests.into_iter().zip(&lines) {
        engine.add(request).with_context(|| format!("{}:{}", path.display(), line.number))?;
    }
    if !global.quiet {
        eprintln!("serving {} request{}", lines.len(), if lines.len() == 1 { "" } else { "s" });
    }
    engine.watch(steps as usize, stamps)?;
    let mut events = Vec::new();
    let mut seen = None;
    while engine.has_work() && seen.is_none() {
        engine.step(&mut events)?;
        events.clear();
        seen = engine.watched().transpose()?;
    }
    let seen = seen.unwrap_or_else(|| engine.unwatch());
    Ok(Report::of_window(prepared.device, Some(prepared.model), &seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_beyond_the_context_is_named_before_it_is_made() {
        let line = |tokens| Line { number: 3, prompt: None, prompt_tokens: Some(tokens), max_tokens: 4 };
        let fits = |tokens| within(Path::new("w"), &line(tokens), tokens, 128).map_err(|e| e.to_string());
        assert_eq!(fits(124), Ok(()));
        for tokens in [125, 1_000_000_000_000_000, usize::MAX] {
            let error = fits(tokens).unwrap_err();
            let expected = format!("w:3: {tokens} tokens of prompt and 4 of answer: expected at most 128");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.jsonl");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            lines(&path).map(|l| l.len()).map_err(|e| format!("{e:#}"))
        };
        let good = "{\"prompt_tokens\": 4, \"max_tokens\": 2}\n\n{\"prompt\": \"a\", \"max_tokens\": 1}\n";
        assert_eq!(read(good), Ok(2));
        let many = "{\"prompt_tokens\": 4, \"max_tokens\": 2}\n".repeat(MOST + 1);
        assert!(read(&many).unwrap_err().contains("holds 1025 requests, expected at most 1024"));
        for (text, expected) in [
            ("", "holds no request"),
            ("{\"max_tokens\": 2}", ":1: expected either"),
            ("{\"prompt\": \"a\", \"prompt_tokens\": 1, \"max_tokens\": 2}", "expected either"),
            ("{\"prompt\": \"a\", \"max_tokens\": 0}", "at least 1"),
            ("{\"prompt\": \"\", \"max_tokens\": 1}", ":1: expected either"),
            ("{\"prompt_tokens\": 0, \"max_tokens\": 1}", ":1: expected either"),
            ("\n{\"prompt\": \"a\", \"max_token\": 3}", ":2: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
