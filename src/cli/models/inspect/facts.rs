//! What a model file says of itself, gathered for both ways of printing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::fit::{Fit, Room, Sizes, contexts};
use crate::cache::DEFAULT_BLOCK_SIZE;
use crate::format::gguf::Value;
use crate::format::{Hyper, Kind, ModelFile, Rope, RopeScaling, Source};
use crate::kernels::rope_cache::CacheType;
use crate::model::{Architecture, Runner, gpu_bytes};

/// Configuration files of a directory may not be longer.
const MAX_SMALL: u64 = 64 << 20;

/// Far beyond any model, and small enough that no size of a cache overflows.
const MAX_TOKEN_NUMBERS: usize = 1 << 24;

/// Tensors of one format.
#[derive(Debug, Default, Serialize)]
pub struct ByFormat {
    /// How many.
    pub tensors: usize,
    /// Weights in them.
    pub weights: u64,
    /// Bytes in the file, if they are known.
    pub bytes: Option<u64>,
    /// Bytes on the GPU, if it can hold them.
    pub gpu_bytes: Option<u64>,
}

impl ByFormat {
    fn add(&mut self, weights: u64, bytes: Option<u64>, gpu_bytes: Option<u64>) {
        let sum = |before: Option<u64>, more: Option<u64>| {
            if self.tensors == 0 { more } else { before?.checked_add(more?) }
        };
        (self.bytes, self.gpu_bytes) = (sum(self.bytes, bytes), sum(self.gpu_bytes, gpu_bytes));
        self.tensors += 1;
        self.weights = self.weights.saturating_add(weights);
    }
}

/// One context with one type of cache.
#[derive(Debug, Serialize)]
pub struct Context {
    /// Tokens.
    pub tokens: u64,
    /// Type of the cache.
    pub cache_type: CacheType,
    /// Bytes of the cache.
    pub cache_bytes: u64,
    /// Bytes of weights and cache.
    pub total_bytes: u64,
    /// Whether it fits; unknown without an adapter.
    pub fit: Option<Fit>,
}

/// A type of cache.
#[derive(Debug, Serialize)]
pub struct Cache {
    /// The type.
    pub cache_type: CacheType,
    /// Bytes of a token's keys and values over all layers.
    pub bytes_per_token: u64,
    /// Most tokens of one sequence that fit; unknown without an adapter.
    pub longest: Option<u64>,
}

/// Tensors by the name of their format.
pub fn by_format(file: &ModelFile) -> BTreeMap<String, ByFormat> {
    let mut all = BTreeMap::<_, ByFormat>::new();
    for tensor in file.tensors() {
        let entry = all.entry(tensor.format.name().to_string()).or_default();
        let (bytes, gpu) = (Some(tensor.bytes), Some(gpu_bytes(tensor)));
        entry.add((tensor.rows() * tensor.columns()) as u64, bytes, gpu);
    }
    for tensor in file.foreign() {
        let entry = all.entry(tensor.format.clone()).or_default();
        entry.add(tensor.weights().unwrap_or(u64::MAX), tensor.bytes, None);
    }
    all
}

/// Whether the engine runs a model of these sizes: the architecture's name, or why not.
pub fn runs(file: &ModelFile, hyper: &Hyper) -> Result<&'static str, String> {
    let architecture = Architecture::find(file.kind(), &hyper.architecture)?;
    if let Some(tensor) = file.foreign().first() {
        return Err(tensor.refusal());
    }
    Runner::check(hyper.clone(), architecture, file.path()).map_err(|e| e.to_string())?;
    let numbers = [hyper.kv_heads, hyper.head_dim].iter().try_fold(hyper.layers, |n, &m| n.checked_mul(m));
    if numbers.is_none_or(|n| n > MAX_TOKEN_NUMBERS) {
        return Err(format!("keys and values of a token have more than {MAX_TOKEN_NUMBERS} numbers"));
    }
    Ok(architecture.name)
}

/// Every type of cache, and every context with each, of a model that [`runs`].
pub fn caches(hyper: &Hyper, weights: u64, room: Option<&Room>) -> (Vec<Cache>, Vec<Context>) {
    let (mut caches, mut all) = (Vec::new(), Vec::new());
    let context = hyper.context_length as u64;
    for cache_type in [CacheType::F16, CacheType::F32, CacheType::Q8_0] {
        let block = Runner::block_bytes(hyper, DEFAULT_BLOCK_SIZE as usize, cache_type);
        let sizes = Sizes { weights, block, layers: hyper.layers.max(1) as u64 };
        caches.push(Cache {
            cache_type,
            bytes_per_token: block / u64::from(DEFAULT_BLOCK_SIZE),
            longest: room.map(|room| sizes.longest(room, context)),
        });
        for tokens in contexts(context) {
            let cache_bytes = sizes.cache(tokens);
            all.push(Context {
                tokens,
                cache_type,
                cache_bytes,
                total_bytes: weights.saturating_add(cache_bytes),
                fit: room.map(|room| sizes.fit(room, tokens)),
            });
        }
    }
    (caches, all)
}

/// The rotary embedding in words.
pub fn rope(rope: &Rope) -> String {
    let scaling = match &rope.scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", divided by {factor}"),
        RopeScaling::Llama3 { factor, original_max_position, .. } => {
            format!(
                ", llama3: long waves divided by {factor}, trained on {original_max_position} tokens first"
            )
        }
        RopeScaling::Factors(factors) => format!(", {} factors of its own", factors.len()),
    };
    format!("base {}, {} dimensions{scaling}", rope.theta, rope.rotary_dim)
}

/// Kind of tokenizer, its tokens, and what is wrong with it if anything.
pub fn tokenizer(file: &ModelFile) -> Json {
    let text = |key: &str| {
        file.metadata().find_map(|(k, v)| match v {
            Value::Text(text) if k == key => Some(text.clone()),
            _ => None,
        })
    };
    let (kind, pre) = match file.kind() {
        Kind::Gguf => (text("tokenizer.ggml.model"), text("tokenizer.ggml.pre")),
        Kind::HuggingFace => (json_kind(&file.path().join("tokenizer.json")), None),
    };
    let (tokens, problem) = match file.tokenizer() {
        Ok(tokenizer) => (Some(tokenizer.vocab_size()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    json!({ "kind": kind, "pre_tokenizer": pre, "tokens": tokens, "problem": problem })
}

/// `model.type` of a tokenizer.json.
fn json_kind(path: &Path) -> Option<String> {
    let bytes = Source::read_small(path, MAX_SMALL).ok()?;
    let all: Json = serde_json::from_slice(&bytes).ok()?;
    all["model"]["type"].as_str().map(str::to_owned)
}

/// What the file says about its licence; for a directory, the name of its licence file.
pub fn licence(file: &ModelFile) -> Option<String> {
    if file.kind() == Kind::HuggingFace {
        let mut names: Vec<String> = std::fs::read_dir(file.path())
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| ["LICENSE", "LICENCE"].iter().any(|l| name.to_uppercase().starts_with(l)))
            .collect();
        names.sort();
        return names.first().map(|name| format!("see {name}"));
    }
    let said: Vec<String> = file
        .metadata()
        .filter(|(key, _)| ["general.license", "general.license.name", "general.license.link"].contains(key))
        .map(|(_, value)| value.to_string())
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Whether there is a chat template, or what is wrong with it.
pub fn chat_template(file: &ModelFile) -> Json {
    match file.chat_template(None) {
        Ok(template) => json!({ "present": template.is_some(), "problem": null }),
        Err(error) => json!({ "present": true, "problem": error.to_string() }),
    }
}
