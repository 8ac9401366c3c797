//! `ridgepoint models`: the models that have names.

mod inspect;
mod list;
mod pull;

use clap::{Args, Subcommand};

use super::Global;

/// List, fetch and look into models.
#[derive(Debug, Args)]
pub struct Models {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the models that can be fetched by name
    List(list::List),
    /// Show what a model holds, whether it runs, and which contexts fit
    Inspect(inspect::Inspect),
    /// Fetch models into the cache, and check the sha256 of those that are there
    Pull(pull::Pull),
}

impl Models {
    /// Does what was asked for.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        match &self.action {
            Action::List(command) => command.run(global),
            Action::Inspect(command) => command.run(global),
            Action::Pull(command) => command.run(global),
        }
    }
}
