//! A model's hyper-parameters, whichever file they come from.

use std::path::Path;

use super::{Error, Rope};

/// No count may exceed this: far beyond any model, and products of three stay within 128 bits.
const MAX_COUNT: usize = 1 << 31;
/// Nor is a longer text the name of an architecture.
const MAX_NAME: usize = 64;

/// What the weights are for: sizes and switches.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// `general.architecture` or `model_type`: llama, mistral, qwen2, qwen3, ...
    pub architecture: String,
    /// What people call the model.
    pub name: Option<String>,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; not always `hidden / heads`.
    pub head_dim: usize,
    /// Rows of the embedding. The tokenizer may know fewer tokens.
    pub vocab: usize,
    /// Tokens that the model was trained to attend to.
    pub context_length: usize,
    /// Epsilon of the RMS norms.
    pub rms_eps: f32,
    /// Rotary embedding.
    pub rope: Rope,
    /// The query at `p` sees the keys from `p + 1 - window` to `p`, in every layer. `None`: all.
    pub sliding_window: Option<usize>,
    /// Is the head the embedding? `None` where the file leaves it to the architecture.
    pub tied: Option<bool>,
    /// Activation of the feed-forward network, in Hugging Face's words (`silu`). `None` where the
    /// file leaves it to the architecture, as GGUF does.
    pub activation: Option<String>,
    /// Have the projections of attention biases? `None` where the file leaves it to the
    /// architecture.
    pub attention_bias: Option<bool>,
    /// Have those of the feed-forward network?
    pub mlp_bias: Option<bool>,
}

impl Hyper {
    /// The `Err` says what contradicts.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, n) in [
            ("layers", self.layers),
            ("hidden size", self.hidden),
            ("intermediate size", self.intermediate),
            ("attention heads", self.heads),
            ("key/value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("vocabulary", self.vocab),
            ("context length", self.context_length),
        ] {
            if !(1..=MAX_COUNT).contains(&n) {
                return Err(format!("expected 1 to {MAX_COUNT} as {name}, found {n}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "expected the {} attention heads to be a multiple of the {} key/value heads",
                self.heads, self.kv_heads
            ));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return Err(format!("expected an epsilon of at least 0, found {}", self.rms_eps));
        }
        if self.sliding_window == Some(0) {
            return Err("expected a sliding window of at least 1, found 0".into());
        }
        self.rope.check()?;
        if self.rope.rotary_dim > self.head_dim {
            return Err(format!(
                "the rotary embedding turns {} dimensions of a head, which has {}",
                self.rope.rotary_dim, self.head_dim
            ));
        }
        Ok(())
    }
}

/// The architecture of this name: a word, whether known or not.
pub(super) fn named(path: &Path, name: &str) -> Result<String, Error> {
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(name.into());
    }
    let (found, bytes) = (name.chars().take(MAX_NAME).collect::<String>(), name.len());
    let text = format!(
        "expected the architecture's name, at most {MAX_NAME} letters, digits and marks, found {found:?} ({bytes} bytes)"
    );
    Err(Error::malformed(path, text))
}

/// `hidden / heads`, where a file doesn't give the size of a head.
pub(super) fn implied_head_dim(hidden: usize, heads: usize) -> Result<usize, String> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(format!(
            "the head size isn't given, and {heads} heads don't divide the hidden size {hidden}"
        ));
    }
    Ok(hidden / heads)
}
