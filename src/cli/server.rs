//! `holdfast server …`, also when called as `etcd`: flags in Go's style, so clap does not see them.

use holdfast_server::engine::EngineBoot;
use std::path::Path;
use std::process::ExitCode;

/// The name under which the whole program is the server.
const NAME: &str = "etcd";
/// The verb.
const VERB: &str = "server";

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

/// Runs it with these arguments, where an option of ours stood in front of the verb.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    start(&[&[NAME.to_owned()], arguments].concat())
}

fn start(own: &[String]) -> ExitCode {
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
