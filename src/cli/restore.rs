//! `holdfast restore` and `holdfast undo`.

use super::access::VaultArguments;
use super::{now_ms, runtime, text};
use clap::Args;
use holdfast_core::versions::EtcdVersion;
use holdfast_restore::fetch::{high_water, select_in};
use holdfast_restore::plan::{
    BumpChoice, PlannedSnapshot, RestorePlan, RestoreRequest, Surroundings,
};
use holdfast_restore::restore::restore;
use holdfast_restore::select::Question;
use holdfast_restore::server::{ServerProgram, version_of};
use holdfast_restore::swap::{self, DurableNames, Place};
use holdfast_vault::Vault;
use holdfast_vault::chain::{Chain, ChainError, Witness};
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
    /// The etcd binary that will boot on it; tells the version (a name without a slash is looked up
    /// in PATH)
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Do not compute HashKV of the rebuild
    #[arg(long)]
    skip_hash: bool,
    /// The vault's fingerprint, as `vault init` printed it
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// Refuse a store whose newest commit is older than this one, as `snapshots` and earlier
    /// restores printed it: a store that was rolled back shows so
    #[arg(long, value_name = "COMMIT[:SHA256]")]
    at_least: Option<AtLeast>,
    /// Print the plan, and stop
    #[arg(long)]
    plan_only: bool,
}

/// A commit that was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AtLeast {
    number: u64,
    sha256: Option<[u8; 32]>,
}

impl std::str::FromStr for AtLeast {
    type Err = String;

    fn from_str(text: &str) -> Result<AtLeast, String> {
        let (number, digest) = text.split_once(':').map_or((text, None), |(n, d)| (n, Some(d)));
        let number = number.parse().map_err(|_| format!("`{number}` is not a commit's number"))?;
        let wrong = || "the digest behind the colon is 64 hex digits".to_owned();
        let byte = |at: usize, digest: &str| {
            let pair = digest.get(2 * at..2 * at + 2)?;
            u8::from_str_radix(pair, 16).ok()
        };
        let parse = |digest: &str| {
            let bytes: Option<Vec<u8>> = (0..32).map(|at| byte(at, digest)).collect();
            bytes.filter(|_| digest.len() == 64).and_then(|bytes| bytes.try_into().ok())
        };
        let sha256 = digest.map(|digest| parse(digest).ok_or_else(wrong)).transpose()?;
        Ok(AtLeast { number, sha256 })
    }
}

impl AtLeast {
    /// Compares with the chain as the store has it.
    async fn check(&self, chain: &Chain) -> anyhow::Result<()> {
        let head = chain.head();
        if head.number < self.number {
            let (found, witnessed) = (head.number, self.number);
            return Err(ChainError::RolledBack { found, witnessed }.into());
        }
        if let Some(sha256) = &self.sha256 {
            let cluster = chain.access().cluster().to_string();
            let seen = Witness::new(cluster, head.era, self.number, sha256, 0);
            chain.check_witness(&seen).await?;
        }
        Ok(())
    }
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
        if let Some(at_least) = &arguments.at_least {
            at_least.check(vault.chain()).await?;
        }
        eprintln!("{}", head(&vault, now_ms()));
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

/// The newest commit, for `--at-least` and for the eye: a store that answers with last week's looks
/// whole.
pub(super) fn head(vault: &Vault, now_ms: i64) -> String {
    let (head, witness) = (vault.head(), vault.witness());
    format!(
        "The vault's newest commit is {}:{}, {} old.",
        witness.number,
        witness.sha256,
        text::span(now_ms.saturating_sub(head.time_ms))
    )
}

async fn request(arguments: &RestoreArguments) -> anyhow::Result<RestoreRequest> {
    let target = match &arguments.server {
        Some(server) => Some(version_of(&ServerProgram::from(&**server)).await?.version),
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

#[cfg(test)]
mod tests {
    use super::AtLeast;

    #[test]
    fn a_commit_with_or_without_its_digest() {
        let digest = "0f".repeat(32);
        let with = AtLeast { number: 7, sha256: Some([15; 32]) };
        assert_eq!(format!("7:{digest}").parse(), Ok(with));
        assert_eq!("7".parse(), Ok(AtLeast { number: 7, sha256: None }));
        let wrong =
            [format!("7:{digest}0"), "7:".into(), "7:é".into(), "x:00".into(), String::new()];
        for text in wrong {
            assert!(text.parse::<AtLeast>().is_err(), "{text}");
        }
    }
}
