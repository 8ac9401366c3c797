//! The text that a command works on.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::format::tokenizer::MAX_TEXT;

/// A text, by itself or in a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TextArg {
    /// The text, or - for standard input, taken byte for byte (a newline at its end is a part of
    /// it) and refused if it is not UTF-8. Put -- before a text that begins with a hyphen
    #[arg(value_name = "TEXT|-")]
    text: Option<String>,
    /// The text, as llama.cpp's users give it
    #[arg(long, short = 'p', value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file that holds the text, or - for standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TextArg {
    /// The text.
    ///
    /// # Errors
    /// When it can't be read, is no UTF-8, or is longer than a tokenizer takes.
    pub fn read(&self) -> anyhow::Result<String> {
        let stdin = self.file.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if let Some(path) = self.file.as_ref().filter(|_| !stdin) {
            let name = path.display().to_string();
            return read_text(&mut File::open(path).with_context(|| format!("opening {name}"))?, &name);
        }
        match self.text.as_ref().or(self.prompt.as_ref()).map(String::as_str) {
            Some("-") if self.text.is_some() => read_text(&mut io::stdin().lock(), "standard input"),
            Some(text) => Ok(text.to_string()),
            None => read_text(&mut io::stdin().lock(), "standard input"),
        }
    }
}

/// Reads all of a text, which must be UTF-8 and no longer than a tokenizer takes.
pub(super) fn read_text(from: &mut dyn Read, what: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("reading {what}"))?;
    if bytes.len() > MAX_TEXT {
        anyhow::bail!("{what} is longer than {MAX_TEXT} bytes, the most that is tokenized at once");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{what} is not UTF-8 text: byte {at} begins no character")
    })
}
