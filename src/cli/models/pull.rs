//! `ridgepoint models pull`.

use std::io::{self, Write};

use clap::Args;

use crate::cli::Global;
use crate::hub::{DEFAULT_MODEL, Hub, Progress, Pulled};

/// Fetch models into the cache, and check the sha256 of those that are there.
#[derive(Debug, Args)]
pub struct Pull {
    /// Names from `ridgepoint models list`, or USER/REPO[:QUANT] on Hugging Face
    #[arg(value_name = "NAME", default_value = DEFAULT_MODEL)]
    names: Vec<String>,
    /// One of them by its flag, as other commands take it (also as -hf)
    #[arg(
        long = "model",
        visible_alias = "hf-repo",
        short = 'm',
        value_name = "MODEL",
        conflicts_with = "names"
    )]
    named: Vec<String>,
}

impl Pull {
    /// Prints the path of each model on stdout.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let hub = Hub::from_env(global.network()?)?;
        let progress = global.progress();
        for name in if self.named.is_empty() { &self.names } else { &self.named } {
            let (path, pulled) = hub.pull(name, &progress)?;
            progress.note(match pulled {
                Pulled::Present => "it is in the cache, and its sha256 is right",
                Pulled::Fetched => "fetched, and it is what the source says that it is",
                Pulled::Found => "it is in the cache",
                Pulled::Given => "it is a path: there is nothing to fetch",
            });
            writeln!(io::stdout(), "{}", path.display())?;
        }
        Ok(())
    }
}
