//! Text to token ids and back, through the `tokenizers` crate; llama.cpp is the reference.

mod detokenizer;
mod fewest;
pub(super) mod from_gguf;
pub(super) mod from_json;
mod growth;
mod vocabulary;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{AddedToken, AddedVocabulary, Model, OffsetType, PreTokenizer};

pub use detokenizer::Detokenizer;
pub use vocabulary::TokenKind;

use super::Error;
use fewest::Fewest;
use growth::Growth;
use vocabulary::{Vocabulary, unknown_id};

/// Texts may not be longer: the crate keeps some 50 bytes per byte while it works.
pub const MAX_TEXT: usize = 64 << 20;

/// What becomes of text that looks like a special token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// It becomes that token: for text of our own and of templates.
    Parse,
    /// It stays text: for what users write.
    Text,
}

/// What becomes of special tokens in text that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Left out.
    Skip,
    /// Written as they are spelled.
    Show,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    core: tokenizers::Tokenizer,
    growth: Growth,
    /// Added tokens without the special ones.
    text_only: AddedVocabulary,
    /// Texts of the special tokens.
    special_texts: Vec<String>,
    vocabulary: Vocabulary,
    bos: Option<u32>,
    bos_to_add: Option<u32>,
    ends: Vec<u32>,
    space_prefix: bool,
    /// What a text's length tells of its tokens.
    fewest: Option<Fewest>,
}

/// What the two readers hand over.
struct Parts {
    core: tokenizers::Tokenizer,
    growth: Growth,
    vocabulary: Vocabulary,
    bos: Option<u32>,
    bos_to_add: Option<u32>,
    ends: Vec<u32>,
    space_prefix: bool,
}

impl Tokenizer {
    fn build(parts: Parts) -> Result<Self, Error> {
        let Parts { core, growth, vocabulary, bos, bos_to_add, mut ends, space_prefix } = parts;
        let mut added: Vec<(u32, AddedToken)> = core.get_added_tokens_decoder().into_iter().collect();
        added.sort_by_key(|(id, _)| *id);
        let (special, plain): (Vec<_>, Vec<_>) = added.into_iter().partition(|(_, t)| t.special);
        let plain: Vec<AddedToken> = plain.into_iter().map(|(_, token)| token).collect();
        let mut text_only = AddedVocabulary::new();
        text_only.add_tokens(&plain, core.get_model(), core.get_normalizer());
        ends.extend(
            special.iter().filter(|(_, t)| from_gguf::ENDS.contains(&t.content.as_str())).map(|(id, _)| *id),
        );
        ends.sort_unstable();
        ends.dedup();
        let special_texts = special.into_iter().map(|(_, t)| t.content).collect();
        let fewest = fewest::fewest(&core, &vocabulary);
        Ok(Self {
            core,
            growth,
            text_only,
            special_texts,
            vocabulary,
            bos,
            bos_to_add,
            ends,
            space_prefix,
            fewest,
        })
    }

    /// Refuses a text that is sure to have more than `most` tokens.
    ///
    /// # Errors
    /// [`Error::TooManyTokens`].
    pub fn allow(&self, text: &str, most: usize) -> Result<(), Error> {
        let fewest = self.fewest(text);
        if fewest > most { Err(Error::TooManyTokens { fewest, most }) } else { Ok(()) }
    }

    /// A text has no fewer tokens, by its length alone; 0 where that tells nothing.
    pub fn fewest(&self, text: &str) -> usize {
        self.fewest.as_ref().map_or(0, |fewest| fewest.of(text))
    }

    /// The ids of a text, without BOS. Tokens that the model's author added as plain text are
    /// parsed either way.
    ///
    /// # Errors
    /// When the text is longer than [`MAX_TEXT`], or the crate fails.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        let added = match special {
            Special::Parse => self.core.get_added_vocabulary(),
            Special::Text => &self.text_only,
        };
        self.run(text, added, &[])
    }

    /// The ids of a prompt: BOS where the model wants it, and the text. An EOS is never added:
    /// the prompt is to be continued.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.bos_to_add.into_iter().collect();
        ids.append(&mut self.encode(text, special)?);
        Ok(ids)
    }

    /// Encodes text in which some characters stand for others (`(stand-in, character)`), so that
    /// special tokens aren't seen there. See [`super::ChatTemplate`].
    pub(super) fn encode_disguised(&self, text: &str, disguise: &[(char, char)]) -> Result<Vec<u32>, Error> {
        self.run(text, self.core.get_added_vocabulary(), disguise)
    }

    /// Texts of the special tokens.
    pub(super) fn special_texts(&self) -> &[String] {
        &self.special_texts
    }

    fn run(&self, text: &str, added: &AddedVocabulary, disguise: &[(char, char)]) -> Result<Vec<u32>, Error> {
        let most = self.growth.allows(MAX_TEXT);
        if text.len() > most {
            return Err(Error::Tokenize(format!(
                "expected a text of at most {most} bytes, found {}; cut it into parts",
                text.len()
            )));
        }
        guarded(|| {
            let mut pieces = added.extract_and_normalize(self.core.get_normalizer(), text);
            if !disguise.is_empty() {
                let real = |c| disguise.iter().find(|(s, _)| *s == c).map_or(c, |d| d.1);
                pieces.normalize(|piece| {
                    piece.map(real);
                    Ok(())
                })?;
            }
            if let Some(rule) = self.core.get_pre_tokenizer() {
                rule.pre_tokenize(&mut pieces)?;
            }
            let model = self.core.get_model();
            pieces.tokenize(|piece| model.tokenize(piece.get()))?;
            let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// The text of ids that stand on their own: the space that SentencePiece puts before a text
    /// is left out; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When an id isn't in the vocabulary.
    pub fn decode(&self, ids: &[u32], specials: Specials) -> Result<String, Error> {
        let mut bytes = Vec::new();
        for &id in ids {
            let piece = self.piece(id)?;
            if specials == Specials::Show || !self.is_special(id) {
                bytes.extend_from_slice(piece);
            }
        }
        let skip = usize::from(self.space_prefix && bytes.first() == Some(&b' '));
        Ok(String::from_utf8_lossy(&bytes[skip..]).into_owned())
    }

    /// The bytes that a token stands for (a part of a character, perhaps); of a special token its
    /// spelling.
    ///
    /// # Errors
    /// When the id isn't in the vocabulary.
    pub fn piece(&self, id: u32) -> Result<&[u8], Error> {
        self.vocabulary.bytes(id).ok_or_else(|| unknown_id(id, self.vocabulary.len()))
    }

    /// What a token is; `None` for an id that isn't in the vocabulary.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.vocabulary.kind(id)
    }

    /// Is it a special token?
    pub fn is_special(&self, id: u32) -> bool {
        self.kind(id) == Some(TokenKind::Special)
    }

    /// The id of a token, spelled as in the vocabulary.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.core.token_to_id(token)
    }

    /// Ids lie below. The model's own vocabulary may be larger (padding).
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The tokens that end an answer, sorted: end of sequence, of turn, of message.
    pub fn eos_ids(&self) -> &[u32] {
        &self.ends
    }

    /// The token that begins a text, whether or not prompts need it.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that a prompt must begin with.
    pub fn bos_to_add(&self) -> Option<u32> {
        self.bos_to_add
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread will be caught here and become an error: then a panic hook should
/// print nothing.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// The crate knows neither the file nor the rule where it unwraps; whoever reads the file names it.
const PANICKED: &str = "the tokenizers crate gave up on it: a rule or a token of its tokenizer.json is broken; fetch \
                        the file again, or have transformers' save_pretrained write it anew";

/// Runs something of the crate, which unwraps in some places that a hostile tokenizer.json can
/// reach.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Error> {
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(false);
    match done {
        Ok(done) => done.map_err(|e| Error::Tokenize(e.to_string())),
        Err(_) => Err(Error::Tokenize(PANICKED.into())),
    }
}
