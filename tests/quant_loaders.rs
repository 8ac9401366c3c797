//! Every weight format has a WGSL loader that defines the names that kernels import, agrees with
//! the Rust side's sizes, and compiles for every backend.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use ridgepoint::gpu::{Program, expand};
use ridgepoint::quant::{FORMATS, Format};

/// What a kernel brings: the buffers, the sizes, and a use of each function and constant.
const KERNEL: &str = "
#import lib/weights
@group(0) @binding(0) var<storage, read> wq: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> waux: array<u32>;
@group(0) @binding(2) var<uniform> sizes: Weights;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
#import lib/dequantise

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var unit = 0u; unit < sizes.units; unit++) {
        let b = block_load(unit, id.x, sizes);
        let near = blocks_load(unit, id.x * NEAR, sizes);
        for (var i = 0u; i < 8u; i++) {
            out[(id.x * sizes.units + unit) * 8u + i] = numbers(b, i) + numbers(near[NEAR - 1u], i);
        }
    }
}
";

fn source(format: &dyn Format) -> String {
    let name = format.name().to_lowercase();
    let path = format!("{}/shaders/quant/{name}.wgsl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn compiled(format: &dyn Format) -> (naga::Module, ModuleInfo) {
    let program = Program::of_text("loaders", KERNEL).text("FORMAT", format.name().to_lowercase());
    let text = expand(&program).unwrap();
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{format:?}: {}", error.emit_to_string(&text)));
    // `unpack2x16float`: in core WGSL, but wgpu's OpenGL may lack it (DownlevelFlags).
    let needs = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), needs)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{format:?}: {}", error.emit_to_string(&text)));
    (module, info)
}

#[test]
fn every_loader_compiles_for_every_backend() {
    for &format in FORMATS {
        let (module, info) = compiled(format);
        spv::write_vec(&module, &info, &spv::Options::default(), None)
            .unwrap_or_else(|error| panic!("{format:?}: {error}"));
        let (options, pipeline) = (msl::Options::default(), msl::PipelineOptions::default());
        msl::write_string(&module, &info, &options, &pipeline)
            .unwrap_or_else(|error| panic!("{format:?}: {error}"));
        let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{format:?}: {error}"));
    }
}

#[test]
fn every_loader_reads_as_many_words_as_repacking_writes() {
    for &format in FORMATS {
        let aux: usize = format.sections().iter().map(|section| section.words).sum();
        for line in [format!("const WORDS = {}u;", format.words()), format!("const AUX = {aux}u;")] {
            assert!(source(format).contains(&line), "{format:?}: no `{line}`");
        }
    }
}

#[test]
fn every_loader_belongs_to_a_format() {
    let folder = format!("{}/shaders/quant", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names = FORMATS.iter().map(|f| f.name().to_lowercase() + ".wgsl");
    let mut expected: Vec<String> = names.collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected);
}
