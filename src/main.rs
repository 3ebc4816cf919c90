//! The one binary: parses the command line, starts logging and dispatches.
//!
//! Must hold: exit code 0 only when what was asked was done; 1 when it was not, with a message on
//! standard error that says what, where and what to do next; 2 when the command line itself is
//! wrong (clap's).

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    // Before a secret is read. A container may forbid it, and a restore must run there too.
    if let Err(error) = holdfast_vault::keys::forbid_core_dumps() {
        eprintln!("holdfast: core dumps could not be forbidden: {error}");
    }
    match cli::dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast: {}", cli::describe(&error));
            ExitCode::FAILURE
        }
    }
}
