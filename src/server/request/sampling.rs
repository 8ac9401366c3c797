//! Sampling fields, by the names that OpenAI's, vLLM's and llama.cpp's clients use.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{Expected, Fields};
use crate::sample::{ParamError, SamplingParams, StopText};
use crate::server::caps::{Cap, Caps};
use crate::server::error::ApiError;

/// One text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Expected for Texts {
    const EXPECTED: &'static str = "a string or a list of strings";
}

/// The stop strings in a field.
///
/// # Errors
/// When there are too many, or one is empty or too long.
pub fn stops(fields: &mut Fields, name: &str, caps: &Caps) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take(name)? {
        None => Vec::new(),
        Some(Texts::One(text)) => vec![text],
        Some(Texts::Many(texts)) => texts,
    };
    caps.check(Cap::Stops, name, stops.len())?;
    for text in &stops {
        caps.check(Cap::StopBytes, name, text.len())?;
    }
    Ok(stops)
}

/// Reads every field that shapes how tokens are chosen, but for `logprobs`, which the APIs spell
/// differently. `vocab` bounds token ids.
///
/// # Errors
/// Names the first field at fault.
pub fn read(
    fields: &mut Fields,
    caps: &Caps,
    vocab: usize,
    max_tokens: Option<u32>,
) -> Result<SamplingParams, ApiError> {
    let default = SamplingParams::default();
    let logit_bias = bias(fields, caps)?;
    let stop_token_ids: Vec<u32> = fields.take("stop_token_ids")?.unwrap_or_default();
    caps.check(Cap::StopTokens, "stop_token_ids", stop_token_ids.len())?;
    let include = fields.take("include_stop_str_in_output")?.unwrap_or(false);
    let repetition = fields.used(&["repetition_penalty", "repeat_penalty"]);
    let params = SamplingParams {
        n: fields.take("n")?.unwrap_or(default.n),
        best_of: fields.take("best_of")?,
        temperature: fields.take("temperature")?.unwrap_or(default.temperature),
        top_p: fields.take("top_p")?.unwrap_or(default.top_p),
        top_k: fields.take("top_k")?.unwrap_or(default.top_k),
        min_p: fields.take("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: fields
            .take_any(&["repetition_penalty", "repeat_penalty"])?
            .unwrap_or(default.repetition_penalty),
        presence_penalty: fields.take("presence_penalty")?.unwrap_or(default.presence_penalty),
        frequency_penalty: fields.take("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        logit_bias,
        seed: fields.take("seed")?,
        max_tokens,
        min_tokens: fields.take("min_tokens")?.unwrap_or(default.min_tokens),
        stop: stops(fields, "stop", caps)?,
        stop_text: if include { StopText::Include } else { StopText::Cut },
        stop_token_ids,
        ignore_eos: fields.take("ignore_eos")?.unwrap_or(default.ignore_eos),
        logprobs: None,
    };
    let known = |error: ParamError| ApiError::from(error).renamed("repetition_penalty", repetition);
    params.validate(vocab).map_err(known)?;
    let (field, answers) = params.best_of.map_or(("n", params.n), |best_of| ("best_of", best_of));
    caps.check(Cap::Answers, field, answers as usize)?;
    Ok(params)
}

fn bias(fields: &mut Fields, caps: &Caps) -> Result<BTreeMap<u32, f32>, ApiError> {
    let named: BTreeMap<String, f32> = fields.take("logit_bias")?.unwrap_or_default();
    caps.check(Cap::LogitBias, "logit_bias", named.len())?;
    let by_id = |(key, bias): (String, f32)| match key.trim().parse() {
        Ok(id) => Ok((id, bias)),
        Err(_) => {
            Err(ApiError::field("logit_bias", "found a key that is no token id: expected {\"ID\": number}"))
        }
    };
    named.into_iter().map(by_id).collect()
}
