//! Which adapters there are, and which one is chosen, and why.

use serde::Serialize;

/// What a person asked for: nothing, an index of the list, or part of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best GPU; a software adapter only if there is nothing else.
    #[default]
    Best,
    /// The index that `ridgepoint devices` prints.
    Index(usize),
    /// Part of the name, ignoring case.
    Name(String),
}

impl From<&str> for AdapterChoice {
    fn from(text: &str) -> Self {
        match text.trim().parse() {
            _ if text.trim().is_empty() => Self::Best,
            Ok(index) => Self::Index(index),
            Err(_) => Self::Name(text.trim().to_string()),
        }
    }
}

/// The facts of an adapter that matter here.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterSummary {
    /// Index in the list, for `--adapter`.
    pub index: usize,
    /// The device's name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Smallest and largest subgroup that the driver may use.
    pub subgroup_size: [u32; 2],
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// GPU timestamps: `inside passes`, `between passes` or `none`.
    pub timestamps: &'static str,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Storage buffers per shader stage.
    pub max_storage_buffers: u32,
    /// Invocations per workgroup.
    pub max_workgroup: u32,
    /// Workgroup memory in bytes.
    pub max_workgroup_memory: u32,
}

impl AdapterSummary {
    fn new(index: usize, adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let features = adapter.features();
        let limits = adapter.limits();
        let timestamps = if features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            "inside passes"
        } else if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            "between passes"
        } else {
            "none"
        };
        Self {
            index,
            name: info.name.clone(),
            kind: kind(info.device_type),
            backend: info.backend.to_str().to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroup: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
        }
    }

    /// Whether shaders run on the host's processor.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// Lower is better: real GPUs first, software last.
fn rank(kind: &str) -> u8 {
    match kind {
        "discrete" => 0,
        "integrated" => 1,
        "virtual" => 2,
        "other" => 3,
        _ => 4,
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
}

/// Every adapter, in the driver's order.
pub fn adapters() -> Vec<AdapterSummary> {
    enumerate().iter().enumerate().map(|(i, a)| AdapterSummary::new(i, a)).collect()
}

/// The adapter chosen among `list`, and why, in a few words.
///
/// # Errors
/// Says what there is when nothing fits the choice, and what to install when there is nothing.
pub fn choose(list: &[AdapterSummary], choice: &AdapterChoice) -> Result<(usize, String), String> {
    let names = || {
        let lines: Vec<String> =
            list.iter().map(|a| format!("  {}: {} ({}, {})", a.index, a.name, a.kind, a.backend)).collect();
        lines.join("\n")
    };
    if list.is_empty() {
        return Err("no Vulkan, Metal or DX12 adapter was found.\n\
             Install your GPU's Vulkan driver; without a GPU, a software driver works: \
             'mesa-vulkan-drivers' and 'libvulkan1' on Debian and Ubuntu (the newest, from backports), \
             'vulkan-swrast' on Arch, 'mesa-vulkan-drivers' on Fedora. scripts/setup.sh does this on Debian and Ubuntu"
            .into());
    }
    match choice {
        AdapterChoice::Index(index) => list
            .get(*index)
            .map(|_| (*index, "asked for by index".to_string()))
            .ok_or_else(|| format!("no adapter has index {index}; there are:\n{}", names())),
        AdapterChoice::Name(part) => {
            let part = part.to_lowercase();
            let mut found: Vec<&AdapterSummary> =
                list.iter().filter(|a| a.name.to_lowercase().contains(&part)).collect();
            found.sort_by_key(|a| (rank(a.kind), a.index));
            found
                .first()
                .map(|a| (a.index, format!("its name contains '{part}'")))
                .ok_or_else(|| format!("no adapter's name contains '{part}'; there are:\n{}", names()))
        }
        AdapterChoice::Best => {
            let best = list.iter().min_by_key(|a| (rank(a.kind), a.index));
            let best = best.ok_or("no adapter")?;
            let why = match (best.is_software(), list.len()) {
                (true, _) => "no GPU was found, so shaders run on the processor".to_string(),
                (false, 1) => "the only adapter".to_string(),
                (false, _) => format!("the first {} GPU", best.kind),
            };
            Ok((best.index, why))
        }
    }
}

/// The adapter for a choice, its facts and the reason.
pub(super) fn pick(choice: &AdapterChoice) -> Result<(wgpu::Adapter, AdapterSummary, String), String> {
    let mut found = enumerate();
    let list: Vec<AdapterSummary> =
        found.iter().enumerate().map(|(i, a)| AdapterSummary::new(i, a)).collect();
    let (index, why) = choose(&list, choice)?;
    Ok((found.swap_remove(index), list[index].clone(), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(index: usize, name: &str, kind: &'static str) -> AdapterSummary {
        AdapterSummary {
            index,
            name: name.into(),
            kind,
            backend: "vulkan".into(),
            driver: String::new(),
            subgroup_size: [8, 8],
            subgroups: true,
            f16: true,
            timestamps: "none",
            max_binding: 1 << 27,
            max_buffer: 1 << 31,
            max_storage_buffers: 8,
            max_workgroup: 256,
            max_workgroup_memory: 16384,
        }
    }

    #[test]
    fn software_comes_last_and_says_so() {
        let list = [fake(0, "llvmpipe", "software"), fake(1, "Radeon 780M", "integrated")];
        assert_eq!(choose(&list, &AdapterChoice::Best).unwrap().0, 1);
        let (index, why) = choose(&list[..1], &AdapterChoice::Best).unwrap();
        assert_eq!(index, 0);
        assert!(why.contains("no GPU"), "{why}");
    }

    #[test]
    fn choices_that_fit_nothing_list_what_there_is() {
        let list = [fake(0, "llvmpipe", "software")];
        for choice in [AdapterChoice::from("7"), AdapterChoice::from("nvidia")] {
            let error = choose(&list, &choice).unwrap_err();
            assert!(error.contains("0: llvmpipe"), "{error}");
        }
        assert!(choose(&[], &AdapterChoice::Best).unwrap_err().contains("Install"));
        assert_eq!(choose(&list, &AdapterChoice::from("LLVM")).unwrap().0, 0);
    }
}
