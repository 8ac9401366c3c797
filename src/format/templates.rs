//! Where models keep their chat templates.

use std::path::Path;

use serde_json::Value as Json;

use super::gguf::{Array, Header, Value};
use super::{ChatTemplate, Error, Source, config};

/// Longer files hold no template.
const MAX_FILE: u64 = 1 << 20;
const USUAL: &str = "default";

/// `tokenizer.chat_template`, or `tokenizer.chat_template.NAME`.
pub fn of_gguf(header: &Header, name: Option<&str>) -> Result<Option<ChatTemplate>, Error> {
    let key = match name {
        None | Some(USUAL) => "tokenizer.chat_template".to_string(),
        Some(name) => format!("tokenizer.chat_template.{name}"),
    };
    let Some(Value::Text(source)) = header.get(&key) else {
        return Ok(None);
    };
    let token = |which: &str| {
        let id = match header.get(&format!("tokenizer.ggml.{which}_token_id")) {
            Some(Value::Unsigned(id)) => usize::try_from(*id).ok(),
            _ => None,
        };
        match (header.get("tokenizer.ggml.tokens"), id) {
            (Some(Value::Array(Array::Texts(all))), Some(id)) => all.get(id).map(String::as_str),
            _ => None,
        }
        .unwrap_or_default()
    };
    ChatTemplate::new(source, token("bos"), token("eos")).map(Some)
}

/// chat_template.jinja, chat_template.json, or `chat_template` in tokenizer_config.json.
pub fn of_directory(dir: &Path, name: Option<&str>) -> Result<Option<ChatTemplate>, Error> {
    // What is there but no regular file is an error of whoever opens it, not an absent file.
    let object = |file: &str| {
        let path = dir.join(file);
        if path.exists() { config::object(&path).map(Json::Object) } else { Ok(Json::Null) }
    };
    let settings = object("tokenizer_config.json")?;
    let token = |which: &str| {
        let value = &settings[which];
        value.as_str().or(value["content"].as_str()).unwrap_or_default()
    };
    let wanted = name.unwrap_or(USUAL);
    let own = dir.join("chat_template.jinja");
    let source = if wanted == USUAL && own.exists() {
        let bytes = Source::read_small(&own, MAX_FILE)?;
        let text = String::from_utf8(bytes);
        Some(text.map_err(|e| Error::malformed(&own, format!("expected UTF-8: {e}")))?)
    } else {
        let older = object("chat_template.json")?;
        let mut picked = None;
        for (file, object) in [("chat_template.json", &older), ("tokenizer_config.json", &settings)] {
            if picked.is_none() {
                picked = pick(&object["chat_template"], wanted)
                    .map_err(|what| Error::malformed(&dir.join(file), what))?;
            }
        }
        picked
    };
    let Some(source) = source else {
        return Ok(None);
    };
    ChatTemplate::new(&source, token("bos_token"), token("eos_token")).map(Some)
}

/// One template as text, or several as a list of `{name, template}`.
fn pick(value: &Json, wanted: &str) -> Result<Option<String>, String> {
    match value {
        Json::Null => Ok(None),
        Json::String(source) => Ok(Some(source.clone()).filter(|_| wanted == USUAL)),
        Json::Array(all) => {
            let named = all.iter().find(|t| t["name"] == wanted);
            match named.map(|t| t["template"].as_str()) {
                Some(Some(source)) => Ok(Some(source.into())),
                None if wanted != USUAL || all.is_empty() => Ok(None),
                _ => {
                    let names: Vec<&str> = all.iter().filter_map(|t| t["name"].as_str()).collect();
                    Err(format!(
                        "expected a list of {{name, template}} with the name '{wanted}' as chat_template, found the \
                         names [{}]; put the one to use into chat_template.jinja",
                        names.join(", ")
                    ))
                }
            }
        }
        _ => Err("expected a text, or a list of {name, template}, as chat_template; put the template into \
                  chat_template.jinja"
            .into()),
    }
}
