//! `-m MODEL`, for every command that needs a model, and `-ngl`, for every one that computes.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::hub::{DEFAULT_MODEL, Hub};

/// Names a model.
#[derive(Clone, Debug, Args)]
pub struct ModelArg {
    /// A name from `ridgepoint models list`, USER/REPO or USER/REPO:QUANT on Hugging Face (also as -hf),
    /// a .gguf file, or a Hugging Face model directory. Names and repositories are fetched when absent
    /// [default: RIDGEPOINT_MODEL, else smollm2-135m-instruct]
    // Not clap's `env` and `default_value`: a model that is named without a flag excludes this flag, and neither
    // of those.
    #[arg(long, visible_alias = "hf-repo", short, value_name = "MODEL")]
    pub model: Option<String>,
}

impl ModelArg {
    /// What was named, by the flag or the environment, or the usual one.
    pub fn name(&self) -> String {
        let set = || Some(std::env::var_os("RIDGEPOINT_MODEL")?.to_string_lossy().into_owned());
        let named = self.model.clone().or_else(|| set().filter(|name| !name.is_empty()));
        named.unwrap_or_else(|| DEFAULT_MODEL.to_string())
    }

    /// The file or directory, fetched if it has to be.
    ///
    /// # Errors
    /// If there is no such model or it can't be fetched.
    pub fn resolve(&self, global: &Global) -> anyhow::Result<PathBuf> {
        Ok(Hub::from_env(global.network()?)?.resolve(&self.name(), &global.progress())?)
    }
}

/// llama.cpp's users ask for layers on the GPU, where they all are.
#[derive(Clone, Debug, Default, Args)]
pub struct GpuLayersArg {
    /// Taken where it asks for all layers (also as -ngl): every one is on the GPU
    #[arg(long, value_name = "N|all", value_parser = gpu_layers)]
    n_gpu_layers: Option<u64>,
}

impl GpuLayersArg {
    /// Refuses a number below a model's own.
    ///
    /// # Errors
    /// Names both.
    pub fn are_all(&self, layers: usize) -> anyhow::Result<()> {
        match self.n_gpu_layers {
            Some(n) if n < layers as u64 => anyhow::bail!(
                "--n-gpu-layers {n}: expected at least {layers}, all of the model's: every layer is on the GPU, and there is no other path"
            ),
            _ => Ok(()),
        }
    }
}

fn gpu_layers(text: &str) -> Result<u64, String> {
    match (text, text.parse::<i64>()) {
        ("all" | "auto", _) | (_, Ok(-1)) => Ok(u64::MAX),
        (_, Ok(n)) if n >= 0 => Ok(n as u64),
        _ => Err("expected a number of layers, or all".into()),
    }
}
