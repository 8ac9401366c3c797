//! AMD's families through RADV's null device: Mesa's Vulkan driver for AMD GPUs compiles for a family
//! that an environment variable names, with no GPU there. The driver reads the variable once, so each
//! family gets a process of its own: this program again, with `--here`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use serde::Serialize;

use super::compile::{PROGRESS, Report, SCHEMA, Target};
use crate::cli::doctor::Status;

/// Four generations, from GCN to RDNA 4.
pub(super) const DEFAULT: &str = "vega10,navi21,phoenix,gfx1201";

/// Families by RADV's names, with their architecture and a product (AMD's pages of each; the names
/// are of Mesa's amd_family.c).
const FAMILIES: &[(&str, &str, &str)] = &[
    ("tahiti", "GCN 1", "Radeon HD 7970"),
    ("hawaii", "GCN 2", "Radeon R9 290"),
    ("fiji", "GCN 3", "Radeon R9 Fury"),
    ("polaris10", "GCN 4", "Radeon RX 480"),
    ("vega10", "GCN 5", "Radeon RX Vega 64"),
    ("vega20", "GCN 5", "Radeon VII"),
    ("raven", "GCN 5", "Ryzen 2000 and 3000 with graphics"),
    ("renoir", "GCN 5", "Ryzen 4000 and 5000 with graphics"),
    ("mi100", "CDNA 1", "Instinct MI100"),
    ("mi200", "CDNA 2", "Instinct MI250X"),
    ("navi10", "RDNA 1", "Radeon RX 5700 XT"),
    ("navi14", "RDNA 1", "Radeon RX 5500 XT"),
    ("navi21", "RDNA 2", "Radeon RX 6900 XT"),
    ("navi22", "RDNA 2", "Radeon RX 6700 XT"),
    ("navi23", "RDNA 2", "Radeon RX 6600 XT"),
    ("vangogh", "RDNA 2", "Steam Deck"),
    ("rembrandt", "RDNA 2", "Radeon 680M"),
    ("navi31", "RDNA 3", "Radeon RX 7900 XTX"),
    ("navi32", "RDNA 3", "Radeon RX 7800 XT"),
    ("navi33", "RDNA 3", "Radeon RX 7600"),
    ("phoenix", "RDNA 3", "Radeon 780M"),
    ("gfx1150", "RDNA 3.5", "Radeon 890M"),
    ("gfx1151", "RDNA 3.5", "Radeon 8060S"),
    ("gfx1200", "RDNA 4", "Radeon RX 9060 XT"),
    ("gfx1201", "RDNA 4", "Radeon RX 9070 XT"),
];

/// A family's name as RADV spells it.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected names of families, as in navi31,gfx1151; --families lists them".into()),
        name => Ok(name.to_ascii_lowercase()),
    }
}

/// The architecture of a family, if it is listed.
pub(super) fn architecture(family: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|(name, ..)| *name == family).map(|(_, architecture, _)| *architecture)
}

/// The list of families: the JSON of `ridgepoint isa --families`.
#[derive(Debug, Serialize)]
pub(super) struct Families {
    /// The version of this shape.
    pub schema_version: u32,
    /// One per family.
    pub families: Vec<Family>,
}

/// A family of the list, and whether the installed RADV knows it.
#[derive(Debug, Serialize)]
pub(super) struct Family {
    /// RADV's name.
    pub family: &'static str,
    /// AMD's name of the architecture.
    pub architecture: &'static str,
    /// A product with it.
    pub product: &'static str,
    /// Whether the installed RADV compiles for it.
    pub accepted: bool,
    /// The driver's version, or its words against it.
    pub driver: String,
}

/// Tries each family of the list with the smallest program.
pub(super) fn accepted(status: &Status) -> anyhow::Result<Families> {
    let tried = all(FAMILIES, |(family, ..)| {
        status.now(&format!("asking RADV for {family}"));
        child(family, &["gated".to_string()], false, &|_| {})
    });
    let families = FAMILIES.iter().zip(tried).map(|(&(family, architecture, product), tried)| {
        let (accepted, driver) = match tried {
            Ok(target) => (true, target.driver),
            Err(error) => (false, error.to_string()),
        };
        Family { family, architecture, product, accepted, driver }
    });
    Ok(Families { schema_version: SCHEMA, families: families.collect() })
}

/// Compiles the programs that have all the words for each family, however often it is named.
pub(super) fn compile(
    families: &[String],
    words: &[String],
    assembly: bool,
    status: &Status,
) -> anyhow::Result<Report> {
    let mut distinct: Vec<&String> = Vec::new();
    for family in families {
        if !distinct.contains(&family) {
            distinct.push(family);
        }
    }
    let names = distinct.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    status.line(&format!("compiling for {names} (RADV's null device; no GPU is used)"));
    let done = AtomicUsize::new(0);
    let targets = all(&distinct, |family| {
        let progress = |text: &str| status.now(&format!("{family}: {text}"));
        let target = child(family, words, assembly, &progress);
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        status.now(&format!("{family} is done, {count} of {} families", distinct.len()));
        target.with_context(|| format!("the family '{family}'"))
    });
    Ok(Report { schema_version: SCHEMA, targets: targets.into_iter().collect::<anyhow::Result<_>>()? })
}

/// Does `each` for every item, as many at a time as there are processors, and keeps their order.
fn all<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let work = || {
        let mut done = Vec::new();
        while let Some((i, item)) = items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((i, each(item)));
        }
        done
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|h| h.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// This program with `--here`, in the environment that makes RADV compile for `family`; `progress` gets the
/// lines that say how far it is.
fn child(
    family: &str,
    words: &[String],
    assembly: bool,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Target> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let mut command = Command::new(program);
    command.args(["isa", "--here", "--json"]).args(assembly.then_some("--assembly"));
    let mut child = command
        .arg("--")
        .args(words)
        .env("RADV_FORCE_FAMILY", family)
        // The family is the adapter.
        .env_remove("RIDGEPOINT_ADAPTER")
        // Every run compiles anew, and leaves nothing behind.
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the compiling process")?;
    let errors = child.stderr.take().context("the child's errors")?;
    let (output, errors) = thread::scope(|scope| {
        let errors = scope.spawn(move || {
            let mut kept = Vec::new();
            for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.starts_with(PROGRESS) { progress(&line) } else { kept.push(line) }
            }
            kept.join("\n")
        });
        (child.wait_with_output(), errors.join().unwrap_or_default())
    });
    let output = output?;
    if !output.status.success() {
        anyhow::bail!("{}", words_of(&errors, output.status));
    }
    let report: Report = serde_json::from_slice(&output.stdout).context("what the child printed")?;
    let target = report.targets.into_iter().find(|t| t.driver.starts_with("radv")).ok_or_else(missing)?;
    Ok(Target { family: Some(family.to_string()), ..target })
}

/// Why a child failed.
fn words_of(errors: &str, status: std::process::ExitStatus) -> String {
    if errors.contains("Unknown family") {
        return "the installed RADV knows no such family; `ridgepoint isa --families` lists those that it knows"
            .into();
    }
    // Without RADV, only the adapters that are really here are left.
    if errors.contains("no adapter here") || errors.contains("no Vulkan loader") {
        return missing().to_string();
    }
    format!("the compiling process ended with {status}: {}", errors.trim())
}

fn missing() -> anyhow::Error {
    anyhow::anyhow!(
        "RADV, Mesa's Vulkan driver for AMD, is not installed: 'mesa-vulkan-drivers' on Debian, Ubuntu and Fedora, 'vulkan-radeon' on Arch"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_keeps_its_order() {
        let items: Vec<usize> = (0..37).collect();
        assert_eq!(all(&items, |i| i * i), items.iter().map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(all(&[] as &[usize], |i| *i), Vec::<usize>::new());
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        assert_eq!(name(" NAVI31 ").unwrap(), "navi31");
        assert_eq!(architecture(&name("Vega10").unwrap()), Some("GCN 5"));
        for empty in ["", "  "] {
            assert!(name(empty).unwrap_err().contains("--families"));
        }
    }

    #[test]
    fn the_default_families_are_of_the_list() {
        for family in DEFAULT.split(',') {
            assert!(architecture(family).is_some(), "{family}");
        }
    }
}
