//! The one place that creates shader modules without runtime checks, and that hands a driver what it
//! once compiled.
//!
//! Sound because every index that a kernel uses comes from sizes and tables which the host has
//! validated before the dispatch (token ids below the vocabulary, blocks inside the pool, ragged
//! edges clamped in the kernel), every loop is bounded by such a size, and the text is ours alone.
//! `ridgepoint doctor --checked` runs every case with every index watched (`bounds.rs`) and compares.
//! Unchecked, kernels run 4 to 9 times faster on a software driver, where bounds and loop checks
//! keep loops over register tiles from being unrolled.

/// Creates a module of our own text, unchecked.
#[expect(unsafe_code, reason = "trusted modules: indices and loop bounds come from validated sizes")]
pub(super) fn trusted_module(device: &wgpu::Device, label: &str, text: &str) -> wgpu::ShaderModule {
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
    // SAFETY: see the module's documentation.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// A driver's cache of compiled pipelines, begun with `data` from an earlier one.
#[expect(unsafe_code, reason = "the data is what the same driver gave, whole by its hash")]
pub(super) fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
    // SAFETY: `data` comes from `Store::read`, which checks its hash and is keyed by adapter, driver and
    // version; wgpu and the driver check their own headers, and begin empty when those don't fit.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
