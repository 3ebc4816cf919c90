//! Level L3: is a database file a sound bolt file, and does what is in it follow etcd's schema?
//!
//! The two looks themselves are `holdfast_bolt::check` and `holdfast_core::schema`; this joins
//! them for files that were just built. Never give it a live member's file.

use std::path::{Path, PathBuf};

use holdfast_bolt::{Db, MapError, MappedFile, PageSource, ReadError};
use holdfast_core::database::{DatabaseError, DatabaseRecords};
use holdfast_core::hashkv::{self, HashScope};
use holdfast_core::schema::{Findings, Severity, check_schema};
use holdfast_vault::proto::HashKv;
use holdfast_vault::snapshot::{ReadOptions, SnapshotReader, VerifiedSnapshot};

use crate::export::Export;
use crate::fetch::{FetchError, blocking, pour, small_buckets};
use crate::restore::source_hash;

/// A database that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It is no database.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Its content cannot be read.
    #[error(transparent)]
    Content(#[from] DatabaseError),
}

/// A snapshot whose structure could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The snapshot, or the file that is built of it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file that was built.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder.
    #[error("{}: {source}; name another directory", folder.display())]
    Folder {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a look at a snapshot's database showed.
#[derive(Debug, Clone)]
pub struct SnapshotCheck {
    /// Faults, warnings and notes of structure and schema.
    pub findings: Findings,
    /// Whether HashKV equals the source's; `None`: the source gave none.
    pub hash_equal: Option<bool>,
    /// The reader's proof.
    pub verified: VerifiedSnapshot,
}

/// Builds a snapshot's database as a private file below `folder`, looks at all of it, and removes
/// it.
///
/// # Errors
/// The snapshot cannot be read, or the file cannot be written. Faults are in what is returned.
pub async fn check_snapshot(
    reader: &SnapshotReader,
    folder: &Path,
    options: ReadOptions,
) -> Result<SnapshotCheck, CheckError> {
    let in_folder = |source| CheckError::Folder { folder: folder.to_owned(), source };
    let sandbox = tempfile::Builder::new().prefix("holdfast-check-").tempdir_in(folder);
    let sandbox = sandbox.map_err(in_folder)?;
    let file = sandbox.path().join("snapshot.db");
    let begun = Export::begin(&file, small_buckets(reader).await?, None);
    let mut export = begun.map_err(FetchError::from)?;
    let stream = reader.records(options);
    let check = blocking(move || {
        let verified = pour(stream, &mut export)?;
        export.finish().map_err(FetchError::from)?;
        let db = open_database(&file)?;
        let hash_equal = match source_hash(&verified.facts) {
            Some(HashKv { revision, compact_revision, hash }) => {
                Some(hashkv_of(&db, HashScope { revision, compact_revision })? == hash)
            }
            None => None,
        };
        Ok::<_, CheckError>(SnapshotCheck { findings: check_database(&db), hash_equal, verified })
    })
    .await?;
    sandbox.close().map_err(in_folder)?;
    Ok(check)
}

/// Opens a file that nobody writes.
///
/// # Errors
/// A file that is no database.
pub fn open_database(path: &Path) -> Result<Db<MappedFile>, OpenError> {
    let file = MappedFile::open(path)?;
    Db::open(file).map_err(|source| OpenError::Read { path: path.to_owned(), source })
}

/// Looks at a whole database; finds faults, warnings and notes.
pub fn check_database<S: PageSource>(db: &Db<S>) -> Findings {
    let mut findings = Findings::default();
    match holdfast_bolt::check(db) {
        Ok(report) => {
            for fault in &report.faults {
                findings.push(Severity::Fault, "bolt", fault);
            }
            findings.faults = findings.faults.max(report.fault_count);
        }
        Err(error) => findings.push(Severity::Fault, "bolt", error),
    }
    let schema = check_schema(db);
    findings.more += schema.more;
    findings.faults += schema.faults;
    findings.all.extend(schema.all);
    findings
}

/// The faults of a look, in one line; `None` without any.
pub fn faults_line(findings: &Findings) -> Option<String> {
    if findings.is_sound() {
        return None;
    }
    let faults = findings.all.iter().filter(|one| one.severity == Severity::Fault);
    let mut shown: Vec<String> =
        faults.take(5).map(|one| format!("{}: {}", one.place, one.what)).collect();
    let more = findings.faults.saturating_sub(shown.len() as u64);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    Some(shown.join("; "))
}

/// HashKV of a file, as a member with it would answer for this scope.
///
/// # Errors
/// Damage, or a scope whose revision lies below its compaction.
pub fn hashkv_of<S: PageSource>(db: &Db<S>, scope: HashScope) -> Result<u32, OpenError> {
    Ok(hashkv::hashkv(&DatabaseRecords::new(db), scope)?)
}
