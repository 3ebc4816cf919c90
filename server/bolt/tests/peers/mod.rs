//! Upstream's binaries, as oracles. They get copies of files only: some write to what they inspect.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The path of an upstream binary.
pub(crate) fn path(name: &str) -> PathBuf {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        cache.unwrap_or_else(home).join("holdfast/peers")
    };
    let folder = std::env::var_os("HOLDFAST_PEERS").map_or_else(cache, PathBuf::from);
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run `make peers`", path.display());
    path
}

/// Runs an upstream binary to its end.
pub(crate) fn run(name: &str, args: &[&str]) -> Output {
    Command::new(path(name)).args(args).output().expect("a binary that was found starts")
}

/// Runs an upstream binary that must succeed; what it printed.
pub(crate) fn print(name: &str, args: &[&str]) -> String {
    let output = run(name, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {}\n{text}\n{errors}", output.status);
    text
}
