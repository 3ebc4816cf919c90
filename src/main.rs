//! The one binary: parses the command line, starts logging and dispatches.
//!
//! Must hold: exit code 0 only when what was asked was done; 1 when it was not, with a message on
//! standard error that says what, where and what to do next; 2 when the command line itself is
//! wrong (clap's).

mod cli;

/// Many small requests from many threads are what the system's allocator does worst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    end_quietly_with_the_reader();
    // Before a secret is read. A container may forbid it, and a restore must run there too.
    if let Err(error) = holdfast_vault::keys::forbid_core_dumps() {
        eprintln!("holdfast: core dumps could not be forbidden: {error}");
    }
    if let Some(code) = cli::server::run_if_asked().or_else(cli::tools::run) {
        return code;
    }
    let arguments = cli::Arguments::parse();
    match cli::dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast: {}", cli::describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads what we print may stop at any line (`| head`): that is no defect to trace, and the
/// process ends as if SIGPIPE had ended it.
fn end_quietly_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(141);
        }
        usual(panic);
    }));
}
