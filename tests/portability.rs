//! Every program of every kernel, on the shader languages of the devices that are not here.
//!
//! Texts are parsed and validated with the capabilities that the case declares and no others, held
//! to WebGPU's default limits, and written as SPIR-V, MSL and HLSL at the lowest version that has
//! what the program needs. They are left in `target/tmp/wgsl`, where `scripts/tint.mjs` finds them, and
//! in `target/tmp/spirv`, where `scripts/test-drivers.sh` has them judged by spirv-val.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use naga::{AddressSpace, Module};
use ridgepoint::gpu::{Program, Translation, expand};
use ridgepoint::kernels::{KERNELS, Needs};

/// WebGPU's default limits (the specification's table of limits).
const STORAGE_BUFFERS: usize = 8;
const UNIFORM_BYTES: u32 = 65_536;
const WORKGROUP_BYTES: u32 = 16_384;
const WORKGROUP_LANES: u32 = 256;

/// The programs of every case, each once; those that read 64-bit words, which only naga's WGSL has,
/// also without, for Tint to judge; and where a shader can do its products twice (`--confirm`), that too.
fn programs() -> BTreeMap<Program, Needs> {
    let mut found = BTreeMap::new();
    for case in KERNELS.iter().flat_map(|kernel| kernel.cases()) {
        if let Some(needs) = found.get(&case.program) {
            assert_eq!(*needs, case.needs, "cases of {} differ in what they need", case.program.label());
            continue;
        }
        let needs = case.needs;
        let mut plain = case.program.clone();
        let plain = plain.flags.remove("WIDE").then_some((plain, Needs { int64: false, ..needs }));
        for (program, needs) in [(case.program, needs)].into_iter().chain(plain) {
            let twice = program.clone().flags(["TWICE"]);
            if expand(&twice).ok() != expand(&program).ok() {
                found.insert(twice, needs);
            }
            found.insert(program, needs);
        }
    }
    found
}

/// The counterfactual has a program of its own for every kernel that multiplies.
#[test]
fn products_done_twice_are_programs_too() {
    let twice: BTreeSet<String> = programs()
        .into_keys()
        .filter(|program| program.flags.contains("TWICE"))
        .map(|program| program.file.to_string())
        .collect();
    let kernels = KERNELS.iter().map(|kernel| kernel.name());
    let multiply = kernels.filter(|name| {
        name.starts_with("linear_") || name.starts_with("attention_") && *name != "attention_merge"
    });
    assert_eq!(twice.into_iter().collect::<Vec<_>>(), multiply.collect::<Vec<_>>());
}

/// Holds a module to WebGPU's default limits.
fn within_limits(module: &Module) -> Result<(), String> {
    let entry = module.entry_points.first().ok_or("no entry point")?;
    let lanes = entry.workgroup_size.iter().product::<u32>();
    let bytes = |space: AddressSpace| {
        let globals = module.global_variables.iter().filter(move |(_, v)| v.space == space);
        globals.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()))
    };
    let storage =
        module.global_variables.iter().filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. }));
    let storage = storage.count();
    // Variables may be placed at multiples of 16.
    let workgroup: u32 = bytes(AddressSpace::WorkGroup).map(|n| n.next_multiple_of(16)).sum();
    let uniform = bytes(AddressSpace::Uniform).max().unwrap_or(0);
    for (what, have, limit) in [
        ("storage buffers", storage as u32, STORAGE_BUFFERS as u32),
        ("bytes of workgroup memory", workgroup, WORKGROUP_BYTES),
        ("bytes in a uniform buffer", uniform, UNIFORM_BYTES),
        ("lanes in a workgroup", lanes, WORKGROUP_LANES),
    ] {
        if have > limit {
            return Err(format!("{have} {what}; WebGPU promises {limit}"));
        }
    }
    Ok(())
}

/// Every check of one text; the error says which one failed. Gives the SPIR-V and its version.
fn check(text: &str, needs: Needs) -> Result<(Vec<u32>, (u8, u8)), String> {
    let translation = Translation::new(text, needs.uses())?;
    within_limits(&translation.module)?;
    let version = translation.lowest_spirv();
    let words = translation.spirv(version).map_err(|e| format!("SPIR-V: {e}"))?;
    let msl = translation.msl().map_err(|e| format!("MSL: {e}"))?;
    let hlsl = translation.hlsl().map_err(|e| format!("HLSL: {e}"))?;
    // The SPIR-V magic number; Metal has `main` for itself, so naga renames ours.
    let written = words.first() == Some(&0x0723_0203) && msl.contains("main_(") && hlsl.contains("main(");
    if written { Ok((words, version)) } else { Err("a language was written without its entry point".into()) }
}

#[test]
fn every_program_is_valid_everywhere() {
    let [folder, spirv] = ["wgsl", "spirv"].map(|name| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    for folder in [&folder, &spirv] {
        // Programs that are no more would be judged for ever.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
    }
    let programs = programs();
    let mut failures = Vec::new();
    for (program, needs) in &programs {
        let label = program.label();
        let checked = expand(program).and_then(|text| {
            let name = label.replace(' ', "-");
            std::fs::write(folder.join(format!("{name}.wgsl")), &text).unwrap();
            let (words, (major, minor)) = check(&text, *needs).map_err(|e| format!("{e}\n{text}"))?;
            let file = spirv.join(format!("{major}.{minor}-{name}.spv"));
            std::fs::write(file, bytemuck::cast_slice(&words)).unwrap();
            Ok(())
        });
        if let Err(e) = checked {
            failures.push(format!("{label}: {e}"));
        }
    }
    println!("{} programs, {} wrong", programs.len(), failures.len());
    assert!(
        failures.is_empty(),
        "{} of {} programs:\n{}",
        failures.len(),
        programs.len(),
        failures.join("\n")
    );
}

#[test]
fn a_program_may_use_only_what_it_declares() {
    let kernel = |line: &str| format!("@compute @workgroup_size(1) fn main() {{ {line} }}");
    let none = Needs::default();
    let subgroup = Needs { subgroup: 8, ..none };
    let half = Needs { f16: true, ..none };
    let wide = Needs { int64: true, ..none };
    let add = kernel("let x = subgroupAdd(1u);");
    assert!(check(&add, none).is_err());
    check(&add, subgroup).unwrap();
    let halves = format!("enable f16;\n{}", kernel("let x = f16(1);"));
    assert!(check(&halves, none).is_err());
    check(&halves, half).unwrap();
    let long = kernel("let x = u64(1) >> 1u;");
    assert!(check(&long, none).is_err());
    check(&long, wide).unwrap();
}

#[test]
fn limits_are_seen() {
    let with =
        |globals: &str, size: &str| format!("{globals}\n@compute @workgroup_size({size}) fn main() {{}}");
    let buffers = |n: usize| -> String {
        (0..n).map(|i| format!("@group(0) @binding({i}) var<storage> b{i}: array<u32>;\n")).collect()
    };
    for (text, what) in [
        (with(&buffers(9), "1"), "9 storage buffers"),
        (with("var<workgroup> w: array<f32, 4097>;", "1"), "16400 bytes of workgroup memory"),
        (
            with("@group(0) @binding(0) var<uniform> u: array<vec4<f32>, 4097>;", "1"),
            "65552 bytes in a uniform",
        ),
        (with("", "32, 3, 3"), "288 lanes"),
    ] {
        let error = check(&text, Needs::default()).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
    check(&with(&buffers(8), "16, 16"), Needs::default()).unwrap();
}
