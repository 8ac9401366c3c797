//! `ridgepoint completions`.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Written to memory first: clap_complete panics where a pipe breaks.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ridgepoint", &mut script);
        io::stdout().write_all(&script)?;
        Ok(())
    }
}
