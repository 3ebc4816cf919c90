//! The verbs of the command line, one file each.
//!
//! Must hold: a verb parses its arguments, calls one library function and prints what that gave
//! back; it decides nothing. Secrets come from files, never from arguments.

pub(crate) mod access;
mod agent;
mod drill;
mod grow;
pub(crate) mod logging;
mod restore;
pub(crate) mod server;
mod snapshots;
mod store;
mod text;
pub(crate) mod tools;
mod vault;

use anyhow::Context;
use clap::{Parser, Subcommand};
use holdfast_vault::format::hex;
use std::process::ExitCode;

/// Backup, restore and disaster recovery for etcd and the Kubernetes control planes in it.
#[derive(Parser)]
#[command(name = "holdfast", version, about, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: logging::LogArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the daemon beside a control-plane node, or one round with --once
    Agent(agent::AgentArguments),
    /// List the snapshots of a vault, and what was proven of each
    Snapshots(snapshots::SnapshotsArguments),
    /// Rebuild a single-member data directory from a vault
    Restore(restore::RestoreArguments),
    /// Put back the directory that the last restore moved aside
    Undo(restore::UndoArguments),
    /// Grow a running single member to three or five, one learner at a time
    Grow(grow::GrowArguments),
    /// Prove a snapshot: restore it into a sandbox, boot it, compare, report
    Drill(drill::DrillArguments),
    /// Create, check, prune and inspect a vault
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Judge an object store
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Run the bundled etcd server, one member: `holdfast server --help`
    #[command(disable_help_flag = true)]
    Server(tools::ToolArguments),
    /// The verbs of etcdctl: `holdfast ctl --help`
    #[command(disable_help_flag = true)]
    Ctl(tools::ToolArguments),
    /// The verbs of etcdutl: `holdfast utl --help`
    #[command(disable_help_flag = true)]
    Utl(tools::ToolArguments),
}

/// Starts logging and runs a command to its end.
pub(crate) fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { log, command } = arguments;
    // The agent's configuration says how it logs.
    if !matches!(command, Command::Agent(_)) {
        logging::start(&log, None);
    }
    match command {
        Command::Agent(arguments) => agent::run(&arguments, &log),
        Command::Snapshots(arguments) => snapshots::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Undo(arguments) => restore::undo(&arguments),
        Command::Grow(arguments) => grow::run(&arguments),
        Command::Drill(arguments) => drill::run(&arguments),
        Command::Vault(command) => vault::run(command),
        Command::Store(command) => store::run(command),
        // Taken before the command line was parsed, unless an option of ours stands in front.
        Command::Server(arguments) => Ok(server::run(&arguments.arguments)),
        Command::Ctl(arguments) => Ok(tools::ctl(&arguments)),
        Command::Utl(arguments) => Ok(tools::utl(&arguments)),
    }
}

/// The runtime of one command. Two workers: the heavy work runs on blocking threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("cannot start the runtime")
}

/// This machine's clock, milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// 16 random hex digits.
pub(crate) fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the system gives no randomness")?;
    Ok(hex(&bytes))
}

/// An error and its causes in one line; causes that only repeat the line before are left out.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_cause_that_repeats_the_line_is_said_once() {
        let error = anyhow::anyhow!("no such key").context("keys.yaml: no such key");
        assert_eq!(describe(&error), "keys.yaml: no such key");
        let error = anyhow::anyhow!("no such key").context("cannot open the vault");
        assert_eq!(describe(&error), "cannot open the vault: no such key");
    }
}
