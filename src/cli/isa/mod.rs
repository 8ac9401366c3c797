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
use crate::gpu::Program;
use crate::kernels::{KERNELS, Needs};
use emit::Language;

/// Show what GPU compilers make of the kernels: registers, spills, occupancy, instructions
///
/// Without flags, for four families of AMD GPUs, none of which has to be here: Mesa's RADV compiles
/// for a GPU that it is told of (package mesa-vulkan-drivers).
#[derive(Debug, Args)]
pub struct Isa {
    /// Only programs whose name has every one of these words: a kernel's name, a format, a flag
    #[arg(value_name = "KERNEL")]
    words: Vec<String>,
    /// AMD families, comma-separated, by RADV's names
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = family::DEFAULT)]
    family: Vec<String>,
    /// List the families, and which of them the installed RADV accepts
    #[arg(long, conflicts_with_all = ["family", "here", "emit", "words"])]
    families: bool,
    /// Ask the drivers of this machine's adapters, those that have
    /// VK_KHR_pipeline_executable_properties
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

impl Isa {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        if self.families {
            return self.list();
        }
        let programs = self.programs()?;
        if let Some(language) = self.emit {
            return emit::emit(language, &programs, self.output.as_deref());
        }
        let report = if self.here {
            compile::here(&programs, self.assembly)?
        } else {
            family::compile(&self.family, &self.words, self.assembly, global)?
        };
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table::table(&report))?;
        }
        Ok(())
    }

    /// Each program of the kernels once, if its label has all the words.
    fn programs(&self) -> anyhow::Result<Vec<Chosen>> {
        let mut found: BTreeMap<Program, Chosen> = BTreeMap::new();
        for kernel in KERNELS {
            // Cases are costly to make; a word that names a kernel leaves the others out.
            let names_one = |word: &String| KERNELS.iter().any(|k| k.name() == word);
            if self.words.iter().any(|word| names_one(word) && kernel.name() != word) {
                continue;
            }
            for case in kernel.cases() {
                let chosen = Chosen { kernel: kernel.name(), program: case.program, needs: case.needs };
                found.entry(chosen.program.clone()).or_insert(chosen);
            }
        }
        let wanted = |c: &Chosen| {
            let label = c.program.label();
            let parts: Vec<&str> = label.split(' ').collect();
            // A whole word if there is such a word anywhere, else a part of one.
            self.words.iter().all(|word| parts.contains(&word.as_str()) || label.contains(word.as_str()))
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

    fn list(&self) -> anyhow::Result<()> {
        let rows = family::accepted()?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &rows)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", table::families(&rows))?;
        }
        Ok(())
    }
}
