//! Ids to text, one by one, without ever breaking a character.

use super::{Specials, Tokenizer};
use crate::format::Error;

/// Gathers the bytes of tokens and gives out complete characters.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    specials: Specials,
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Nothing pending.
    pub fn new(specials: Specials) -> Self {
        Self { specials, pending: Vec::new() }
    }

    /// The text that one more token completes; often empty while a character spans tokens.
    /// Bytes that can't become UTF-8 any more are given out as U+FFFD.
    ///
    /// # Errors
    /// When the id isn't in the vocabulary.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, Error> {
        let piece = tokenizer.piece(id)?;
        if self.specials == Specials::Show || !tokenizer.is_special(id) {
            self.pending.extend_from_slice(piece);
        }
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(e) => {
                    let (valid, after) = rest.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(broken) = e.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[broken..];
                }
            }
        }
        self.pending = rest.to_vec();
        Ok(text)
    }

    /// What is left at the end: nothing, or U+FFFD for a character that stayed incomplete.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}
