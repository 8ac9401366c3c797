//! Models of every kind are opened, listed and read; broken ones are refused with a reason.

mod gguf;

use std::path::{Path, PathBuf};

use gguf::Gguf;
use ridgepoint::format::tokenizer::{Special, Specials};
use ridgepoint::format::{Kind, ModelFile, RopeScaling};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// Opens bytes as a GGUF file.
fn open(bytes: &[u8]) -> Result<ModelFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    ModelFile::open(&path).map_err(|e| e.to_string())
}

#[test]
fn hugging_face_directories_are_read() {
    for (name, layers, head_dim, window) in [
        ("llama", 2, 16, None),
        ("llama3-rope", 3, 16, None),
        ("mistral-window", 2, 16, Some(16)),
        ("qwen2", 2, 16, None),
        ("qwen3", 2, 32, None),
    ] {
        let model = ModelFile::open(&data("tiny").join(name)).unwrap();
        assert_eq!(model.kind(), Kind::HuggingFace);
        let hyper = model.hyper().unwrap();
        assert_eq!((hyper.layers, hyper.head_dim), (layers, head_dim), "{name}");
        assert_eq!((hyper.hidden, hyper.heads, hyper.kv_heads), (64, 4, 2), "{name}");
        assert_eq!((hyper.vocab, hyper.sliding_window), (320, window), "{name}");
        let q = model.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
        assert_eq!((q.format.name(), &q.shape[..]), ("BF16", &[4 * head_dim, 64][..]));
        for tensor in model.tensors() {
            let mut bytes = Vec::new();
            model.read_rows(tensor, 0..tensor.rows(), &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, tensor.bytes);
        }
        let total: u64 = model.tensors().map(|t| t.bytes).sum();
        assert!(total < model.file_bytes() && model.file_bytes() < total + 16_384);
        let tokenizer = model.tokenizer().unwrap();
        assert_eq!(tokenizer.eos_ids(), [1]);
        assert_eq!(tokenizer.encode("<s>a", Special::Parse).unwrap()[0], 0);
        let plain = tokenizer.encode("<s>a", Special::Text).unwrap();
        assert_eq!(tokenizer.decode(&plain, Specials::Skip).unwrap(), "<s>a");
        assert!(model.chat_template(None).unwrap().is_none());
    }
    let llama3 = ModelFile::open(&data("tiny/llama3-rope")).unwrap().hyper().unwrap();
    assert!(matches!(llama3.rope.scaling, RopeScaling::Llama3 { .. }));
    assert_eq!(llama3.rope.theta, 5e5);
}

#[test]
fn gguf_files_of_every_format_are_read() {
    for format in ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K"] {
        let path = data(&format!("quant-models/tiny-{format}.gguf"));
        let model = ModelFile::open(&path).unwrap();
        assert_eq!(model.kind(), Kind::Gguf);
        let hyper = model.hyper().unwrap();
        assert_eq!((hyper.hidden, hyper.layers, hyper.heads, hyper.kv_heads), (256, 1, 4, 1));
        assert_eq!((hyper.vocab, hyper.head_dim), (320, 64));
        let embedding = model.tensor("token_embd.weight").unwrap();
        assert_eq!(embedding.shape, [320, 256]);
        let stored = embedding.format.name();
        assert_eq!(stored, format.trim_end_matches("_M"));
        let (mut all, mut part) = (Vec::new(), Vec::new());
        model.read_rows(embedding, 0..320, &mut all).unwrap();
        assert_eq!(all.len() as u64, embedding.bytes);
        model.read_rows(embedding, 7..9, &mut part).unwrap();
        let row = embedding.row_bytes();
        assert_eq!(part, all[7 * row..9 * row]);
        assert!(model.read_rows(embedding, 319..321, &mut part).is_err());
        assert!(model.metadata().any(|(k, _)| k == "general.architecture"));
        assert!(model.tokenizer().unwrap().vocab_size() <= 320);
    }
}

#[test]
fn every_broken_header_is_named() {
    let good = || Gguf::default().text("general.architecture", "llama");
    let floats = |n: usize| vec![0u8; 4 * n];
    assert!(open(&good().tensor("t", &[4, 2], 0, &floats(8)).bytes()).is_ok());
    let u64s = |v: &[u64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut array = 8u32.to_le_bytes().to_vec();
    array.extend(u64s(&[1 << 60]));
    let mut nested = Vec::new();
    for _ in 0..9 {
        nested.extend(9u32.to_le_bytes());
        nested.extend(u64s(&[1]));
    }
    let unknown_array = [77u32.to_le_bytes().to_vec(), u64s(&[0])].concat();
    let header =
        |version: u32, counts: [u64; 2]| [&b"GGUF"[..], &version.to_le_bytes(), &u64s(&counts)].concat();
    for (bytes, expected) in [
        (b"GGML".to_vec(), "magic"),
        (Vec::new(), "ends inside its header"),
        (header(3, [0, 0])[..20].to_vec(), "ends inside its header, at byte 16"),
        (header(1, [0, 0]), "version 1"),
        (header(3u32.swap_bytes(), [0, 0]), "big-endian"),
        (header(3, [u64::MAX, 0]), "18446744073709551615 tensors"),
        (header(3, [0, 1 << 40]), "1099511627776 key-values"),
        (good().raw("", 4, &[0; 4]).bytes(), "key of 1 to"),
        (good().raw("k", 8, &u64s(&[1 << 62])).bytes(), "bytes of text"),
        (good().raw("k", 99, &[0; 32]).bytes(), "value type 99"),
        (good().raw("k", 7, &[2; 32]).bytes(), "truth value 2"),
        (good().raw("k", 9, &array).bytes(), "array elements"),
        (good().raw("k", 9, &unknown_array).bytes(), "type 77"),
        (good().raw("k", 9, &nested).bytes(), "nests arrays deeper"),
        (good().text("general.architecture", "x").bytes(), "occurs twice"),
        (good().number("general.alignment", 0).bytes(), "general.alignment"),
        (good().number("general.alignment", 24).bytes(), "general.alignment"),
        (good().text("general.alignment", "32").bytes(), "general.alignment"),
        (good().tensor("", &[4], 0, &floats(4)).bytes(), "tensor name of 1 to"),
        (good().tensor("t", &[], 0, &floats(4)).bytes(), "0 dimensions"),
        (good().tensor("t", &[1; 5], 0, &floats(4)).bytes(), "5 dimensions"),
        (good().tensor("t", &[4, 0], 0, &floats(4)).bytes(), "dimension of 0"),
        (good().tensor("t", &[4, (1 << 42) + 1], 0, &floats(4)).bytes(), "beyond the file's end"),
        (good().tensor("t", &[1 << 32, 1 << 32], 0, &floats(4)).bytes(), "overflows"),
        (good().tensor("t", &[1 << 62], 0, &floats(4)).bytes(), "overflows"),
        (good().tensor("t", &[4], 20, &floats(4)).bytes(), "IQ4_NL"),
        (good().tensor("t", &[4], 4000, &floats(4)).bytes(), "ggml type 4000"),
        (good().tensor("t", &[33], 8, &[0; 68]).bytes(), "blocks of 32"),
        (good().tensor_at("t", &[4], 0, 8).bytes(), "alignment"),
        (good().tensor_at("t", &[4], 0, 32).bytes(), "beyond the file's end"),
        (good().tensor_at("t", &[4], 0, u64::MAX - 31).bytes(), "beyond the file's end"),
        (
            good().tensor("t", &[4], 0, &floats(4)).tensor("t", &[4], 0, &floats(4)).bytes(),
            "'t' occurs twice",
        ),
    ] {
        let e = open(&bytes).map(|_| ()).expect_err(expected);
        assert!(e.contains(expected), "expected {expected} in: {e}");
    }
}

/// Such a model can't run, and what it holds can be told.
#[test]
fn formats_that_are_not_known_are_named_and_counted() {
    let bytes = llama().tensor("output.weight", &[64, 320], 20, &[0; 320 * 36]).bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    let refusal = ModelFile::open(&path).map(|_| ()).unwrap_err().to_string();
    let file = ModelFile::describe(&path).unwrap();
    let [foreign] = file.foreign() else { panic!("{:?}", file.foreign()) };
    assert_eq!(
        (foreign.format.as_str(), foreign.bytes, foreign.weights()),
        ("IQ4_NL", Some(11_520), Some(20_480))
    );
    assert!(refusal.contains(&foreign.refusal()), "{refusal}");
    assert_eq!(file.hyper().unwrap().tied, Some(false));
    let inspect = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
        let output = command.args(["models", "inspect"]).args(flags).arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = inspect(&[]);
    assert!(text.contains("runs            no: ") && text.contains("output.weight"), "{text}");
    let row = text.lines().find(|line| line.starts_with("IQ4_NL")).unwrap();
    assert!(row.split_whitespace().eq(["IQ4_NL", "1", "20480", "11.2", "KiB", "-"]), "{row}");
    let json: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    assert_eq!(json["runs"], false);
    assert_eq!(json["formats"]["IQ4_NL"]["bytes"], 11_520);
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
fn split_models_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let path = |i: u32| dir.path().join(format!("m-{i:05}-of-00002.gguf"));
    let part = |i: u32, head: Gguf, name: &str| {
        let head = head.raw("split.no", 2, &(i as u16 - 1).to_le_bytes());
        let head = head.raw("split.count", 2, &2u16.to_le_bytes());
        let head = head.raw("split.tensors.count", 5, &2i32.to_le_bytes());
        std::fs::write(path(i), head.tensor(name, &[1], 0, &[i as u8; 4]).bytes()).unwrap();
    };
    part(1, llama(), "a");
    let e = ModelFile::open(&path(1)).unwrap_err().to_string();
    assert!(e.contains("m-00002-of-00002.gguf"), "{e}");
    part(2, Gguf::default(), "b");
    for opened in [path(1), path(2)] {
        let model = ModelFile::open(&opened).unwrap();
        assert_eq!(model.hyper().unwrap().layers, 2);
        let mut bytes = Vec::new();
        model.read_rows(model.tensor("b").unwrap(), 0..1, &mut bytes).unwrap();
        assert_eq!(bytes, [2; 4]);
        model.read_rows(model.tensor("a").unwrap(), 0..1, &mut bytes).unwrap();
        assert_eq!(bytes, [1; 4]);
    }
    part(2, Gguf::default(), "a");
    assert!(ModelFile::open(&path(1)).unwrap_err().to_string().contains("earlier part"));
}

/// Copies a tiny model, changed by `edit`, and opens it.
fn edited(edit: impl Fn(&Path)) -> Result<ModelFile, String> {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(data("tiny/llama").join(name), dir.path().join(name)).unwrap();
    }
    edit(dir.path());
    let opened = ModelFile::open(dir.path()).map_err(|e| e.to_string())?;
    opened.tokenizer().map_err(|e| e.to_string())?;
    Ok(opened)
}

#[test]
fn incomplete_directories_are_refused_with_what_is_missing() {
    assert!(edited(|_| {}).is_ok());
    let remove = |name: &'static str| edited(move |d| std::fs::remove_file(d.join(name)).unwrap());
    let write = |name: &'static str, bytes: Vec<u8>| {
        edited(move |d| {
            std::fs::remove_file(d.join("model.safetensors")).unwrap();
            std::fs::write(d.join(name), &bytes).unwrap();
        })
    };
    let whole = std::fs::read(data("tiny/llama/model.safetensors")).unwrap();
    let index = |file: &str| format!(r#"{{"weight_map":{{"t":"{file}"}}}}"#).into_bytes();
    let header = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    const FILE: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    for (found, expected) in [
        (remove("config.json"), "config.json"),
        (remove("model.safetensors"), "model.safetensors.index.json"),
        (remove("tokenizer.json"), "tokenizer.json"),
        (write(FILE, whole[..whole.len() - 1].to_vec()), "downloaded completely"),
        (write(FILE, whole[..1000].to_vec()), "header of"),
        (write(FILE, vec![0xff; 64]), "header of"),
        (write(FILE, vec![]), "at least 8 bytes"),
        (write(FILE, header("{", 0)), "header is invalid"),
        (write(FILE, header(r#"{"t":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8)), "I64"),
        (write(FILE, header(r#"{"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, 0)), "empty"),
        (
            write(FILE, header(r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4)),
            "header is invalid",
        ),
        (write(INDEX, index("model-00001-of-00002.safetensors")), "the shard"),
        (write(INDEX, index("../model.safetensors")), "plain file names"),
        (write(INDEX, b"{}".to_vec()), "weight_map"),
        (write("tokenizer.json", b"[]".to_vec()), "model.safetensors"),
    ] {
        let e = found.map(|_| ()).expect_err(expected);
        assert!(e.contains(expected), "expected {expected} in: {e}");
    }
    let e = ModelFile::open(&data("nothing.gguf")).unwrap_err().to_string();
    assert!(e.contains("nothing.gguf"), "{e}");
}

#[test]
fn sharded_weights_are_joined() {
    let model = edited(|dir| {
        let whole = dir.join("model.safetensors");
        std::fs::rename(&whole, dir.join("model-1.safetensors")).unwrap();
        let text = br#"{"extra.weight":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}"#;
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        bytes.extend([1, 2, 3, 4]);
        std::fs::write(dir.join("model-2.safetensors"), bytes).unwrap();
        let index = r#"{"metadata":{},"weight_map":{
            "model.norm.weight":"model-1.safetensors","extra.weight":"model-2.safetensors"}}"#;
        std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
    })
    .unwrap();
    let extra = model.tensor("extra.weight").unwrap();
    let mut bytes = Vec::new();
    model.read_rows(extra, 0..1, &mut bytes).unwrap();
    assert_eq!((bytes.as_slice(), extra.format.name()), (&[1, 2, 3, 4][..], "F16"));
    assert!(model.tensor("model.norm.weight").is_some());
}
