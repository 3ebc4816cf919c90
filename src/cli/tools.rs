//! `ctl` and `utl`: the verbs of etcdctl and etcdutl, also when we are called by these names.
//!
//! Their arguments are in upstream's notation, not ours, so they are handed on unread.

use clap::Args;
use holdfast_ctl::Console;
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
    // What is no UTF-8 would be another key: better refused by clap, as any other verb's.
    let rest: Vec<String> = words.map(|word| word.into_string().ok()).collect::<Option<_>>()?;
    let code = match Path::new(&own).file_name().and_then(|name| name.to_str()) {
        Some("etcdctl") => holdfast_ctl::ctl("etcdctl", &rest, &Console::of_process()),
        Some("etcdutl") => holdfast_ctl::utl("etcdutl", &rest, &Console::of_process()),
        _ => match rest.split_first() {
            Some((word, rest)) if word == "ctl" => {
                holdfast_ctl::ctl(CTL, rest, &Console::of_process())
            }
            Some((word, rest)) if word == "utl" => {
                holdfast_ctl::utl(UTL, rest, &Console::of_process())
            }
            _ => return None,
        },
    };
    Some(ExitCode::from(code))
}

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
