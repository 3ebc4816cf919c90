//! The verbs of etcdctl and etcdutl.
//!
//! [`ctl`] talks to a cluster, [`utl`] works on files of a member that does not run. Arguments,
//! environment, output and exit codes are those of upstream's tools of version 3.6; where ours
//! differ, `docs/CONFORMANCE.md` says why. Standard streams and the environment come in as a
//! [`Console`].
//!
//! Must hold: exit code 0 only when what was asked was done; no password or token in any output; a
//! file that is only looked at is never written to.

mod args;
mod console;
mod failure;
mod go;
mod keys;
mod offline;
mod online;
mod print;

pub use console::Console;

use args::{Command, Given, Refusal, Shape, Wish};
use failure::Failure;

/// The version of upstream's tools that ours answer to.
pub const VERSION: &str = "3.6.16";
/// The API's version.
pub const API_VERSION: &str = "3.6";

/// Runs a verb of etcdctl; `program` is how messages name the tool, `arguments` stand behind that
/// name. Gives the process's exit code.
pub fn ctl(program: &str, arguments: &[String], console: &Console) -> u8 {
    let tool = Tool { root: &online::ROOT, program, shape: Shape::Sections };
    tool.run(arguments, console, |given| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|why| Failure::error(format!("cannot start: {why}")))?;
        let ended = runtime.block_on(online::run(program, given, console.clone()));
        // A read of standard input may still wait; nobody waits for it.
        runtime.shutdown_background();
        ended
    })
}

/// Runs a verb of etcdutl; as [`ctl`].
pub fn utl(program: &str, arguments: &[String], console: &Console) -> u8 {
    let tool = Tool { root: &offline::ROOT, program, shape: Shape::Plain };
    tool.run(arguments, console, |given| offline::run(program, &given, console))
}

/// One of the two tools.
struct Tool<'a> {
    root: &'static Command,
    program: &'a str,
    shape: Shape,
}

impl Tool<'_> {
    fn run(
        &self,
        arguments: &[String],
        console: &Console,
        verb: impl FnOnce(Given) -> Result<(), Failure>,
    ) -> u8 {
        let ended = match args::parse(self.root, self.program, arguments) {
            Ok(Wish::Help(path)) => console.print(args::page(self.program, &path, self.shape)),
            Ok(Wish::Run(given)) => verb(given),
            Err(refusal) => return self.refuse(&refusal, console),
        };
        let Err(failure) = ended else { return 0 };
        if !failure.words.is_empty() {
            console.complain(format!("Error: {}", failure.words));
        }
        failure.code
    }

    /// Like upstream: etcdctl shows its page on standard output, etcdutl on standard error.
    fn refuse(&self, refusal: &Refusal, console: &Console) -> u8 {
        console.complain(format!("Error: {}", refusal.words));
        match &refusal.page_of {
            None => console.complain(format!("Run '{} --help' for usage.", self.program)),
            Some(path) => {
                let page = args::page(self.program, path, self.shape);
                if self.shape == Shape::Sections {
                    let _ = console.print(page);
                } else {
                    console.complain(page);
                }
            }
        }
        1
    }
}
