//! `--cpu-profile`: where the host's time goes, by sampling stacks (crate pprof).
//!
//! A cargo feature of its own, since it brings 40 crates; and for Unix only, since samples are taken
//! by a timer's signal.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Global;

/// The flag.
#[derive(Debug, Default, Args)]
pub(super) struct CpuProfile {
    /// Sample the host's stacks and write them: FILE.svg is a flame graph, FILE.pb pprof's format
    /// (on Unix, unless built without the feature cpu-profile)
    #[arg(long, value_name = "FILE.svg|.pb", value_parser = target)]
    cpu_profile: Option<Target>,
}

/// A file and what is written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A flame graph.
    Svg,
    /// pprof's protocol buffer.
    Protobuf,
}

fn target(text: &str) -> Result<Target, String> {
    let path = PathBuf::from(text);
    let format = match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Format::Svg,
        Some("pb") => Format::Protobuf,
        _ => return Err("expected a file that ends in .svg (a flame graph) or .pb (for pprof)".into()),
    };
    Ok(Target { path, format })
}

impl CpuProfile {
    /// Runs `work`, and if the flag is given, writes a profile of it, also when it fails.
    pub(super) fn around<T>(
        &self,
        global: &Global,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Some(target) = &self.cpu_profile else { return work() };
        let sampler = sampler::Sampler::start()?;
        let result = work();
        let samples = sampler.write(&target.path, target.format)?;
        let path = target.path.display();
        global.note(&format!("{samples} samples of the host's stacks in {path}"));
        result
    }
}

#[cfg(all(unix, feature = "cpu-profile"))]
mod sampler {
    use std::fs::File;
    use std::io::Write;

    use anyhow::Context;
    use pprof::protos::Message;

    use super::{Format, Path};

    /// Samples a second of processor time: a prime, so that no loop keeps step with it.
    const FREQUENCY: i32 = 499;

    /// Takes samples while it lives.
    pub(super) struct Sampler(pprof::ProfilerGuard<'static>);

    impl Sampler {
        pub(super) fn start() -> anyhow::Result<Self> {
            let sampler = pprof::ProfilerGuardBuilder::default()
                .frequency(FREQUENCY)
                // Unwinding inside these from a signal can deadlock (pprof's README).
                .blocklist(&["libc", "libgcc", "pthread", "vdso"])
                .build();
            sampler.map(Self).context("starting the sampling of stacks")
        }

        /// Writes what was sampled; how many samples.
        pub(super) fn write(self, path: &Path, format: Format) -> anyhow::Result<isize> {
            let report = self.0.report().build().context("resolving the sampled stacks")?;
            let samples: isize = report.data.values().sum();
            if samples == 0 {
                anyhow::bail!(
                    "no stack was sampled: the run took less than {} ms of processor time",
                    1000 / FREQUENCY
                );
            }
            let mut file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
            match format {
                Format::Svg => report.flamegraph(&mut file).context("drawing the flame graph")?,
                Format::Protobuf => {
                    let bytes = report.pprof().context("encoding the profile")?.write_to_bytes()?;
                    file.write_all(&bytes)?;
                }
            }
            Ok(samples)
        }
    }
}

#[cfg(not(all(unix, feature = "cpu-profile")))]
mod sampler {
    use super::{Format, Path};

    /// What stands for it in a build without it.
    pub(super) struct Sampler(std::convert::Infallible);

    impl Sampler {
        pub(super) fn start() -> anyhow::Result<Self> {
            anyhow::bail!(
                "this build has no --cpu-profile: build it on Linux or macOS with `cargo build --release --features cpu-profile`"
            )
        }

        pub(super) fn write(self, _: &Path, _: Format) -> anyhow::Result<isize> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_ending_says_what_is_written() {
        assert_eq!(target("a/b.svg").map(|t| t.format), Ok(Format::Svg));
        assert_eq!(target("b.pb").map(|t| t.format), Ok(Format::Protobuf));
        for bad in ["b", "b.txt", ".svg", ""] {
            assert!(target(bad).unwrap_err().contains(".svg"), "{bad}");
        }
    }

    fn quiet() -> Global {
        crate::cli::Cli::parse_from(["ridgepoint", "--quiet", "man"]).global
    }

    #[test]
    fn without_the_flag_only_the_work_runs() {
        let mut ran = false;
        CpuProfile::default()
            .around(&quiet(), || {
                ran = true;
                Ok(())
            })
            .unwrap();
        assert!(ran);
    }

    /// With the feature, a profile of this test; without it, an error before any work is done.
    #[test]
    fn a_profile_is_written_or_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        for (name, begin) in [("cpu.svg", &b"<?xml"[..]), ("cpu.pb", &b"\n"[..])] {
            let path = folder.path().join(name);
            let flag = CpuProfile { cpu_profile: Some(target(path.to_str().unwrap()).unwrap()) };
            let mut sum = 0.0_f64;
            let result = flag.around(&quiet(), || {
                sum = (0..40_000_000).map(|i| f64::from(i).sqrt()).sum();
                Ok(())
            });
            if cfg!(all(unix, feature = "cpu-profile")) {
                result.unwrap();
                assert!(sum > 0.0 && std::fs::read(&path).unwrap().starts_with(begin), "{name}");
            } else {
                assert!(result.unwrap_err().to_string().contains("--features cpu-profile"));
                assert!(sum == 0.0 && !path.exists());
            }
        }
    }
}
