//! Mutated model files never panic, and never make the reader allocate on their word.

mod gguf;

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/changes.rs"]
mod changes;

use bodies::{SOUND, exercise};
use changes::{changes, mutated};
use gguf::small;
use proptest::prelude::*;
use ridgepoint::format::ModelFile;

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
    within_bounds(|| {
        proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..512), version in 2u32..4)| {
            bodies::gguf(&[&b"GGUF"[..], &version.to_le_bytes(), &bytes].concat());
        });
    });
}

/// Changes a copy of a tiny Hugging Face model, one file at a time.
fn directory(name: &str, header: impl Fn(&[u8]) -> usize, text: bool) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in SOUND {
        std::fs::write(dir.path().join(name), bytes).unwrap();
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
        bodies::template(&mutated(good.into(), good.len(), &changes));
    });
}
