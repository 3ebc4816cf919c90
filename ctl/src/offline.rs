//! The verbs that work on files: a snapshot, or the data directory of a member that does not run.
//!
//! Must hold: a file that is only looked at is opened for reading and never written to; a file that
//! is replaced keeps its old content until the new one is whole and on the disk.

mod commands;
mod copy;
mod defrag;
mod digest;
mod hashkv;
mod migrate;
mod restore;
mod status;

pub(crate) use commands::{RESTORE_FLAGS, ROOT};

use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use crate::print::{Answer, Printer};
use std::io;
use std::path::Path;

/// Runs a verb.
///
/// # Errors
/// The verb's, with upstream's exit codes.
pub(crate) fn run(program: &str, given: &Given, console: &Console) -> Result<(), Failure> {
    match given.verb().as_str() {
        "version" => {
            let (version, api) = (crate::VERSION, crate::API_VERSION);
            console.line(format!("etcdutl version: {version}\nAPI version: {api}"))
        }
        "completion" => crate::online::script(program, &ROOT, given.arguments(), console),
        "snapshot status" => {
            let path = only(given, "snapshot status requires exactly one argument")?;
            there(path)?;
            let printer = Printer::new(given.text("write-out"), false)?;
            let status = status::of(path, console)?;
            printer.print(console, &Answer::FileStatus(&status))
        }
        "hashkv" => {
            let [path] = given.arguments() else {
                let words = format!("accepts 1 arg(s), received {}", given.arguments().len());
                return Err(Failure::error(words));
            };
            let printer = Printer::new(given.text("write-out"), false)?;
            there(Path::new(path))?;
            let hash = hashkv::of(Path::new(path), given.int("rev"))?;
            printer.print(console, &Answer::FileHash(&hash))
        }
        "snapshot restore" => restore::run(given, console),
        "defrag" => {
            required(given, &["data-dir"])?;
            defrag::run(Path::new(given.text("data-dir")), console)
        }
        "migrate" => {
            required(given, &["data-dir", "target-version"])?;
            migrate::run(given, console)
        }
        other => Err(Failure::arguments(format!("{other} is not built in"))),
    }
}

fn only<'a>(given: &'a Given, otherwise: &str) -> Result<&'a Path, Failure> {
    match given.arguments() {
        [path] => Ok(Path::new(path)),
        _ => Err(Failure::arguments(otherwise)),
    }
}

fn required(given: &Given, names: &[&str]) -> Result<(), Failure> {
    let missing: Vec<String> =
        names.iter().filter(|name| !given.is_given(name)).map(|name| format!("{name:?}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::error(format!("required flag(s) {} not set", missing.join(", "))))
}

/// Fails in Go's words if there is nothing at the path.
fn there(path: &Path) -> Result<(), Failure> {
    std::fs::metadata(path).map(|_| ()).map_err(|why| {
        let words = match why.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => why.to_string(),
        };
        Failure::error(format!("stat {}: {words}", path.display()))
    })
}

/// A failure at a path.
fn at(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::error(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests;
