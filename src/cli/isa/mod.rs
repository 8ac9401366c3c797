//! `ridgepoint isa`: what GPU compilers make of the kernels, without the GPU.

mod compile;
mod emit;
mod family;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::doctor::Status;
use crate::gpu::Program;
use crate::kernels::{KERNELS, Needs};
use emit::Language;

/// Show what GPU compilers make of the kernels: registers, spills, occupancy, instructions
///
/// Without flags, for four families of AMD GPUs, none of which has to be here: Mesa's RADV compiles
/// for a GPU that it is told of (package mesa-vulkan-drivers).
#[derive(Debug, Args)]
pub struct Isa {
    /// Only programs whose name has every one of these words (a kernel's name, a format, a flag), or the one
    /// whose whole name they are
    #[arg(value_name = "KERNEL", value_parser = word)]
    words: Vec<String>,
    /// AMD families, comma-separated, by RADV's names
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = family::name, default_value = family::DEFAULT)]
    family: Vec<String>,
    /// List the families, and which of them the installed RADV accepts
    #[arg(long, conflicts_with_all = ["family", "here", "emit", "words"])]
    families: bool,
    /// Ask the drivers of this machine's adapters, those that have
    /// VK_KHR_pipeline_executable_properties; with --adapter only those with that in their name
    #[arg(long, conflicts_with_all = ["family", "emit"])]
    here: bool,
    /// Print the programs themselves in a language: what a driver is given
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with_all = ["family", "json"])]
    emit: Option<Language>,
    /// Write one file per program into this folder
    #[arg(long, value_name = "DIR", requires = "emit")]
    output: Option<PathBuf>,
    /// With each program the driver's assembly of it
    #[arg(long, conflicts_with = "emit")]
    assembly: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A program with the kernel that it is of.
#[derive(Debug)]
struct Chosen {
    kernel: &'static str,
    program: Program,
    needs: Needs,
}

/// A word of the command line: an empty one would stand for every program.
fn word(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a word of a program's name; for every program leave it out".into()),
        word => Ok(word.to_string()),
    }
}

impl Isa {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let adapter = self.adapter(global)?;
        let status = Status::new(global.quiet);
        if self.families {
            return self.list(&status);
        }
        let programs = self.programs(&status)?;
        if let Some(language) = self.emit {
            status.clear();
            return emit::emit(language, &programs, self.output.as_deref());
        }
        let report = if self.here {
            compile::here(&programs, self.assembly, adapter, &status)?
        } else {
            family::compile(&self.family, &self.words, self.assembly, &status)?
        };
        status.clear();
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table::table(&report))?;
        }
        Ok(())
    }

    /// What an adapter's name must have, for `--here`. Elsewhere a flag is refused, and a variable, which is
    /// for every command, means nothing.
    fn adapter<'a>(&self, global: &'a Global) -> anyhow::Result<Option<&'a str>> {
        let Some(name) = global.adapter.as_deref().map(str::trim).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        if self.here {
            let index = name.parse::<usize>().is_ok();
            anyhow::ensure!(
                !index,
                "--adapter {name}: the drivers here are listed in an order of their own; give a part of the adapter's name"
            );
            return Ok(Some(name));
        }
        let by_variable = std::env::var("RIDGEPOINT_ADAPTER").is_ok_and(|set| set.trim() == name);
        anyhow::ensure!(
            by_variable,
            "--adapter {name}: only with --here; without it no adapter of this machine is asked"
        );
        Ok(None)
    }

    /// Each program of the kernels once, if its label has all the words, or is them.
    fn programs(&self, status: &Status) -> anyhow::Result<Vec<Chosen>> {
        let mut found: BTreeMap<Program, Chosen> = BTreeMap::new();
        for kernel in KERNELS {
            // Cases are costly to make; a word that names a kernel leaves the others out.
            let names_one = |word: &String| KERNELS.iter().any(|k| k.name() == word);
            if self.words.iter().any(|word| names_one(word) && kernel.name() != word) {
                continue;
            }
            status.now(&format!("collecting the programs of {}", kernel.name()));
            for case in kernel.cases() {
                let chosen = Chosen { kernel: kernel.name(), program: case.program, needs: case.needs };
                found.entry(chosen.program.clone()).or_insert(chosen);
            }
        }
        // A name in full is that program's alone, though another's may have all its words too.
        let whole = self.words.join(" ");
        let exact = found.values().any(|c| c.program.label() == whole);
        let wanted = |c: &Chosen| {
            let label = c.program.label();
            if exact { label == whole } else { self.words.iter().all(|word| label.contains(word.as_str())) }
        };
        let chosen: Vec<Chosen> = found.into_values().filter(wanted).collect();
        if chosen.is_empty() {
            let names: Vec<&str> = KERNELS.iter().map(|k| k.name()).collect();
            anyhow::bail!(
                "no program has all of '{}' in its name; kernels: {}; formats, flags and numbers are words too, as in 'linear_split q4_k norm'",
                self.words.join(" "),
                names.join(", ")
            );
        }
        Ok(chosen)
    }

    fn list(&self, status: &Status) -> anyhow::Result<()> {
        let list = family::accepted(status)?;
        status.clear();
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &list)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table::families(&list.families))?;
        }
        Ok(())
    }
}
