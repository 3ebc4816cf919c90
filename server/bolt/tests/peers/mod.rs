//! Upstream's binaries, as oracles. They get copies of files only: some write to what they inspect.

use std::process::{Command, Output};

pub(crate) use holdfast_peers::peer as path;

/// Runs an upstream binary to its end.
pub(crate) fn run(name: &str, args: &[&str]) -> Output {
    Command::new(path(name)).args(args).output().expect("a binary that was found starts")
}

/// Runs an upstream binary that must succeed; what it printed.
pub(crate) fn print(name: &str, args: &[&str]) -> String {
    holdfast_peers::run(Command::new(path(name)).args(args))
}
