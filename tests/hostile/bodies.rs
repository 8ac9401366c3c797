//! What is done with hostile bytes, once for the tests and once for the fuzz targets. Errors are fine;
//! panics, and memory on a header's word, are not.
#![allow(dead_code, reason = "each test program and each target uses a part of it")]

use std::path::Path;

use ridgepoint::format::{ChatTemplate, Ending, Message, ModelFile, tokenizer};
use tokenizer::{Special, Specials};

/// A sound model as a Hugging Face directory.
pub const SOUND: [(&str, &[u8]); 3] = [
    ("config.json", include_bytes!("../data/tiny/qwen2/config.json")),
    ("model.safetensors", include_bytes!("../data/tiny/qwen2/model.safetensors")),
    ("tokenizer.json", include_bytes!("../data/tiny/qwen2/tokenizer.json")),
];

/// Does everything that can be done with a model.
pub fn exercise(path: &Path) {
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
        let _ = template.encode(tokenizer, &turns, Ending::Answer, usize::MAX);
    }
}

/// The bytes as a GGUF file.
pub fn gguf(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    exercise(&path);
}

/// The bytes as one file of a directory whose others are sound.
fn directory(name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    for (other, sound) in SOUND {
        std::fs::write(dir.path().join(other), if other == name { bytes } else { sound }).unwrap();
    }
    exercise(dir.path());
}

/// The bytes as model.safetensors.
pub fn safetensors(bytes: &[u8]) {
    directory("model.safetensors", bytes);
}

/// The bytes as config.json.
pub fn config(bytes: &[u8]) {
    directory("config.json", bytes);
}

/// The bytes as tokenizer.json.
pub fn tokenizer_json(bytes: &[u8]) {
    directory("tokenizer.json", bytes);
}

/// The bytes as a chat template.
pub fn template(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    if let Ok(template) = ChatTemplate::new(&source, "<s>", "</s>") {
        let turns = [Message::new("system", "be brief"), Message::new("user", "abcdef")];
        for ending in [Ending::Answer, Ending::Closed] {
            let _ = template.render(&turns, ending);
        }
    }
}
