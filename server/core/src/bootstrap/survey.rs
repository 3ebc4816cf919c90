//! Reads a data directory for the decision; changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_bolt::{Db, MapError, MappedFile, ReadError};

use super::MemberDirs;
use crate::buckets::{CLUSTER, MEMBERS, MEMBERS_REMOVED, META, SmallBuckets};
use crate::database::SMALL_BUCKETS_LIMIT_BYTES;
use crate::meta::{Meta, MetaError};
use crate::snap::{Found, SnapFiles};
use crate::versions::EtcdVersion;
use crate::wal::{self, LogDisk, LogSummary, SnapshotRecord, WalError, WalOpenError};

/// What lies in a data directory.
#[derive(Debug, Default)]
pub struct Facts {
    /// The log; `None` if there are no segments.
    pub log: Option<LogFacts>,
    /// The database; `None` if there is no file.
    pub database: Option<DatabaseFacts>,
    /// Files in the data directory that are none of a member's.
    pub strangers: Vec<String>,
}

/// The log and the snapshot at which it is to be read.
#[derive(Debug)]
pub struct LogFacts {
    /// What the whole log says.
    pub summary: LogSummary,
    /// The newest usable .snap file, and broken ones.
    pub snaps: Found,
    /// The database that came with that snapshot, if it is still there.
    pub received_db: Option<PathBuf>,
}

/// What a database says of itself and its cluster.
#[derive(Debug, Clone)]
pub struct DatabaseFacts {
    /// Index of the last applied entry; 0 in a new one.
    pub consistent_index: u64,
    /// Version of the schema; none before 3.6.
    pub storage_version: Option<EtcdVersion>,
    /// The buckets `meta`, `cluster`, `members` and `members_removed`.
    pub buckets: SmallBuckets,
}

/// A directory that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The disk failed.
    #[error("cannot read {}: {source}", path.display())]
    Disk {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The log is damaged.
    #[error("the WAL in {} cannot be read: {source}", dir.display())]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong.
        source: WalError,
    },
    /// The log cannot be listed.
    #[error(transparent)]
    Segments(#[from] WalOpenError),
    /// The database cannot be opened; a running member holds its lock.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The database is damaged.
    #[error("the database {} is damaged: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Its bucket `meta` is not readable.
    #[error("the database {}: {source}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MetaError,
    },
    /// The small buckets are not small.
    #[error("the database {} has more than {SMALL_BUCKETS_LIMIT_BYTES} bytes about its cluster", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the directory. It may be missing or empty.
///
/// # Errors
/// [`SurveyError`].
pub fn survey<D: LogDisk>(disk: &D, dirs: &MemberDirs) -> Result<Facts, SurveyError> {
    let mut strangers = names(disk, dirs.data())?;
    strangers.retain(|name| name != "member" && Some(dirs.data().join(name)) != wal_within(dirs));
    let log = wal::exists(disk, dirs.wal()).then(|| survey_log(disk, dirs)).transpose()?;
    let has_db = names(disk, &dirs.snap())?.iter().any(|name| name == "db");
    let database = has_db.then(|| read_cluster_buckets(&dirs.db())).transpose()?;
    Ok(Facts { log, database, strangers })
}

/// The log's directory if it stands right in the data directory.
fn wal_within(dirs: &MemberDirs) -> Option<PathBuf> {
    (dirs.wal().parent() == Some(dirs.data())).then(|| dirs.wal().to_owned())
}

fn survey_log<D: LogDisk>(disk: &D, dirs: &MemberDirs) -> Result<LogFacts, SurveyError> {
    let segments = wal::segment_names(disk, dirs.wal())?;
    let summary = wal::summarize(&segments, |name| {
        let path = dirs.wal().join(name);
        disk.read(&path).map_err(|source| Trouble::Disk(path, source))
    });
    let summary = summary.map_err(|trouble| match trouble {
        Trouble::Disk(path, source) => SurveyError::Disk { path, source },
        Trouble::Log(source) => SurveyError::Log { dir: dirs.wal().to_owned(), source },
    })?;
    // A snapshot above the commit index is one that was being received.
    let mut notes: Vec<SnapshotRecord> = summary.snapshots.clone();
    notes.retain(|note| note.index > 0 && note.index <= summary.hard_state.commit);
    let path = dirs.snap();
    let failed = |source| SurveyError::Disk { path: path.clone(), source };
    let files = SnapFiles::new(disk.clone(), &path);
    let snaps = match files.find_newest(&notes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
        other => other.map_err(failed)?,
    };
    let index = snaps.snapshot.as_ref().map(|snapshot| snapshot.metadata.index);
    let received_db = index.map(|index| files.received_db(index)).transpose().map_err(failed)?;
    Ok(LogFacts { summary, snaps, received_db: received_db.flatten() })
}

enum Trouble {
    Disk(PathBuf, io::Error),
    Log(WalError),
}

impl From<WalError> for Trouble {
    fn from(error: WalError) -> Self {
        Trouble::Log(error)
    }
}

/// The names in a directory; none if it is not there.
fn names<D: LogDisk>(disk: &D, dir: &Path) -> Result<Vec<String>, SurveyError> {
    match disk.names(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| SurveyError::Disk { path: dir.to_owned(), source }),
    }
}

/// Reads what a database says of its cluster.
///
/// # Errors
/// [`SurveyError`]; [`MapError::InUse`] if a running member has it.
pub fn read_cluster_buckets(path: &Path) -> Result<DatabaseFacts, SurveyError> {
    let damaged = |source| SurveyError::Database { path: path.to_owned(), source };
    let db = Db::open(MappedFile::open(path)?).map_err(damaged)?;
    let mut buckets = SmallBuckets::default();
    let mut size_bytes = 0usize;
    for name in [META, CLUSTER, MEMBERS, MEMBERS_REMOVED] {
        let Some(bucket) = db.bucket(name).map_err(damaged)? else { continue };
        buckets.create(name);
        let mut cursor = bucket.cursor();
        while let Some(entry) = cursor.next().map_err(damaged)? {
            size_bytes = size_bytes.saturating_add(entry.key.len() + entry.value.len());
            if size_bytes > SMALL_BUCKETS_LIMIT_BYTES {
                return Err(SurveyError::TooLarge { path: path.to_owned() });
            }
            buckets.put(name, entry.key, entry.value);
        }
    }
    let meta = Meta::read(&buckets)
        .map_err(|source| SurveyError::Meta { path: path.to_owned(), source })?;
    let storage_version = meta.storage_version.and_then(|version| version.parse().ok());
    Ok(DatabaseFacts { consistent_index: meta.consistent_index, storage_version, buckets })
}
