//! GGUF files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::gguf::{Gguf, keys, small};
use crate::{data, refuse};

struct Case(&'static str, Vec<u8>, &'static [&'static str]);

/// A header of chosen counts, and nothing after it.
fn counts(version: u32, tensors: u64, values: u64) -> Vec<u8> {
    [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
}

#[test]
fn gguf_files() {
    let whole = fs::read(data("quant-models/tiny-Q8_0.gguf")).unwrap();
    let sound = || small("gpt2");
    let zeros = [0; 64 * 11 * 2];
    let tokens = |tokens: &[&str], kinds: &[i32]| {
        let model = Gguf::default().text("general.architecture", "llama").number("llama.block_count", 1);
        let model = model.number("llama.embedding_length", 64).number("llama.feed_forward_length", 128);
        let model = model.number("llama.attention.head_count", 4).number("llama.context_length", 256);
        let model = model.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        let model = model.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", tokens);
        let model = model.numbers("tokenizer.ggml.token_type", kinds);
        model.floats("tokenizer.ggml.scores", &vec![0.0; tokens.len()]).bytes()
    };
    let cases = [
        Case(
            "truncated in its tensors",
            whole[..whole.len() / 2].into(),
            &["beyond the file's end", "downloaded completely"],
        ),
        Case("truncated in its header", whole[..1000].into(), &["downloaded completely"]),
        Case("an empty file", vec![], &["does not begin with the bytes 'GGUF'"]),
        Case("a wrong magic", [b"GGML", &whole[4..]].concat(), &["does not begin with the bytes 'GGUF'"]),
        Case("version 1", counts(1, 0, 0), &["GGUF version 1", "2 and 3 are known"]),
        Case("big-endian", counts(3 << 24, 0, 0), &["big-endian"]),
        Case("a huge count of tensors", counts(3, u64::MAX, 0), &["18446744073709551615 tensors"]),
        Case("a huge count of keys", counts(3, 0, 1 << 62), &["key-values, more than its 0 bytes"]),
        Case("no keys and no tensors", counts(3, 0, 0), &["general.architecture"]),
        Case(
            "an empty key",
            sound().number("", 1).bytes(),
            &["expected a key of 1 to 65535 bytes", "found 0"],
        ),
        Case("a key twice", sound().number("general.alignment", 32).bytes(), &["occurs twice"]),
        Case(
            "an alignment of 0",
            Gguf::default().number("general.alignment", 0).bytes(),
            &["power of two", "found 0"],
        ),
        Case(
            "an unknown architecture",
            Gguf::default().text("general.architecture", "mamba").bytes(),
            &["'mamba'", "it runs"],
        ),
        Case(
            "no name of an architecture",
            Gguf::default().text("general.architecture", "mamba\nerror: all is well\x1b[31m").bytes(),
            &["at most 64", "\"mamba\\nerror: all is well\\u{1b}[31m\""],
        ),
        Case(
            "a long name of an architecture",
            Gguf::default().text("general.architecture", &"x".repeat(2_000_000)).bytes(),
            &["at most 64", "(2000000 bytes)"],
        ),
        Case(
            "a long text for a number",
            Gguf::default().text("general.alignment", &"x".repeat(5_000_000)).bytes(),
            &["power of two", "bytes more)"],
        ),
        Case(
            "a tensor outside the file",
            sound().tensor_at("t", &[64, 11], 1, 1 << 40).bytes(),
            &["beyond the file's end"],
        ),
        Case(
            "an offset that wraps",
            sound().tensor_at("t", &[64, 11], 1, u64::MAX - 31).bytes(),
            &["beyond the file's end"],
        ),
        Case("a tensor without rows", sound().tensor_at("t", &[64, 0], 1, 0).bytes(), &["dimension of 0"]),
        Case(
            "sizes that wrap",
            sound().tensor_at("t", &[(1 << 42) + 32, 1 << 42], 1, 0).bytes(),
            &["overflows"],
        ),
        Case("five dimensions", sound().tensor_at("t", &[1; 5], 1, 0).bytes(), &["5 dimensions, not 1 to 4"]),
        Case(
            "an unknown format",
            sound().tensor("t", &[64, 11], 16, &zeros).bytes(),
            &["IQ2_XXS", "known are F32"],
        ),
        Case(
            "a crooked offset",
            sound().tensor_at("t", &[64, 11], 1, 8).bytes(),
            &["no multiple of the alignment"],
        ),
        Case("tensors missing", keys("gpt2").bytes(), &["there is no tensor"]),
        Case(
            "a list longer than the file",
            Gguf::default().raw("k", 9, &[8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]).bytes(),
            &["array elements, more than"],
        ),
        Case(
            "a byte token that is none",
            tokens(&["<0x-1>", "a"], &[6, 1]),
            &["expected a byte as <0xNN>", "<0x-1>"],
        ),
        Case("a token of an unknown type", tokens(&["a", "b"], &[1, 99]), &["the token 1 has the type 99"]),
        Case("more types than tokens", tokens(&["a"], &[1, 1]), &["1 whole numbers, one for each token"]),
        Case(
            "part of a split model under another name",
            sound().number("split.count", 3).number("split.no", 0).bytes(),
            &["-00001-of-00003.gguf"],
        ),
    ];
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("m.gguf");
    let mut wrong = Vec::new();
    for Case(what, bytes, why) in cases {
        fs::write(&path, bytes).unwrap();
        wrong.extend(refuse(what, &path, "a", why));
    }
    let part = dir.path().join("m-00001-of-00002.gguf");
    let own = sound().number("split.count", 2).number("split.no", 0).bytes();
    fs::write(&part, own).unwrap();
    wrong.extend(refuse("a missing part", &part, "a", &["m-00002-of-00002.gguf", "all of it downloaded"]));
    wrong.extend(refuse("a device", Path::new("/dev/null"), "a", &["a pipe, a socket or a device"]));
    wrong.extend(refuse("nothing", &dir.path().join("absent.gguf"), "a", &["no such file or directory"]));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
