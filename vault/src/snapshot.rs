//! Taking snapshots and giving them back.
//!
//! Holds: a snapshot is a statement of which records are alive; nothing is committed before
//! everything was compared; what is read back is checked against the chain, down to the digest over
//! all live records.

mod base;
mod body;
mod build;
pub mod contested;
pub mod kinship;
pub mod merge;
mod naming;
pub mod read;
mod replan;
mod source;
mod take;
mod uploads;
pub mod walk;

pub use base::{bitmap, read_index};
pub use naming::{Name, Naming};
pub use read::{ReadOptions, RecordStream, SnapshotReader, VerifiedSnapshot};
pub use source::{Differences, Entry, Source, SourceBucket, SourceError};
pub use take::{Outcome, SnapshotOptions, Summary, take};
pub use uploads::Uploaded;
pub use walk::{Finding, LiveTotals, SourceItem, SourceRecord, WalkResult};

use crate::access::{Access, AccessError};
use crate::chain::{Chain, ChainError};
use crate::format::{ObjectId, OpenedBody, open_body};
use crate::proto::{CatalogueEntry, ObjectKind, ObjectRef, Rev};

/// Why a snapshot was not taken or not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The chain, its objects or the store.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source is not sorted.
    #[error(transparent)]
    Unsorted(#[from] walk::Unsorted),
    /// The source says that a record is gone which it was never asked about.
    #[error(transparent)]
    NotNamed(#[from] walk::NotNamed),
    /// The differences that the source told were of another state of the vault.
    #[error(
        "the differences that the member told do not fit: {detail}; nothing was stored of them, \
         and everything must be read"
    )]
    Unfit {
        /// What does not.
        detail: String,
    },
    /// What the chain says does not fit together.
    #[error("{detail}; run `holdfast vault check`")]
    Base {
        /// What.
        detail: String,
    },
    /// Other writers were faster every time.
    #[error("{times} rounds were lost to other writers; do two agents run with short intervals?")]
    LostRaces {
        /// How often.
        times: u32,
    },
    /// The run's data seed was retired by a prune while it was used.
    #[error("the data seed of this run was retired meanwhile; run the round again, with a new one")]
    SeedRetired,
    /// There is no such snapshot.
    #[error("snapshot {number} does not exist{}", why_missing(*.was_there))]
    NoSnapshot {
        /// Its number.
        number: u64,
        /// It was there when reading began.
        was_there: bool,
    },
    /// Objects of it went away again and again while it was read.
    #[error(
        "snapshot {number}: after {plans} plans still {detail}; run `holdfast vault check`, and hold the \
         snapshot before a long read"
    )]
    WentAway {
        /// Its number.
        number: u64,
        /// How often the read planned again.
        plans: u32,
        /// What was missing last.
        detail: String,
    },
    /// A frame or the order of records is wrong.
    #[error("snapshot {number}: {source}")]
    Merge {
        /// The snapshot.
        number: u64,
        /// What is wrong.
        source: merge::MergeError,
    },
    /// Everything opens, but it is not what was backed up.
    #[error("snapshot {number}: {detail}; it must not be restored")]
    Contradiction {
        /// The snapshot.
        number: u64,
        /// What differs.
        detail: String,
    },
}

impl SnapshotError {
    /// Whether an object is gone or its bytes are not those that were written: nothing that is
    /// asked again will bring it back.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            // A seed of which only a listing shows no wrap (`NoWrap`) is none: the listing may be
            // stale, and the round is tried again.
            SnapshotError::Chain(ChainError::Keys(AccessError::WrapsGone { .. })) => true,
            SnapshotError::Chain(error) => error.is_loss(),
            _ => false,
        }
    }
}

fn why_missing(was_there: bool) -> &'static str {
    if was_there {
        ": it was forgotten while it was read; choose another"
    } else {
        "; `holdfast snapshots` lists those that do"
    }
}

impl From<crate::store::StoreError> for SnapshotError {
    fn from(error: crate::store::StoreError) -> Self {
        SnapshotError::Chain(error.into())
    }
}

impl From<crate::format::FormatError> for SnapshotError {
    fn from(error: crate::format::FormatError) -> Self {
        AccessError::from(error).into()
    }
}

/// A revision of a message; missing: the lowest.
pub(crate) fn rev(rev: Option<&Rev>) -> walk::Rev {
    rev.map_or((0, 0), |rev| (rev.main, rev.sub))
}

/// The reference of a snapshot's body.
pub(crate) fn body_reference(chain: &Chain, entry: &CatalogueEntry) -> Option<ObjectRef> {
    let bodies = chain.state().objects().values();
    let mut bodies = bodies.filter(|extant| extant.object.kind() == ObjectKind::Body);
    let found = bodies.find(|extant| extant.object.object_id == entry.body_id)?;
    let same = found.object.sha256 == entry.body_sha256
        && found.object.size_bytes == entry.body_size_bytes
        && found.added == entry.number;
    same.then(|| found.object.clone())
}

/// Reads and opens a snapshot's body and checks that it belongs to its commit. Only the index seed
/// is needed.
pub(crate) async fn read_body(
    chain: &Chain,
    entry: &CatalogueEntry,
) -> Result<OpenedBody, SnapshotError> {
    let number = entry.number;
    let access = chain.access();
    let reference = body_reference(chain, entry).ok_or_else(|| SnapshotError::Base {
        detail: format!("the catalogue and the chain name different bodies for snapshot {number}"),
    })?;
    access.ensure_index_seed(&reference).await?;
    let bytes = access.store().get(&body_name(access, entry)?, reference.size_bytes).await?;
    let expected = access.expected(ObjectKind::Body, Some(&reference));
    let opened = open_body(&bytes, &expected, &access.keyring())?;
    let body = &opened.body;
    let belongs =
        body.base_number.checked_add(1) == Some(number) && body.lineage_id == entry.lineage_id;
    if belongs {
        return Ok(opened);
    }
    let detail = format!("the body of snapshot {number} was made for another commit");
    Err(SnapshotError::Base { detail })
}

/// The name of a snapshot's body.
pub(crate) fn body_name(access: &Access, entry: &CatalogueEntry) -> Result<String, SnapshotError> {
    let id = ObjectId::from_bytes(&entry.body_id)
        .map_err(|error| SnapshotError::Base { detail: error.to_string() })?;
    Ok(access.names().object(ObjectKind::Body, id))
}
