//! `ctl` and `utl`: the verbs of etcdctl and etcdutl, also when we are called by these names.
//!
//! Their arguments are in upstream's notation, not ours, so they are handed on unread.

use clap::Args;
use holdfast_ctl::Console;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Handed on unread.
#[derive(Args)]
pub(crate) struct ToolArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) arguments: Vec<String>,
}

/// Runs one of the two tools if we are called by its name, or with its name as the first word.
pub(crate) fn run() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let own = words.next()?;
    let mut words: Vec<OsString> = words.collect();
    let name = match Path::new(&own).file_name().and_then(|name| name.to_str()) {
        Some("etcdctl") => "etcdctl",
        Some("etcdutl") => "etcdutl",
        _ => {
            let name = match words.first().and_then(|word| word.to_str()) {
                Some("ctl") => CTL,
                Some("utl") => UTL,
                _ => return None,
            };
            words.remove(0);
            name
        }
    };
    let texts: Result<Vec<String>, OsString> =
        words.into_iter().map(OsString::into_string).collect();
    let rest = match texts {
        Ok(rest) => rest,
        Err(word) => {
            // What is no UTF-8 would become another key.
            eprintln!(
                "Error: the argument {word:?} is no UTF-8; give such a value on standard input"
            );
            return Some(ExitCode::from(BAD_ARGUMENTS));
        }
    };
    let console = Console::of_process();
    Some(ExitCode::from(match name {
        "etcdutl" | UTL => holdfast_ctl::utl(name, &rest, &console),
        _ => holdfast_ctl::ctl(name, &rest, &console),
    }))
}

/// Upstream's exit code for arguments that cannot be.
const BAD_ARGUMENTS: u8 = 128;
const CTL: &str = "holdfast ctl";
const UTL: &str = "holdfast utl";

/// `holdfast <options> ctl …`
pub(crate) fn ctl(given: &ToolArguments) -> ExitCode {
    ExitCode::from(holdfast_ctl::ctl(CTL, &given.arguments, &Console::of_process()))
}

/// `holdfast <options> utl …`
pub(crate) fn utl(given: &ToolArguments) -> ExitCode {
    ExitCode::from(holdfast_ctl::utl(UTL, &given.arguments, &Console::of_process()))
}
