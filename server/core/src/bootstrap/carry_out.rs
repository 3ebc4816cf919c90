//! Carries a plan out: directories, log, snapshots, the database that takes another's place.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{DatabaseStep, MemberDirs, RestartPlan, SurveyError, read_cluster_buckets};
use crate::membership::{Founding, Member};
use crate::raftpb::{ConfChange, ConfChangeKind, EntryKind, HardState, SnapshotMetadata};
use crate::rebuilt::FOUNDING_TERM;
use crate::snap::SnapFiles;
use crate::v2store::{self, V2Membership, V2StoreError};
use crate::wal::{LogContents, LogDisk, LogEntry, LogStart, Repair, SyncObserver, Wal, WalOptions};
use crate::wal::{WalMetadata, WalOpenError, WalWriteError};
use crate::wire::WireError;

/// What the server runs on from here.
#[derive(Debug)]
pub struct Started<D: LogDisk> {
    /// The log, open and locked.
    pub wal: Wal<D>,
    /// Where it stands: raft's state is this snapshot, with the entries behind it.
    pub snapshot: SnapshotMetadata,
    /// The entries behind the snapshot. Those above `hard_state.commit` may yet be replaced.
    pub entries: Vec<LogEntry>,
    /// The last hard state.
    pub hard_state: HardState,
    /// Members at the snapshot, for [`crate::membership::Cluster::load`]; `None` at the log's
    /// start.
    pub replayed: Option<V2Membership>,
    /// A torn tail that was cut off.
    pub repaired: Option<Repair>,
    /// Files that earlier runs left and that are gone now.
    pub cleaned: Vec<String>,
}

/// A plan that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CarryOutError {
    /// The disk failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The log cannot be written.
    #[error(transparent)]
    Write(#[from] WalWriteError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] WalOpenError),
    /// The .snap file's content is not a v2 store.
    #[error("failed to recover from snapshot: {0}")]
    V2Store(#[from] V2StoreError),
    /// The database that came with a snapshot cannot be read.
    #[error(transparent)]
    Database(#[from] SurveyError),
    /// The database that came with a snapshot is another one's.
    #[error("the database {} stands at index {found}, the snapshot that it came with at {index}", path.display())]
    OtherDatabase {
        /// The file.
        path: PathBuf,
        /// Its consistent index.
        found: u64,
        /// The snapshot's index.
        index: u64,
    },
    /// The log ends before what the database has applied: new entries would be taken for applied.
    #[error(
        "the database has applied entry {applied}, but the WAL ends at entry {last}: the end of the \
         WAL is lost; restore this member from its peers or from a backup"
    )]
    LogBehind {
        /// The database's consistent index.
        applied: u64,
        /// The log's last index.
        last: u64,
    },
    /// A change of members in the log is not readable.
    #[error("entry {index} of the WAL is an unreadable change of members: {source}")]
    ConfChange {
        /// The entry.
        index: u64,
        /// What is wrong.
        source: WireError,
    },
}

/// Founds a cluster: a log whose first entries add the founders, committed in term 1.
///
/// # Errors
/// [`CarryOutError`].
pub fn found<D: LogDisk>(
    disk: D,
    dirs: &MemberDirs,
    founding: &Founding,
    options: WalOptions,
    observer: Box<dyn SyncObserver>,
) -> Result<Started<D>, CarryOutError> {
    let entries: Vec<LogEntry> = (1..)
        .zip(founding.members())
        .map(|(index, member)| {
            let context = member.to_json();
            conf_entry(index, FOUNDING_TERM, ConfChangeKind::AddNode, member.id, context)
        })
        .collect();
    let commit = entries.len() as u64;
    let first = LogContents {
        metadata: WalMetadata { node_id: founding.local().id, cluster_id: founding.cluster_id() },
        hard_state: HardState { term: FOUNDING_TERM, vote: 0, commit },
        entries,
        repaired: None,
    };
    create(disk, dirs, first, options, observer)
}

/// Joins a cluster as the member that was added to it: an empty log.
///
/// # Errors
/// [`CarryOutError`].
pub fn join<D: LogDisk>(
    disk: D,
    dirs: &MemberDirs,
    metadata: WalMetadata,
    options: WalOptions,
    observer: Box<dyn SyncObserver>,
) -> Result<Started<D>, CarryOutError> {
    create(disk, dirs, metadata.into(), options, observer)
}

fn create<D: LogDisk>(
    disk: D,
    dirs: &MemberDirs,
    first: LogContents,
    options: WalOptions,
    observer: Box<dyn SyncObserver>,
) -> Result<Started<D>, CarryOutError> {
    let cleaned = make_dirs(&disk, dirs)?;
    let wal = Wal::create(disk, dirs.wal(), first.clone(), options, observer)?;
    Ok(Started {
        wal,
        snapshot: SnapshotMetadata::default(),
        entries: first.entries,
        hard_state: first.hard_state,
        replayed: None,
        repaired: None,
        cleaned,
    })
}

/// Goes on from what is there.
///
/// # Errors
/// [`CarryOutError`].
pub fn restart<D: LogDisk>(
    disk: D,
    dirs: &MemberDirs,
    plan: RestartPlan,
    options: WalOptions,
    observer: Box<dyn SyncObserver>,
) -> Result<Started<D>, CarryOutError> {
    let cleaned = make_dirs(&disk, dirs)?;
    let snap_dir = dirs.snap();
    let files = SnapFiles::new(disk.clone(), &snap_dir);
    for name in &plan.set_aside {
        files.set_aside(name).map_err(failed("set aside", &snap_dir.join(name)))?;
    }
    let replayed = plan.snapshot.as_ref().map(|it| v2store::decode(&it.data)).transpose()?;
    let snapshot = plan.snapshot.map(|snapshot| snapshot.metadata).unwrap_or_default();
    if let DatabaseStep::TakeReceived(path) = &plan.database {
        take_received(&disk, dirs, path, snapshot.index)?;
    }
    let start = LogStart { index: snapshot.index, term: snapshot.term };
    let (mut wal, mut contents) = Wal::open(disk, dirs.wal(), start, options, observer)?;
    if plan.consistent_index > wal.last_index() {
        let (applied, last) = (plan.consistent_index, wal.last_index());
        return Err(CarryOutError::LogBehind { applied, last });
    }
    if plan.force_new_cluster {
        let state = &mut contents.hard_state;
        state.commit = state.commit.max(plan.consistent_index);
        let alone = go_alone(&snapshot, &mut contents.entries, *state, contents.metadata.node_id)?;
        state.commit += alone.len() as u64;
        wal.append(alone.iter().map(LogEntry::borrow), Some(*state), true)?;
        contents.entries.extend(alone);
    }
    Ok(Started {
        wal,
        snapshot,
        entries: contents.entries,
        hard_state: contents.hard_state,
        replayed,
        repaired: contents.repaired,
        cleaned,
    })
}

/// Drops what is not committed and gives the entries that throw the other members out. The local
/// one is added first if it is not among them: there is never nobody.
fn go_alone(
    snapshot: &SnapshotMetadata,
    entries: &mut Vec<LogEntry>,
    state: HardState,
    local: u64,
) -> Result<Vec<LogEntry>, CarryOutError> {
    entries.retain(|entry| entry.index <= state.commit);
    let mut ids: BTreeSet<u64> = snapshot.conf_state.voters.iter().copied().collect();
    ids.extend(&snapshot.conf_state.learners);
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange) {
        let index = entry.index;
        let change = ConfChange::decode(&entry.data)
            .map_err(|source| CarryOutError::ConfChange { index, source })?;
        match change.kind {
            ConfChangeKind::AddNode | ConfChangeKind::AddLearner => ids.insert(change.node_id),
            ConfChangeKind::RemoveNode => ids.remove(&change.node_id),
            ConfChangeKind::UpdateNode => false,
        };
    }
    let mut changes = Vec::new();
    if !ids.remove(&local) {
        let peer_urls = vec!["http://localhost:2380".to_owned()];
        let member = Member { id: local, peer_urls, ..Member::default() };
        changes.push((ConfChangeKind::AddNode, local, member.to_json()));
    }
    changes.extend(ids.into_iter().map(|id| (ConfChangeKind::RemoveNode, id, Vec::new())));
    let entries = (state.commit + 1..).zip(changes);
    let entry = |(index, (kind, id, context))| conf_entry(index, state.term, kind, id, context);
    Ok(entries.map(entry).collect())
}

fn conf_entry(
    index: u64,
    term: u64,
    kind: ConfChangeKind,
    node_id: u64,
    context: Vec<u8>,
) -> LogEntry {
    let data = Bytes::from(ConfChange { id: 0, kind, node_id, context }.to_bytes());
    LogEntry { kind: EntryKind::ConfChange, term, index, data }
}

/// Puts the database that came with a snapshot in its place. It must be of that very snapshot.
fn take_received<D: LogDisk>(
    disk: &D,
    dirs: &MemberDirs,
    received: &Path,
    index: u64,
) -> Result<(), CarryOutError> {
    let found = read_cluster_buckets(received)?.consistent_index;
    if found != index {
        return Err(CarryOutError::OtherDatabase { path: received.to_owned(), found, index });
    }
    let (db, dir) = (dirs.db(), dirs.snap());
    disk.rename(received, &db).map_err(failed("put the received database in its place at", &db))?;
    disk.sync_dir(&dir).map_err(failed("sync the directory", &dir))
}

/// Makes the directories that are missing and removes what earlier runs left.
fn make_dirs<D: LogDisk>(disk: &D, dirs: &MemberDirs) -> Result<Vec<String>, CarryOutError> {
    let snap = dirs.snap();
    for dir in [&*snap, dirs.wal().parent().unwrap_or(&snap)] {
        make_dir(disk, dir).map_err(failed("create the directory", dir))?;
    }
    let files = SnapFiles::new(disk.clone(), &snap);
    files.clean().map_err(failed("remove temporary files in", &snap))
}

/// Makes a directory, durably, and those above it that are missing.
fn make_dir<D: LogDisk>(disk: &D, dir: &Path) -> io::Result<()> {
    match disk.names(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(|_| ()),
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if parent != dir {
        make_dir(disk, parent)?;
    }
    disk.create_dir(dir)?;
    disk.sync_dir(parent)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CarryOutError {
    let path = path.to_owned();
    move |source| CarryOutError::Disk { action, path, source }
}
