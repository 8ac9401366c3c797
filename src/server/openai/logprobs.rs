//! Log-probabilities in the shapes of chat and of completions.

use serde_json::{Map, Value, json};

use crate::format::Tokenizer;
use crate::sample::Choice;

/// The bytes of a token. A head may have more rows than the tokenizer has tokens: those have none.
fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.piece(id).unwrap_or_default()
}

/// A token as a name for completions: a part of a character as `bytes:\x..`, as OpenAI has it, so that no two
/// read alike.
fn spelled(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().fold("bytes:".to_string(), |name, byte| name + &format!("\\x{byte:02x}")),
    }
}

/// How many characters begin in a token.
fn begun(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// `{"content": [{token, logprob, bytes, top_logprobs}]}`.
pub fn chat(tokenizer: &Tokenizer, tokens: &[Choice]) -> Value {
    let entry = |id: u32, logprob: f32| {
        let bytes = bytes(tokenizer, id);
        json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes})
    };
    let content = tokens.iter().filter_map(|choice| {
        let mut value = entry(choice.id, choice.logprob?);
        let top: Vec<Value> = choice.top.iter().map(|(id, logprob)| entry(*id, *logprob)).collect();
        value["top_logprobs"] = top.into();
        Some(value)
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

/// `{tokens, token_logprobs, top_logprobs, text_offset}`; `offset` is where the first token's text
/// begins, in characters, and is moved past the last.
pub fn completions(tokenizer: &Tokenizer, tokens: &[Choice], offset: &mut usize) -> Value {
    let mut texts = Vec::new();
    let mut offsets = Vec::new();
    let mut logprobs = Vec::new();
    let mut tops = Vec::new();
    for choice in tokens {
        let own = bytes(tokenizer, choice.id);
        let text = spelled(own);
        let mut top = Map::new();
        for (id, logprob) in &choice.top {
            // Tokens of the same spelling: the most probable stands.
            top.entry(spelled(bytes(tokenizer, *id))).or_insert_with(|| json!(logprob));
        }
        // The token itself is always listed; before the first of a prompt there is nothing to list after.
        let listed = choice.logprob.map(|logprob| {
            top.entry(text.clone()).or_insert_with(|| json!(logprob));
            Value::Object(top)
        });
        offsets.push(*offset);
        *offset += begun(own);
        texts.push(text);
        logprobs.push(choice.logprob);
        tops.push(listed);
    }
    json!({"tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets})
}

/// As [`completions`] for a prompt that is shown as `text`; a token that does not stand there, such as one
/// that begins every text, takes no place.
pub fn echoed(tokenizer: &Tokenizer, tokens: &[Choice], text: &str, offset: &mut usize) -> Value {
    let mut listed = completions(tokenizer, tokens, &mut 0);
    let mut rest = text.as_bytes();
    let offsets = tokens.iter().map(|choice| {
        let at = *offset;
        let own = bytes(tokenizer, choice.id);
        if let Some(after) = rest.strip_prefix(own) {
            *offset += begun(own);
            rest = after;
        }
        at
    });
    listed["text_offset"] = offsets.collect::<Vec<_>>().into();
    *offset += begun(rest);
    listed
}

/// Two lists as one.
pub fn joined(mut first: Value, second: &Value) -> Value {
    for (name, list) in first.as_object_mut().into_iter().flatten() {
        if let (Some(list), Some(more)) = (list.as_array_mut(), second[name].as_array()) {
            list.extend(more.iter().cloned());
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_character_have_names_of_their_own() {
        assert_eq!(spelled("\u{e9}a".as_bytes()), "\u{e9}a");
        assert_eq!(spelled(&[0xe2, 0x82]), "bytes:\\xe2\\x82");
        assert_ne!(spelled(&[0xe2]), spelled(&[0xe3]));
        // A character of three tokens is one.
        let euro = [&[0xe2][..], &[0x82], &[0xac]];
        assert_eq!(euro.map(begun), [1, 0, 0]);
    }
}
