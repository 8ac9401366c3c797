//! Mutated model files never panic, and never make the reader allocate on their word.

mod gguf;

use std::path::{Path, PathBuf};

use gguf::Gguf;
use proptest::prelude::*;
use ridgepoint::format::tokenizer::{Special, Specials};
use ridgepoint::format::{Ending, Message, ModelFile};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// Does everything that can be done with a model; errors are fine.
fn exercise(path: &Path) {
    let Ok(model) = ModelFile::open(path) else {
        return;
    };
    let total: u64 = model.tensors().map(|t| t.bytes).sum();
    let mut bytes = Vec::new();
    for tensor in model.tensors().take(20) {
        // Tensors may overlap, but each lies inside the file.
        assert!(tensor.bytes <= model.file_bytes(), "{tensor:?} of {total}");
        model.read_rows(tensor, 0..tensor.rows(), &mut bytes).unwrap();
    }
    for (key, value) in model.metadata() {
        assert!(!key.is_empty() && value.to_string().len() <= 1 << 20);
    }
    if let Ok(hyper) = model.hyper() {
        assert_eq!(hyper.rope.rotary_dim, hyper.head_dim);
        if hyper.head_dim < 10_000 {
            assert_eq!(hyper.rope.inverse_frequencies().len(), hyper.head_dim / 2);
        }
    }
    let tokenizer = model.tokenizer();
    if let Ok(tokenizer) = &tokenizer {
        for special in [Special::Parse, Special::Text] {
            let text = "a bc </s> <|im_end|>  12345 é😀\r\n\u{0}";
            let Ok(ids) = tokenizer.encode_prompt(text, special) else {
                continue;
            };
            tokenizer.decode(&ids, Specials::Show).unwrap();
        }
    }
    if let (Ok(Some(template)), Ok(tokenizer)) = (model.chat_template(None), &tokenizer) {
        let turns = [Message::new("user", "a <|im_end|> b")];
        let _ = template.encode(tokenizer, &turns, Ending::Answer);
    }
}

/// The most address space that this process ever had, where the system tells.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmPeak:")).unwrap_or("0 kB");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}

/// Runs a test of files of some kilobytes; what it may allocate covers the test threads' arenas.
fn within_bounds(run: impl FnOnce()) {
    let before = peak_bytes();
    run();
    let grown = peak_bytes() - before;
    assert!(grown < 2 << 30, "{grown} bytes for a small file");
}

#[derive(Clone, Debug)]
enum Change {
    /// One byte replaced.
    Byte(u8),
    /// Eight bytes replaced by a number.
    Number(u64),
    /// The rest cut off.
    Cut,
}

fn change() -> impl Strategy<Value = Change> {
    let extremes = vec![0, 1, 255, 1 << 31, u64::from(u32::MAX), 1 << 40, 1 << 63, u64::MAX - 31];
    prop_oneof![
        8 => any::<u8>().prop_map(Change::Byte),
        8 => prop::sample::select(extremes).prop_map(Change::Number),
        1 => Just(Change::Cut),
    ]
}

fn mutated(mut bytes: Vec<u8>, header: usize, changes: &[(f64, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        let at = (place * header as f64) as usize;
        match change {
            Change::Byte(b) if at < bytes.len() => bytes[at] = *b,
            Change::Number(n) if at + 8 <= bytes.len() => {
                bytes[at..at + 8].copy_from_slice(&n.to_le_bytes());
            }
            Change::Cut => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(f64, Change)>> {
    prop::collection::vec((0.0..1.0f64, change()), 1..5)
}

/// A whole small model: hyper-parameters, a tokenizer, a template, tensors.
fn small(model: &str) -> Gguf {
    let words = ["<s>", "</s>", "<0x41>", "a", "b", "c", "Ġ", "bc", "▁", "▁a", "<|im_end|>"];
    Gguf::default()
        .text("general.architecture", "llama")
        .number("general.alignment", 32)
        .number("llama.block_count", 1)
        .number("llama.embedding_length", 64)
        .number("llama.feed_forward_length", 128)
        .number("llama.attention.head_count", 4)
        .number("llama.context_length", 256)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", model)
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &words)
        .numbers("tokenizer.ggml.token_type", &[3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 3])
        .floats("tokenizer.ggml.scores", &[0.0; 11])
        .texts("tokenizer.ggml.merges", &["b c"])
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
        .tensor("rope_freqs.weight", &[8], 0, &[0; 32])
        .tensor("token_embd.weight", &[64, 11], 1, &[0; 64 * 11 * 2])
}

#[test]
fn mutated_gguf_files_end_in_errors() {
    for model in ["gpt2", "llama"] {
        let good = small(model).bytes();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, &good).unwrap();
        assert!(ModelFile::open(&path).unwrap().tokenizer().is_ok());
        let header = good.len() - 64 * 11 * 2;
        within_bounds(|| {
            proptest!(|(changes in changes())| {
                std::fs::write(&path, mutated(good.clone(), header, &changes)).unwrap();
                exercise(&path);
            });
        });
    }
}

#[test]
fn every_truncation_of_a_gguf_file_ends_in_an_error() {
    let good = small("gpt2").bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for n in 0..good.len() {
        std::fs::write(&path, &good[..n]).unwrap();
        assert!(ModelFile::open(&path).is_err(), "{n} of {} bytes", good.len());
    }
}

#[test]
fn random_bytes_end_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    within_bounds(|| {
        proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..512), version in 2u32..4)| {
            let file = [&b"GGUF"[..], &version.to_le_bytes(), &bytes].concat();
            std::fs::write(&path, file).unwrap();
            exercise(&path);
        });
    });
}

/// Changes a copy of a tiny Hugging Face model, one file at a time.
fn directory(name: &str, header: impl Fn(&[u8]) -> usize, text: bool) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(data("tiny/qwen2").join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join(name);
    let good = std::fs::read(&path).unwrap();
    let header = header(&good);
    let instead = prop::sample::select(vec![
        "-1",
        "0",
        "1e999",
        "18446744073709551615",
        "4294967295",
        "null",
        "[]",
        "{}",
        "\"\"",
        "true",
        "\"\\u0000\"",
        ",",
        "}",
    ]);
    within_bounds(|| {
        proptest!(|(changes in changes(), place in 0.0..1.0f64, instead in instead)| {
            let mut bytes = mutated(good.clone(), header, &changes);
            if text {
                // Replace a whole JSON value instead of bytes.
                let whole = String::from_utf8(good.clone()).unwrap();
                let at = whole.len() * (place * 1000.0) as usize / 1000;
                if let Some(start) = whole.as_bytes()[at..].iter().position(|&b| b == b':') {
                    let start = at + start + 1;
                    let rest = &whole[start..];
                    let end = rest.find([',', '\n']).unwrap_or(rest.len());
                    bytes = format!("{}{instead}{}", &whole[..start], &rest[end..]).into_bytes();
                }
            }
            // Copied files are read-only where the originals are.
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, bytes).unwrap();
            exercise(dir.path());
        });
    });
}

#[test]
fn mutated_safetensors_headers_end_in_errors() {
    let header = |bytes: &[u8]| 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    directory("model.safetensors", header, false);
}

#[test]
fn mutated_configs_end_in_errors() {
    directory("config.json", <[u8]>::len, false);
    directory("config.json", <[u8]>::len, true);
}

#[test]
fn mutated_tokenizers_end_in_errors() {
    directory("tokenizer.json", <[u8]>::len, false);
    directory("tokenizer.json", <[u8]>::len, true);
}

#[test]
fn mutated_templates_end_in_errors() {
    let good = "{% for m in messages %}{{ m['content'].strip()[:3] | tojson }}{% if loop.last \
                and add_generation_prompt %}{{ raise_exception('x' ~ m.role) }}{% endif %}\
                {% endfor %}{{ strftime_now('%Y') }}";
    proptest!(|(changes in changes())| {
        let bytes = mutated(good.into(), good.len(), &changes);
        let source = String::from_utf8_lossy(&bytes);
        if let Ok(t) = ridgepoint::format::ChatTemplate::new(&source, "", "") {
            let _ = t.render(&[Message::new("user", "abcdef")], Ending::Closed);
        }
    });
}
