//! `ridgepoint detokenize`.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::json;

use super::token_ids::TokenIds;
use super::{Global, ModelArg};
use crate::format::ModelFile;
use crate::format::tokenizer::Specials;

/// Print the text of token ids.
///
/// The text is printed as it is: a newline is added on a terminal only. Bytes that make no
/// character become U+FFFD. With --json: {"text":".."}.
#[derive(Debug, Args)]
pub struct Detokenize {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    given: Given,
    /// Leave special tokens out instead of spelling them
    #[arg(long)]
    skip_special: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Given {
    /// The token ids
    #[arg(value_name = "IDS")]
    list: Vec<TokenIds>,
    /// The token ids, as one argument
    #[arg(long, value_name = "1,2,3")]
    ids: Option<TokenIds>,
}

impl Detokenize {
    /// Prints the text. Needs no adapter.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let tokenizer = ModelFile::open(&self.model.resolve(global)?)?.tokenizer()?;
        let lists = self.given.list.iter().chain(&self.given.ids);
        let ids = TokenIds(lists.flat_map(|list| &list.0).copied().collect());
        let ids = ids.check("the list of ids", tokenizer.vocab_size())?;
        let specials = if self.skip_special { Specials::Skip } else { Specials::Show };
        let text = tokenizer.decode(ids, specials)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &json!({ "text": text }))?;
            writeln!(out)?;
        } else {
            out.write_all(text.as_bytes())?;
            if out.is_terminal() {
                writeln!(out)?;
            }
        }
        Ok(())
    }
}
