//! Hyper-parameters from the key-values of a GGUF file.
//!
//! As in config.json, a key of the architecture that isn't known is refused unless it is off.

use super::gguf::{Array, Header, Value};
use super::hyper::{self, implied_head_dim};
use super::{Error, Hyper, ModelFile, Rope, RopeScaling};

/// Keys below `ARCHITECTURE.` that are read here, or that don't change what inference computes.
const KNOWN: &[&str] = &[
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// The tensor of frequency factors that Llama 3.1 and later carry.
const FACTORS: &str = "rope_freqs.weight";

/// The architecture that a file names.
pub fn architecture(model: &ModelFile, header: &Header) -> Result<String, Error> {
    match header.get("general.architecture") {
        Some(Value::Text(text)) => hyper::named(model.path(), text),
        _ => Err(Error::missing(model.path(), "the key general.architecture")),
    }
}

/// Reads them, and the tensor of frequency factors where there is one.
pub fn read(model: &ModelFile, header: &Header) -> Result<Hyper, Error> {
    let text = |key: &str| match header.get(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let architecture = architecture(model, header)?;
    let keys = Keys { model, header, prefix: format!("{architecture}.") };
    keys.refuse_unknown()?;
    let hidden = keys.need("embedding_length")?;
    let heads = keys.need("attention.head_count")?;
    let head_dim = match keys.count("attention.key_length")? {
        Some(n) => n,
        None => implied_head_dim(hidden, heads).map_err(|what| keys.bad(what))?,
    };
    if let Some(n) = keys.count("attention.value_length")?
        && n != head_dim
    {
        return Err(keys.unsupported(format!("keys of {head_dim} but values of {n} dimensions")));
    }
    let tokens = match header.get("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => Some(tokens.len()),
        _ => None,
    };
    let vocab = match (keys.count("vocab_size")?, tokens) {
        (Some(vocab), Some(tokens)) if tokens > vocab => {
            return Err(keys.bad(format!("its tokenizer has {tokens} tokens, its vocab_size is {vocab}")));
        }
        (Some(n), _) | (None, Some(n)) => n,
        (None, None) => return Err(Error::missing(model.path(), "a vocabulary's size")),
    };
    let hyper = Hyper {
        name: text("general.name"),
        layers: keys.need("block_count")?,
        hidden,
        intermediate: keys.need("feed_forward_length")?,
        heads,
        kv_heads: keys.count("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context_length: keys.need("context_length")?,
        rms_eps: keys
            .number("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| Error::missing(model.path(), "the key attention.layer_norm_rms_epsilon"))?
            as f32,
        rope: keys.rope(head_dim)?,
        sliding_window: keys.count("attention.sliding_window")?.filter(|&n| n > 0),
        tied: Some(!model.has("output.weight")),
        activation: None,
        attention_bias: None,
        mlp_bias: None,
        architecture,
    };
    hyper.check().map_err(|what| keys.bad(what))?;
    Ok(hyper)
}

struct Keys<'a> {
    model: &'a ModelFile,
    header: &'a Header,
    prefix: String,
}

impl Keys<'_> {
    fn bad(&self, what: impl Into<String>) -> Error {
        Error::malformed(self.model.path(), what)
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::unsupported(self.model.path(), what)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(&format!("{}{key}", self.prefix))
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        self.bad(format!("expected {expected} as {}{key}, found {found}", self.prefix))
    }

    /// A whole number; a list with one for each layer where all are equal.
    fn count(&self, key: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = match value {
            Value::Unsigned(n) => usize::try_from(*n).ok(),
            Value::Signed(n) => usize::try_from(*n).ok(),
            Value::Array(Array::Integers(all)) => match all.get(0) {
                Some(first) if all.iter().all(|n| n == first) => usize::try_from(first).ok(),
                Some(_) => {
                    return Err(
                        self.unsupported(format!("its layers differ in {}{key}: {value}", self.prefix))
                    );
                }
                None => None,
            },
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(key, "a whole number", value))
    }

    fn need(&self, key: &str) -> Result<usize, Error> {
        let missing = || Error::missing(self.model.path(), format!("the key {}{key}", self.prefix));
        self.count(key)?.ok_or_else(missing)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(v)) => Ok(Some(*v)),
            Some(Value::Unsigned(v)) => Ok(Some(*v as f64)),
            Some(other) => Err(self.wrong(key, "a number", other)),
        }
    }

    fn refuse_unknown(&self) -> Result<(), Error> {
        for (key, value) in &self.header.values {
            let Some(rest) = key.strip_prefix(&self.prefix) else {
                continue;
            };
            let off = match value {
                Value::Unsigned(0) | Value::Signed(0) | Value::Bool(false) => true,
                Value::Float(v) => *v == 0.0,
                _ => false,
            };
            if !off && !KNOWN.contains(&rest) {
                return Err(self.unsupported(format!(
                    "its key {key} ({value}) isn't known here and may change what the model computes"
                )));
            }
        }
        for key in ["expert_count", "expert_used_count"] {
            if self.count(key)?.unwrap_or(0) > 0 {
                return Err(self.unsupported("it is a mixture of experts, which isn't implemented"));
            }
        }
        if let Some(value @ Value::Bool(false)) = self.get("attention.causal") {
            return Err(self.unsupported(format!("its attention.causal is {value}")));
        }
        Ok(())
    }

    fn rope(&self, head_dim: usize) -> Result<Rope, Error> {
        let kind = match self.get("rope.scaling.type") {
            None => "none",
            Some(Value::Text(kind)) => kind,
            Some(other) => return Err(self.wrong("rope.scaling.type", "text", other)),
        };
        for key in ["rope.scaling.attn_factor", "rope.scale_linear"] {
            if let Some(v) = self.number(key)?
                && v != 1.0
            {
                return Err(self.unsupported(format!("its {key} is {v}; only 1 is known")));
            }
        }
        let factors = self.model.tensor(FACTORS);
        let scaling = match (kind, factors) {
            ("none", None) => RopeScaling::None,
            ("none", Some(tensor)) => {
                if tensor.format.name() != "F32" || tensor.shape != [head_dim / 2] {
                    return Err(self.bad(format!(
                        "expected {FACTORS} to be F32 [{}], found {:?} {:?}",
                        head_dim / 2,
                        tensor.format,
                        tensor.shape
                    )));
                }
                let mut bytes = Vec::new();
                self.model.read_rows(tensor, 0..1, &mut bytes)?;
                let (words, _) = bytes.as_chunks::<4>();
                RopeScaling::Factors(words.iter().map(|&w| f32::from_le_bytes(w)).collect())
            }
            ("linear", None) => RopeScaling::Linear {
                factor: self
                    .number("rope.scaling.factor")?
                    .ok_or_else(|| Error::missing(self.model.path(), "the key rope.scaling.factor"))?,
            },
            ("linear", Some(_)) => {
                return Err(self.unsupported(format!("linear rope scaling together with {FACTORS}")));
            }
            _ => {
                return Err(self.unsupported(format!(
                    "its rope type is '{kind}'; none, linear and the tensor {FACTORS} are known"
                )));
            }
        };
        Ok(Rope {
            theta: self.number("rope.freq_base")?.unwrap_or(10_000.0),
            rotary_dim: self.count("rope.dimension_count")?.unwrap_or(head_dim),
            scaling,
        })
    }
}
