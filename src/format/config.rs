//! Hyper-parameters from a Hugging Face config.json.
//!
//! A field that could change the mathematics is either understood or refused; only names listed
//! in [`HARMLESS`] may be passed over.

use std::path::Path;

use serde_json::{Map, Value};

use super::hyper::{self, implied_head_dim};
use super::{Error, Hyper, Rope, RopeScaling, Source};

/// A config.json may not be longer.
const MAX_CONFIG: u64 = 16 << 20;

/// Fields that don't change what inference computes: names, training, storage, token ids.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "auto_map",
    "bos_token",
    "bos_token_id",
    "classifier_dropout",
    "decoder_start_token_id",
    "do_sample",
    "dtype",
    "embd_pdrop",
    "eos_token",
    "eos_token_id",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "max_seq_len",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "model_type",
    "num_beams",
    "num_return_sequences",
    "pad_token",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Fields read below.
const UNDERSTOOD: &[&str] = &[
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "rope_interleaved",
    "sliding_window",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
];

/// Reads a config.json.
///
/// # Errors
/// When a field is absent, of the wrong type, contradictory, or not known.
pub fn read(path: &Path) -> Result<Hyper, Error> {
    let fields = object(path)?;
    let config = Config { path, fields: &fields };
    let hyper = config.hyper()?;
    hyper.check().map_err(|what| Error::malformed(path, what))?;
    Ok(hyper)
}

/// The architecture that a config.json names.
///
/// # Errors
/// When it names none.
pub fn architecture(path: &Path) -> Result<String, Error> {
    Config { path, fields: &object(path)? }.architecture()
}

/// The fields of a JSON file that holds an object.
pub fn object(path: &Path) -> Result<Map<String, Value>, Error> {
    let bytes = Source::read_small(path, MAX_CONFIG)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::malformed(path, format!("expected a JSON object: {e}")))
}

struct Config<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
}

/// The window of a mistral whose config.json has no word of one (transformers' default); null means none.
const MISTRALS: usize = 4096;

impl Config<'_> {
    fn bad(&self, what: impl Into<String>) -> Error {
        Error::malformed(self.path, what)
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::unsupported(self.path, what)
    }

    /// A field that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|v| !v.is_null())
    }

    fn typed<'v, T>(
        &'v self,
        name: &str,
        expected: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let wrong = || self.bad(format!("expected {expected} as '{name}', found {}", short(value)));
        read(value).map(Some).ok_or_else(wrong)
    }

    fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        self.typed(name, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        self.typed(name, "a number", Value::as_f64)
    }

    fn truth(&self, name: &str) -> Result<Option<bool>, Error> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        self.typed(name, "text", Value::as_str)
    }

    fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::missing(self.path, format!("the field '{name}'")))
    }

    fn architecture(&self) -> Result<String, Error> {
        hyper::named(self.path, self.need("model_type", self.text("model_type")?)?)
    }

    fn hyper(&self) -> Result<Hyper, Error> {
        self.refuse_unknown()?;
        let architecture = self.architecture()?;
        let hidden = self.need("hidden_size", self.count("hidden_size")?)?;
        let heads = self.need("num_attention_heads", self.count("num_attention_heads")?)?;
        let head_dim = match self.count("head_dim")? {
            Some(n) => n,
            None => implied_head_dim(hidden, heads).map_err(|what| self.bad(what))?,
        };
        let layers = self.need("num_hidden_layers", self.count("num_hidden_layers")?)?;
        let context = self.count("max_position_embeddings")?;
        Ok(Hyper {
            name: self.text("_name_or_path")?.filter(|n| !n.is_empty()).map(String::from),
            layers,
            hidden,
            intermediate: self.need("intermediate_size", self.count("intermediate_size")?)?,
            heads,
            kv_heads: self.count("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab: self.need("vocab_size", self.count("vocab_size")?)?,
            context_length: self.need("max_position_embeddings", context)?,
            rms_eps: self.need("rms_norm_eps", self.number("rms_norm_eps")?)? as f32,
            rope: self.rope(head_dim)?,
            sliding_window: self.window(&architecture, layers)?,
            // transformers unties the architectures here where nothing is said.
            tied: Some(self.truth("tie_word_embeddings")?.unwrap_or(false)),
            activation: self.text("hidden_act")?.map(String::from),
            attention_bias: self.truth("attention_bias")?,
            mlp_bias: self.truth("mlp_bias")?,
            architecture,
        })
    }

    fn refuse_unknown(&self) -> Result<(), Error> {
        for (name, value) in self.fields {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(all) => all.is_empty(),
                Value::Object(all) => all.is_empty(),
                _ => false,
            };
            if !off && !HARMLESS.contains(&&**name) && !UNDERSTOOD.contains(&&**name) {
                return Err(self.unsupported(format!(
                    "its field '{name}' ({}) isn't known here and may change what the model \
                     computes; remove it if it doesn't",
                    short(value)
                )));
            }
        }
        if self.truth("rope_interleaved")? == Some(true) {
            return Err(self.unsupported("rope_interleaved is true; only halves are known"));
        }
        Ok(())
    }

    /// The window, if it is in use in every layer.
    fn window(&self, architecture: &str, layers: usize) -> Result<Option<usize>, Error> {
        let window = self.count("sliding_window")?;
        let needed = || self.need("sliding_window", window).map(Some);
        let mixed = || self.unsupported("only some of its layers have a sliding window");
        if let Some(types) = self.typed("layer_types", "a list", Value::as_array)? {
            if types.len() != layers {
                let found = types.len();
                return Err(self.bad(format!("layer_types lists {found} of {layers} layers")));
            }
            let mut sliding = 0;
            for kind in types {
                match kind.as_str() {
                    Some("full_attention") => {}
                    Some("sliding_attention") => sliding += 1,
                    _ => {
                        return Err(self.unsupported(format!(
                            "layer_types has {}; full_attention and sliding_attention are known",
                            short(kind)
                        )));
                    }
                }
            }
            return match sliding {
                0 => Ok(None),
                n if n == layers => needed(),
                _ => Err(mixed()),
            };
        }
        // Qwen slides only where asked to, and only from a layer on.
        match (self.truth("use_sliding_window")?, architecture) {
            (Some(true), _) => match self.count("max_window_layers")?.unwrap_or(layers) {
                0 => needed(),
                first if first >= layers => Ok(None),
                _ => Err(mixed()),
            },
            (Some(false), _) | (None, "qwen2" | "qwen3") => Ok(None),
            (None, "mistral") if !self.fields.contains_key("sliding_window") => Ok(Some(MISTRALS)),
            (None, "mistral") => Ok(window),
            (None, _) if window.is_none() => Ok(None),
            (None, other) => Err(self.unsupported(format!(
                "it has a sliding_window, which the architecture '{other}' isn't known to use"
            ))),
        }
    }

    /// `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before).
    fn rope(&self, head_dim: usize) -> Result<Rope, Error> {
        let known = |v: &Value| v.as_object().cloned();
        let new = self.typed("rope_parameters", "an object", known)?;
        let old = self.typed("rope_scaling", "an object", known)?;
        if new.is_some() && old.is_some() && new != old {
            return Err(self.bad(
                "its rope_parameters and its rope_scaling differ; expected one of them, or the same in both",
            ));
        }
        let source = if new.is_some() { "rope_parameters" } else { "rope_scaling" };
        let fields = new.or(old).unwrap_or_default();
        let inner = Config { path: self.path, fields: &fields };
        let (kind, older) = (inner.text("rope_type")?, inner.text("type")?);
        if let (Some(a), Some(b)) = (kind, older)
            && a != b
        {
            return Err(self.bad(format!("its rope types contradict: '{a}' and '{b}'")));
        }
        let kind = match kind.or(older) {
            Some(kind) => kind,
            None if fields.is_empty() || inner.get("rope_theta").is_some() => "default",
            None => {
                return Err(if fields.values().all(Value::is_object) {
                    self.unsupported(format!("its {source} differ by the type of layer"))
                } else {
                    Error::missing(self.path, format!("the rope_type of its {source}"))
                });
            }
        };
        let own: &[&str] = match kind {
            "default" => &[],
            "linear" => &["factor"],
            "llama3" => {
                &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
            }
            _ => {
                return Err(self.unsupported(format!(
                    "its rope type is '{kind}'; default, linear and llama3 are known"
                )));
            }
        };
        for (name, value) in &fields {
            let common = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
            if !value.is_null() && !common.contains(&&**name) && !own.contains(&&**name) {
                return Err(self.unsupported(format!(
                    "its rotary embedding '{kind}' has the field '{name}' ({}), which isn't known",
                    short(value)
                )));
            }
        }
        for place in [self, &inner] {
            if let Some(part) = place.number("partial_rotary_factor")?
                && part != 1.0
            {
                return Err(
                    self.unsupported(format!("its partial_rotary_factor is {part}; only 1 is implemented"))
                );
            }
        }
        let need = |name| inner.need(name, inner.number(name)?);
        let scaling = match kind {
            "linear" => RopeScaling::Linear { factor: need("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_position: {
                    let name = "original_max_position_embeddings";
                    match inner.number(name)? {
                        Some(n) => n,
                        None => self.need(name, self.number(name)?)?,
                    }
                },
            },
            _ => RopeScaling::None,
        };
        let (theta, outer) = (inner.number("rope_theta")?, self.number("rope_theta")?);
        if let (Some(a), Some(b)) = (theta, outer)
            && a != b
        {
            return Err(self.bad(format!("its rope_theta contradict: {a} in rope_parameters, {b} beside it")));
        }
        let theta = theta.or(outer);
        // transformers' own default for files older than the field.
        Ok(Rope { theta: theta.unwrap_or(10_000.0), rotary_dim: head_dim, scaling })
    }
}

/// A value in at most 80 characters.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
