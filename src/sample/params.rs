//! What a request may ask of the sampler, by the names that OpenAI's and vLLM's clients use.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::{ParamError, StopText};

/// Sampling parameters of a request. When read, a field that is absent or null takes its default, `stop` may be one
/// string or a list, `logit_bias` has token ids as keys, and unknown fields are passed over (the server judges them).
/// Nothing is checked until [`SamplingParams::validate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct SamplingParams {
    /// Choices for one prompt, 1 or more; default 1.
    pub n: u32,
    /// Choices to generate, of which the `n` with the highest log-probability per token are kept, `n` or more;
    /// absent: `n`.
    pub best_of: Option<u32>,
    /// Divides the logits; 0 is greedy; default 1.0 as OpenAI's.
    pub temperature: f32,
    /// Keeps the smallest set of most probable tokens whose mass reaches this, in [0, 1], always at least one token;
    /// default 1 (off).
    pub top_p: f32,
    /// Keeps this many most probable tokens; 0 or -1, the default, is off.
    pub top_k: i64,
    /// Keeps tokens at least this times as probable as the most probable one, in [0, 1]; default 0 (off).
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or output; above 0; default 1 (off).
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of each token in the output, in [-2, 2]; default 0.
    pub presence_penalty: f32,
    /// Subtracted for each occurrence in the output, in [-2, 2]; default 0.
    pub frequency_penalty: f32,
    /// Added to the logits of these token ids, in [-100, 100]; default none.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Keys every draw; absent or -1 leaves the choice to the engine.
    pub seed: Option<i64>,
    /// The most tokens to generate, 1 or more; absent: what the context holds.
    pub max_tokens: Option<u32>,
    /// No end of sequence, stop token or stop string before this many tokens; default 0.
    pub min_tokens: u32,
    /// Strings that end the text; default none.
    pub stop: Vec<String>,
    /// Whether the stop string stays in the text; default cut.
    #[serde(rename = "include_stop_str_in_output", serialize_with = "include_as_bool")]
    pub stop_text: StopText,
    /// Tokens that end the sequence; default none.
    pub stop_token_ids: Vec<u32>,
    /// Goes on past the model's end-of-sequence token (which may still be drawn, as in vLLM); default false.
    pub ignore_eos: bool,
    /// Reports the chosen token's log-probability and those of this many most probable tokens; absent: none.
    pub logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            n: 1,
            best_of: None,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_text: StopText::Cut,
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logprobs: None,
        }
    }
}

/// The least that must be read back from the device for a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The index of the largest logit (ties to the lower), and nothing else.
    Argmax,
    /// The largest `k` logits of the row with their ids and the row's normaliser: always enough.
    TopK(usize),
    /// A list of the largest logits with the normaliser will usually do (64 is a good length; never fewer than this
    /// many): `Sampler::sample_candidates` says when it did not.
    TopMass(usize),
    /// The whole row.
    FullRow,
}

/// Why a token ends a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model's end of sequence.
    Eos,
    /// One of the request's `stop_token_ids`.
    StopToken(u32),
    /// `max_tokens` reached.
    Length,
}

impl SamplingParams {
    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// How many choices are generated: `best_of`, or `n`.
    pub fn choices(&self) -> u32 {
        self.best_of.unwrap_or(self.n).max(self.n)
    }

    /// `top_k` where it is on.
    pub fn top_k(&self) -> Option<usize> {
        usize::try_from(self.top_k).ok().filter(|&k| k > 0)
    }

    /// The request's seed, unless it leaves the choice to the engine.
    pub fn seed(&self) -> Option<u64> {
        self.seed.filter(|&seed| seed != -1).map(i64::cast_unsigned)
    }

    /// Whether the logits change, before temperature, for a sequence with `output_len` tokens of output.
    pub fn changes_logits(&self, output_len: usize) -> bool {
        !self.logit_bias.is_empty()
            || self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || output_len < self.min_tokens as usize
    }

    /// What must be read back to draw the token with index `output_len`.
    ///
    /// Changed logits (bias, penalties, `min_tokens` not yet reached) may lift or sink any token, so they need the
    /// whole row; all else works from the largest logits.
    pub fn needs(&self, output_len: usize) -> Needs {
        if self.changes_logits(output_len) {
            return Needs::FullRow;
        }
        let listed = self.logprobs.map_or(0, |n| n as usize);
        match (self.is_greedy(), self.logprobs, self.top_k()) {
            (true, None, _) => Needs::Argmax,
            (true, Some(_), _) => Needs::TopK(listed.max(1)),
            (false, _, Some(k)) => Needs::TopK(listed.max(k)),
            (false, _, None) => Needs::TopMass(listed.max(1)),
        }
    }

    /// Whether a token that brings the output to `output_len` tokens ends the sequence; `eos` are the model's
    /// end-of-sequence tokens. As in vLLM nothing but the length ends it before `min_tokens`.
    pub fn ends_at(&self, id: u32, output_len: usize, eos: &[u32]) -> Option<End> {
        if output_len >= self.min_tokens as usize {
            if !self.ignore_eos && eos.contains(&id) {
                return Some(End::Eos);
            }
            if self.stop_token_ids.contains(&id) {
                return Some(End::StopToken(id));
            }
        }
        self.max_tokens.is_some_and(|most| output_len >= most as usize).then_some(End::Length)
    }

    /// Checks every field against its range, whatever the model.
    ///
    /// # Errors
    /// Names the first field at fault, its value and the legal range.
    pub fn validate_ranges(&self) -> Result<(), ParamError> {
        let within = |field, value: f32, low: f32, high: f32, expected: &str| {
            require((low..=high).contains(&value), field, value, expected)
        };
        require(self.n >= 1, "n", self.n, "1 or more")?;
        if let Some(best_of) = self.best_of {
            require(best_of >= self.n, "best_of", best_of, format!("at least n, which is {}", self.n))?;
        }
        within("temperature", self.temperature, 0.0, f32::MAX, "a finite number, 0 (greedy) or more")?;
        within("top_p", self.top_p, 0.0, 1.0, "a number from 0 to 1 (1 is off)")?;
        require(self.top_k >= -1, "top_k", self.top_k, "1 or more, or 0 or -1 (off)")?;
        within("min_p", self.min_p, 0.0, 1.0, "a number from 0 (off) to 1")?;
        // Logits stay finite within these bounds.
        within(
            "repetition_penalty",
            self.repetition_penalty,
            1e-3,
            1e3,
            "a number from 0.001 to 1000 (1 is off)",
        )?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0, "a number from -2 to 2")?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "a number from -2 to 2")?;
        for (&id, &bias) in &self.logit_bias {
            let value = format!("{bias} for token {id}");
            require((-100.0..=100.0).contains(&bias), "logit_bias", value, "numbers from -100 to 100")?;
        }
        require(self.max_tokens != Some(0), "max_tokens", 0, "1 or more")?;
        if let Some(most) = self.max_tokens {
            let expected = format!("at most max_tokens, which is {most}");
            require(self.min_tokens <= most, "min_tokens", self.min_tokens, expected)?;
        }
        require(
            self.stop.iter().all(|s| !s.is_empty()),
            "stop",
            "an empty string",
            "strings of one character or more",
        )
    }

    /// As [`Self::validate_ranges`], and token ids against the vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// As [`Self::validate_ranges`].
    pub fn validate(&self, vocab: usize) -> Result<(), ParamError> {
        self.validate_ranges()?;
        let in_vocab = |field, id: u32| {
            require(
                (id as usize) < vocab,
                field,
                format!("token {id}"),
                format!("token ids below {vocab}, the vocabulary"),
            )
        };
        self.logit_bias.keys().try_for_each(|&id| in_vocab("logit_bias", id))?;
        self.stop_token_ids.iter().try_for_each(|&id| in_vocab("stop_token_ids", id))?;
        if let Some(listed) = self.logprobs {
            require(
                listed as usize <= vocab,
                "logprobs",
                listed,
                format!("at most {vocab}, the vocabulary"),
            )?;
        }
        Ok(())
    }
}

fn require(
    holds: bool,
    field: &'static str,
    value: impl ToString,
    expected: impl Into<String>,
) -> Result<(), ParamError> {
    if holds {
        Ok(())
    } else {
        Err(ParamError { field, value: value.to_string(), expected: expected.into() })
    }
}

/// The fields as they come in: each may be absent or null.
#[derive(Deserialize)]
struct Wire {
    n: Option<u32>,
    best_of: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    #[serde(default, deserialize_with = "bias_by_id")]
    logit_bias: BTreeMap<u32, f32>,
    seed: Option<i64>,
    max_tokens: Option<u32>,
    min_tokens: Option<u32>,
    stop: Option<OneOrMany>,
    include_stop_str_in_output: Option<bool>,
    stop_token_ids: Option<Vec<u32>>,
    ignore_eos: Option<bool>,
    logprobs: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string, a list of strings, or null")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<Wire> for SamplingParams {
    fn from(wire: Wire) -> Self {
        let default = Self::default();
        Self {
            n: wire.n.unwrap_or(default.n),
            best_of: wire.best_of,
            temperature: wire.temperature.unwrap_or(default.temperature),
            top_p: wire.top_p.unwrap_or(default.top_p),
            top_k: wire.top_k.unwrap_or(default.top_k),
            min_p: wire.min_p.unwrap_or(default.min_p),
            repetition_penalty: wire.repetition_penalty.unwrap_or(default.repetition_penalty),
            presence_penalty: wire.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: wire.frequency_penalty.unwrap_or(default.frequency_penalty),
            logit_bias: wire.logit_bias,
            seed: wire.seed,
            max_tokens: wire.max_tokens,
            min_tokens: wire.min_tokens.unwrap_or(default.min_tokens),
            stop: match wire.stop {
                Some(OneOrMany::One(text)) => vec![text],
                Some(OneOrMany::Many(texts)) => texts,
                None => default.stop,
            },
            stop_text: match wire.include_stop_str_in_output {
                Some(true) => StopText::Include,
                _ => default.stop_text,
            },
            stop_token_ids: wire.stop_token_ids.unwrap_or_default(),
            ignore_eos: wire.ignore_eos.unwrap_or(default.ignore_eos),
            logprobs: wire.logprobs,
        }
    }
}

/// Keys as strings: that is how JSON has them, and it also holds below `#[serde(flatten)]`.
fn bias_by_id<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<u32, f32>, D::Error> {
    let named = Option::<BTreeMap<String, f32>>::deserialize(source)?.unwrap_or_default();
    let by_id = |(key, bias): (String, f32)| match key.trim().parse() {
        Ok(id) => Ok((id, bias)),
        Err(_) => Err(D::Error::custom(format!("logit_bias has the key '{key}': expected a token id"))),
    };
    named.into_iter().map(by_id).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn include_as_bool<S: Serializer>(text: &StopText, sink: S) -> Result<S::Ok, S::Error> {
    sink.serialize_bool(*text == StopText::Include)
}
