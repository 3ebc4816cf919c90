//! `holdfast drill`: proves a snapshot by restoring it.

use super::access::VaultArguments;
use super::restore::SnapshotArguments;
use super::runtime;
use super::store::Output;
use clap::Args;
use holdfast_restore::drill::{DrillRequest, drill};
use holdfast_restore::fetch::select_in;
use holdfast_restore::server::ServerProgram;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `holdfast drill`.
#[derive(Args)]
pub(crate) struct DrillArguments {
    #[command(flatten)]
    vault: VaultArguments,
    #[command(flatten)]
    which: SnapshotArguments,
    /// An etcd binary to boot instead of the bundled server; a name without a slash is looked up in
    /// PATH
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where the sandbox is made; needs room for the whole database, in clear, while the drill
    /// runs
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// How many records are compared one by one through the server's API
    #[arg(long, default_value_t = 500)]
    sample: usize,
    /// Seconds the server may take to its first linearizable read
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    boot_deadline: u64,
    /// Do not write the report into the vault (for read-only rights)
    #[arg(long)]
    no_record: bool,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(crate) fn run(arguments: &DrillArguments) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let mut vault = arguments.vault.resolve()?.open().await?;
        let selected = select_in(vault.chain(), arguments.which.question()?)?;
        let parent = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
        let server = ServerProgram::named_or_bundled(arguments.server.as_deref());
        let request = DrillRequest {
            sample: arguments.sample,
            boot_deadline: Duration::from_secs(arguments.boot_deadline),
            record: !arguments.no_record,
            ..DrillRequest::new(selected.number, server, &parent)
        };
        let report = drill(&mut vault, &request).await?;
        match arguments.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
            Output::Table => println!("{report}"),
        }
        Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
