//! What a device can't hold is refused before anything is allocated, and a device that is lost never
//! gives numbers.

use std::path::Path;
use std::sync::Arc;

use ridgepoint::cache::{BlockId, CacheConfig};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::{AdapterChoice, Checks, Error as GpuError, Gpu, Kept, LimitProfile, OpenOptions};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Entry, Error, Limits, Outputs, Results, Runner, Want};

fn limits(tokens: usize, blocks: u32) -> Limits {
    Limits {
        tokens,
        outputs: 1,
        context: 128,
        sequences: 1,
        cache: CacheConfig::new(blocks),
        cache_type: CacheType::F16,
    }
}

fn load(gpu: &Arc<Gpu>, limits: Limits) -> Result<Runner, Error> {
    let file = ModelFile::open(Path::new("tests/data/tiny/llama")).unwrap();
    let mut read = 0;
    let runner = Runner::load(gpu, &file, limits, &mut |done, _| read = done);
    assert!(runner.is_ok() || read == 0, "{read} bytes of weights were read before the refusal");
    runner
}

fn within(change: impl FnOnce(&mut wgpu::Limits)) -> Result<Arc<Gpu>, GpuError> {
    let mut limits = wgpu::Limits::default();
    change(&mut limits);
    let options = OpenOptions { limits: LimitProfile::Custom(Box::new(limits)), ..Default::default() };
    Gpu::open_with(&AdapterChoice::Best, &options)
}

#[test]
fn what_can_not_fit_is_refused_with_what_would() {
    let gpu = within(|limits| limits.max_storage_buffer_binding_size = 16_384).expect("an adapter");
    // One KV head: 2 x 16 numbers of 2 bytes a token.
    let error = load(&gpu, limits(4, 17)).unwrap_err().to_string();
    for part in ["17408 bytes", "allows 16384", "256 tokens", "--max-model-len"] {
        assert!(error.contains(part), "'{part}' in: {error}");
    }
    load(&gpu, limits(4, 16)).unwrap();
    // Gate and up: 2 x 128 floats a token.
    let error = load(&gpu, limits(17, 16)).unwrap_err().to_string();
    for part in
        ["17 tokens of a step", "17408 bytes", "allows 16384", "16 fit: lower --max-num-batched-tokens"]
    {
        assert!(error.contains(part), "'{part}' in: {error}");
    }
}

#[test]
fn a_step_wider_than_a_dispatch_is_refused_with_what_fits() {
    let gpu = within(|limits| limits.max_compute_workgroups_per_dimension = 16).expect("an adapter");
    let error = load(&gpu, limits(17, 8)).unwrap_err().to_string();
    assert!(error.contains("--max-num-batched-tokens 16 fits"), "{error}");
}

#[test]
fn a_device_that_can_run_no_kernel_is_refused_at_once() {
    let options = OpenOptions { limits: LimitProfile::Downlevel, ..Default::default() };
    let error = Gpu::open_with(&AdapterChoice::Best, &options).unwrap_err().to_string();
    assert!(error.contains("8 storage buffers per kernel, it offers 4"), "{error}");
}

/// `destroy` is how a driver's reset looks from here: the device is gone between two steps.
#[test]
fn a_lost_device_is_an_error_and_never_zeros() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let mut runner = load(&gpu, limits(8, 8)).unwrap();
    let entry = Entry { tokens: &[3, 4, 5], start: 0, blocks: &[BlockId(0)], outputs: Outputs::Last };
    let mut results = Results::default();
    runner.run(&[entry], Want::Argmax, &mut results).unwrap();
    assert_eq!(results.ids.len(), 1);
    gpu.device.destroy();
    for want in [Want::Argmax, Want::Candidates, Want::Rows] {
        let error = runner.run(&[entry], want, &mut results).unwrap_err();
        assert!(matches!(error, Error::Gpu(GpuError::Lost(_))), "{error:?}");
        assert!(error.to_string().contains("not usable"), "{error}");
        assert!(results.ids.is_empty() && results.logits.is_empty(), "{results:?}");
    }
    let no_logits = Entry { outputs: Outputs::None, ..entry };
    assert!(runner.run(&[no_logits], Want::Argmax, &mut results).is_err());
    assert!(runner.logits_row(0).is_err());
    assert!(gpu.wait().is_err());
}

/// On a driver that has something to keep, a second start begins with it; llvmpipe and SwiftShader
/// have nothing, and leave no file.
#[test]
fn compiled_pipelines_are_kept_where_the_driver_has_any() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let pipelines = Some(folder.path().to_path_buf());
        Gpu::open_with(&AdapterChoice::Best, &OpenOptions { pipelines, ..Default::default() }).unwrap()
    };
    let gpu = open();
    let mut runner = load(&gpu, limits(8, 8)).unwrap();
    runner.prepare(&[1]).unwrap();
    let kept = gpu.keep_pipelines().unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    match kept {
        Kept::Bytes(n) => assert!(n > 0 && files == 1),
        Kept::Nothing | Kept::Off => assert_eq!(files, 0),
    }
    if gpu.adapter.is_software() && gpu.adapter.backend == "vulkan" {
        assert_eq!(kept, Kept::Nothing, "{}", gpu.adapter.name);
    }
    // The next start has the file, or none, and answers the same.
    let mut again = load(&open(), limits(8, 8)).unwrap();
    again.prepare(&[1]).unwrap();
}
