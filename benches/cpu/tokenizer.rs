//! A text to ids and back, with SmolLM2's vocabulary of 49,152 tokens.

use std::hint::black_box;
use std::io::{Cursor, Read};

use criterion::{Criterion, Throughput};
use ridgepoint::format::ModelFile;
use ridgepoint::format::tokenizer::{Detokenizer, Special, Specials, Tokenizer};

/// English prose with tables and code in it.
const TEXT: &str = include_str!("../../docs/roofline.md");

fn tokenizer() -> Tokenizer {
    let packed = include_bytes!("../../tests/data/smollm2/vocabulary.zip");
    let mut archive = zip::ZipArchive::new(Cursor::new(&packed[..])).expect("the archive opens");
    let mut bytes = Vec::new();
    archive.by_index(0).expect("it has a file").read_to_end(&mut bytes).expect("it unpacks");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("vocabulary.gguf");
    std::fs::write(&path, bytes).expect("there is room for the vocabulary");
    let file = ModelFile::open(&path).expect("it is a GGUF file");
    file.tokenizer().expect("it has a tokenizer")
}

pub fn benches(c: &mut Criterion) {
    let tokenizer = tokenizer();
    let encode = || tokenizer.encode(TEXT, Special::Text).expect("it encodes");
    let ids = encode();
    let decode = || tokenizer.decode(&ids, Specials::Show).expect("it decodes");
    assert_eq!(decode(), TEXT, "what is timed comes back as it was");
    let stream = || {
        let mut pieces = Detokenizer::new(Specials::Show);
        let mut text = String::with_capacity(TEXT.len());
        for id in &ids {
            text.push_str(&pieces.push(&tokenizer, *id).expect("the id is known"));
        }
        text.push_str(&pieces.finish());
        text
    };
    assert_eq!(stream(), TEXT, "and token by token");
    let mut group = c.benchmark_group("tokenizer");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("encode", |b| b.iter(|| black_box(encode())));
    group.bench_function("decode", |b| b.iter(|| black_box(decode())));
    group.bench_function("decode token by token", |b| b.iter(|| black_box(stream())));
    group.finish();
}
