//! Limits: what a device is opened with, and the least that the kernels ask for.

/// Which limits a device is opened with. Low ones make one device behave as others will.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LimitProfile {
    /// All that the adapter has.
    #[default]
    Adapter,
    /// WebGPU's defaults, which every WebGPU device has: 8 storage buffers a stage, 128 MiB
    /// bindings, 16 KiB workgroup memory, 256 invocations, 65,535 groups.
    WebGpu,
    /// wgpu's limits for older devices, with 4 storage buffers a stage.
    Downlevel,
    /// These.
    Custom(Box<wgpu::Limits>),
}

impl LimitProfile {
    /// The limits to ask an adapter with `has` for: never more than it has.
    pub fn limits(&self, has: wgpu::Limits) -> wgpu::Limits {
        match self {
            Self::Adapter => has,
            Self::WebGpu => wgpu::Limits::default().or_worse_values_from(&has),
            Self::Downlevel => wgpu::Limits::downlevel_defaults().or_worse_values_from(&has),
            Self::Custom(limits) => limits.clone().or_worse_values_from(&has),
        }
    }
}

/// Refuses limits under which no step could run, in words.
///
/// # Errors
/// Every limit that is too low: what the kernels ask for, and what there is.
pub(super) fn refuse_too_low(limits: &wgpu::Limits) -> Result<(), String> {
    // WebGPU's defaults, which tests/portability.rs holds every kernel to.
    let least = wgpu::Limits::default();
    let all = [
        (
            "storage buffers per kernel",
            limits.max_storage_buffers_per_shader_stage,
            least.max_storage_buffers_per_shader_stage,
        ),
        (
            "invocations per workgroup",
            limits.max_compute_invocations_per_workgroup,
            least.max_compute_invocations_per_workgroup,
        ),
        (
            "bytes of workgroup memory",
            limits.max_compute_workgroup_storage_size,
            least.max_compute_workgroup_storage_size,
        ),
    ];
    let low = all.iter().filter(|(_, has, least)| has < least);
    let low: Vec<String> = low.map(|(what, has, least)| format!("{least} {what}, it offers {has}")).collect();
    if low.is_empty() { Ok(()) } else { Err(format!("the kernels need {}", low.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_never_asks_for_more_than_there_is() {
        let has = wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..wgpu::Limits::default() };
        let profiles = [LimitProfile::Adapter, LimitProfile::WebGpu, LimitProfile::Custom(Box::default())];
        for profile in profiles {
            assert_eq!(profile.limits(has.clone()).max_storage_buffer_binding_size, 1 << 20, "{profile:?}");
        }
    }

    #[test]
    fn what_no_kernel_can_run_under_is_refused_by_name() {
        assert_eq!(refuse_too_low(&wgpu::Limits::default()), Ok(()));
        let error = refuse_too_low(&wgpu::Limits::downlevel_defaults()).unwrap_err();
        assert!(error.contains("8 storage buffers per kernel, it offers 4"), "{error}");
    }
}
