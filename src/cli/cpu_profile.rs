//! `--cpu-profile`: where the host's time goes, by sampling stacks (crate pprof).
//!
//! A cargo feature of its own, since it brings 40 crates; and for Unix only, since samples are taken
//! by a timer's signal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::Global;
use super::outputs::writable;
use super::run::INTERRUPTED;
use sampler::Sampler;

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
        writable(&target.path)?;
        let sampler = Sampler::start()?;
        let result = work();
        target.finish(global, sampler, result)
    }

    /// As [`CpuProfile::around`], of work that hears no Ctrl-C: that writes the profile so far, and ends the program.
    pub(super) fn around_until_interrupted<T>(
        &self,
        global: &Global,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Some(target) = &self.cpu_profile else { return work() };
        writable(&target.path)?;
        let sampler = Arc::new(Mutex::new(Some(Sampler::start()?)));
        let (by_signal, to, told) = (Arc::clone(&sampler), target.clone(), global.clone());
        ctrlc::set_handler(move || {
            // Held until the program ends, so that the work can't end it first.
            let mut sampler = by_signal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sampler) = sampler.take()
                && let Err(error) = to.finish(&told, sampler, Ok(()))
            {
                told.note(&format!("no profile was written: {error:#}"));
            }
            leave();
        })?;
        let result = work();
        match sampler.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(sampler) => target.finish(global, sampler, result),
            None => result,
        }
    }
}

/// Ends the process while the work still runs: the driver's own clean-up at exit would take away what it is using.
fn leave() -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(INTERRUPTED);
    #[cfg(not(unix))]
    std::process::exit(INTERRUPTED);
}

impl Target {
    /// Writes the profile of work that ended so.
    fn finish<T>(&self, global: &Global, sampler: Sampler, result: anyhow::Result<T>) -> anyhow::Result<T> {
        match (result, sampler.write(&self.path, self.format)) {
            (result, Ok(seen)) => {
                global.note(&format!("{}: {seen}", self.path.display()));
                result
            }
            (Ok(_), Err(error)) => Err(error),
            // What went wrong first is what there is to mend.
            (Err(first), Err(error)) => {
                global.note(&format!("no profile was written either: {error:#}"));
                Err(first)
            }
        }
    }
}

#[cfg(all(unix, feature = "cpu-profile"))]
mod sampler {
    use std::fmt;
    use std::fs::File;
    use std::io::Write;

    use anyhow::Context;
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    use pprof::protos::Message;

    use super::{Format, Path};

    /// Samples a second of processor time: fewer than a kernel's ticks, which are 100 to 1000, since the timer
    /// knows no time between; a prime, so that no loop keeps step with it.
    const FREQUENCY: i32 = 97;

    /// What samples miss, where they miss much: Mesa's threads block every signal, and what they take is told
    /// to a thread that sleeps in the C library.
    const UNSEEN: &str =
        " (not seen: threads that take no signals, as a software adapter's workers are, and the C library)";

    /// A name as a line of folded stacks can hold it: `;` ends a name there.
    fn unfolded(name: &str) -> String {
        name.replace(';', ",")
    }

    /// What a profile has seen of the time that its process took.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) struct Seen {
        samples: isize,
        /// Samples a second of processor time, had all been seen.
        frequency: i32,
        /// Seconds of processor time, all threads together.
        taken: f64,
    }

    impl fmt::Display for Seen {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let seconds = self.samples as f64 / f64::from(self.frequency);
            write!(
                f,
                "{} samples of the host's stacks, {seconds:.1} of {:.1} s of processor time",
                self.samples, self.taken
            )?;
            if seconds < 0.9 * self.taken {
                f.write_str(UNSEEN)?;
            }
            Ok(())
        }
    }

    /// Takes samples while it lives.
    pub(super) struct Sampler {
        guard: pprof::ProfilerGuard<'static>,
        /// What the process had taken before, in seconds.
        before: f64,
    }

    /// Seconds of processor time that the process has taken, in all its threads.
    fn taken() -> anyhow::Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).context("asking for the processor time taken")?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 * 1e-6)
    }

    impl Sampler {
        pub(super) fn start() -> anyhow::Result<Self> {
            let sampler = pprof::ProfilerGuardBuilder::default()
                .frequency(FREQUENCY)
                // Unwinding inside these from a signal can deadlock (pprof's README).
                .blocklist(&["libc", "libgcc", "pthread", "vdso"])
                .build();
            let guard = sampler.context("starting the sampling of stacks")?;
            Ok(Self { guard, before: taken()? })
        }

        /// Writes what was sampled.
        pub(super) fn write(self, path: &Path, format: Format) -> anyhow::Result<Seen> {
            let taken = taken()? - self.before;
            let mut report = self.guard.report();
            if format == Format::Svg {
                report.frames_post_processor(|stack| {
                    for symbol in stack.frames.iter_mut().flatten() {
                        symbol.name = Some(unfolded(&symbol.name()).into_bytes());
                    }
                });
            }
            let report = report.build().context("resolving the sampled stacks")?;
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
            Ok(Seen { samples, frequency: FREQUENCY, taken })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_stays_one_name() {
            assert_eq!(unfolded("submit<[CommandBuffer; 1]>"), "submit<[CommandBuffer, 1]>");
        }

        #[test]
        fn what_was_not_seen_is_told() {
            let seen = |samples, taken| Seen { samples, frequency: 100, taken }.to_string();
            let half = seen(465, 9.3);
            assert!(half.contains("4.7 of 9.3 s of processor time (not seen: threads"), "{half}");
            assert!(seen(900, 9.3).ends_with("9.0 of 9.3 s of processor time"));
        }
    }
}

#[cfg(not(all(unix, feature = "cpu-profile")))]
mod sampler {
    use std::convert::Infallible;

    use super::{Format, Path};

    /// What stands for it in a build without it.
    pub(super) struct Sampler(Infallible);

    impl Sampler {
        pub(super) fn start() -> anyhow::Result<Self> {
            anyhow::bail!(
                "this build has no --cpu-profile: build it on Linux or macOS with `cargo build --release --features cpu-profile`"
            )
        }

        pub(super) fn write(self, _: &Path, _: Format) -> anyhow::Result<Infallible> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A process has one sampler: tests take turns.
    static TURN: Mutex<()> = Mutex::new(());

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

    #[test]
    fn a_file_that_can_t_be_written_keeps_the_work_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no such folder/cpu.svg");
        let flag = CpuProfile { cpu_profile: Some(target(path.to_str().unwrap()).unwrap()) };
        let mut ran = false;
        let error = flag.around(&quiet(), || {
            ran = true;
            Ok(())
        });
        assert!(!ran && error.is_err());
    }

    #[test]
    #[cfg(all(unix, feature = "cpu-profile"))]
    fn the_work_s_own_error_is_kept() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/cpu.svg");
        std::fs::create_dir(folder.path().join("gone")).unwrap();
        let flag = CpuProfile { cpu_profile: Some(target(path.to_str().unwrap()).unwrap()) };
        let result = flag.around(&quiet(), || {
            std::fs::remove_dir(folder.path().join("gone")).unwrap();
            Err::<(), _>(anyhow::anyhow!("the model is broken"))
        });
        assert_eq!(result.unwrap_err().to_string(), "the model is broken");
    }

    /// With the feature, a profile of this test; without it, an error before any work is done.
    #[test]
    fn a_profile_is_written_or_refused_before_the_work() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
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
