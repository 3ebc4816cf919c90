//! `holdfast store doctor`: judges an object store by the conformance suite that our own tests run.

use super::{runtime, text};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Cell;
use holdfast_vault::store::doctor::{self, DoctorReport, Verdict};
use holdfast_vault::{Store, StoreOptions};
use std::process::ExitCode;

/// What can be done with a store.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Check that a store keeps the promises a vault needs; writes and removes a few objects below
    /// doctor/
    Doctor(DoctorArguments),
}

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Address of the store: file:///path or s3://bucket/prefix (credentials from AWS_* variables)
    url: String,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

pub(crate) fn run(command: StoreCommand) -> anyhow::Result<ExitCode> {
    let StoreCommand::Doctor(arguments) = command;
    let store =
        Store::open(&arguments.url, StoreOptions { create: true, ..StoreOptions::default() })?;
    let token = super::random_token()?;
    let now = super::now_ms();
    let report = runtime()?.block_on(doctor::examine(&store, &token, now));
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print(&report),
    }
    Ok(if report.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &DoctorReport) {
    let mut table = text::table(&["check", "verdict", "seen", "what to do"]);
    for outcome in &report.outcomes {
        let verdict = match outcome.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        table.add_row([outcome.check, verdict, &outcome.detail, outcome.advice].map(Cell::new));
    }
    println!("{}\n{table}", report.address);
    let verdict = if report.is_fit() {
        "a vault may have its authority here"
    } else {
        "a vault must not have its authority here"
    };
    println!("{verdict}");
}
