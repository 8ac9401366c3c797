//! `-m MODEL`, for every command that needs a model.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::hub::{DEFAULT_MODEL, Hub};

/// Names a model.
#[derive(Clone, Debug, Args)]
pub struct ModelArg {
    /// A name from `ridgepoint models list`, USER/REPO or USER/REPO:QUANT on Hugging Face (also as -hf),
    /// a .gguf file, or a Hugging Face model directory. Names and repositories are fetched when absent
    #[arg(long, visible_alias = "hf-repo", short, value_name = "MODEL", env = "RIDGEPOINT_MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
}

impl ModelArg {
    /// The file or directory, fetched if it has to be.
    ///
    /// # Errors
    /// If there is no such model or it can't be fetched.
    pub fn resolve(&self, global: &Global) -> anyhow::Result<PathBuf> {
        Ok(Hub::from_env(global.network()?)?.resolve(&self.model, &global.progress())?)
    }
}
