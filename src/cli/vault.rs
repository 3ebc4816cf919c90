//! `holdfast vault …`: makes, checks, prunes and explains a vault.

mod check;
mod keys;
mod prune;

use super::access::{KeyArguments, VaultArguments};
use super::restore::SnapshotArguments;
use super::runtime;
use clap::{Args, Subcommand};
use holdfast_restore::fetch::{export, select_in};
use holdfast_vault::keys::RecoveryKey;
use holdfast_vault::snapshot::ReadOptions;
use holdfast_vault::vault::Vault;
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be done with a vault.
#[derive(Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a vault, and print its fingerprint
    Init(InitArguments),
    /// Verify what is stored
    Check(check::CheckArguments),
    /// Forget what retention does not keep, and delete what nothing needs, with a reason for each
    Prune(prune::PruneArguments),
    /// Keep a snapshot whatever retention says, with a reason
    Pin(PinArguments),
    /// Remove a pin
    Unpin(UnpinArguments),
    /// Make a recovery key: print its secret half for paper, its public half for agent.yaml
    RecoveryKey,
    /// Tell which key opens how much
    Keys(keys::KeysArguments),
    /// Wrap all seeds under the first provider
    Rewrap(keys::RewrapArguments),
    /// Write a snapshot as a plain file that etcdutl restores
    Export(ExportArguments),
}

pub(crate) fn run(command: VaultCommand) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        match command {
            VaultCommand::Init(arguments) => init(&arguments).await,
            VaultCommand::Check(arguments) => check::check(&arguments).await,
            VaultCommand::Prune(arguments) => prune::prune(&arguments).await,
            VaultCommand::Pin(arguments) => pin(&arguments).await,
            VaultCommand::Unpin(arguments) => unpin(&arguments).await,
            VaultCommand::RecoveryKey => {
                keys::print_recovery(&keys::new_recovery());
                Ok(ExitCode::SUCCESS)
            }
            VaultCommand::Keys(arguments) => keys::keys(&arguments).await,
            VaultCommand::Rewrap(arguments) => keys::rewrap(&arguments).await,
            VaultCommand::Export(arguments) => write_export(&arguments).await,
        }
    })
}

/// Arguments of `holdfast vault init`.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// Where: file:///path or s3://bucket/prefix; left out: the configuration's
    url: Option<String>,
    /// Make a recovery key, and print it: the paper opens the vault when all other keys are lost
    #[arg(long, conflicts_with = "recovery_key_file")]
    recovery: bool,
    /// The root object is lost or damaged: write it again, from what the chain repeats sealed
    #[arg(long, conflicts_with = "recovery")]
    rebuild_root: bool,
    /// Add a cluster to the vault that is there, with seeds and a chain of its own
    #[arg(long, conflicts_with = "rebuild_root")]
    add_cluster: bool,
    /// What to call the cluster; --cluster then takes it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
}

async fn rebuild_root(arguments: &InitArguments) -> anyhow::Result<ExitCode> {
    let place = arguments.keys.resolve(arguments.url.as_deref())?.place;
    let vault = Vault::rebuild_root(place.store(false)?, place.options()?).await?;
    println!("The root at {} was written again.", vault.store().address());
    println!("  fingerprint  {}: compare it with the one you keep", vault.fingerprint());
    Ok(ExitCode::SUCCESS)
}

async fn init(arguments: &InitArguments) -> anyhow::Result<ExitCode> {
    if arguments.rebuild_root {
        return rebuild_root(arguments).await;
    }
    let mut place = arguments.keys.resolve(arguments.url.as_deref())?.place;
    let recovery = arguments.recovery.then(keys::new_recovery);
    let recipient = recovery.as_ref().map(RecoveryKey::recipient);
    place.providers = place.providers.with_recipient(recipient);
    // Before a folder is made that the right command would then meet.
    let unsealed = place.providers.unsealed();
    place.providers.check_wraps(unsealed)?;
    let mut options = place.options()?;
    options.name.clone_from(&arguments.name);
    let vault = if arguments.add_cluster {
        let vault = Vault::add_cluster(place.store(false)?, options).await?;
        println!("A cluster was added to the vault at {}.", vault.store().address());
        vault
    } else {
        let vault = Vault::init(place.store(true)?, options).await?;
        println!("A vault was made at {}.", vault.store().address());
        vault
    };
    println!("  cluster      {}", vault.access().cluster());
    println!("  fingerprint  {}", vault.fingerprint());
    println!(
        "Keep the fingerprint and a copy of the keys where neither this machine nor the store can reach"
    );
    println!(
        "them: `holdfast restore --fingerprint` compares it, and without the keys nobody restores."
    );
    if let Some(recovery) = &recovery {
        println!();
        keys::print_recovery(recovery);
    }
    if vault.is_unsealed() {
        println!("This vault is NOT SEALED: whoever reads the store reads the cluster's secrets.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `holdfast vault pin`.
#[derive(Args)]
pub(crate) struct PinArguments {
    /// The snapshot's number
    snapshot: u64,
    /// Why, for whoever wonders later
    #[arg(long)]
    reason: String,
    /// Until when, such as 2027-01-01T00:00:00Z; left out: for ever
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    #[command(flatten)]
    vault: VaultArguments,
}

async fn pin(arguments: &PinArguments) -> anyhow::Result<ExitCode> {
    let mut vault = arguments.vault.resolve()?.open().await?;
    let until = arguments.until.map_or(0, jiff::Timestamp::as_millisecond);
    let number = vault.pin(arguments.snapshot, &arguments.reason, until).await?;
    println!("snapshot {} is pinned (commit {number})", arguments.snapshot);
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `holdfast vault unpin`.
#[derive(Args)]
pub(crate) struct UnpinArguments {
    /// The snapshot's number
    snapshot: u64,
    #[command(flatten)]
    vault: VaultArguments,
}

async fn unpin(arguments: &UnpinArguments) -> anyhow::Result<ExitCode> {
    let mut vault = arguments.vault.resolve()?.open().await?;
    let number = vault.unpin(arguments.snapshot).await?;
    println!("snapshot {} is not pinned any more (commit {number})", arguments.snapshot);
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `holdfast vault export`.
#[derive(Args)]
pub(crate) struct ExportArguments {
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    which: SnapshotArguments,
    #[command(flatten)]
    vault: VaultArguments,
}

async fn write_export(arguments: &ExportArguments) -> anyhow::Result<ExitCode> {
    let mut vault = arguments.vault.resolve()?.open().await?;
    let selected = select_in(vault.chain(), arguments.which.question()?)?;
    let reader = vault.reader(selected.number).await?;
    println!("snapshot {}: {}", selected.number, selected.reason);
    let exported = export(&reader, &arguments.to, selected.trim_to, ReadOptions::default()).await?;
    println!("{exported}");
    Ok(ExitCode::SUCCESS)
}
