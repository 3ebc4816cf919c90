//! The server's outside as a process: flags, listeners, TLS, pages, gateway, signals; beside
//! upstream's etcd where it can be asked the same.
//!
//! The server is this test program itself, started once more ([`process`]), with a member that
//! only pretends ([`fake`]).

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod fake;
mod flags;
mod gateway;
mod pages;
mod process;
mod rpcs;
mod tls;

/// Runs the server with the arguments in the environment.
#[test]
#[ignore = "started by process.rs"]
fn started_as_a_server() {
    let Ok(arguments) = std::env::var(process::ARGUMENTS) else { return };
    let arguments: Vec<String> = arguments.split('\u{1f}').map(str::to_owned).collect();
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let code = holdfast_server::run::run(&arguments, &environment, Box::new(fake::Fake));
    std::process::exit(if code == std::process::ExitCode::SUCCESS {
        0
    } else if code == std::process::ExitCode::from(2) {
        2
    } else {
        1
    });
}
