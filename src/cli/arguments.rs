//! What the command line and the environment may say: llama.cpp's spellings, negative numbers, variables that
//! are set but empty.

use std::env;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command};

/// llama.cpp's flags of one dash and several letters, which are none in this style.
const LLAMA_CPPS: [(&str, &str); 12] = [
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
    ("-pg", "--pg"),
    ("-ub", "--ubatch-size"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    // Some are llama-bench's alone: elsewhere spelled out, so that the error names the whole flag.
    ("-ngl", "--n-gpu-layers"),
    ("-fa", "--flash-attn"),
    ("-mmp", "--mmap"),
    ("-sm", "--split-mode"),
    ("-nkvo", "--no-kv-offload"),
    ("-embd", "--embeddings"),
];

/// Reads the program's own command line; ends the program where there is nothing to run.
pub(super) fn read(command: Command) -> ArgMatches {
    let mut command = adapted(command);
    let words = llama_cpps(env::args_os());
    command.clone().try_get_matches_from(words).unwrap_or_else(|error| {
        // Before that, arguments can't say how they are written.
        command.build();
        let variable = variable_at_fault(&command, &error);
        // Nothing can be done if stderr is gone.
        let _ = error.print();
        if let Some(variable) = variable {
            eprintln!("\nThe value is that of the environment variable {variable}.");
        }
        std::process::exit(error.exit_code())
    })
}

/// Spells flags as llama.cpp's users type them in this program's way. What follows `--` is text and
/// stays.
fn llama_cpps(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let (mut is_text, mut is_prompt) = (false, false);
    arguments.map(move |argument| {
        is_text |= argument == "--";
        let stays = is_text || is_prompt;
        is_prompt = !stays && (argument == "-p" || argument == "--prompt");
        match LLAMA_CPPS.iter().find(|(theirs, _)| !stays && argument == *theirs) {
            Some((_, ours)) => OsString::from(ours),
            None => argument,
        }
    })
}

/// No flag is a number: `--temperature -1` is a value out of range, not an unknown flag. A variable that is
/// set to nothing is as one that isn't set.
fn adapted(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let takes_values = arg.get_action().takes_values();
            let empty = arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
            let arg = arg.allow_negative_numbers(takes_values);
            if empty { arg.env(None) } else { arg }
        })
        .mut_subcommands(adapted)
}

/// The variable that holds a value which was refused.
fn variable_at_fault(command: &Command, error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (flag, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let own = command.get_arguments().find_map(|arg| {
        let variable = arg.get_env()?;
        let holds = env::var_os(variable).is_some_and(|held| held.to_string_lossy() == value);
        (holds && arg.to_string() == flag).then(|| variable.to_string_lossy().into_owned())
    });
    own.or_else(|| command.get_subcommands().find_map(|command| variable_at_fault(command, error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use crate::cli::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        adapted(Cli::command()).debug_assert();
    }

    #[test]
    fn a_negative_number_is_a_value() {
        let read = |line: &str| {
            let words = std::iter::once("ridgepoint").chain(line.split(' '));
            adapted(Cli::command()).try_get_matches_from(words).map_err(|e| e.kind()).err()
        };
        for line in ["run --temperature -1 x", "run --min-p -0.5 x", "run -s -3 x", "run -- -5", "run -5"] {
            assert_eq!(read(line), None, "{line}");
        }
        for line in ["run --max-tokens -1 x", "logits -m x --ids -1,2", "logits -m x --ids 1 --chunk 0"] {
            assert_eq!(read(line), Some(ErrorKind::ValueValidation), "{line}");
        }
        assert_eq!(read("run --quiet=-1 x"), Some(ErrorKind::TooManyValues));
        assert_eq!(read("run --unknown -1"), Some(ErrorKind::UnknownArgument));
    }

    #[test]
    fn flags_of_llama_cpp_are_spelled_our_way_and_text_stays() {
        let words = ["run", "-hf", "A/B", "-p", "-fa", "-fa", "--", "-hf"].map(OsString::from);
        let ours: Vec<_> = llama_cpps(words.into_iter()).collect();
        assert_eq!(ours, ["run", "--hf-repo", "A/B", "-p", "-fa", "--flash-attn", "--", "-hf"]);
    }
}
