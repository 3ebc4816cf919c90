//! `holdfast vault check`: verifies what is stored, up to level L3.

use crate::cli::access::VaultArguments;
use crate::cli::text;
use anyhow::Context;
use clap::Args;
use holdfast_agent::damage;
use holdfast_restore::check::{check_snapshot, faults_line};
use holdfast_vault::check::{CheckOptions, CheckReport, Level};
use holdfast_vault::snapshot::ReadOptions;
use holdfast_vault::vault::Vault;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `holdfast vault check`.
#[derive(Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    vault: VaultArguments,
    /// 0: objects exist; 1: their digests; 2: they open and decompress; 3: each snapshot builds a
    /// sound database
    #[arg(long, value_name = "0-3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    level: u8,
    /// Only these snapshots and what they need; may be repeated
    #[arg(long = "snapshot", value_name = "N")]
    snapshots: Vec<u64>,
    /// Where level 3 builds; needs room for one database, in clear
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) async fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let place = arguments.vault.resolve()?;
    let state = place.config.as_ref().map(|config| config.state_directory.clone());
    let mut vault = place.open().await?;
    let level = match arguments.level {
        0 => Level::L0,
        1 => Level::L1,
        _ => Level::L2,
    };
    let chosen: BTreeSet<u64> = arguments.snapshots.iter().copied().collect();
    let report = vault.check(&CheckOptions { level, snapshots: chosen }).await?;
    print(&report, level);
    if let Some(directory) = state.filter(|directory| directory.is_dir()) {
        tell_agent(&vault, &report, &directory)?;
    }
    let mut sound = report.findings.is_empty();
    if arguments.level == 3 {
        let folder = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
        for number in &report.sound {
            sound &= check_structure(&mut vault, *number, &folder).await?;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agent's next round stores again what damaged objects held.
fn tell_agent(vault: &Vault, report: &CheckReport, directory: &Path) -> anyhow::Result<()> {
    let damaged = damage::of_findings(vault.chain(), &report.findings);
    if !damaged.is_empty() {
        damage::leave_note(directory, &damaged)
            .with_context(|| format!("{}: the note for the agent", directory.display()))?;
        println!(
            "The agent is told: its next round stores again what {} objects held.",
            damaged.len()
        );
    }
    Ok(())
}

fn print(report: &CheckReport, level: Level) {
    for finding in &report.findings {
        let numbers: Vec<String> = finding.snapshots.iter().map(u64::to_string).collect();
        let needed = match numbers.len() {
            0 => "no snapshot needs it".to_owned(),
            _ => format!("needed by snapshot {}", numbers.join(", ")),
        };
        println!("DAMAGED {}: {} ({needed})", finding.object, finding.detail);
    }
    println!(
        "{} objects, {} read, level {level:?}: {} findings; {} snapshots are sound",
        report.objects,
        text::bytes(report.read_bytes),
        report.findings.len(),
        report.sound.len(),
    );
}

async fn check_structure(vault: &mut Vault, number: u64, folder: &Path) -> anyhow::Result<bool> {
    let reader = vault.reader(number).await?;
    let checked = check_snapshot(&reader, folder, ReadOptions::default()).await;
    let checked = checked.with_context(|| format!("snapshot {number}"))?;
    let hash = match checked.hash_equal {
        Some(true) => "HashKV equals the source's",
        Some(false) => "HashKV DIFFERS from the source's",
        None => "the source gave no HashKV to compare with",
    };
    let faults = faults_line(&checked.findings);
    match &faults {
        None => println!("snapshot {number}: L3, builds a sound database; {hash}"),
        Some(faults) => println!("DAMAGED snapshot {number}: {faults}; {hash}"),
    }
    Ok(faults.is_none() && checked.hash_equal != Some(false))
}
