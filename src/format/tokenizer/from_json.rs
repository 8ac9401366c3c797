//! A tokenizer from a Hugging Face directory: tokenizer.json and the files beside it.

use std::path::Path;

use serde_json::Value;

use super::growth::{Growth, added};
use super::vocabulary::{Speller, Spelling, TokenKind, Vocabulary, byte_token};
use super::{Parts, Tokenizer, guarded};
use crate::format::{Error, Source, config};

/// A tokenizer.json may not be longer (those of 256,000 tokens take 35 MB).
const MAX_TOKENIZER: u64 = 256 << 20;

/// What is judged before the crate reads the file.
#[derive(serde::Deserialize)]
struct Rules {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
}

/// Reads it.
///
/// # Errors
/// When it isn't there, is broken, or decodes in a way that isn't known.
pub fn read(dir: &Path) -> Result<Tokenizer, Error> {
    let path = dir.join("tokenizer.json");
    // What is there but no regular file is an error of whoever opens it, not an absent file.
    if !path.exists() {
        return Err(Error::missing(
            dir,
            "tokenizer.json (a model with only tokenizer.model must be converted first, with \
             transformers' AutoTokenizer and save_pretrained)",
        ));
    }
    let bytes = Source::read_small(&path, MAX_TOKENIZER)?;
    let rules: Rules = serde_json::from_slice(&bytes).map_err(|e| Error::malformed(&path, e.to_string()))?;
    let growth = Growth::of([&rules.normalizer, &rules.pre_tokenizer])
        .map_err(|what| Error::unsupported(&path, what))?;
    added(&rules.post_processor).map_err(|what| Error::unsupported(&path, what))?;
    let core = guarded(|| {
        let mut core = tokenizers::Tokenizer::from_bytes(&bytes)?;
        // A batch has other needs; and a padding to 10^12 tokens would be made.
        core.with_padding(None).with_truncation(None)?;
        Ok(core)
    });
    let core = core.map_err(|e| Error::malformed(&path, e.to_string()))?;
    drop(bytes);
    let decoder =
        serde_json::to_value(core.get_decoder()).map_err(|e| Error::malformed(&path, e.to_string()))?;
    let steps: Vec<&Value> = match decoder["decoders"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![&decoder],
    };
    let has = |kind: &str| steps.iter().any(|s| s["type"] == kind);
    let (spelling, space_prefix) = if has("ByteLevel") {
        (Spelling::ByteLevel, false)
    } else if has("Metaspace") || has("Replace") || has("ByteFallback") {
        let always = |s: &&Value| s["type"] == "Metaspace" && s["prepend_scheme"] != "never";
        let strip = |s: &&Value| s["type"] == "Strip" && s["content"] == " " && s["start"] == 1;
        (Spelling::SentencePiece, steps.iter().any(|s| always(s) || strip(s)))
    } else {
        return Err(Error::unsupported(
            &path,
            format!("its decoder is {decoder}; byte-level and SentencePiece-style are known"),
        ));
    };
    let vocabulary = vocabulary(&path, &core, spelling, has("ByteFallback"))?;
    // The rule that puts tokens around a text has ids of its own for them.
    if let Ok(around) = guarded(|| core.encode_fast("", true))
        && let Some(id) = around.get_ids().iter().find(|id| **id as usize >= vocabulary.len())
    {
        let len = vocabulary.len();
        let what = format!("its post_processor adds the token {id}, and the vocabulary has {len}");
        return Err(Error::malformed(&path, what));
    }
    let settings = optional(&dir.join("tokenizer_config.json"))?;
    let special = |name: &str| {
        let value = &settings[name];
        value.as_str().or(value["content"].as_str()).and_then(|text| core.token_to_id(text))
    };
    let by_rule = bos_by_rule(&core);
    let bos = special("bos_token").or(by_rule);
    let bos_to_add = match settings["add_bos_token"].as_bool() {
        Some(true) => bos,
        Some(false) => None,
        None => by_rule,
    };
    let mut ends: Vec<u32> = special("eos_token").into_iter().collect();
    for name in ["generation_config.json", "config.json"] {
        let value = optional(&dir.join(name))?;
        let eos = &value["eos_token_id"];
        let list = eos.as_array().map_or(std::slice::from_ref(eos), Vec::as_slice);
        let ids = list.iter().filter_map(|v| u32::try_from(v.as_u64()?).ok());
        ends.extend(ids.filter(|&id| (id as usize) < vocabulary.len()));
    }
    Tokenizer::build(Parts { core, growth, vocabulary, bos, bos_to_add, ends, space_prefix })
}

/// An object, empty where there is no file.
fn optional(path: &Path) -> Result<Value, Error> {
    if path.exists() { config::object(path).map(Value::Object) } else { Ok(Value::Null) }
}

fn vocabulary(
    path: &Path,
    core: &tokenizers::Tokenizer,
    spelling: Spelling,
    byte_fallback: bool,
) -> Result<Vocabulary, Error> {
    let texts = core.get_vocab(true);
    let added = core.get_added_tokens_decoder();
    let len = texts.values().max().map_or(0, |&id| id as usize + 1);
    // Ids may have holes, but not so many that a table of them is senseless.
    if len == 0 || len > 4 * texts.len() + 65_536 {
        return Err(Error::malformed(
            path,
            format!("its {} tokens have ids up to {}", texts.len(), len.saturating_sub(1)),
        ));
    }
    let mut by_id = vec![None; len];
    for (text, id) in &texts {
        by_id[*id as usize] = Some(text);
    }
    let speller = Speller::new(spelling);
    let mut vocabulary = Vocabulary::default();
    for (id, text) in (0u32..).zip(by_id) {
        match (text, added.get(&id)) {
            (_, Some(token)) => {
                let kind = if token.special { TokenKind::Special } else { TokenKind::UserDefined };
                vocabulary.push(kind, token.content.as_bytes());
            }
            (Some(text), None) => match byte_token(text).filter(|_| byte_fallback) {
                Some(byte) => vocabulary.push(TokenKind::Byte, &[byte]),
                None => vocabulary.push(TokenKind::Normal, &speller.bytes(text)),
            },
            (None, None) => vocabulary.push(TokenKind::Unused, b""),
        }
    }
    Ok(vocabulary)
}

/// The token that the post-processor puts before a text.
fn bos_by_rule(core: &tokenizers::Tokenizer) -> Option<u32> {
    let plain = guarded(|| core.encode_fast("a", false)).ok()?;
    let whole = guarded(|| core.encode_fast("a", true)).ok()?;
    let (plain, whole) = (plain.get_ids(), whole.get_ids());
    match whole.iter().position(|id| Some(id) == plain.first()) {
        Some(1) => whole.first().copied(),
        _ => None,
    }
}
