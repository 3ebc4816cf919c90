//! `holdfast snapshots`: what a vault holds, and what was proven of it.

use super::access::VaultArguments;
use super::store::Output;
use super::{runtime, text};
use clap::Args;
use comfy_table::{Cell, CellAlignment};
use holdfast_vault::proto::CatalogueEntry;
use holdfast_vault::vault::Vault;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `holdfast snapshots`.
#[derive(Args)]
pub(crate) struct SnapshotsArguments {
    #[command(flatten)]
    vault: VaultArguments,
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(crate) fn run(arguments: &SnapshotsArguments) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let vault = arguments.vault.resolve()?.open().await?;
        match arguments.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&as_json(&vault))?),
            Output::Table => print(&vault),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn as_json(vault: &Vault) -> Value {
    let pins = &vault.head().pins;
    let entry = |entry: CatalogueEntry| {
        let pin = pins.iter().find(|pin| pin.snapshot == entry.number);
        json!({
            "number": entry.number,
            "revision": entry.revision,
            "compact_revision": entry.compact_revision,
            "taken_ms": entry.taken_ms,
            "time_ms": entry.time_ms,
            "proven_level": entry.proven_level.checked_sub(1),
            "proven_ms": entry.proven_ms,
            "record_count": entry.record_count,
            "live_bytes": entry.live_bytes,
            "uploaded_bytes": entry.uploaded_bytes,
            "raft_index": entry.raft_index,
            "contested": entry.contested,
            "source_version": entry.source_version,
            "pinned": pin.map(|pin| pin.reason.as_str()),
        })
    };
    Value::Array(vault.snapshots().into_iter().map(entry).collect())
}

fn print(vault: &Vault) {
    let now = super::now_ms();
    let header =
        ["snapshot", "taken", "age", "revision", "records", "size", "added", "proven", "etcd", ""];
    let mut table = text::table(&header);
    for column in [0, 2, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let pins = &vault.head().pins;
    let snapshots = vault.snapshots();
    for entry in &snapshots {
        let pin = pins.iter().find(|pin| pin.snapshot == entry.number);
        let remark = match pin {
            Some(pin) => format!("pinned: {}", pin.reason),
            None if entry.contested => "members disagreed".to_owned(),
            None => String::new(),
        };
        table.add_row(
            [
                entry.number.to_string(),
                text::minute(entry.taken_ms),
                text::span(now - entry.taken_ms),
                entry.revision.to_string(),
                entry.record_count.to_string(),
                text::bytes(entry.live_bytes),
                text::bytes(entry.uploaded_bytes),
                proven(entry),
                entry.source_version.clone(),
                remark,
            ]
            .map(Cell::new),
        );
    }
    if snapshots.is_empty() {
        println!("{}: no snapshot yet; `holdfast agent --once` takes one", vault.store().address());
    } else {
        println!("{table}");
        println!("{}", super::restore::head(vault, now));
    }
    if vault.is_unsealed() {
        println!("This vault is NOT SEALED: whoever reads the store reads the cluster's secrets.");
    }
}

fn proven(entry: &CatalogueEntry) -> String {
    match entry.proven_level.checked_sub(1) {
        Some(level) => format!("L{level} {} ago", text::span(super::now_ms() - entry.proven_ms)),
        None => "never".to_owned(),
    }
}
