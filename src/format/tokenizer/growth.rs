//! How much longer a tokenizer.json's rules can make a text, by their description alone.
//!
//! `Replace "a" -> "aa"`, thirty times over, makes 2^30 letters of one. The crate runs such rules when it
//! reads the file already (on the added tokens), so they are judged before it does.

use serde_json::Value;

/// Rules that make more bytes of one are refused; SentencePiece's make 12.
const MOST: u64 = 64;
/// What a text of the full length may grow by; rules that can do more get shorter texts.
const USUAL: u64 = 16;

/// Bytes that become of one byte, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth(u64);

impl Growth {
    /// None: of rules that are our own.
    pub const NONE: Self = Self(1);

    /// Of a normalizer and a pre-tokenizer.
    ///
    /// # Errors
    /// When they can do more than rules may, or one isn't known.
    pub fn of(rules: [&Value; 2]) -> Result<Self, String> {
        let mut growth = 1u64;
        for rule in rules {
            growth = growth.saturating_mul(of_rule(rule)?);
        }
        if growth > MOST {
            return Err(format!(
                "its normalizer and pre_tokenizer can make {growth} bytes of one; at most {MOST} are allowed"
            ));
        }
        Ok(Self(growth))
    }

    /// Bytes of text that may be taken where `most` are taken of rules as usual.
    pub fn allows(self, most: usize) -> usize {
        (most as u64 * USUAL / self.0.max(USUAL)) as usize
    }
}

/// Ids that a post-processor may put around a text; models put one or two.
const MOST_ADDED: u64 = 64;

/// Refuses a post-processor that puts more ids around each text than any model has.
///
/// # Errors
/// How many they are, and how many are allowed.
pub fn added(processor: &Value) -> Result<(), String> {
    match ids(processor) {
        n if n > MOST_ADDED => {
            Err(format!("its post_processor puts {n} tokens around a text; at most {MOST_ADDED} are allowed"))
        }
        _ => Ok(()),
    }
}

fn ids(processor: &Value) -> u64 {
    let list = |value: &Value| value.as_array().map_or(&[][..], Vec::as_slice).to_vec();
    let inner: u64 = list(&processor["processors"]).iter().map(ids).fold(0, u64::saturating_add);
    let of = |piece: &Value| {
        let name = piece["SpecialToken"]["id"].as_str().unwrap_or_default();
        list(&processor["special_tokens"][name]["ids"]).len() as u64
    };
    let templates = [&processor["single"], &processor["pair"]];
    let template = templates.map(|pieces| list(pieces).iter().map(of).fold(0, u64::saturating_add));
    template.into_iter().fold(inner, u64::saturating_add)
}

fn of_rule(rule: &Value) -> Result<u64, String> {
    if rule.is_null() {
        return Ok(1);
    }
    let length = |text: &Value| text.as_str().map_or(0, str::len) as u64;
    let inner = [&rule["normalizers"], &rule["pretokenizers"]].into_iter().find_map(Value::as_array);
    Ok(match (rule["type"].as_str().unwrap_or_default(), inner) {
        ("Sequence", Some(inner)) => {
            let mut growth = 1u64;
            for rule in inner {
                growth = growth.saturating_mul(of_rule(rule)?);
            }
            growth
        }
        // A pattern of no bytes, and a regular expression perhaps, is found before every byte.
        ("Replace", _) => match length(&rule["pattern"]["String"]) {
            0 => 1 + length(&rule["content"]),
            n => length(&rule["content"]).div_ceil(n).max(1),
        },
        ("Prepend", _) => 1 + length(&rule["prepend"]),
        // A space becomes a character of three bytes, and one may be put before it.
        ("Metaspace", _) => 2 * length(&rule["replacement"]).max(3),
        // A byte becomes a character of two; a space is put before each, or around each.
        ("ByteLevel", _) => 2,
        ("BertNormalizer", _) => 2,
        // Unicode's forms make 18 characters of one at most, and of their own results nothing more.
        ("NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "Strip" | "StripAccents" | "Nmt", _) => 1,
        (
            "Split" | "Punctuation" | "Digits" | "Whitespace" | "WhitespaceSplit" | "CharDelimiterSplit"
            | "UnicodeScripts" | "BertPreTokenizer" | "FixedLength",
            _,
        ) => 1,
        (other, _) => {
            return Err(format!("its rule '{other}' isn't known here, nor how long it makes a text"));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(normalizer: Value, pre_tokenizer: Value) -> Result<u64, String> {
        Growth::of([&normalizer, &pre_tokenizer]).map(|growth| growth.0)
    }

    #[test]
    fn a_post_processor_adds_a_few_tokens() {
        let template = |pieces: usize, ids: usize| {
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
                "type": "TemplateProcessing",
                "single": vec![json!({"SpecialToken": {"id": "x", "type_id": 0}}); pieces],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"x": {"id": "x", "ids": vec![1; ids], "tokens": vec!["x"; ids]}},
            }]})
        };
        assert_eq!(added(&Value::Null), Ok(()));
        assert_eq!(added(&template(2, 1)), Ok(()));
        assert!(added(&template(100, 1000)).unwrap_err().contains("100000"));
    }

    #[test]
    fn rules_grow_as_they_say() {
        let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
        let list = |all: Vec<Value>| json!({"type": "Sequence", "normalizers": all});
        assert_eq!(of(Value::Null, Value::Null), Ok(1));
        let sentencepiece = list(vec![json!({"type": "Prepend", "prepend": "▁"}), replace(" ", "▁")]);
        assert_eq!(of(sentencepiece, Value::Null), Ok(12));
        let split = json!({"type": "Split", "pattern": {"Regex": "a"}});
        let bytes = json!({"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]});
        assert_eq!(of(json!({"type": "NFC"}), bytes), Ok(2));
        assert_eq!(of(replace("abc", "d"), Value::Null), Ok(1));
        for hostile in [
            list(vec![replace("a", "aa"); 34]),
            list(vec![replace("a", &"b".repeat(20_000)), replace("b", &"c".repeat(20_000))]),
            list(vec![replace("", "aa"); 5]),
            json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y".repeat(99)}),
            list(vec![json!({"type": "ByteLevel"}); 7]),
            list(vec![list(vec![json!({"type": "Prepend", "prepend": "ab"}); 3]); 3]),
        ] {
            assert!(of(hostile.clone(), Value::Null).unwrap_err().contains("of one"), "{hostile}");
            let e = of(Value::Null, json!({"type": "Sequence", "pretokenizers": [hostile]})).unwrap_err();
            assert!(e.contains("of one"), "{e}");
        }
        assert!(of(json!({"type": "Precompiled"}), Value::Null).unwrap_err().contains("'Precompiled'"));
    }

    #[test]
    fn texts_are_shorter_for_rules_that_grow_more() {
        assert_eq!([1, 16, 32, 64].map(|n| Growth(n).allows(1 << 20)), [1 << 20, 1 << 20, 1 << 19, 1 << 18]);
    }
}
