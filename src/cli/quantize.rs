//! `--quantize FORMAT`, for every command that computes.

use clap::{Args, ValueEnum};

use super::Global;
use crate::format::ModelFile;
use crate::quant;
use crate::units::Bytes;

/// The formats that floats can become on the way to the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Quantization {
    /// 8 bits and a scale for 32 weights
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits and a scale for 32 weights
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits, a scale and a minimum for 32 weights
    #[value(name = "q4_1")]
    Q4_1,
}

/// Whether floats become smaller while they are loaded.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct QuantizeArg {
    /// Quantize every matrix of F32, F16 or BF16 while it is loaded, such as those of safetensors
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub quantize: Option<Quantization>,
}

impl QuantizeArg {
    /// Makes the file hand out what was asked for, and says so.
    ///
    /// # Errors
    /// When the file has no matrices of floats.
    pub fn apply(self, file: &mut ModelFile, global: &Global) -> anyhow::Result<()> {
        let Some(quantization) = self.quantize else { return Ok(()) };
        let name = match quantization {
            Quantization::Q8_0 => "Q8_0",
            Quantization::Q4_0 => "Q4_0",
            Quantization::Q4_1 => "Q4_1",
        };
        let Some(format) = quant::by_name(name) else { anyhow::bail!("the format {name} is not known") };
        let before = file.weight_bytes();
        let count = file.quantize(format)?;
        if !global.quiet {
            let (before, after) = (Bytes(before), Bytes(file.weight_bytes()));
            eprintln!("note: {count} matrices become {name}: {before} of weights become {after}");
        }
        Ok(())
    }
}
