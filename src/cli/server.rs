//! `holdfast server …`, also when called as `etcd`: flags in Go's style, so clap does not see them.

use holdfast_server::engine::EngineBoot;
use std::ffi::{CString, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The name under which the whole program is the server.
const NAME: &str = "etcd";
/// The verb.
const VERB: &str = "server";

/// How long the allocator keeps pages that are free, in milliseconds. Its own second outlasts a
/// load: a server that falls idle keeps what the load took. It reads this before `main` begins.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "0");

/// The server's own arguments, its name first, if it is the server that is asked for.
fn own_arguments(arguments: &[String]) -> Option<Vec<String>> {
    let (name, rest) = arguments.split_first()?;
    if Path::new(name).file_name().is_some_and(|name| name == NAME) {
        return Some(arguments.to_vec());
    }
    let (verb, rest) = rest.split_first()?;
    (verb == VERB).then(|| [std::slice::from_ref(name), rest].concat())
}

/// Runs the server if it is what is asked for.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let arguments: Vec<String> = std::env::args_os().map(text).collect();
    own_arguments(&arguments).map(|own| start(&own))
}

/// Puts this program in its own place, same process, same arguments, with [`PURGE_DELAY`] set;
/// returns where that is set already, or the program cannot be found any more. docs/adr/0006.
fn begin_again_if_memory_would_stay() {
    let (name, value) = PURGE_DELAY;
    let mut arguments = std::env::args_os();
    let (None, Some(own_name), Ok(program)) =
        (std::env::var_os(name), arguments.next(), std::env::current_exe())
    else {
        return;
    };
    let arguments: Vec<OsString> = arguments.collect();
    // What comes back is why it did not work; then the server runs as it is.
    let _ = Command::new(program).arg0(own_name).args(arguments).env(name, value).exec();
}

/// The process is called as it was asked for, also where that was a link to the program.
fn keep_the_name() {
    let own_name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&own_name).file_name().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // Nothing hangs on it but what `ps` shows.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Runs it with these arguments, where an option of ours stood in front of the verb.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    start(&[&[NAME.to_owned()], arguments].concat())
}

fn start(own: &[String]) -> ExitCode {
    begin_again_if_memory_would_stay();
    keep_the_name();
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment: Vec<(String, String)> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    holdfast_server::run::run(own, &environment, Box::new(EngineBoot))
}

#[cfg(test)]
mod tests {
    use super::own_arguments;

    #[test]
    fn the_server_is_known_by_name_or_verb() {
        let own = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            own_arguments(&arguments).map(|own| own.join(" "))
        };
        let verb = own(&["/bin/holdfast", "server", "--name=a"]);
        assert_eq!(verb.as_deref(), Some("/bin/holdfast --name=a"));
        assert_eq!(own(&["/bin/etcd", "--version"]).as_deref(), Some("/bin/etcd --version"));
        assert_eq!(own(&["holdfast", "agent", "server"]), None);
        assert_eq!(own(&["holdfast"]), None);
        assert_eq!(own(&[]), None);
    }
}
