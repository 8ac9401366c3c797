//! One engine for one user: what `run` and `chat` share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Global;
use super::load::{LoadArgs, Opened, keep_pipelines};
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
    /// Its tokens, those of an interrupted one too.
    pub tokens: usize,
    /// Time to its first token.
    pub first: Option<Duration>,
    /// How long it took.
    pub took: Duration,
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
        tracing::info!("kernels built in {:.2} s", start.elapsed().as_secs_f64());
        keep_pipelines(&self.engine.runner().gpu);
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
        let started = Instant::now();
        let mut answer =
            Answer { text: String::new(), tokens: 0, first: None, took: Duration::ZERO, result: None };
        let mut events = Vec::new();
        while self.engine.has_work() {
            if self.interrupted.swap(false, Ordering::Relaxed) {
                self.engine.abort(id);
                break;
            }
            self.engine.step(&mut events)?;
            for event in events.drain(..) {
                if matches!(event, Event::Token { .. }) {
                    answer.tokens += 1;
                    answer.first.get_or_insert_with(|| started.elapsed());
                }
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
        answer.took = started.elapsed();
        Ok(answer)
    }
}

impl Answer {
    /// Prompt tokens, TTFT, prefill and decode speed, in one line.
    pub fn figures(&self) -> String {
        let per_second = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let Some(r) = &self.result else {
            let mut line =
                format!("interrupted after {} tokens and {:.1} s", self.tokens, self.took.as_secs_f64());
            if let Some(first) = self.first {
                line += &format!(", TTFT {:.0} ms", first.as_secs_f64() * 1e3);
                if self.tokens > 1 {
                    let decode = per_second(self.tokens - 1, self.took.saturating_sub(first));
                    line += &format!(", decode {decode:.1} tokens/s");
                }
            }
            return line;
        };
        let t = r.timings;
        let prefill = t.first_token.saturating_sub(t.queued);
        let decode = t.total.saturating_sub(t.first_token);
        let cached = if r.cached_tokens > 0 {
            format!(" ({} of them cached)", r.cached_tokens)
        } else {
            String::new()
        };
        let mut line = format!(
            "{} prompt tokens{cached}, TTFT {:.0} ms (prefill {:.1} tokens/s)",
            r.prompt_tokens,
            t.first_token.as_secs_f64() * 1e3,
            per_second(r.prompt_tokens.saturating_sub(r.cached_tokens), prefill),
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

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use clap::Parser;

    use super::*;
    use crate::cli::{LogFormat, outcome};
    use crate::format::tokenizer::Special;

    /// The flags of a command that computes.
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        global: Global,
        #[command(flatten)]
        load: LoadArgs,
    }

    /// A driver's reset in the middle of an answer, as `destroy` makes one: the command ends with exit
    /// code 1 and the reason, and no text follows what was there.
    #[test]
    fn a_device_that_is_lost_ends_the_answer_and_the_command() {
        let line = Line::parse_from(["ridgepoint", "--quiet", "-m", "tests/data/tiny/llama"]);
        let opened = line.load.open(&line.global).unwrap();
        let tokenizer = opened.file.tokenizer().unwrap();
        let prompt = tokenizer.encode_prompt("abc", Special::Text).unwrap();
        let mut session = Session::new(&line.global, &line.load, &opened, tokenizer).unwrap();
        let params = SamplingParams { max_tokens: Some(40), ignore_eos: true, ..SamplingParams::default() };
        let params = SamplingParams { temperature: 0.0, ..params };
        let whole = session.answer(prompt.clone(), params.clone(), &mut |_| Ok(())).unwrap();
        assert!(whole.result.is_some() && whole.text.len() > 1, "{whole:?}");

        let mut shown = String::new();
        let ended = session.answer(prompt, params, &mut |text| {
            shown.push_str(text);
            opened.gpu.device.destroy();
            Ok(())
        });
        let error = ended.unwrap_err();
        assert!(format!("{error:#}").contains("the device was lost"), "{error:#}");
        assert!(whole.text.starts_with(&shown) && shown.len() < whole.text.len(), "{shown:?}, {whole:?}");
        assert_eq!(outcome(Err(error), LogFormat::Text), ExitCode::FAILURE);
    }
}
