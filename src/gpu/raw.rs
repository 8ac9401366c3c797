//! The one place that creates shader modules without runtime checks, hands a driver what it once
//! compiled, or looks below wgpu.
//!
//! Unchecked modules are sound because every index that a kernel uses comes from sizes and tables which the host has
//! validated before the dispatch (token ids below the vocabulary, blocks inside the pool, ragged
//! edges clamped in the kernel), every loop is bounded by such a size, and the text is ours alone.
//! `ridgepoint doctor --checked` runs every case with every index watched (`bounds.rs`) and compares.
//! That loops end is not watched but read: each counts from one number to another, both constants or
//! sizes in a uniform that the host made, and changes its counter nowhere else.
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

/// Bytes that this process may use of the largest device-local heap, and those that it uses.
///
/// # Errors
/// In words, why the driver doesn't tell.
#[cfg(not(target_vendor = "apple"))]
#[expect(unsafe_code, reason = "raw handles: a query of the physical device's memory, nothing is created")]
pub(super) fn vulkan_budget(device: &wgpu::Device) -> Result<[u64; 2], String> {
    use ash::vk;
    // SAFETY: the handles are used while `device` borrows them, for queries only.
    let device = unsafe { device.as_hal::<wgpu::hal::api::Vulkan>() };
    let device = device.ok_or("only Vulkan tells how much memory a device has")?;
    let shared = device.shared_instance();
    let (instance, physical) = (shared.raw_instance(), device.raw_physical_device());
    // SAFETY: `physical` belongs to `instance`, which outlives `device`.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) };
    let known = extensions.is_ok_and(|all| {
        all.iter().any(|e| e.extension_name_as_c_str() == Ok(ash::ext::memory_budget::NAME))
    });
    if !known || shared.instance_api_version() < vk::API_VERSION_1_1 {
        return Err("the driver lacks VK_EXT_memory_budget".into());
    }
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: Vulkan 1.1 has the call, and the physical device the extension of the chained struct.
    unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
    let memory = properties.memory_properties;
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize).enumerate();
    let local = heaps.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    let (at, _) = local.max_by_key(|(_, heap)| heap.size).ok_or("Vulkan lists no device-local heap")?;
    Ok([budget.heap_budget[at], budget.heap_usage[at]])
}

/// Bytes that this process may use, and those that it uses: Metal has no such query here.
///
/// # Errors
/// Always.
#[cfg(target_vendor = "apple")]
pub(super) fn vulkan_budget(_: &wgpu::Device) -> Result<[u64; 2], String> {
    Err("only Vulkan tells how much memory a device has".into())
}
