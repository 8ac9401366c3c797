//! Architectures, one TOML each under `models/`: tensor names for GGUF and Hugging Face, switches.
//!
//! A new architecture is one file and one line in [`SOURCES`]; what it shares with another it
//! takes by `like`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Error;
use crate::format::{Kind, ModelFile};
use crate::kernels::linear::Activation;

/// The files, after those that they are like.
const SOURCES: &[(&str, &str)] = &[
    ("llama", include_str!("../../models/llama.toml")),
    ("mistral", include_str!("../../models/mistral.toml")),
    ("qwen2", include_str!("../../models/qwen2.toml")),
    ("qwen3", include_str!("../../models/qwen3.toml")),
];

/// Every architecture that runs.
pub static ARCHITECTURES: LazyLock<Vec<Architecture>> = LazyLock::new(|| read(SOURCES));

/// A tensor's part in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it, and models/llama.toml spells them out")]
pub enum Tensor {
    Embedding,
    AttentionNorm,
    Q,
    K,
    V,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    Output,
    OutputBias,
    FfnNorm,
    Gate,
    Up,
    Down,
    FinalNorm,
    Head,
}

/// One architecture.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// The file's name.
    pub name: &'static str,
    /// Names in GGUF's `general.architecture`.
    pub gguf: Vec<String>,
    /// Names in config.json's `model_type`.
    pub huggingface: Vec<String>,
    /// The gate's function.
    pub activation: Activation,
    /// RMS norm on every head of Q and K.
    pub qk_norm: bool,
    /// Q, K and V have biases.
    pub qkv_bias: bool,
    /// GGUF stores Q and K with rotary pairs as neighbours.
    pub gguf_permutes_qk: bool,
    /// A sliding window in the file is part of the mathematics.
    pub sliding_window: bool,
    tensors: BTreeMap<Tensor, [String; 2]>,
}

/// A file as it is written: what it leaves out, it takes from the one it is like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    like: Option<String>,
    gguf: Vec<String>,
    huggingface: Vec<String>,
    activation: Option<Activation>,
    qk_norm: Option<bool>,
    qkv_bias: Option<bool>,
    gguf_permutes_qk: Option<bool>,
    sliding_window: Option<bool>,
    #[serde(default)]
    tensors: BTreeMap<Tensor, [String; 2]>,
}

fn read(sources: &[(&'static str, &str)]) -> Vec<Architecture> {
    let mut all: Vec<Architecture> = Vec::new();
    for &(name, text) in sources {
        // The files are compiled in, and a test reads them: a mistake can't reach a user.
        let file: File = toml::from_str(text).unwrap_or_else(|e| panic!("models/{name}.toml: {e}"));
        let like = file.like.map(|like| {
            let found = all.iter().find(|a| a.name == like).cloned();
            found.unwrap_or_else(|| panic!("models/{name}.toml is like '{like}', which is not before it"))
        });
        let mut tensors = like.as_ref().map(|l| l.tensors.clone()).unwrap_or_default();
        tensors.extend(file.tensors);
        let switch = |own: Option<bool>, inherited: fn(&Architecture) -> bool| {
            own.or(like.as_ref().map(inherited)).unwrap_or(false)
        };
        all.push(Architecture {
            name,
            gguf: file.gguf,
            huggingface: file.huggingface,
            activation: file.activation.or(like.as_ref().map(|l| l.activation)).unwrap_or(Activation::Silu),
            qk_norm: switch(file.qk_norm, |l| l.qk_norm),
            qkv_bias: switch(file.qkv_bias, |l| l.qkv_bias),
            gguf_permutes_qk: switch(file.gguf_permutes_qk, |l| l.gguf_permutes_qk),
            sliding_window: switch(file.sliding_window, |l| l.sliding_window),
            tensors,
        });
    }
    all
}

impl Architecture {
    /// The architecture of a model's file.
    ///
    /// # Errors
    /// When the file names none, or one that isn't known: before anything that only such a model has.
    pub fn of(file: &ModelFile) -> Result<&'static Self, Error> {
        let unsupported = |what| Error::Unsupported { path: file.path().to_path_buf(), what };
        Self::find(file.kind(), &file.architecture()?).map_err(unsupported)
    }

    /// The architecture of this name.
    ///
    /// # Errors
    /// Says which names are known.
    pub fn find(kind: Kind, name: &str) -> Result<&'static Self, String> {
        let names = |a: &'static Self| if kind == Kind::Gguf { &a.gguf } else { &a.huggingface };
        ARCHITECTURES.iter().find(|a| names(a).iter().any(|n| n == name)).ok_or_else(|| {
            let known: Vec<&str> = ARCHITECTURES.iter().flat_map(names).map(String::as_str).collect();
            format!(
                "the architecture '{name}' is not one that this engine runs (it runs {}); \
                 adding one is a file under models/ (see ARCHITECTURE.md)",
                known.join(", ")
            )
        })
    }

    /// A tensor's name in a kind of file, for a layer where it has one.
    pub fn tensor(&self, kind: Kind, tensor: Tensor, layer: usize) -> String {
        let names = self.tensors.get(&tensor);
        let name =
            names.map_or("", |[gguf, huggingface]| if kind == Kind::Gguf { gguf } else { huggingface });
        name.replace("{i}", &layer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_reads_and_names_every_tensor() {
        assert_eq!(ARCHITECTURES.len(), SOURCES.len());
        for a in ARCHITECTURES.iter() {
            assert_eq!(a.tensors.len(), Tensor::Head as usize + 1, "{}", a.name);
            assert!(!a.gguf.is_empty() || !a.huggingface.is_empty());
        }
    }

    #[test]
    fn likeness_is_taken_and_overridden() {
        let qwen3 = Architecture::find(Kind::HuggingFace, "qwen3").unwrap();
        assert!(qwen3.qk_norm && !qwen3.gguf_permutes_qk && !qwen3.qkv_bias);
        assert_eq!(qwen3.tensor(Kind::Gguf, Tensor::Q, 7), "blk.7.attn_q.weight");
        let error = Architecture::find(Kind::Gguf, "mamba").unwrap_err();
        assert!(error.contains("llama, qwen2, qwen3"), "{error}");
    }
}
