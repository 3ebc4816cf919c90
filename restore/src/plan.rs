//! What a restore will do, and why, before it does anything.
//!
//! [`RestorePlan::make`] is pure: facts of the snapshot, the operator's wishes, and what was
//! found on this machine in; a plan that prints itself out. [`crate::restore`] does what it says
//! and nothing else.

mod bump;
mod print;

use std::path::PathBuf;

use holdfast_core::disk::free_bytes;
use holdfast_core::ids;
use holdfast_core::membership::{Founding, InitialClusterError};
use holdfast_core::versions::{EtcdVersion, VersionError};
use holdfast_vault::format::hex;
use holdfast_vault::proto::Facts;
use serde::Serialize;

use crate::select::Selected;
use crate::swap::Place;
use crate::text;

pub use bump::{BUMP_MARGIN, BadBump, BumpChoice, BumpDecision};
pub(crate) use print::shell_line;

/// Bytes that a WAL segment reserves, and once more for what the first minutes write.
const LOG_BYTES: u64 = 2 * 64_000_000;
/// Bytes of a page, an element header and a bucket key around each record, rounded up.
const RECORD_OVERHEAD_BYTES: u64 = 48;

/// What the operator asked for.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Where the data directory goes.
    pub data_dir: PathBuf,
    /// The member's name.
    pub name: String,
    /// Where other members will reach it.
    pub peer_urls: Vec<String>,
    /// Where clients will reach it; for the printed command only.
    pub client_urls: Vec<String>,
    /// The cluster token; `None`: a random one, so that old members can never rejoin.
    pub token: Option<String>,
    /// The etcd that will boot on it; `None`: the source's version.
    pub target: Option<EtcdVersion>,
    /// What to do with the revision.
    pub bump: BumpChoice,
    /// Compute HashKV of the rebuild and compare it with the source's, before a bump.
    pub prove_hash: bool,
    /// Time to live of made-up leases, seconds; 0: [`crate::rebuild::MADE_UP_TTL_SECONDS`].
    pub made_up_ttl_seconds: i64,
}

/// What was found on this machine, and chance.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The data directory's place.
    pub place: Place,
    /// Bytes free there for us; `None` if unknown.
    pub free_bytes: Option<u64>,
    /// This machine's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// A fresh random token.
    pub random_token: String,
}

/// A snapshot as far as a plan needs it.
#[derive(Debug, Clone)]
pub struct PlannedSnapshot<'a> {
    /// The vault's address, without credentials.
    pub vault: &'a str,
    /// Which snapshot, and why.
    pub selected: &'a Selected,
    /// What is known of the source.
    pub facts: &'a Facts,
    /// Newest revision known to have been served, from the chain and other witnesses.
    pub high_water: i64,
}

/// What will be done.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// The vault's address.
    pub vault: String,
    /// The snapshot's number.
    pub snapshot: u64,
    /// Why this one.
    pub reason: String,
    /// When it was taken, milliseconds since 1970.
    pub taken_ms: i64,
    /// The revision that is restored, before a bump.
    pub revision: i64,
    /// Records above this revision are dropped.
    pub trim_to: Option<i64>,
    /// Records in the snapshot.
    pub records: u64,
    /// The source's version, as far as known.
    pub source_version: String,
    /// The version that is written for.
    #[serde(serialize_with = "as_text")]
    pub target: EtcdVersion,
    /// What happens to the revision.
    pub bump: BumpDecision,
    /// The new member.
    pub member: PlannedMember,
    /// Where it goes.
    pub place: Place,
    /// The name that an existing directory gets.
    pub moved_aside: Option<PathBuf>,
    /// Whether HashKV is proven before a bump.
    pub prove_hash: bool,
    /// Time to live of made-up leases, seconds.
    pub made_up_ttl_seconds: i64,
    /// Bytes that are needed on the disk, an estimate from above.
    pub need_bytes: u64,
    /// Bytes that are free there.
    pub free_bytes: Option<u64>,
    /// What goes over as it is.
    pub carried: Vec<String>,
    /// What gets another value.
    pub rewritten: Vec<String>,
    /// What is left out.
    pub dropped: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// How etcd is started on it.
    pub command: Vec<String>,
}

/// The new member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedMember {
    /// Its name.
    pub name: String,
    /// Its id, in hex.
    pub id: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// The new cluster's id, in hex.
    pub cluster_id: String,
    /// The cluster token.
    pub token: String,
}

/// A restore that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Name, URLs or token.
    #[error(transparent)]
    Member(#[from] InitialClusterError),
    /// No peer URL.
    #[error("a member needs a peer URL: give --peer-url https://HOST:2380")]
    NoPeerUrl,
    /// No name.
    #[error("a member needs a name: give --name")]
    NoName,
    /// The target is not one we can write for.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The version to write for is not known.
    #[error(
        "the snapshot does not tell a version we can write for ({found:?}): name the etcd that \
         will boot, with --server PATH or --target VERSION"
    )]
    NoTarget {
        /// What the facts say.
        found: String,
    },
    /// The bump is not a lift.
    #[error(
        "--bump {by} does not lift revision {revision}: give a number of at least 1, or `none`"
    )]
    Bump {
        /// What was asked for.
        by: i64,
        /// The restored revision.
        revision: i64,
    },
    /// Not enough room.
    #[error(
        "{data_dir} has {free} free, the restore needs about {need}: make room, or restore to \
         another disk"
    )]
    Space {
        /// The data directory.
        data_dir: PathBuf,
        /// Free, printable.
        free: String,
        /// Needed, printable.
        need: String,
    },
    /// The random number generator of the system failed.
    #[error("the system gives no random bytes for a cluster token: {0}")]
    Entropy(String),
}

impl Surroundings {
    /// Looks at the disk around `place` and draws a token.
    ///
    /// # Errors
    /// Only without randomness.
    pub fn look(place: Place, now_ms: i64) -> Result<Surroundings, PlanError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| PlanError::Entropy(error.to_string()))?;
        let around =
            if place.data_dir.exists() { Some(&*place.data_dir) } else { place.data_dir.parent() };
        let free_bytes = around.and_then(free_bytes);
        Ok(Surroundings {
            place,
            free_bytes,
            now_ms,
            random_token: format!("holdfast-{}", hex(&random)),
        })
    }
}

impl RestorePlan {
    /// Decides everything.
    ///
    /// # Errors
    /// See [`PlanError`]. Too little room is one only when it is certain.
    pub fn make(
        snapshot: &PlannedSnapshot<'_>,
        request: &RestoreRequest,
        around: &Surroundings,
    ) -> Result<RestorePlan, PlanError> {
        let PlannedSnapshot { vault, selected, facts, high_water } = snapshot;
        let target = target(request, facts)?;
        let founding = founding(request, around)?;
        let revision = selected.trim_to.unwrap_or(facts.revision);
        let bump = BumpDecision::decide(request.bump, revision, *high_water, facts.kubernetes)?;
        let need_bytes = need_bytes(facts);
        let place = around.place.clone();
        // What certainly goes in; `need_bytes` is an estimate from above, which the plan shows.
        let least_bytes = if selected.trim_to.is_some() { 0 } else { facts.live_bytes };
        if let Some(free) = around.free_bytes.filter(|free| *free < least_bytes) {
            let (free, need) = (text::bytes(free), text::bytes(need_bytes));
            return Err(PlanError::Space { data_dir: place.data_dir, free, need });
        }
        let member = PlannedMember {
            name: request.name.clone(),
            id: ids::hex(founding.local().id),
            peer_urls: founding.local().peer_urls.clone(),
            client_urls: request.client_urls.clone(),
            cluster_id: ids::hex(founding.cluster_id()),
            token: founding.token().to_owned(),
        };
        let command = start_command("etcd", &member, &place.data_dir.to_string_lossy());
        let mut notes = selected.notes.clone();
        notes.extend(print::warnings(snapshot, &bump, revision, request));
        if around.free_bytes.is_some_and(|free| free < need_bytes) {
            notes.push("the disk may be too small; a restore that runs out of room leaves what stood there".into());
        }
        let moved_aside = place.occupied.then(|| place.aside(around.now_ms));
        Ok(RestorePlan {
            vault: (*vault).to_owned(),
            snapshot: selected.number,
            reason: selected.reason.clone(),
            taken_ms: facts.taken_ms,
            revision,
            trim_to: selected.trim_to,
            records: facts.record_count,
            source_version: facts.server_version.clone(),
            target,
            member,
            place,
            moved_aside,
            prove_hash: request.prove_hash,
            made_up_ttl_seconds: match request.made_up_ttl_seconds {
                ttl if ttl > 0 => ttl,
                _ => crate::rebuild::MADE_UP_TTL_SECONDS,
            },
            need_bytes,
            free_bytes: around.free_bytes,
            carried: print::carried(facts),
            rewritten: print::rewritten(&bump),
            dropped: print::dropped(facts),
            bump,
            notes,
            command,
        })
    }

    /// The new cluster, as the rebuild wants it.
    ///
    /// # Errors
    /// None for a plan that [`RestorePlan::make`] made.
    pub fn founding(&self) -> Result<Founding, InitialClusterError> {
        Founding::single(&self.member.name, &self.member.peer_urls, &self.member.token)
    }
}

/// The command line that starts etcd as this member. TLS flags are the operator's to add.
pub fn start_command(program: &str, member: &PlannedMember, data_dir: &str) -> Vec<String> {
    let peers = member.peer_urls.join(",");
    let initial: Vec<String> =
        member.peer_urls.iter().map(|url| format!("{}={url}", member.name)).collect();
    let mut command: Vec<String> = [
        program,
        "--name",
        &member.name,
        "--data-dir",
        data_dir,
        "--listen-peer-urls",
        &peers,
        "--initial-advertise-peer-urls",
        &peers,
        "--initial-cluster",
        &initial.join(","),
        "--initial-cluster-token",
        &member.token,
    ]
    .map(str::to_owned)
    .to_vec();
    if !member.client_urls.is_empty() {
        let clients = member.client_urls.join(",");
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.extend([flag.to_owned(), clients.clone()]);
        }
    }
    command
}

fn target(request: &RestoreRequest, facts: &Facts) -> Result<EtcdVersion, PlanError> {
    if let Some(target) = request.target {
        return Ok(target.check_target()?);
    }
    let told = [&facts.server_version, &facts.storage_version, &facts.cluster_version];
    let known = told.iter().find_map(|text| text.parse::<EtcdVersion>().ok()?.check_target().ok());
    known.ok_or_else(|| PlanError::NoTarget { found: facts.server_version.clone() })
}

fn founding(request: &RestoreRequest, around: &Surroundings) -> Result<Founding, PlanError> {
    if request.peer_urls.is_empty() {
        return Err(PlanError::NoPeerUrl);
    }
    if request.name.is_empty() {
        return Err(PlanError::NoName);
    }
    let token = request.token.as_ref().unwrap_or(&around.random_token);
    Ok(Founding::single(&request.name, &request.peer_urls, token)?)
}

/// An upper bound for a defragmented file at 90 % fill, and the log.
pub(crate) fn need_bytes(facts: &Facts) -> u64 {
    let records = facts.record_count.saturating_mul(RECORD_OVERHEAD_BYTES);
    let leases = facts.lease_count.saturating_mul(2 * RECORD_OVERHEAD_BYTES);
    let live = facts.live_bytes.saturating_add(records).saturating_add(leases);
    // A page that the next record does not fit in stays partly empty.
    let pages = live.saturating_add(live / 4);
    let built =
        if facts.source_bytes > 0 { pages.min(facts.source_bytes.max(live)) } else { pages };
    built.saturating_add(LOG_BYTES)
}

fn as_text<S: serde::Serializer>(value: &EtcdVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
