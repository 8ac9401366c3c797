//! A header never makes the reader allocate much more than the file has: counted, allocation by
//! allocation, while mutated files are read.
#![expect(unsafe_code, reason = "a global allocator that counts is an unsafe trait")]

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/changes.rs"]
mod changes;
mod gguf;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use bodies::SOUND;
use changes::{changes, mutated};
use gguf::{Gguf, small};
use proptest::prelude::*;
use ridgepoint::format::ModelFile;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts bytes that this thread took. What another thread gave it and it gives back may exceed that.
fn taken(bytes: usize) {
    HELD.with(|held| held.set(held.get().saturating_add(bytes)));
    PEAK.with(|peak| peak.set(peak.get().max(HELD.get())));
}

fn given_back(bytes: usize) {
    HELD.with(|held| held.set(held.get().saturating_sub(bytes)));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        given_back(layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both lie there while one is copied to the other.
        taken(size);
        given_back(layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held at a time beyond what was held before.
fn peak(run: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    run();
    PEAK.get() - before
}

/// What reading the headers, the sizes and the configuration may take of a file of `len` bytes: an
/// empty list or text of 8 bytes becomes a vector of 24, and vectors grow by doubling; beside room for a
/// few thousand elements that are reserved before any is read.
fn allowed(len: usize) -> usize {
    LISTS * len + (1 << 20)
}

const LISTS: usize = 12;
/// Of numbers, which are as wide as in the file.
const NUMBERS: usize = 4;

fn read(path: &Path) {
    if let Ok(model) = ModelFile::open(path) {
        let _ = model.hyper();
    }
}

#[test]
fn mutated_headers_allocate_a_few_times_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let good = small("llama").bytes();
    let header = good.len() - 64 * 11 * 2;
    proptest!(|(changes in changes())| {
        let bytes = mutated(good.clone(), header, &changes);
        std::fs::write(&path, &bytes).unwrap();
        let held = peak(|| read(&path));
        prop_assert!(held <= allowed(bytes.len()), "{held} bytes for a file of {}", bytes.len());
    });
}

#[test]
fn lists_of_every_type_allocate_a_few_times_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    // 4 MB of zeros read as lists of each type, as long as the bytes allow or as the header lies.
    let zeros = vec![0; 4 << 20];
    for kind in 0..=12u32 {
        for count in [4 << 20, 1 << 20, 512 << 10, 300_000, u64::MAX, 1 << 40] {
            let list = [&kind.to_le_bytes()[..], &count.to_le_bytes(), &zeros].concat();
            let bytes = Gguf::default().raw("list", 9, &list).bytes();
            std::fs::write(&path, &bytes).unwrap();
            let held = peak(|| read(&path));
            let most = if [8, 9].contains(&kind) { LISTS } else { NUMBERS } * bytes.len() + (1 << 20);
            assert!(held <= most, "{held} bytes for {count} of type {kind}, a file of {}", bytes.len());
        }
    }
}

#[test]
fn mutated_json_allocates_a_few_times_the_file() {
    for name in ["config.json", "model.safetensors"] {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in SOUND {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let good = std::fs::read(dir.path().join(name)).unwrap();
        let header = if name == "config.json" { good.len() } else { 4000 };
        proptest!(|(changes in changes())| {
            let bytes = mutated(good.clone(), header, &changes);
            std::fs::write(dir.path().join(name), &bytes).unwrap();
            let held = peak(|| read(dir.path()));
            prop_assert!(held <= allowed(bytes.len()), "{held} bytes for a file of {}", bytes.len());
        });
    }
}

/// A tokenizer takes some 50 bytes for each of its file and of its text; a rule that makes more is refused.
#[test]
fn tokenizers_allocate_a_few_times_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in SOUND {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let path = dir.path().join("tokenizer.json");
    let sound: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let replace = |from: &str, to: String| serde_json::json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let list = |rules: Vec<serde_json::Value>| serde_json::json!({"type": "Sequence", "normalizers": rules});
    let padding = serde_json::json!({"strategy": {"Fixed": 100_000_000}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "p"});
    for (field, value) in [
        ("normalizer", list(vec![replace("a", "aa".into()); 24])),
        ("normalizer", list(vec![replace("a", "b".repeat(5000)), replace("b", "c".repeat(5000))])),
        ("normalizer", list(vec![replace("a", "aa".into()); 6])),
        ("padding", padding),
    ] {
        let mut changed = sound.clone();
        changed[field] = value;
        let bytes = changed.to_string();
        std::fs::write(&path, &bytes).unwrap();
        let held = peak(|| bodies::exercise(dir.path()));
        assert!(
            held <= 100 * bytes.len() + (16 << 20),
            "{held} bytes for {field}, a file of {}",
            bytes.len()
        );
    }
}

/// What fuel and weight leave a template: some tens of megabytes, whatever it does.
#[test]
fn templates_allocate_no_more_than_their_fuel() {
    for body in [
        "[ns.x, ns.x]",
        "ns.x + ns.x",
        "ns.x ~ ns.x",
        "[ns.x, ns.x] | tojson",
        "'{:>99999999}'.format(ns.x)",
        "{'a': ns.x, 'b': ns.x}",
    ] {
        let source = format!(
            "{{% set ns = namespace(x=['a']) %}}{{% for i in range(40) %}}{{% set ns.x = {body} %}}{{% endfor %}}\
             {{{{ ns.x | tojson | length }}}}{{{{ ns.x }}}}"
        );
        let held = peak(|| bodies::template(source.as_bytes()));
        assert!(held <= 256 << 20, "{held} bytes for {body}");
    }
}
