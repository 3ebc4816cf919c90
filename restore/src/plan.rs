//! What a restore will do, and why, before it does anything.
//!
//! [`RestorePlan::make`] is pure: facts of the snapshot, the operator's wishes, and what was
//! found on this machine in; a plan that prints itself out. [`crate::restore`] does what it says
//! and nothing else.
//!
//! **The bump.** Clients remember revisions: a watch resumed at one that the restored store has
//! not reached yet waits for it, and then misses everything that happened in between under
//! re-used numbers. So `auto` never lets a revision come back that is known to have been served:
//! - Kubernetes data: lifted to the high-water mark + 1,000,000,000, as upstream advises. API
//!   servers cache by revision, always watch, and served revisions after the snapshot that nobody
//!   recorded.
//! - other data, and the high-water mark lies above the restored revision (an older snapshot, a
//!   trim): the same.
//! - other data restored at the high-water mark: none. History and HashKV stay as they were; the
//!   plan warns that writes after the snapshot may have been seen.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use holdfast_core::ids;
use holdfast_core::membership::{Founding, InitialClusterError};
use holdfast_core::versions::{EtcdVersion, VersionError};
use holdfast_vault::proto::Facts;
use serde::Serialize;

use crate::select::Selected;
use crate::swap::Place;
use crate::text;

/// What `auto` adds to the high-water mark.
pub const BUMP_MARGIN: i64 = 1_000_000_000;
/// Bytes that a WAL segment reserves, and once more for what the first minutes write.
const LOG_BYTES: u64 = 2 * 64_000_000;
/// Bytes of a page, an element header and a bucket key around each record, rounded up.
const RECORD_OVERHEAD_BYTES: u64 = 48;

/// What was asked of the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BumpChoice {
    /// Lift it where clients could otherwise see a revision twice.
    #[default]
    Auto,
    /// Leave it.
    None,
    /// Lift it by this much above the restored revision.
    By(i64),
}

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

/// What happens to the revision, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BumpDecision {
    /// The revision after it; `None` leaves it.
    pub to: Option<i64>,
    /// Why.
    pub reason: String,
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

/// A text that is no [`BumpChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `auto`, `none` or a number of at least 1")]
pub struct BadBump(String);

impl FromStr for BumpChoice {
    type Err = BadBump;

    fn from_str(text: &str) -> Result<Self, BadBump> {
        match text.trim() {
            "auto" => Ok(BumpChoice::Auto),
            "none" => Ok(BumpChoice::None),
            number => match number.parse() {
                Ok(by) if by > 0 => Ok(BumpChoice::By(by)),
                _ => Err(BadBump(text.to_owned())),
            },
        }
    }
}

impl Surroundings {
    /// Looks at the disk around `place` and draws a token.
    ///
    /// # Errors
    /// Only without randomness.
    pub fn look(place: Place, now_ms: i64) -> Result<Surroundings, PlanError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| PlanError::Entropy(error.to_string()))?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let around =
            if place.data_dir.exists() { Some(&*place.data_dir) } else { place.data_dir.parent() };
        let free = around.and_then(|dir| rustix::fs::statvfs(dir).ok());
        let free_bytes = free.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Ok(Surroundings { place, free_bytes, now_ms, random_token: format!("holdfast-{hex}") })
    }
}

impl BumpDecision {
    /// Decides what happens to the revision; see the head of this file.
    ///
    /// # Errors
    /// A lift that is none, or that leaves the numbers that revisions can have.
    pub fn decide(
        choice: BumpChoice,
        revision: i64,
        high_water: i64,
        kubernetes: bool,
    ) -> Result<BumpDecision, PlanError> {
        let mark = high_water.max(revision);
        let lift = |by: i64, from: i64| from.checked_add(by).filter(|to| by > 0 && *to < i64::MAX);
        let auto = lift(BUMP_MARGIN, mark);
        let (to, reason) = match choice {
            BumpChoice::None => (None, "asked for".to_owned()),
            BumpChoice::By(by) => {
                let to = lift(by, revision).ok_or(PlanError::Bump { by, revision })?;
                (Some(to), "asked for".to_owned())
            }
            BumpChoice::Auto if kubernetes => {
                let what = "Kubernetes data: API servers cache and watch by revision";
                (
                    auto,
                    format!(
                        "{what}; the highest revision known to be served is {mark}, plus \
                         {BUMP_MARGIN}"
                    ),
                )
            }
            BumpChoice::Auto if high_water > revision => {
                let what = "revisions above the restored one were served";
                (auto, format!("{what}, up to {mark}; plus {BUMP_MARGIN}"))
            }
            BumpChoice::Auto => {
                let what = "not Kubernetes data, and restored at the highest revision known to be \
                     served";
                (None, format!("{what} ({mark}); history stays readable"))
            }
        };
        if choice == BumpChoice::Auto && to.is_none() && (kubernetes || high_water > revision) {
            return Err(PlanError::Bump { by: BUMP_MARGIN, revision: mark });
        }
        Ok(BumpDecision { to, reason })
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
        if let Some(free) = around.free_bytes.filter(|free| *free < need_bytes) {
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
        notes.extend(warnings(snapshot, &bump, revision, request));
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
            carried: carried(facts),
            rewritten: rewritten(&bump),
            dropped: dropped(facts),
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

fn carried(facts: &Facts) -> Vec<String> {
    let Facts { record_count, key_count, lease_count, user_count, role_count, .. } = facts;
    let authentication = if facts.auth_enabled { "on" } else { "off" };
    let mut carried = vec![
        format!("{record_count} records of {key_count} keys, byte for byte"),
        format!("{lease_count} leases with their times to live"),
        format!("{user_count} users, {role_count} roles; authentication is {authentication}"),
        match facts.compact_revision {
            -1 => "no compaction marks: the source never compacted".to_owned(),
            compacted => format!("the compaction marks (history begins at {compacted})"),
        },
    ];
    if !facts.unknown_buckets.is_empty() {
        carried.push(format!("buckets of no known etcd: {}", facts.unknown_buckets.join(", ")));
    }
    carried
}

fn rewritten(bump: &BumpDecision) -> Vec<String> {
    let mut rewritten = vec![
        "members and voters: one new member in a new cluster".to_owned(),
        "raft index and term: a new log".to_owned(),
        "storage and cluster version: the lower of the source's and the target's".to_owned(),
    ];
    if bump.to.is_some() {
        rewritten.push("the compaction mark: all older revisions answer `compacted`".to_owned());
    }
    rewritten
}

fn dropped(facts: &Facts) -> Vec<String> {
    let mut dropped: Vec<String> =
        facts.alarms.iter().map(|alarm| format!("alarm {alarm}")).collect();
    let names: Vec<String> = facts
        .members
        .iter()
        .map(|one| if one.name.is_empty() { ids::hex(one.member_id) } else { one.name.clone() })
        .collect();
    if !names.is_empty() {
        dropped.push(format!("the old members {}; they can never rejoin", names.join(", ")));
    }
    dropped.push("removed members and a running downgrade, if there are any".to_owned());
    dropped
}

fn warnings(
    snapshot: &PlannedSnapshot<'_>,
    bump: &BumpDecision,
    revision: i64,
    request: &RestoreRequest,
) -> Vec<String> {
    let PlannedSnapshot { selected, facts, high_water, .. } = snapshot;
    let mut notes = Vec::new();
    let highest = (*high_water).max(revision);
    match bump.to {
        Some(to) if to <= highest => notes.push(format!(
            "the lift to {to} ends below revision {highest}, which was served: watchers will \
             miss events"
        )),
        None if *high_water > revision => notes.push(format!(
            "revisions {} to {high_water} were served before and will be used again for other \
             changes: \
             clients that watch will miss events; restart them all, or leave out --bump none",
            revision + 1
        )),
        None => notes.push(
            "writes after the snapshot may have been served: if clients watch or cache, use \
             --bump 1000000000"
                .to_owned(),
        ),
        Some(_) => {}
    }
    if bump.to.is_some() {
        notes.push(
            "the first start compacts the whole history and is slower; HashKV differs from the \
             source's"
                .to_owned(),
        );
    }
    if request.token.is_some() {
        notes.push(
            "with a token that was used before, old members could rejoin and spoil the data"
                .to_owned(),
        );
    }
    if request.prove_hash && (selected.trim_to.is_some() || facts.hash_kv.is_none()) {
        let why = if selected.trim_to.is_some() {
            "the snapshot is trimmed"
        } else {
            "the source gave none"
        };
        notes.push(format!("HashKV cannot be proven: {why}"));
    }
    if !facts.encryption_key_ids.is_empty() {
        notes.push(format!(
            "API servers will need these keys to read their secrets: {}",
            facts.encryption_key_ids.join(", ")
        ));
    }
    notes
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Restore of snapshot {} from {}", self.snapshot, self.vault)?;
        writeln!(f, "  chosen       {}", self.reason)?;
        writeln!(
            f,
            "  taken        {} from etcd {}",
            text::time(self.taken_ms),
            self.source_version
        )?;
        let trimmed = if self.trim_to.is_some() { ", trimmed" } else { "" };
        writeln!(f, "  revision     {}{trimmed}", self.revision)?;
        match self.bump.to {
            Some(to) => writeln!(f, "  lifted to    {to} ({})", self.bump.reason)?,
            None => writeln!(f, "  not lifted   {}", self.bump.reason)?,
        }
        writeln!(f, "  for          etcd {}.{}", self.target.major, self.target.minor)?;
        let PlannedMember { name, id, peer_urls, cluster_id, token, .. } = &self.member;
        writeln!(f, "  member       {name} ({id}) at {}", peer_urls.join(", "))?;
        writeln!(f, "  cluster      {cluster_id}, token {token}")?;
        writeln!(f, "  data dir     {}", self.place.data_dir.display())?;
        match &self.moved_aside {
            Some(aside) => {
                writeln!(f, "               what is there moves to {}", aside.display())?;
            }
            None => writeln!(f, "               nothing is there now")?,
        }
        let free = self.free_bytes.map_or_else(|| "unknown".to_owned(), text::bytes);
        writeln!(f, "  disk         about {} needed, {free} free", text::bytes(self.need_bytes))?;
        for (head, lines) in [
            ("carried over", &self.carried),
            ("rewritten", &self.rewritten),
            ("dropped", &self.dropped),
        ] {
            lines.iter().enumerate().try_for_each(|(at, line)| {
                writeln!(f, "  {:<12} {line}", if at == 0 { head } else { "" })
            })?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note         {note}"))?;
        write!(f, "  then start   {}", shell_line(&self.command))
    }
}

/// A command line as a shell reads it.
pub(crate) fn shell_line(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+[]".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn as_text<S: serde::Serializer>(value: &EtcdVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::versions::{V3_6, V3_7};

    fn facts() -> Facts {
        Facts {
            revision: 900,
            compact_revision: 100,
            server_version: "3.7.3".to_owned(),
            record_count: 1000,
            live_bytes: 1 << 20,
            source_bytes: 50 << 20,
            alarms: vec!["NOSPACE of member 7".to_owned()],
            ..Facts::default()
        }
    }

    fn request() -> RestoreRequest {
        RestoreRequest {
            data_dir: "/nowhere/etcd".into(),
            name: "cp1".to_owned(),
            peer_urls: vec!["https://10.0.0.1:2380".to_owned()],
            client_urls: vec!["https://10.0.0.1:2379".to_owned()],
            ..RestoreRequest::default()
        }
    }

    fn around() -> Surroundings {
        let data_dir = PathBuf::from("/nowhere/etcd");
        let place = Place {
            target: data_dir.clone(),
            build_dir: "/nowhere/etcd.partial".into(),
            data_dir,
            occupied: true,
            owner: None,
        };
        let random_token = "holdfast-00".to_owned();
        Surroundings { place, free_bytes: Some(1 << 40), now_ms: 1_800_000_000_000, random_token }
    }

    fn make(
        request: &RestoreRequest,
        facts: &Facts,
        trim_to: Option<i64>,
    ) -> Result<RestorePlan, PlanError> {
        let selected = Selected {
            number: 42,
            trim_to,
            reason: "the newest snapshot".to_owned(),
            notes: vec![],
        };
        let (vault, high_water) = ("file:///backup", 950);
        RestorePlan::make(
            &PlannedSnapshot { vault, selected: &selected, facts, high_water },
            request,
            &around(),
        )
    }

    #[test]
    fn the_bump_never_lets_a_served_revision_come_back() {
        let decide = |choice, revision, mark, kubernetes| {
            BumpDecision::decide(choice, revision, mark, kubernetes).map(|bump| bump.to)
        };
        assert_eq!(decide(BumpChoice::Auto, 900, 950, true), Ok(Some(BUMP_MARGIN + 950)));
        assert_eq!(decide(BumpChoice::Auto, 900, 0, true), Ok(Some(BUMP_MARGIN + 900)));
        assert_eq!(decide(BumpChoice::Auto, 900, 950, false), Ok(Some(BUMP_MARGIN + 950)));
        assert_eq!(decide(BumpChoice::Auto, 900, 900, false), Ok(None));
        assert_eq!(decide(BumpChoice::None, 900, 950, true), Ok(None));
        assert_eq!(decide(BumpChoice::By(10), 900, 950, true), Ok(Some(910)));
        for by in [0, -1, i64::MAX] {
            assert!(decide(BumpChoice::By(by), 900, 950, true).is_err());
        }
        assert!(decide(BumpChoice::Auto, 900, i64::MAX - 5, true).is_err());
        assert_eq!("auto".parse(), Ok(BumpChoice::Auto));
        assert_eq!("7".parse(), Ok(BumpChoice::By(7)));
        assert!("0".parse::<BumpChoice>().is_err() && "-4".parse::<BumpChoice>().is_err());
    }

    #[test]
    fn a_plan_tells_everything() {
        let plan = make(&request(), &facts(), None).unwrap();
        assert_eq!((plan.target, plan.revision), (V3_7, 900));
        let text = plan.to_string();
        for piece in [
            "snapshot 42 from file:///backup",
            "lifted to    1000000950",
            "cp1 (",
            "moves to /nowhere/etcd.holdfast-20270115-080000",
            "alarm NOSPACE",
            "token holdfast-00",
            "--initial-advertise-peer-urls https://10.0.0.1:2380",
            "--listen-client-urls https://10.0.0.1:2379",
        ] {
            assert!(text.contains(piece), "{piece} is not in\n{text}");
        }
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["bump"]["to"], 1_000_000_950);
        assert_eq!(json["target"], "3.7.0");
        let trimmed = make(&request(), &facts(), Some(500)).unwrap();
        assert_eq!(trimmed.revision, 500);
    }

    #[test]
    fn dangers_are_noted() {
        let none = RestoreRequest { bump: BumpChoice::None, prove_hash: true, ..request() };
        let text = make(&none, &facts(), None).unwrap().to_string();
        assert!(text.contains("revisions 901 to 950 were served before"), "{text}");
        assert!(text.contains("HashKV cannot be proven: the source gave none"), "{text}");
        let low = RestoreRequest { bump: BumpChoice::By(5), ..request() };
        assert!(
            make(&low, &facts(), None).unwrap().to_string().contains("ends below revision 950")
        );
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refuse =
            |request: &RestoreRequest, facts: &Facts| make(request, facts, None).unwrap_err();
        let named = RestoreRequest { target: Some(V3_6), ..request() };
        assert_eq!(make(&named, &facts(), None).unwrap().target, V3_6);
        let odd = Facts { server_version: "2.3".to_owned(), ..facts() };
        assert!(matches!(refuse(&request(), &odd), PlanError::NoTarget { .. }));
        assert!(make(&named, &odd, None).is_ok());
        let no_url = RestoreRequest { peer_urls: vec![], ..request() };
        assert_eq!(refuse(&no_url, &facts()), PlanError::NoPeerUrl);
        let bad_url = RestoreRequest { peer_urls: vec!["10.0.0.1:2380".to_owned()], ..request() };
        assert!(matches!(refuse(&bad_url, &facts()), PlanError::Member(_)));
        let huge = Facts { live_bytes: 1 << 41, source_bytes: 1 << 42, ..facts() };
        assert!(matches!(refuse(&request(), &huge), PlanError::Space { .. }));
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let line =
            shell_line(&["etcd".to_owned(), "a b".to_owned(), "it's".to_owned(), String::new()]);
        assert_eq!(line, "etcd 'a b' 'it'\\''s' ''");
    }
}
