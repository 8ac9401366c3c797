//! Log-probabilities in the shapes of chat and of completions.

use serde_json::{Map, Value, json};

use crate::format::Tokenizer;
use crate::sample::Choice;

/// Text and bytes of a token; a part of a character reads as U+FFFD.
fn spelled(tokenizer: &Tokenizer, id: u32) -> (String, Vec<u8>) {
    // A head may have more rows than the tokenizer has tokens.
    let bytes = tokenizer.piece(id).unwrap_or_default();
    (String::from_utf8_lossy(bytes).into_owned(), bytes.to_vec())
}

/// `{"content": [{token, logprob, bytes, top_logprobs}]}`.
pub fn chat(tokenizer: &Tokenizer, tokens: &[Choice]) -> Value {
    let entry = |id: u32, logprob: f32| {
        let (token, bytes) = spelled(tokenizer, id);
        json!({"token": token, "logprob": logprob, "bytes": bytes})
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
        let (text, _) = spelled(tokenizer, choice.id);
        let mut top = Map::new();
        for (id, logprob) in &choice.top {
            // Tokens of the same spelling: the most probable stands.
            top.entry(spelled(tokenizer, *id).0).or_insert_with(|| json!(logprob));
        }
        // The token itself is always listed; before the first of a prompt there is nothing to list after.
        let listed = choice.logprob.map(|logprob| {
            top.entry(text.clone()).or_insert_with(|| json!(logprob));
            Value::Object(top)
        });
        offsets.push(*offset);
        *offset += text.chars().count();
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
    let mut rest = text;
    let offsets = tokens.iter().map(|choice| {
        let at = *offset;
        if let Some(after) = rest.strip_prefix(&spelled(tokenizer, choice.id).0) {
            *offset += rest.chars().count() - after.chars().count();
            rest = after;
        }
        at
    });
    listed["text_offset"] = offsets.collect::<Vec<_>>().into();
    *offset += rest.chars().count();
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
