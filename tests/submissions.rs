//! Every submission passes one counter, so that what a figure's round trips were can be told.

use std::path::Path;
use std::sync::Arc;

use ridgepoint::cache::{BlockId, CacheConfig};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Entry, Limits, Outputs, Profile, Results, Runner, Want};
use ridgepoint::profile::{Nothing, PROBES, Ring, Stamps};

fn limits() -> Limits {
    let (cache, cache_type) = (CacheConfig::new(4), CacheType::F16);
    Limits { tokens: 16, outputs: 1, context: 64, sequences: 1, cache, cache_type }
}

/// A device of the test's own: the counter is the device's.
fn gpu() -> Arc<Gpu> {
    Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter")
}

/// A model of the tests' data.
fn load(gpu: &Arc<Gpu>, name: &str) -> Runner {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    Runner::load(gpu, &ModelFile::open(&path).unwrap(), limits(), &mut |_, _| {}).unwrap()
}

#[test]
fn a_round_trip_of_a_probe_is_one_submission() {
    let gpu = gpu();
    let probe = PROBES.iter().find(|p| p.name() == "int_alu").unwrap();
    let rig = probe.rigs(&gpu).expect("rigs that are right").remove(0);
    for repeats in [1, 7] {
        let before = gpu.submissions();
        rig.time(&gpu, repeats).unwrap();
        assert_eq!(gpu.submissions() - before, 1, "{repeats} repeats");
    }
}

#[test]
fn a_step_is_one_submission_and_reading_its_stamps_another() {
    let gpu = gpu();
    let mut runner = load(&gpu, "quant-models/tiny-Q4_1.gguf");
    let blocks: Vec<BlockId> = (0..4).map(BlockId).collect();
    let entry = |start| Entry { tokens: &[1], start, blocks: &blocks, outputs: Outputs::Last };
    let mut results = Results::default();
    // Until it is known that dispatches are short a step may be several, so that no watchdog bites; the
    // first also builds kernels.
    let mut count = || {
        let before = gpu.submissions();
        runner.run(&[entry(1)], Want::Argmax, &mut results).unwrap();
        gpu.submissions() - before
    };
    let counts: Vec<u64> = (0..60).map(|_| count()).collect();
    assert_eq!(counts.last(), Some(&1), "steps did not become single submissions: {counts:?}");

    let Some(mut ring) = Ring::new(&gpu) else { return };
    let before = gpu.submissions();
    let profile = Profile { stamps: Stamps::Passes, ring: Some(&mut ring), ..Profile::default() };
    let times = runner.step(&[entry(2)], Want::Argmax, &mut results, profile).unwrap();
    assert!(!times.spans.is_empty());
    assert_eq!(gpu.submissions() - before, 2);
}

/// Until dispatches are known to be short a step goes to the device in parts, whatever its stamps.
#[test]
fn stamped_steps_keep_the_pace() {
    let gpu = gpu();
    let Some(mut ring) = Ring::new(&gpu) else { return };
    let mut runner = load(&gpu, "tiny/llama");
    let blocks: Vec<BlockId> = (0..4).map(BlockId).collect();
    let entry = Entry { tokens: &[1], start: 3, blocks: &blocks, outputs: Outputs::Last };
    let dispatches = runner.describe(&[entry], Want::Argmax).unwrap().len();
    assert!(dispatches > 8, "one part is no test");
    let mut results = Results::default();
    let inside = gpu.has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES).then_some(Stamps::Inside);
    // The last is as quick as any step, and tells the pace.
    for stamps in [Some(Stamps::Passes), inside, Some(Stamps::Span)].into_iter().flatten() {
        let before = gpu.submissions();
        let profile = Profile { stamps, ring: Some(&mut ring), ..Profile::default() };
        let times = runner.step(&[entry], Want::Argmax, &mut results, profile).unwrap();
        let pairs = if stamps == Stamps::Span { 1 } else { dispatches };
        assert_eq!(times.spans.len(), pairs, "{stamps:?}");
        assert!(times.spans.iter().all(Option::is_some), "{stamps:?}: {times:?}");
        // Eight dispatches each until something is known, and one to read the stamps.
        assert_eq!(gpu.submissions() - before, dispatches.div_ceil(8) as u64 + 1, "{stamps:?}");
        assert_eq!(
            times.submit.0, 0,
            "what was handed over while the rest was recorded is the device's time"
        );
    }
}

/// What is put between or left out changes nothing of how a step is cut: spans are compared.
#[test]
fn a_step_with_more_or_fewer_dispatches_has_as_many_parts() {
    let gpu = gpu();
    let Some(mut ring) = Ring::new(&gpu) else { return };
    let mut runner = load(&gpu, "tiny/llama");
    let blocks: Vec<BlockId> = (0..4).map(BlockId).collect();
    let entry = Entry { tokens: &[1], start: 3, blocks: &blocks, outputs: Outputs::Last };
    let nothing = Nothing::new(&gpu).unwrap();
    let mut results = Results::default();
    let mut parts = |profile: Profile<'_>| {
        let before = gpu.submissions();
        runner
            .step(&[entry], Want::Argmax, &mut results, Profile { ring: Some(&mut ring), ..profile })
            .unwrap();
        gpu.submissions() - before
    };
    // Neither of the first two tells the pace, at which the third is still cut.
    let found = [
        parts(Profile { nothing: Some(&nothing), ..Profile::default() }),
        parts(Profile { without: Some(&|at| at % 2 == 0), ..Profile::default() }),
        parts(Profile::default()),
    ];
    assert!(found[2] > 2 && found == [found[2]; 3], "{found:?}");
}
