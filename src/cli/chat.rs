//! `ridgepoint chat`: a conversation with the model's own chat template.

use std::io::{self, Write};
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::Global;
use super::chat_template::ChatTemplateArg;
use super::load::LoadArgs;
use super::sampling::SamplingArgs;
use super::session::Session;
use crate::engine::Finish;
use crate::format::{ChatTemplate, Ending, Message};
use crate::sample::SamplingParams;

const HELP: &str = "\
/help          this list
/reset         forget the conversation
/system TEXT   start again with this system message; without TEXT, with none
/stats         figures of the last answer, and how full the context is
/save FILE     write the conversation as JSON
/quit          leave (so does Ctrl-D); Ctrl-C stops an answer";

/// What /stats says before the first answer.
const NO_ANSWER: &str = "no answer yet";

/// Talk with a model
#[derive(Debug, Args)]
pub struct Chat {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    template: ChatTemplateArg,
    /// The system message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
}

/// The conversation so far.
struct Talk {
    session: Session,
    template: ChatTemplate,
    messages: Vec<Message>,
    /// What every conversation starts with.
    system: Option<String>,
    stats: String,
}

impl Chat {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let params = SamplingParams::from(&self.sampling);
        params.validate_ranges()?;
        let opened = self.load.open(global)?;
        params.validate(opened.hyper.vocab)?;
        let tokenizer = opened.file.tokenizer()?;
        let template = self.template.resolve(&opened.file)?.with_context(|| {
            format!(
                "{} has no chat template: give one with --chat-template, or use 'ridgepoint run --raw' for plain text",
                opened.path.display()
            )
        })?;
        let mut session = Session::new(global, &self.load, &opened, tokenizer)?;
        session.prepare(global, 64)?;
        let interrupted = session.interrupted.clone();
        ctrlc::set_handler(move || interrupted.store(true, Ordering::Relaxed))?;
        let (system, stats) = (self.system.clone(), NO_ANSWER.into());
        let mut talk = Talk { session, template, messages: Vec::new(), system, stats };
        talk.reset();
        if !global.quiet {
            eprintln!("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves");
        }
        let mut editor = DefaultEditor::new()?;
        loop {
            match editor.readline("> ") {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    if matches!(line.trim(), "/quit" | "/exit") {
                        return Ok(());
                    }
                    // A bad command or a full context ends the turn, not the conversation.
                    if let Err(error) = self.turn(&mut talk, line.trim()) {
                        eprintln!("error: {error:#}");
                    }
                }
                Err(ReadlineError::Interrupted) => eprintln!("(Ctrl-D or /quit leaves)"),
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn turn(&self, talk: &mut Talk, line: &str) -> anyhow::Result<()> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "/help" => println!("{HELP}"),
            "/reset" => {
                talk.reset();
                println!("(forgotten)");
            }
            "/system" => {
                talk.system = Some(rest.trim().to_string()).filter(|s| !s.is_empty());
                talk.reset();
                let none = talk.system.is_none();
                println!("(forgotten; {} system message)", if none { "no" } else { "a new" });
            }
            "/stats" => println!("{}", talk.stats),
            "/save" if rest.trim().is_empty() => anyhow::bail!("/save needs a file name"),
            "/save" => {
                let list: Vec<_> = talk
                    .messages
                    .iter()
                    .map(|m| serde_json::json!({"role": m.role, "content": m.content}))
                    .collect();
                std::fs::write(rest.trim(), serde_json::to_string_pretty(&list)?)
                    .with_context(|| format!("writing {}", rest.trim()))?;
                let s = if list.len() == 1 { "" } else { "s" };
                println!("({} message{s} in {})", list.len(), rest.trim());
            }
            _ if command.starts_with('/') => anyhow::bail!("'{command}' is no command; /help lists them"),
            _ => return talk.say(line, &self.sampling),
        }
        Ok(())
    }
}

impl Talk {
    fn reset(&mut self) {
        self.messages.clear();
        self.stats = NO_ANSWER.into();
        self.messages.extend(self.system.as_ref().map(|s| Message::new("system", s)));
    }

    fn say(&mut self, text: &str, sampling: &SamplingArgs) -> anyhow::Result<()> {
        self.messages.push(Message::new("user", text));
        match self.answer(sampling) {
            Ok(text) => {
                self.messages.push(Message::new("assistant", text));
                Ok(())
            }
            Err(error) => {
                // The question goes too, so that the next turn starts from a sound conversation.
                self.messages.pop();
                Err(error)
            }
        }
    }

    fn answer(&mut self, sampling: &SamplingArgs) -> anyhow::Result<String> {
        let ids =
            self.template.encode(self.session.tokenizer(), &self.messages, Ending::Answer, usize::MAX)?;
        let (used, context) = (ids.len(), self.session.context());
        if used >= context {
            anyhow::bail!(
                "the conversation has {used} tokens and the context holds {context}: /reset, or start with a larger --max-model-len"
            );
        }
        self.session.interrupted.store(false, Ordering::Relaxed);
        let mut out = io::stdout();
        let answer = self.session.answer(ids, sampling.into(), &mut |text| {
            out.write_all(text.as_bytes())?;
            out.flush()
        })?;
        println!();
        // Since an answer that was cut off looks like one that ended.
        match answer.result.as_ref().map(|r| &r.finish) {
            None => println!("(interrupted)"),
            Some(Finish::Length) if used + answer.tokens >= context => {
                println!("(cut off: the context of {context} tokens is full; /reset starts anew)");
            }
            Some(Finish::Length) => println!("(cut off at {} tokens)", answer.tokens),
            Some(_) => {}
        }
        let used = used + answer.tokens;
        self.stats = format!("{}; {used} of {context} tokens of context used", answer.figures());
        Ok(answer.text)
    }
}
