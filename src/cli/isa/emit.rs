//! `ridgepoint isa --emit`: programs in the languages that drivers are given.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;

use super::Chosen;
use crate::gpu::{Translation, expand};

/// A shader language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// The expanded text, which wgpu is given
    Wgsl,
    /// Vulkan's, binary
    Spirv,
    /// Metal's
    Msl,
    /// Direct3D 12's
    Hlsl,
}

impl Language {
    fn extension(self) -> &'static str {
        match self {
            Self::Wgsl => "wgsl",
            Self::Spirv => "spv",
            Self::Msl => "metal",
            Self::Hlsl => "hlsl",
        }
    }

    fn write(self, chosen: &Chosen) -> anyhow::Result<Vec<u8>> {
        let text = expand(&chosen.program).map_err(anyhow::Error::msg)?;
        let translation = Translation::new(&text, chosen.needs.uses()).map_err(anyhow::Error::msg)?;
        let bytes = match self {
            Self::Wgsl => Ok(text.into_bytes()),
            Self::Spirv => translation.spirv(translation.lowest_spirv()).map(|w| words(&w)),
            Self::Msl => translation.msl().map(String::into_bytes),
            Self::Hlsl => translation.hlsl().map(String::into_bytes),
        };
        bytes.map_err(|e| anyhow::anyhow!("'{}' can't be written: {e}", chosen.program.label()))
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Writes the programs into a folder, or prints them.
pub(super) fn emit(language: Language, programs: &[Chosen], folder: Option<&Path>) -> anyhow::Result<()> {
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
        for chosen in programs {
            let name = chosen.program.label().replace([' ', '/'], "-");
            let path = folder.join(name).with_extension(language.extension());
            fs::write(&path, language.write(chosen)?)
                .with_context(|| format!("writing {}", path.display()))?;
            writeln!(io::stdout(), "{}", path.display())?;
        }
        return Ok(());
    }
    let mut out = io::stdout().lock();
    if language == Language::Spirv {
        let [one] = programs else {
            anyhow::bail!(
                "{} programs in SPIR-V can't be printed one after the other: name one in full{}, or give --output DIR",
                programs.len(),
                programs.first().map_or(String::new(), |one| format!(", as in '{}'", one.program.label()))
            );
        };
        if out.is_terminal() {
            anyhow::bail!("SPIR-V is binary: give --output DIR, or redirect the output to a file");
        }
        out.write_all(&language.write(one)?)?;
        return Ok(());
    }
    for chosen in programs {
        writeln!(out, "// {}", chosen.program.label())?;
        out.write_all(&language.write(chosen)?)?;
        writeln!(out)?;
    }
    Ok(())
}
