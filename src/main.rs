//! The `ridgepoint` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ridgepoint::cli::main()
}
