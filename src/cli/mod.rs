//! The command line: one file (or folder) per subcommand, a variant in `Command` and a line in its
//! `run`.
//!
//! Results go to stdout, progress and logs to stderr. The exit code is 0 when all went well, 1 on
//! any error, 2 on a command line that can't be understood.

mod arguments;
mod bench;
mod ceilings;
mod chat;
mod chat_template;
mod compare;
mod completions;
mod cpu_profile;
mod detokenize;
mod devices;
mod doctor;
pub mod engine_args;
mod explain;
mod isa;
mod limits;
pub mod load;
mod logits;
mod man;
mod model_arg;
mod models;
mod outputs;
mod perplexity;
mod printable;
mod progress;
mod quantize;
mod roofline;
mod run;
mod sampling;
mod sequence;
mod serve;
mod session;
mod text;
mod token_ids;
mod tokenize;

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use model_arg::ModelArg;
pub use progress::Bar;

use crate::format::tokenizer::panics_are_caught;
use crate::hub::Network;

const ENVIRONMENT: &str = "\
Environment:
  RIDGEPOINT_ADAPTER  Stands for --adapter
  RIDGEPOINT_LIMITS   Stands for --limits
  RIDGEPOINT_LOG      Stands for --log
  RIDGEPOINT_MODEL    Stands for --model
  RIDGEPOINT_CACHE    Folder for fetched models and all else that is kept (by default
                      'ridgepoint' in the user's cache folder)
  LLAMA_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME
                      The first that is set says where the Hugging Face cache of other programs
                      lies (by default ~/.cache/huggingface/hub); it is read first
  HF_ENDPOINT         Address of Hugging Face or of a mirror
  HF_TOKEN            Access token, sent to that address only
  HF_HUB_OFFLINE      1 stands for --offline
A variable that is set to nothing is as one that isn't set.";

/// The commit that this was built from; `unknown` where the source came without its repository.
const COMMIT: &str = env!("RIDGEPOINT_COMMIT");
/// How many commits lead to it; 0 where that is not known.
const BUILD: &str = env!("RIDGEPOINT_BUILD");

/// A portable LLM inference engine that knows its own roofline.
#[derive(Debug, Parser)]
#[command(
    name = "ridgepoint",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RIDGEPOINT_COMMIT"), ")"),
    after_help = ENVIRONMENT,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// Flags of every command.
    #[command(flatten)]
    global: Global,
}

/// The log's name for what people would read on stderr: shown whatever the log's level is, as that is.
const NOTES: &str = "ridgepoint::note";

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// An object a line
    Json,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Compute on this adapter: part of its name, or its index in `ridgepoint devices`
    #[arg(long, global = true, value_name = "NAME|INDEX", env = "RIDGEPOINT_ADAPTER")]
    pub adapter: Option<String>,
    /// Use no more of the adapter than this: how one device shows what others will do
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LIMITS",
        env = "RIDGEPOINT_LIMITS",
        default_value_t
    )]
    pub limits: limits::LimitsArg,
    /// Print no progress and no notes, only results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print logs of this level to stderr: error, warn, info, debug, trace, or a filter such as
    /// ridgepoint=debug,wgpu=warn
    /// [default: warn; for serve info]
    #[arg(long, global = true, value_name = "LEVEL", env = "RIDGEPOINT_LOG")]
    pub log: Option<String>,
    /// How logs are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Fetch nothing: use cached models only (also by HF_HUB_OFFLINE=1)
    #[arg(long, global = true)]
    pub offline: bool,
}

impl Global {
    /// Whether models may be fetched.
    ///
    /// # Errors
    /// When the environment's word on it can't be read.
    pub fn network(&self) -> anyhow::Result<Network> {
        Ok(if self.offline { Network::Offline } else { Network::from_env()? })
    }

    /// A progress display on stderr, silent with `--quiet`.
    pub fn progress(&self) -> Bar {
        Bar::new(match self.log_format {
            _ if self.quiet => progress::Show::Nothing,
            LogFormat::Text => progress::Show::for_stderr(),
            LogFormat::Json => progress::Show::Log,
        })
    }

    /// Tells the user something on stderr, in the log's form; nothing with `--quiet`.
    pub fn note(&self, text: &str) {
        match self.log_format {
            _ if self.quiet => {}
            LogFormat::Text => eprintln!("{text}"),
            LogFormat::Json => tracing::info!(target: NOTES, "{text}"),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a prompt
    Run(run::Run),
    /// Measure speed
    Bench(bench::Bench),
    Ceilings(ceilings::Ceilings),
    Roofline(roofline::Roofline),
    Explain(explain::Explain),
    /// Talk with a model
    Chat(chat::Chat),
    /// Serve a model to many users at once, by OpenAI's API
    Serve(serve::Serve),
    /// List, fetch and look into models
    Models(models::Models),
    Logits(logits::Logits),
    Perplexity(perplexity::Perplexity),
    Tokenize(tokenize::Tokenize),
    Detokenize(detokenize::Detokenize),
    /// List the adapters, what they can do, and which one is chosen
    Devices(devices::Devices),
    /// Compare every kernel, and a tiny model, with plain loops on the processor
    Doctor(doctor::Doctor),
    Compare(compare::Compare),
    Isa(isa::Isa),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Print the manual page
    Man(man::Man),
}

impl Command {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Run(command) => command.run(global),
            Self::Bench(command) => command.run(global),
            Self::Roofline(command) => command.run(global),
            Self::Explain(command) => command.run(global),
            Self::Ceilings(command) => command.run(global),
            Self::Chat(command) => command.run(global),
            Self::Serve(command) => command.run(global),
            Self::Models(command) => command.run(global),
            Self::Logits(command) => command.run(global),
            Self::Perplexity(command) => command.run(global),
            Self::Tokenize(command) => command.run(global),
            Self::Detokenize(command) => command.run(global),
            Self::Devices(command) => command.run(global),
            Self::Doctor(command) => command.run(global),
            Self::Compare(command) => command.run(global),
            Self::Isa(command) => command.run(global),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let matches = arguments::read(Cli::command());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    hide_caught_panics();
    if let Err(error) = survive_a_full_disk().and_then(|()| start_log(&cli)) {
        return outcome(Err(error), LogFormat::Text);
    }
    outcome(cli.command.run(&cli.global), cli.global.log_format)
}

/// The exit code of a command that ended so; an error is printed.
fn outcome(ended: anyhow::Result<()>, format: LogFormat) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `ridgepoint models list | head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                LogFormat::Text => report(&error),
                LogFormat::Json => tracing::error!(target: NOTES, "{error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// A panic that becomes an error is that error to a person, and nothing else.
fn hide_caught_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !panics_are_caught() {
            usual(info);
        }
    }));
}

/// A write beyond the limit on files' sizes shall end in an error, as on a full disk does, not in a
/// signal that ends the program.
#[cfg(unix)]
fn survive_a_full_disk() -> anyhow::Result<()> {
    // Any handler will do; nobody looks at the flag.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
    Ok(())
}

#[cfg(not(unix))]
fn survive_a_full_disk() -> anyhow::Result<()> {
    Ok(())
}

fn start_log(cli: &Cli) -> anyhow::Result<()> {
    // A server's log is what it shows; wgpu's own would drown it.
    let speaks = matches!(cli.command, Command::Serve(_)) && !cli.global.quiet;
    let usual = if speaks { "warn,ridgepoint=info" } else { "warn" };
    let level = cli.global.log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(level).map_err(|error| {
        anyhow::anyhow!(
            "--log '{level}' can't be read: {error}; expected error, warn, info, debug, trace, or a filter"
        )
    })?;
    let filter = match cli.global.log_format {
        LogFormat::Text => filter,
        LogFormat::Json => filter.add_directive(format!("{NOTES}=info").parse()?),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match cli.global.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        kind.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Prints the error and its causes. Nothing can be done if stderr is gone.
fn report(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {}", printable::message(&error.to_string()));
    for cause in error.chain().skip(1) {
        let _ = writeln!(stderr, "  caused by: {}", printable::message(&cause.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_seen_through_its_wrappers() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::new(pipe()).context("writing")));
        assert!(is_broken_pipe(&anyhow::Error::new(serde_json::Error::io(pipe()))));
        assert!(!is_broken_pipe(&anyhow::Error::new(io::Error::from(io::ErrorKind::NotFound))));
    }
}
