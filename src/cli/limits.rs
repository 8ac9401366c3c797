//! `--limits`: which of the adapter's limits a device is opened with.

use clap::ValueEnum;

use crate::gpu::LimitProfile;

/// The values of `--limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LimitsArg {
    /// All that the adapter has
    #[default]
    Adapter,
    /// What WebGPU promises everywhere: 8 storage buffers of 128 MiB, 256 invocations, 16 KiB of
    /// workgroup memory
    Webgpu,
    /// Less than that, as GPUs before WebGPU have it: refused, since no kernel could run
    Downlevel,
}

impl From<LimitsArg> for LimitProfile {
    fn from(arg: LimitsArg) -> Self {
        match arg {
            LimitsArg::Adapter => Self::Adapter,
            LimitsArg::Webgpu => Self::WebGpu,
            LimitsArg::Downlevel => Self::Downlevel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_profile() {
        let profiles: Vec<LimitProfile> = LimitsArg::value_variants().iter().map(|&arg| arg.into()).collect();
        assert_eq!(profiles, [LimitProfile::Adapter, LimitProfile::WebGpu, LimitProfile::Downlevel]);
        assert_eq!(LimitProfile::from(LimitsArg::default()), LimitProfile::Adapter);
    }
}
