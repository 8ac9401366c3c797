//! A tokenizer from the key-values of a GGUF file, after what llama.cpp does with them.

use std::path::Path;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::growth::Growth;
use super::vocabulary::{Speller, Spelling, TokenKind, Vocabulary, byte_token};
use super::{Parts, Tokenizer};
use crate::format::Error;
use crate::format::gguf::{Array, Header, Value};

const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
/// Llama 3's with up to three digits together, Qwen 2's with one.
const LLAMA3: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A way of cutting text into words before merges apply.
struct PreTokenizer {
    /// Values of `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Applied one after the other to the pieces that the one before left.
    patterns: &'static [&'static str],
    /// Is a word that is a token taken whole, merges or not?
    whole_words: bool,
    /// Does a prompt start with BOS where the file doesn't say?
    bos: bool,
}

const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer { names: &["gpt-2"], patterns: &[WORDS], whole_words: false, bos: false },
    PreTokenizer { names: &["smollm"], patterns: &[r"\p{N}", WORDS], whole_words: false, bos: false },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        patterns: &[LLAMA3],
        whole_words: true,
        bos: true,
    },
    PreTokenizer { names: &["qwen2"], patterns: &[QWEN2], whole_words: false, bos: false },
    PreTokenizer {
        names: &["default", ""],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", WORDS, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        bos: false,
    },
];

/// Splitting all tokens at all places may take this many byte comparisons (a vocabulary of
/// 256,000 needs some 30 million).
const MAX_SPLITTING: u64 = 1 << 31;

/// Chat models end an answer with these where they have them as special tokens, whatever
/// `eos_token_id` says.
pub(super) const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
];

/// Reads `tokenizer.ggml.*`.
///
/// # Errors
/// When the lists contradict one another, or the kind isn't known.
pub fn read(path: &Path, header: &Header) -> Result<Tokenizer, Error> {
    let keys = Keys { path, header };
    let model = keys.need("model", keys.text("model")?)?;
    let spelling = match model {
        "gpt2" => Spelling::ByteLevel,
        "llama" => Spelling::SentencePiece,
        _ => {
            return Err(Error::unsupported(
                path,
                format!("its tokenizer is of the kind '{model}'; gpt2 and llama are known"),
            ));
        }
    };
    let texts = keys.need("tokens", keys.texts("tokens")?)?;
    let vocabulary = keys.vocabulary(texts, spelling)?;
    let Core { mut core, bos_by_default, space_prefix } = match spelling {
        Spelling::ByteLevel => keys.byte_level(texts)?,
        Spelling::SentencePiece => keys.sentence_piece(texts, &vocabulary)?,
    };
    let ids = 0..vocabulary.len() as u32;
    let added: Vec<AddedToken> = ids
        .clone()
        .zip(texts)
        .filter_map(|(id, text)| {
            let special = match vocabulary.kind(id) {
                Some(TokenKind::Special) => true,
                Some(TokenKind::UserDefined) => false,
                _ => return None,
            };
            (!text.is_empty()).then(|| AddedToken::from(text.clone(), special).normalized(false))
        })
        .collect();
    core.add_tokens(&added);
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(keys.id(key, texts.len())?);
    }
    let bos = keys.id("bos_token_id", texts.len())?;
    let add_bos = keys.truth("add_bos_token")?.unwrap_or(bos_by_default);
    let bos_to_add = match (add_bos, bos) {
        (false, _) => None,
        (true, Some(id)) => Some(id),
        (true, None) => return Err(Error::missing(path, "tokenizer.ggml.bos_token_id")),
    };
    let growth = Growth::NONE;
    Tokenizer::build(Parts { core, growth, vocabulary, bos, bos_to_add, ends, space_prefix })
}

struct Keys<'a> {
    path: &'a Path,
    header: &'a Header,
}

/// The crate's tokenizer, and what goes with its kind.
struct Core {
    core: tokenizers::Tokenizer,
    /// Does a prompt start with BOS where the file doesn't say?
    bos_by_default: bool,
    /// Does a space go before a text?
    space_prefix: bool,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.header.get(&format!("tokenizer.ggml.{key}"))
    }

    fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::missing(self.path, format!("the key tokenizer.ggml.{key}")))
    }

    fn bad(&self, what: impl Into<String>) -> Error {
        Error::malformed(self.path, what)
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        self.bad(format!("expected {expected} as tokenizer.ggml.{key}, found {found}"))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "text", other)),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<&'a [String]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Texts(all))) => Ok(Some(all)),
            Some(other) => Err(self.wrong(key, "a list of texts", other)),
        }
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    fn id(&self, key: &str, len: usize) -> Result<Option<u32>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value {
            Value::Unsigned(id) if *id < len as u64 => Ok(Some(*id as u32)),
            // Files say -1 or the largest number for 'none'.
            Value::Unsigned(4_294_967_295) | Value::Signed(-1) => Ok(None),
            Value::Signed(id) if (0..len as i64).contains(id) => Ok(Some(*id as u32)),
            other => Err(self.wrong(key, &format!("an id below {len}"), other)),
        }
    }

    fn vocabulary(&self, texts: &[String], spelling: Spelling) -> Result<Vocabulary, Error> {
        if u32::try_from(texts.len()).is_err() {
            return Err(self.bad("its vocabulary has more than 2^32 tokens"));
        }
        let kinds = match self.get("token_type") {
            None => None,
            Some(Value::Array(Array::Integers(kinds))) if kinds.len() == texts.len() => Some(kinds),
            Some(other) => {
                let expected = format!("{} whole numbers, one for each token", texts.len());
                return Err(self.wrong("token_type", &expected, other));
            }
        };
        let speller = Speller::new(spelling);
        let mut vocabulary = Vocabulary::default();
        for (i, text) in texts.iter().enumerate() {
            match kinds.and_then(|kinds| kinds.get(i)).unwrap_or(1) {
                1 => vocabulary.push(TokenKind::Normal, &speller.bytes(text)),
                2 | 3 => vocabulary.push(TokenKind::Special, text.as_bytes()),
                4 => vocabulary.push(TokenKind::UserDefined, text.as_bytes()),
                0 | 5 => vocabulary.push(TokenKind::Unused, b""),
                6 => match byte_token(text) {
                    Some(byte) => vocabulary.push(TokenKind::Byte, &[byte]),
                    None => {
                        return Err(
                            self.bad(format!("expected a byte as <0xNN> as token {i}, found {text:?}"))
                        );
                    }
                },
                other => {
                    return Err(self.bad(format!("the token {i} has the type {other}; 1 to 6 are known")));
                }
            }
        }
        Ok(vocabulary)
    }

    /// Byte-level BPE, its merges from the file.
    fn byte_level(&self, texts: &[String]) -> Result<Core, Error> {
        let name = self.text("pre")?.unwrap_or("");
        let Some(pre) = PRE_TOKENIZERS.iter().find(|p| p.names.contains(&name)) else {
            let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|p| p.names[0]).collect();
            return Err(Error::unsupported(
                self.path,
                format!("its pre-tokenizer is '{name}'; {} are known", known.join(", ")),
            ));
        };
        let vocab = ids(texts);
        let lines = self.need("merges", self.texts("merges")?)?;
        let mut merges = Merges::new();
        let mut whole = String::new();
        for line in lines {
            // The first part may itself start with a space.
            let cut = line.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let Some((left, right)) = cut.map(|(i, _)| (&line[..i], &line[i + 1..])) else {
                return Err(self.bad(format!("expected two parts in the merge {line:?}")));
            };
            whole.clear();
            whole.push_str(left);
            whole.push_str(right);
            for part in [left, right, &whole] {
                if !vocab.contains_key(part) {
                    return Err(self.bad(format!("its merge {line:?} needs {part:?}, no token")));
                }
            }
            merges.push((left.into(), right.into()));
        }
        let mut bpe = self.bpe(vocab, merges)?;
        bpe.ignore_merges = pre.whole_words;
        let mut steps = Vec::new();
        for pattern in pre.patterns {
            let pattern = SplitPattern::Regex((*pattern).into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|e| Error::Tokenize(e.to_string()))?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
        let mut core = tokenizers::Tokenizer::new(bpe);
        core.with_pre_tokenizer(Some(PreSequence::new(steps)));
        Ok(Core { core, bos_by_default: pre.bos, space_prefix: false })
    }

    /// SentencePiece's BPE: two neighbours merge if the whole is a token, best score first. Here
    /// every way to cut a token into two is a merge. Special tokens are left out, so that plain
    /// text never merges into one.
    fn sentence_piece(&self, texts: &[String], vocabulary: &Vocabulary) -> Result<Core, Error> {
        let scores = match self.get("scores") {
            Some(Value::Array(Array::Floats(scores))) if scores.len() == texts.len() => scores,
            Some(other) => {
                let expected = format!("{} scores, one for each token", texts.len());
                return Err(self.wrong("scores", &expected, other));
            }
            None => return Err(Error::missing(self.path, "the key tokenizer.ggml.scores")),
        };
        let vocab = ids(texts);
        let mergeable =
            |id: u32| matches!(vocabulary.kind(id), Some(TokenKind::Normal | TokenKind::UserDefined));
        let mut work = 0u64;
        let mut found = Vec::new();
        for (whole, text) in (0u32..).zip(texts) {
            if !mergeable(whole) || vocab.get(text) != Some(&whole) {
                continue;
            }
            work = work.saturating_add((text.len() as u64).saturating_pow(2));
            if work > MAX_SPLITTING {
                return Err(self.bad("its vocabulary has tokens of senseless lengths"));
            }
            for (cut, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(cut);
                if let (Some(&l), Some(&r)) = (vocab.get(left), vocab.get(right))
                    && mergeable(l)
                    && mergeable(r)
                {
                    found.push((scores[whole as usize], l, r));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let text = |id: u32| texts[id as usize].clone();
        let merges: Merges = found.into_iter().map(|(_, l, r)| (text(l), text(r))).collect();
        let mut bpe = self.bpe(vocab, merges)?;
        bpe.byte_fallback = true;
        bpe.fuse_unk = true;
        bpe.unk_token = self.id("unknown_token_id", texts.len())?.map(text);
        let space_prefix = self.truth("add_space_prefix")?.unwrap_or(true);
        let mut steps = Vec::new();
        if space_prefix {
            steps.push(NormalizerWrapper::Prepend(Prepend::new("\u{2581}".into())));
        }
        let spaces = Replace::new(" ", "\u{2581}").map_err(|e| Error::Tokenize(e.to_string()))?;
        steps.push(NormalizerWrapper::Replace(spaces));
        let mut core = tokenizers::Tokenizer::new(bpe);
        core.with_normalizer(Some(Sequence::new(steps)));
        Ok(Core { core, bos_by_default: true, space_prefix })
    }

    fn bpe(&self, vocab: Vocab, merges: Merges) -> Result<BPE, Error> {
        let built = BPE::builder().vocab_and_merges(vocab, merges).build();
        built.map_err(|e| self.bad(format!("its merges are broken: {e}")))
    }
}

/// Texts to ids; of two equal texts the later.
fn ids(texts: &[String]) -> Vocab {
    texts.iter().cloned().zip(0u32..).collect()
}
