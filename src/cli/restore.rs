//! `holdfast restore` and `holdfast undo`.

use super::access::VaultArguments;
use super::{now_ms, runtime};
use clap::Args;
use holdfast_core::versions::EtcdVersion;
use holdfast_restore::fetch::{high_water, select_in};
use holdfast_restore::plan::{
    BumpChoice, PlannedSnapshot, RestorePlan, RestoreRequest, Surroundings,
};
use holdfast_restore::restore::restore;
use holdfast_restore::select::Question;
use holdfast_restore::server::version_of;
use holdfast_restore::swap::{self, DurableNames, Place};
use holdfast_vault::snapshot::ReadOptions;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which snapshot a verb is about.
#[derive(Args)]
pub(crate) struct SnapshotArguments {
    /// `latest`, or a snapshot's number
    #[arg(long, value_name = "N", default_value = "latest")]
    snapshot: String,
    /// The state at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "snapshot")]
    revision: Option<i64>,
    /// The newest snapshot taken at or before this time, such as 2026-11-20T03:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["snapshot", "revision"])]
    time: Option<jiff::Timestamp>,
}

impl SnapshotArguments {
    /// As the selection wants it.
    pub(crate) fn question(&self) -> anyhow::Result<Question> {
        Ok(match (self.revision, self.time) {
            (Some(revision), _) => Question::Revision(revision),
            (_, Some(time)) => Question::Time(time.as_millisecond()),
            _ => self.snapshot.parse()?,
        })
    }
}

/// Arguments of `holdfast restore`.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    #[command(flatten)]
    vault: VaultArguments,
    #[command(flatten)]
    which: SnapshotArguments,
    /// Where the member's data directory goes; what stands there is moved aside, never deleted
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The new member's name
    #[arg(long)]
    name: String,
    /// Where other members will reach it; may be repeated
    #[arg(
        long = "peer-url",
        visible_alias = "initial-advertise-peer-urls",
        value_name = "URL",
        required = true,
        value_delimiter = ','
    )]
    peer_urls: Vec<String>,
    /// Where clients will reach it; only put into the printed command
    #[arg(
        long = "client-url",
        visible_alias = "advertise-client-urls",
        value_name = "URL",
        value_delimiter = ','
    )]
    client_urls: Vec<String>,
    /// Cluster token; left out: a random one, so that old members can never rejoin
    #[arg(long = "initial-cluster-token", value_name = "TOKEN")]
    token: Option<String>,
    /// What happens to the revision: auto, none, or a number to add
    #[arg(long, default_value = "auto")]
    bump: BumpChoice,
    /// The etcd version that will boot on it, such as 3.6; left out: the source's
    #[arg(long, value_name = "VERSION", conflicts_with = "server")]
    target: Option<EtcdVersion>,
    /// The etcd binary that will boot on it; tells the version
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Do not compute HashKV of the rebuild
    #[arg(long)]
    skip_hash: bool,
    /// The vault's fingerprint, as `vault init` printed it
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// Print the plan, and stop
    #[arg(long)]
    plan_only: bool,
}

/// Arguments of `holdfast undo`.
#[derive(Args)]
pub(crate) struct UndoArguments {
    /// The data directory that was restored
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

pub(crate) fn run(arguments: &RestoreArguments) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let place = arguments.vault.resolve()?;
        let fingerprint = arguments.fingerprint.clone();
        let mut vault = place.open_with(|options| options.fingerprint = fingerprint).await?;
        if arguments.fingerprint.is_none() {
            eprintln!(
                "No --fingerprint was given: that this is your vault rests on the keys alone. Its fingerprint is {}",
                vault.fingerprint()
            );
        }
        let selected = select_in(vault.chain(), arguments.which.question()?)?;
        let reader = vault.reader(selected.number).await?;
        let around = Surroundings::look(Place::look(&arguments.data_dir)?, now_ms())?;
        let facts = reader.facts();
        let snapshot = PlannedSnapshot {
            vault: vault.store().address(),
            selected: &selected,
            facts: &facts,
            high_water: high_water(vault.chain()),
        };
        let plan = RestorePlan::make(&snapshot, &request(arguments).await?, &around)?;
        println!("{plan}\n");
        if arguments.plan_only {
            return Ok(ExitCode::SUCCESS);
        }
        let report = restore(&reader, &plan, ReadOptions::default(), around.now_ms).await?;
        println!("{report}");
        Ok(ExitCode::SUCCESS)
    })
}

async fn request(arguments: &RestoreArguments) -> anyhow::Result<RestoreRequest> {
    let target = match &arguments.server {
        Some(server) => Some(version_of(server).await?.version),
        None => arguments.target,
    };
    Ok(RestoreRequest {
        data_dir: arguments.data_dir.clone(),
        name: arguments.name.clone(),
        peer_urls: arguments.peer_urls.clone(),
        client_urls: arguments.client_urls.clone(),
        token: arguments.token.clone(),
        target,
        bump: arguments.bump,
        prove_hash: !arguments.skip_hash,
        made_up_ttl_seconds: 0,
    })
}

pub(crate) fn undo(arguments: &UndoArguments) -> anyhow::Result<ExitCode> {
    let place = Place::look(&arguments.data_dir)?;
    let undone = swap::undo(&place, &mut DurableNames, now_ms())?;
    println!("{undone}");
    Ok(ExitCode::SUCCESS)
}
