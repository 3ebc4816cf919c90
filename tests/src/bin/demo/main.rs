//! `make demo`: the main job on this machine, told step by step.
//!
//! A server with Kubernetes-shaped objects, a backup, an update, a second backup, a drill; then the
//! cluster is destroyed, restored and compared; with an etcd of upstream's it is grown to three,
//! too, since the bundled server stays alone. Must hold: every claim of the
//! closing table is compared, not assumed; any difference ends the demo with exit code 1. Every
//! process is ended before it exits.

mod stage;
mod story;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// The main job of Holdfast, told on this machine.
#[derive(Parser)]
struct Arguments {
    /// The binary to show
    #[arg(long, value_name = "FILE")]
    holdfast: PathBuf,
    /// An etcd that plays the cluster, which is grown to three at the end; left out: the bundled
    /// server, one member
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// How many objects the cluster holds
    #[arg(long, default_value_t = 4000)]
    objects: u64,
    /// How many of them are updated between the backups
    #[arg(long, default_value_t = 200)]
    updates: u64,
    /// Where everything happens; made anew
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    match runtime.block_on(story::tell(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error}");
            ExitCode::FAILURE
        }
    }
}
