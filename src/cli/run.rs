//! `ridgepoint run`: one answer, streamed.

use std::io::{self, Write};
use std::sync::atomic::Ordering;

use clap::Args;

use super::Global;
use super::chat_template::ChatTemplateArg;
use super::cpu_profile::CpuProfile;
use super::load::LoadArgs;
use super::sampling::SamplingArgs;
use super::session::Session;
use super::text::TextArg;
use crate::format::tokenizer::Special;
use crate::format::{Ending, Message};
use crate::sample::SamplingParams;

/// The exit code that shells give a program which Ctrl-C ended.
pub(super) const INTERRUPTED: i32 = 130;

/// Answer a prompt
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    profile: CpuProfile,
    /// Continue the text as it is, without the model's chat template
    #[arg(long, conflicts_with = "chat_template")]
    raw: bool,
    #[command(flatten)]
    template: ChatTemplateArg,
    /// What comes before the question, where the template has a place for it
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    #[command(flatten)]
    prompt: TextArg,
}

impl Run {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        if self.profile.around(global, || self.answer(global))? {
            return Ok(());
        }
        std::process::exit(INTERRUPTED)
    }

    /// Whether the answer came to its end.
    fn answer(&self, global: &Global) -> anyhow::Result<bool> {
        let prompt = self.prompt.read()?;
        let params = SamplingParams::from(&self.sampling);
        params.validate_ranges()?;
        let opened = self.load.open(global)?;
        params.validate(opened.hyper.vocab)?;
        let tokenizer = opened.file.tokenizer()?;
        let template = if self.raw { None } else { self.template.resolve(&opened.file)? };
        let ids = match &template {
            Some(template) => {
                let mut messages: Vec<Message> = Vec::new();
                messages.extend(self.system.as_ref().map(|s| Message::new("system", s)));
                messages.push(Message::new("user", prompt));
                template.encode(&tokenizer, &messages, Ending::Answer, opened.context)?
            }
            None if self.system.is_some() => {
                anyhow::bail!(
                    "--system needs a chat template, and the model has none: put the text into the prompt"
                )
            }
            none => {
                if none.is_none() && !self.raw && !global.quiet {
                    eprintln!(
                        "note: the model has no chat template, so the text is continued as it is (--raw)"
                    );
                }
                tokenizer.allow(&prompt, opened.context)?;
                tokenizer.encode_prompt(&prompt, Special::Parse)?
            }
        };
        anyhow::ensure!(!ids.is_empty(), "the prompt holds no tokens: expected at least one");
        let mut session = Session::new(global, &self.load, &opened, tokenizer)?;
        session.prepare(global, ids.len())?;
        // The first ends the answer after its next token, and leaves its figures; the second, all.
        let interrupted = session.interrupted.clone();
        ctrlc::set_handler(move || {
            if interrupted.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        })?;
        let mut out = io::stdout();
        let answer = session.answer(ids, params, &mut |text| {
            out.write_all(text.as_bytes())?;
            out.flush()
        })?;
        writeln!(out)?;
        if !global.quiet {
            eprintln!("{}", answer.figures());
        }
        Ok(answer.result.is_some())
    }
}
