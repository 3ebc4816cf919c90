//! `holdfast agent`: the daemon, or one round of it.

use super::logging::{self, LogArguments};
use super::text;
use clap::Args;
use holdfast_agent::round::RoundReport;
use holdfast_agent::{Config, Mode, Outcome, Parts};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `holdfast agent`.
#[derive(Args)]
pub(crate) struct AgentArguments {
    /// The configuration; see etc/agent.yaml
    #[arg(
        long,
        value_name = "FILE",
        env = "HOLDFAST_CONFIG",
        default_value = "/etc/holdfast/agent.yaml"
    )]
    config: PathBuf,
    /// Do one round and exit: 0 when a snapshot stands
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(arguments: &AgentArguments, log: &LogArguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    logging::start(log, Some(&config.log));
    let mode = if arguments.once { Mode::Once } else { Mode::Daemon };
    let parts = Parts::new(super::access::connect());
    match holdfast_agent::run(config, mode, parts)? {
        Outcome::Stopped => {}
        Outcome::Round(report) => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &RoundReport) {
    let entry = &report.entry;
    let (records, size) = (entry.record_count, text::bytes(entry.live_bytes));
    if report.stored {
        let (added, number) = (text::bytes(entry.uploaded_bytes), entry.number);
        println!(
            "snapshot {number}: revision {}, {records} records, {size}; added {added}",
            entry.revision
        );
    } else {
        println!("snapshot {} of another agent is as new: nothing to add", entry.number);
    }
    let hash = match report.hash_equal {
        Some(true) => "HashKV equals the member's",
        Some(false) => "HashKV DIFFERS from the member's",
        None => "no member gave a HashKV to compare with",
    };
    println!(
        "  taken from {}, stream {}; {hash}",
        report.endpoint,
        text::bytes(report.stream_bytes)
    );
    for alarm in &report.alarms {
        println!("  ALARM: {alarm}");
    }
}
