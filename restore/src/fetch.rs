//! From the vault's reader into a rebuild or an export.
//!
//! Holds: what comes out is believed only once the reader has proven the whole
//! ([`VerifiedSnapshot`]); the reader's threads fetch and open ahead, this one writes.

use holdfast_core::buckets::{KEY, SmallBuckets};
use holdfast_vault::chain::Chain;
use holdfast_vault::proto::CatalogueEntry;
use holdfast_vault::snapshot::{
    ReadOptions, RecordStream, SnapshotError, SnapshotReader, VerifiedSnapshot,
};

use crate::export::{Export, ExportError, Exported};
use crate::rebuild::{RebuildError, RecordSink, SourceRecord};
use crate::select::{Candidate, Question, SelectError, Selected, select};

/// A snapshot that could not be brought over.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The vault.
    #[error(transparent)]
    Snapshot(Box<SnapshotError>),
    /// What takes the records.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The file that takes them.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A small bucket of the name that is streamed.
    #[error("snapshot {number} holds the bucket `key` twice; it must not be restored")]
    KeyTwice {
        /// The snapshot.
        number: u64,
    },
    /// The thread that wrote is gone.
    #[error("the writing thread ended by a defect: {0}")]
    Thread(String),
}

impl From<SnapshotError> for FetchError {
    fn from(error: SnapshotError) -> Self {
        FetchError::Snapshot(Box::new(error))
    }
}

/// What choosing needs of a catalogue's entry.
pub fn candidate(entry: &CatalogueEntry) -> Candidate {
    Candidate {
        number: entry.number,
        lineage: <[u8; 16]>::try_from(&entry.lineage_id[..]).unwrap_or_default(),
        revision: entry.revision,
        compact_revision: entry.compact_revision,
        taken_ms: if entry.taken_ms > 0 { entry.taken_ms } else { entry.time_ms },
        proven_level: entry.proven_level.checked_sub(1),
        contested: entry.contested,
    }
}

/// Chooses among the snapshots of a chain's head; `now` is the vault's clock.
///
/// # Errors
/// See [`SelectError`].
pub fn select_in(chain: &Chain, question: Question) -> Result<Selected, SelectError> {
    let candidates: Vec<Candidate> = chain.catalogue().entries().map(candidate).collect();
    select(&candidates, question, chain.access().clock().now_ms())
}

/// Newest revision known to have been served, as the chain's head has it; 0 if it has none.
pub fn high_water(chain: &Chain) -> i64 {
    chain.head().high_water.as_ref().map_or(0, |mark| mark.revision)
}

/// Every bucket of a snapshot but `key`.
///
/// # Errors
/// Missing or damaged objects, missing keys.
pub async fn small_buckets(reader: &SnapshotReader) -> Result<SmallBuckets, FetchError> {
    let mut small = SmallBuckets::default();
    for bucket in reader.buckets() {
        if bucket.name == KEY {
            return Err(FetchError::KeyTwice { number: reader.entry().number });
        }
        small.create(&bucket.name);
        for entry in reader.bucket(bucket).await? {
            small.put(&bucket.name, &entry.key, entry.value.to_vec());
        }
    }
    Ok(small)
}

/// Gives all records to `sink`; on a thread that may block.
///
/// # Errors
/// The reader's, among them that the whole is not what was backed up; and the sink's.
pub fn pour(
    mut stream: RecordStream,
    sink: &mut dyn RecordSink,
) -> Result<VerifiedSnapshot, FetchError> {
    while let Some(record) = stream.next()? {
        let (main, sub, tombstone) = (record.main, record.sub, record.tombstone);
        sink.push(&SourceRecord { main, sub, tombstone, value: record.value })?;
    }
    Ok(stream.finish()?)
}

/// Runs work on a thread that may block.
pub(crate) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<FetchError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(FetchError::Thread(error.to_string()).into()),
    }
}

/// Writes a snapshot as a plain file for `etcdutl`; see [`crate::export`].
///
/// # Errors
/// See [`FetchError`]; no file is left behind.
pub async fn export(
    reader: &SnapshotReader,
    to: &std::path::Path,
    trim_to: Option<i64>,
    options: ReadOptions,
) -> Result<Exported, FetchError> {
    let mut export = Export::begin(to, small_buckets(reader).await?, trim_to)?;
    let stream = reader.records(options);
    blocking(move || {
        pour(stream, &mut export)?;
        Ok(export.finish()?)
    })
    .await
}
