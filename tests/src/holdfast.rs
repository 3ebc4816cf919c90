//! Our own binary as it ships: run as a process, with nothing of the caller's environment that
//! would steer it.

use crate::peers::holdfast;
use std::process::{Command, Output};

/// Prepares a run of the binary; add arguments and environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(holdfast());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "ETCD", "HOLDFAST_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.args(args);
    command
}

/// Runs it; it must succeed. What it prints.
///
/// # Panics
/// It fails; with what it says.
pub fn succeed(args: &[&str]) -> String {
    crate::etcd::run(&mut command(args))
}

/// Runs it; it must fail. What it says, both streams.
///
/// # Panics
/// It succeeds, or is ended by a signal (a crash is no refusal).
pub fn refuse(args: &[&str]) -> String {
    let mut command = command(args);
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.code().is_some_and(|code| code != 0), "{command:?}: {status}\n{said}");
    assert!(!said.contains("panicked at"), "{command:?}: {said}");
    said
}
