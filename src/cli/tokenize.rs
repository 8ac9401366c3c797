//! `ridgepoint tokenize`.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::text::TextArg;
use super::{Global, ModelArg};
use crate::format::ModelFile;
use crate::format::tokenizer::Special;

/// Print the token ids of a text.
///
/// The ids are the text's own: what `run` puts in front of a prompt (BOS, where the model adds one) is
/// there with --bos only. With --json: {"ids":[..],"pieces":[..]}. A piece is what its token stands for; bytes that are
/// only a part of a character are shown as U+FFFD.
#[derive(Debug, Args)]
pub struct Tokenize {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    text: TextArg,
    /// Leave text that looks like a special token text
    #[arg(long)]
    no_special: bool,
    /// Put the model's BOS token in front, whether or not its prompts need one
    #[arg(long)]
    bos: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Tokenize {
    /// Prints the ids. Needs no adapter.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let tokenizer = ModelFile::open(&self.model.resolve(global)?)?.tokenizer()?;
        let text = self.text.read()?;
        let special = if self.no_special { Special::Text } else { Special::Parse };
        let mut ids = Vec::new();
        if self.bos {
            ids.push(tokenizer.bos().context("--bos: the model has no BOS token")?);
        }
        ids.append(&mut tokenizer.encode(&text, special)?);
        let mut pieces = Vec::with_capacity(ids.len());
        for &id in &ids {
            pieces.push(String::from_utf8_lossy(tokenizer.piece(id)?));
        }
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &json!({ "ids": ids, "pieces": pieces }))?;
            writeln!(out)?;
        } else {
            for (id, piece) in ids.iter().zip(&pieces) {
                writeln!(out, "{id:>8}  {piece:?}")?;
            }
        }
        Ok(())
    }
}
