//! Hyper-parameters of config.json and of GGUF: what is understood, and what is refused.

mod gguf;

use std::path::Path;

use gguf::Gguf;
use ridgepoint::format::{Hyper, Kind, ModelFile, RopeScaling};
use ridgepoint::model::{Architecture, Runner};
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 320,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
    })
}

fn with(changes: Value) -> Result<Hyper, String> {
    let mut config = base();
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    // A file without tensors.
    std::fs::write(dir.path().join("model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    ModelFile::open(dir.path()).unwrap().hyper().map_err(|e| e.to_string())
}

#[test]
fn both_spellings_of_rope_agree() {
    let old = with(json!({"rope_theta": 5e5, "rope_scaling": {
        "type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 64}}))
    .unwrap();
    let new = with(json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3",
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}))
    .unwrap();
    assert_eq!(old, new);
    assert_eq!(old.rope.theta, 5e5);
    let plain = with(json!({"rope_scaling": null})).unwrap();
    assert_eq!((plain.rope.theta, plain.rope.scaling), (1e4, RopeScaling::None));
    assert_eq!((plain.head_dim, plain.kv_heads), (16, 4));
}

#[test]
fn what_would_change_the_mathematics_is_refused_by_name() {
    for (changes, name) in [
        (json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "'yarn'"),
        (json!({"rope_parameters": {"rope_type": "dynamic"}}), "'dynamic'"),
        (json!({"rope_scaling": {"factor": 4.0}}), "the rope_type of its rope_scaling"),
        (json!({"rope_parameters": {"factor": 4.0}}), "the rope_type of its rope_parameters"),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            "differ by the type of layer",
        ),
        (json!({"rope_scaling": {"type": "linear"}}), "'factor'"),
        (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "found 0"),
        (json!({"rope_scaling": {"type": "linear", "factor": 2, "x": 1}}), "'x'"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        (json!({"rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 1e4}}), "0.5"),
        (json!({"attn_logit_softcapping": 50.0}), "attn_logit_softcapping"),
        (json!({"logits_scaling": 8}), "logits_scaling"),
        (json!({"quantization_config": {"quant_method": "gptq"}}), "quantization_config"),
        (json!({"sliding_window": 16}), "sliding_window"),
        (json!({"num_key_value_heads": 3}), "multiple"),
        (json!({"num_attention_heads": 0}), "heads"),
        (json!({"hidden_size": -1}), "hidden_size"),
        (json!({"hidden_size": 1e300}), "hidden_size"),
        (json!({"head_dim": 15}), "even"),
        (json!({"vocab_size": null}), "vocab_size"),
    ] {
        let e = with(changes).unwrap_err();
        assert!(e.contains(name), "expected {name} in: {e}");
    }
    assert!(with(json!({"attn_logit_softcapping": null})).is_ok());
}

#[test]
fn a_window_counts_only_where_it_is_in_use() {
    let window = |changes| with(changes).map(|h| h.sliding_window);
    let mistral = json!({"model_type": "mistral", "sliding_window": 16});
    assert_eq!(window(mistral), Ok(Some(16)));
    // As transformers has it: silence is 4096, null is none.
    assert_eq!(window(json!({"model_type": "mistral"})), Ok(Some(4096)));
    assert_eq!(window(json!({"model_type": "mistral", "sliding_window": null})), Ok(None));
    let qwen = |used: bool, first: usize| {
        window(json!({"model_type": "qwen2", "sliding_window": 16,
            "use_sliding_window": used, "max_window_layers": first}))
    };
    assert_eq!(qwen(false, 0), Ok(None));
    assert_eq!(qwen(true, 2), Ok(None));
    assert_eq!(qwen(true, 0), Ok(Some(16)));
    assert!(qwen(true, 1).unwrap_err().contains("only some"));
    let types =
        |a: &str, b: &str| window(json!({"model_type": "qwen3", "sliding_window": 8, "layer_types": [a, b]}));
    assert_eq!(types("full_attention", "full_attention"), Ok(None));
    assert_eq!(types("sliding_attention", "sliding_attention"), Ok(Some(8)));
    assert!(types("sliding_attention", "full_attention").is_err());
    assert!(types("sliding_attention", "chunked").unwrap_err().contains("chunked"));
}

/// Opens bytes as a GGUF file.
fn open(bytes: &[u8]) -> Result<ModelFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    ModelFile::open(&path).map_err(|e| e.to_string())
}

fn llama() -> Gguf {
    Gguf::default()
        .text("general.architecture", "llama")
        .number("llama.block_count", 2)
        .number("llama.embedding_length", 64)
        .number("llama.feed_forward_length", 128)
        .number("llama.attention.head_count", 4)
        .number("llama.context_length", 256)
        .number("llama.vocab_size", 320)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
}

#[test]
fn keys_that_would_change_the_mathematics_are_refused() {
    let hyper = |g: Gguf| open(&g.bytes()).unwrap().hyper().map_err(|e| e.to_string());
    let plain = hyper(llama()).unwrap();
    assert_eq!((plain.head_dim, plain.kv_heads, plain.tied), (16, 4, Some(true)));
    assert_eq!(plain.rope.theta, 1e4);
    let linear = llama().text("llama.rope.scaling.type", "linear");
    let linear = hyper(linear.float("llama.rope.scaling.factor", 4.0)).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert!(hyper(llama().number("llama.expert_count", 0)).is_ok());
    // A sound model, which no kernel takes.
    let partial = hyper(llama().number("llama.rope.dimension_count", 8)).unwrap();
    let architecture = Architecture::find(Kind::Gguf, "llama").unwrap();
    let refused = Runner::check(partial, architecture, Path::new("m.gguf")).unwrap_err().to_string();
    assert!(refused.contains("8 of 16") && !refused.contains("damaged"), "{refused}");
    for (gguf, expected) in [
        (llama().text("llama.rope.scaling.type", "yarn"), "'yarn'"),
        (llama().text("llama.rope.scaling.type", "linear"), "rope.scaling.factor"),
        (llama().float("llama.rope.scaling.attn_factor", 2.0), "attn_factor"),
        (llama().number("llama.rope.dimension_count", 32), "turns 32 dimensions"),
        (llama().number("llama.expert_count", 8), "mixture of experts"),
        (llama().float("llama.logit_scale", 0.5), "llama.logit_scale"),
        (llama().truth("llama.attention.causal", false), "attention.causal"),
        (llama().number("llama.attention.value_length", 8), "values of 8"),
        (llama().numbers("llama.attention.head_count_kv", &[4, 2]), "layers differ"),
        (llama().number("llama.attention.head_count_kv", 3), "multiple"),
        (llama().number("llama.attention.head_count_kv", 0), "key/value heads"),
        (llama().text("llama.rope.freq_base", "x"), "a number"),
        (llama().texts("tokenizer.ggml.tokens", &["a"; 321]), "321 tokens"),
        (Gguf::default(), "general.architecture"),
        (Gguf::default().text("general.architecture", "llama"), "embedding_length"),
    ] {
        let e = hyper(gguf).expect_err(expected);
        assert!(e.contains(expected), "expected {expected} in: {e}");
    }
}

#[test]
fn frequency_factors_are_read_from_their_tensor() {
    let factors: Vec<u8> = (1..=8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let model = open(&llama().tensor("rope_freqs.weight", &[8], 0, &factors).bytes()).unwrap();
    let rope = model.hyper().unwrap().rope;
    let plain = 1e4f64.powf(-6.0 / 16.0);
    assert_eq!(rope.inverse_frequencies()[3], plain / 4.0);
    let short = llama().tensor("rope_freqs.weight", &[7], 0, &factors);
    assert!(open(&short.bytes()).unwrap().hyper().unwrap_err().to_string().contains("F32 [8]"));
}
