//! Whose figures a report has: the adapter, and of a software adapter the processor that it computes on.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// The device and how shaders were built for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The adapter's name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software`, `simulated` or `other`.
    pub kind: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Smallest and largest subgroup.
    pub subgroup_size: [u32; 2],
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// Whether shaders run on the host's processor: then the figures are the processor's.
    pub software: bool,
    /// `trusted` or `checked`: ceilings and kernels alike.
    pub checks: String,
    /// wgpu's version.
    pub wgpu: String,
    /// Of a software adapter the host's processor and how many of its cores may be used, in words; none of
    /// others, and in reports that don't say.
    #[serde(default)]
    pub processor: Option<String>,
}

/// The host's processor and its usable cores, `AMD EPYC 7B13, 2 cores`; without a name where the system has
/// none to read.
pub(super) fn processor() -> String {
    let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cores = format!("{cores} core{}", if cores == 1 { "" } else { "s" });
    model(&facts).map_or(cores.clone(), |name| format!("{name}, {cores}"))
}

/// The model's name in the words of Linux's `/proc/cpuinfo`.
fn model(facts: &str) -> Option<&str> {
    let line = facts.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_its_name_and_its_cores() {
        let facts = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A CPU @ 2.00GHz\n\nmodel name\t: B\n";
        assert_eq!(model(facts), Some("A CPU @ 2.00GHz"));
        assert_eq!((model("BogoMIPS\t: 50.00\n"), model("model name\t:\n")), (None, None));
        assert!(processor().contains(" core"), "{}", processor());
    }
}
