//! One engine for one user: what `run` and `chat` share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Global;
use super::load::{LoadArgs, Opened};
use super::progress::while_slow;
use crate::engine::{Engine, Event, Finish, FinishedRequest, GenerationRequest};
use crate::format::Tokenizer;
use crate::sample::SamplingParams;
use crate::scheduler::SchedulerConfig;

/// An engine that answers one prompt at a time.
#[derive(Debug)]
pub struct Session {
    engine: Engine,
    /// Set from outside (Ctrl-C) to end the answer.
    pub interrupted: Arc<AtomicBool>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The whole text.
    pub text: String,
    /// How it went; `None` if it was interrupted.
    pub result: Option<FinishedRequest>,
}

impl Session {
    /// Loads the model.
    ///
    /// # Errors
    /// As [`Opened::runner`] and [`Engine::new`].
    pub fn new(
        global: &Global,
        args: &LoadArgs,
        opened: &Opened,
        tokenizer: Tokenizer,
    ) -> anyhow::Result<Self> {
        let limits = args.limits(opened, 1, 1);
        let runner = opened.runner(global, limits)?;
        let config = SchedulerConfig {
            max_num_seqs: 1,
            max_num_batched_tokens: limits.tokens as u32,
            max_model_len: limits.context as u32,
            ..SchedulerConfig::default()
        };
        let engine = Engine::new(runner, Arc::new(tokenizer), config)?;
        Ok(Self { engine, interrupted: Arc::new(AtomicBool::new(false)) })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.engine.tokenizer()
    }

    /// Most tokens of a conversation.
    pub fn context(&self) -> usize {
        self.engine.runner().limits.context
    }

    /// Builds the kernels for a prompt of so many tokens.
    ///
    /// # Errors
    /// When the driver refuses one.
    pub fn prepare(&mut self, global: &Global, prompt: usize) -> anyhow::Result<()> {
        let start = std::time::Instant::now();
        while_slow(global, "the driver to compile kernels", || self.engine.prepare(prompt))?;
        // A start that is no faster next time is no error.
        let kept = self.engine.runner().gpu.keep_pipelines();
        tracing::info!(
            "kernels built in {:.2} s; kept for the next start: {kept:?}",
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Answers a prompt; each piece of text goes to `show` as soon as it is certain.
    ///
    /// # Errors
    /// When the prompt does not fit, the device fails, or `show` does.
    pub fn answer(
        &mut self,
        prompt: Vec<u32>,
        params: SamplingParams,
        show: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> anyhow::Result<Answer> {
        let id = self.engine.add(GenerationRequest::new(prompt, params))?;
        let mut answer = Answer { text: String::new(), result: None };
        let mut events = Vec::new();
        while self.engine.has_work() {
            if self.interrupted.swap(false, Ordering::Relaxed) {
                self.engine.abort(id);
                break;
            }
            self.engine.step(&mut events)?;
            for event in events.drain(..) {
                let text = event.text();
                if !text.is_empty() {
                    answer.text.push_str(text);
                    show(text)?;
                }
                if let Event::Finished { result, .. } = event {
                    if let Finish::Error(why) = &result.finish {
                        anyhow::bail!("{why}");
                    }
                    answer.result = Some(result);
                }
            }
        }
        Ok(answer)
    }
}

impl Answer {
    /// Prompt tokens, TTFT, prefill and decode speed, in one line.
    pub fn figures(&self) -> String {
        let Some(r) = &self.result else { return "interrupted".into() };
        let t = r.timings;
        let prefill = t.first_token.saturating_sub(t.queued);
        let decode = t.total.saturating_sub(t.first_token);
        let per_second = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let mut line = format!(
            "{} prompt tokens, TTFT {:.0} ms (prefill {:.1} tokens/s)",
            r.prompt_tokens,
            t.first_token.as_secs_f64() * 1e3,
            per_second(r.prompt_tokens, prefill),
        );
        if r.output_tokens > 1 {
            line += &format!(
                "; {} tokens, decode {:.1} tokens/s",
                r.output_tokens,
                per_second(r.output_tokens - 1, decode)
            );
        }
        if r.finish == Finish::Length {
            line += "; ended by length";
        }
        line
    }
}
