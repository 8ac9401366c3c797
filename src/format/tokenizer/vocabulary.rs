//! What each token stands for, in bytes.

use std::collections::HashMap;

use crate::format::Error;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Controls the model (`<|im_end|>`): parsed only where that is asked for, not shown as text.
    Special,
    /// Added by the model's author as text: always parsed whole.
    UserDefined,
    /// One byte (`<0x0A>`).
    Byte,
    /// A place that is kept free. Stands for nothing.
    Unused,
}

/// How the texts of normal tokens are spelled in a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Each byte as one printable character (GPT-2's table).
    ByteLevel,
    /// U+2581 for a space, and `<0xNN>` for single bytes (SentencePiece's way).
    SentencePiece,
}

/// The bytes and the kind of every token.
#[derive(Debug, Default)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    kinds: Vec<TokenKind>,
}

impl Vocabulary {
    /// Tokens; ids lie below.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Adds the next id.
    pub fn push(&mut self, kind: TokenKind, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.kinds.push(kind);
    }

    /// A token's kind.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// A token's bytes.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        let i = id as usize;
        let end = *self.ends.get(i)?;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        self.bytes.get(start..end)
    }
}

/// Turns spelled texts into bytes.
#[derive(Debug)]
pub struct Speller {
    spelling: Spelling,
    byte_of: HashMap<char, u8>,
}

impl Speller {
    /// For one way of spelling.
    pub fn new(spelling: Spelling) -> Self {
        Self { spelling, byte_of: byte_level_alphabet().collect() }
    }

    /// The bytes of a normal token. A character outside of the byte-level alphabet stands for
    /// itself.
    pub fn bytes(&self, text: &str) -> Vec<u8> {
        match self.spelling {
            Spelling::SentencePiece => text.replace('\u{2581}', " ").into_bytes(),
            Spelling::ByteLevel => {
                let mut bytes = Vec::with_capacity(text.len());
                for c in text.chars() {
                    match self.byte_of.get(&c) {
                        Some(&b) => bytes.push(b),
                        None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                bytes
            }
        }
    }
}

/// The byte that exactly `<0xNN>` stands for, and nothing else.
pub fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// GPT-2's table: printable bytes stand for themselves, the others for U+0100 and up in order.
fn byte_level_alphabet() -> impl Iterator<Item = (char, u8)> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..=255u8).filter_map(move |b| {
        let code = if printable(b) {
            u32::from(b)
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).map(|c| (c, b))
    })
}

/// The error of an id that isn't in the vocabulary.
pub fn unknown_id(id: u32, len: usize) -> Error {
    Error::Tokenize(format!("the id {id} isn't in the vocabulary of {len}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_are_read_strictly() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for bad in ["<0x-1>", "<0x+1>", "<0x1>", "<0x123>", "<0x0A", "0x0A>", "<0xGG>", ""] {
            assert_eq!(byte_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_byte_has_its_own_character() {
        let all: HashMap<char, u8> = byte_level_alphabet().collect();
        assert_eq!(all.len(), 256);
        assert_eq!(all[&'Ġ'], b' ');
        assert_eq!(all[&'Ċ'], b'\n');
        let speller = Speller::new(Spelling::ByteLevel);
        assert_eq!(speller.bytes("ĠcafÃ©"), " café".as_bytes());
        assert_eq!(Speller::new(Spelling::SentencePiece).bytes("▁a▁b"), b" a b");
    }
}
