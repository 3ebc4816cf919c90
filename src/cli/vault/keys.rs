//! `holdfast vault keys` and `rewrap`.

use crate::cli::access::VaultArguments;
use crate::cli::text;
use clap::Args;
use comfy_table::Cell;
use holdfast_vault::format::SystemEntropy;
use holdfast_vault::keys::RecoveryKey;
use std::process::ExitCode;

/// Arguments of `holdfast vault keys`.
#[derive(Args)]
pub(crate) struct KeysArguments {
    #[command(flatten)]
    vault: VaultArguments,
}

pub(crate) async fn keys(arguments: &KeysArguments) -> anyhow::Result<ExitCode> {
    let place = arguments.vault.resolve()?;
    let configured: Vec<String> =
        place.place.providers.names().iter().map(ToString::to_string).collect();
    let vault = place.open().await?;
    let mut table =
        text::table(&["provider", "key id", "opens", "only it opens", "sealed under it", ""]);
    for line in vault.key_uses().await? {
        let provider = match (&*line.provider_kind, &*line.provider_name) {
            (kind, "") => kind.to_owned(),
            (kind, name) => format!("{kind} {name}"),
        };
        let remark = match (line.current, line.seeds, line.condemned_wraps) {
            (true, ..) => "seals now".to_owned(),
            (_, 1.., _) if &*line.provider_kind == RECOVERY => "on paper".to_owned(),
            (_, 0, old) => format!("not needed; {old} old wraps wait for the grace"),
            _ => "needed: rewrap before it is dropped".to_owned(),
        };
        table.add_row(
            [
                provider,
                line.key_id,
                format!("{} seeds", line.seeds),
                format!("{} seeds", line.only_seeds),
                format!("{} objects, {}", line.objects, text::bytes(line.bytes)),
                remark,
            ]
            .map(Cell::new),
        );
    }
    println!("{table}\nconfigured, in order: {}", configured.join("; "));
    match vault.recovery_only_seeds() {
        0 => {}
        left => println!(
            "{left} seeds are wrapped for the recovery key alone: `holdfast vault rewrap --keys FILE \
             --recovery-key-file FILE`"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

const RECOVERY: &str = "recovery";

/// A fresh recovery key.
pub(crate) fn new_recovery() -> RecoveryKey {
    RecoveryKey::random(&mut SystemEntropy)
}

/// Shows a recovery key, once.
pub(crate) fn print_recovery(key: &RecoveryKey) {
    println!(
        "The recovery key {}. Write this on paper; it is shown once and kept nowhere:\n",
        key.recipient().key_id()
    );
    println!("  {}\n", &*key.to_text());
    println!(
        "It opens everything that is sealed from now on, with --recovery-key-file. Its public half seals for"
    );
    println!(
        "it while the key service is away; put it into the agent's configuration, below `vault:`, and run"
    );
    println!("`holdfast vault rewrap --config agent.yaml` where the vault exists already:\n");
    println!("  recoveryRecipient: {}", key.recipient().to_text());
}

/// Arguments of `holdfast vault rewrap`.
#[derive(Args)]
pub(crate) struct RewrapArguments {
    #[command(flatten)]
    vault: VaultArguments,
    /// Also make a new index seed for what is written from now on
    #[arg(long)]
    new_index_seed: bool,
}

pub(crate) async fn rewrap(arguments: &RewrapArguments) -> anyhow::Result<ExitCode> {
    let mut vault = arguments.vault.resolve()?.open().await?;
    let report = vault.rewrap().await?;
    match report.number {
        Some(number) => println!(
            "{} seeds were wrapped anew, {} were current (commit {number})",
            report.rewrapped, report.current
        ),
        None => {
            println!("all {} seeds are wrapped under the first provider already", report.current);
        }
    }
    if arguments.new_index_seed {
        println!("a new index seed is in use (commit {})", vault.rotate_index_seed().await?);
    }
    if report.locked > 0 {
        println!(
            "{} seeds are wrapped for the recovery key alone and were left: give --recovery-key-file, too",
            report.locked
        );
    }
    println!(
        "A rewrap does not revoke: copies of the old wraps, in versions, locks and replicas, still open under"
    );
    println!(
        "the old key. After a stolen key: a new vault, a first backup into it, and the old one deleted."
    );
    Ok(ExitCode::SUCCESS)
}
