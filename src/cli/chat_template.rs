//! `--chat-template`: another template than the model's own.

use std::io::Read;

use anyhow::Context;
use clap::Args;

use crate::format::{ChatTemplate, ModelFile};

/// Longer files hold no template.
const MAX_FILE: u64 = 1 << 18;

/// Which template makes prompts of conversations.
#[derive(Clone, Debug, Default, Args)]
pub struct ChatTemplateArg {
    /// Make prompts by this Jinja template instead of the model's own: a file, or the template itself
    #[arg(long, value_name = "FILE|TEMPLATE")]
    chat_template: Option<String>,
}

impl ChatTemplateArg {
    /// The template that was given, else the model's own, if it has one.
    ///
    /// # Errors
    /// When it can't be read or is no Jinja.
    pub fn resolve(&self, file: &ModelFile) -> anyhow::Result<Option<ChatTemplate>> {
        let Some(given) = &self.chat_template else {
            return file.chat_template(None).with_context(|| {
                format!("{}: its chat template (--chat-template gives another)", file.path().display())
            });
        };
        let source = source(given)?;
        // A template reads the texts of two tokens, which stand beside the model's own where it has one.
        let template = match file.chat_template(None) {
            Ok(Some(own)) => own.replaced(&source),
            Ok(None) | Err(_) => {
                let tokenizer = file.tokenizer()?;
                let text = |id: Option<u32>| -> anyhow::Result<String> {
                    let bytes = id.map(|id| tokenizer.piece(id)).transpose()?.unwrap_or_default();
                    Ok(String::from_utf8_lossy(bytes).into_owned())
                };
                let (bos, eos) = (text(tokenizer.bos())?, text(tokenizer.eos_ids().first().copied())?);
                ChatTemplate::new(&source, &bos, &eos)
            }
        };
        template.map(Some).context("--chat-template")
    }
}

/// A file's text, or what was given where it can't be a path.
fn source(given: &str) -> anyhow::Result<String> {
    let file = match std::fs::File::open(given) {
        Err(_) if given.contains(['{', '}', '\n']) => return Ok(given.to_string()),
        file => file.with_context(|| {
            format!("--chat-template '{given}': expected a file, or a template, which has braces in it")
        })?,
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading the chat template in '{given}'"))?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_FILE,
        "--chat-template '{given}': expected at most {MAX_FILE} bytes"
    );
    Ok(text)
}
