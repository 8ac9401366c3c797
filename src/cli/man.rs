//! `ridgepoint man`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::Cli;

/// Print the manual page.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for every subcommand into this directory instead (made if absent)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.out {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page)?;
                io::stdout().write_all(&page)?;
            }
            Some(folder) => {
                let cannot = || format!("can't write manual pages into {}", folder.display());
                fs::create_dir_all(folder).with_context(cannot)?;
                clap_mangen::generate_to(Cli::command(), folder).with_context(cannot)?;
            }
        }
        Ok(())
    }
}
