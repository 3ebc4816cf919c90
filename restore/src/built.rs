//! A database file opened for reading: its small buckets, its records, its HashKV.
//!
//! Used on what was built (proof before a bump, level L3, the drill). Never open a live member's file with it.

use std::path::{Path, PathBuf};

use holdfast_bolt::{Db, MapError, MappedFile, PageSource, ReadError};
use holdfast_core::buckets::{KEY, SmallBuckets};
use holdfast_core::compaction::ScanError;
use holdfast_core::hashkv::{self, HashScope, RecordSource};
use holdfast_core::record::{Record, RecordError};

/// Bytes of all small buckets that are taken into memory.
const MAX_SMALL_BYTES: usize = 1 << 30;

/// An open database.
#[derive(Debug)]
pub struct Built<S: PageSource> {
    db: Db<S>,
}

/// A database that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BuiltError {
    /// The file cannot be opened.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Pages are damaged.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Pages are damaged, seen while walking.
    #[error(transparent)]
    Walk(#[from] ReadError),
    /// Records are damaged or out of order.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A bucket inside a bucket, where etcd has none.
    #[error("bucket {0} holds another bucket: this is no database of etcd")]
    Nested(String),
    /// Far more in the small buckets than any etcd has.
    #[error("the small buckets hold more than {} MiB", MAX_SMALL_BYTES >> 20)]
    TooLarge,
}

impl Built<MappedFile> {
    /// Opens a file that nobody writes.
    ///
    /// # Errors
    /// A file that is no database.
    pub fn open(path: &Path) -> Result<Self, BuiltError> {
        let file = MappedFile::open(path)?;
        let read = |source| BuiltError::Read { path: path.to_owned(), source };
        Ok(Built { db: Db::open(file).map_err(read)? })
    }
}

impl<S: PageSource> Built<S> {
    /// Over an open database.
    pub fn of(db: Db<S>) -> Self {
        Built { db }
    }

    /// The database.
    pub fn db(&self) -> &Db<S> {
        &self.db
    }

    /// Every bucket but `key`, whole.
    ///
    /// # Errors
    /// Damage, or too much for memory.
    pub fn small_buckets(&self) -> Result<SmallBuckets, BuiltError> {
        let mut small = SmallBuckets::default();
        let mut bytes = 0usize;
        for bucket in self.db.buckets() {
            let (name, bucket) = bucket?;
            if name.as_slice() == KEY {
                continue;
            }
            small.create(&name);
            let mut cursor = bucket.cursor();
            while let Some(entry) = cursor.next()? {
                if entry.is_bucket {
                    return Err(BuiltError::Nested(name.escape_ascii().to_string()));
                }
                bytes += entry.key.len() + entry.value.len();
                if bytes > MAX_SMALL_BYTES {
                    return Err(BuiltError::TooLarge);
                }
                small.put(&name, entry.key, entry.value);
            }
        }
        Ok(small)
    }

    /// HashKV of the file, as a member with it would answer for this scope.
    ///
    /// # Errors
    /// Damage.
    pub fn hashkv(&self, scope: HashScope) -> Result<u32, BuiltError> {
        hashkv::hashkv(self, scope)
    }

    /// Every record in revision order.
    ///
    /// # Errors
    /// Damage, and those of `visit`.
    pub fn records<E: From<BuiltError>>(
        &self,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bucket = self.db.bucket(KEY).map_err(BuiltError::from)?;
        let Some(bucket) = bucket else { return Ok(()) };
        let mut cursor = bucket.cursor();
        while let Some(entry) = cursor.next().map_err(BuiltError::from)? {
            if entry.is_bucket {
                return Err(BuiltError::Nested("key".to_owned()).into());
            }
            let record = Record::parse(entry.key, entry.value);
            let record = record.map_err(|error| BuiltError::from(ScanError::from(error)))?;
            visit(record)?;
        }
        Ok(())
    }
}

impl<S: PageSource> RecordSource for Built<S> {
    type Error = BuiltError;

    fn scan(
        &self,
        visit: &mut dyn FnMut(Record<'_>) -> Result<(), ScanError>,
    ) -> Result<(), BuiltError> {
        self.records(|record| visit(record).map_err(BuiltError::from))
    }
}

impl From<RecordError> for BuiltError {
    fn from(error: RecordError) -> Self {
        BuiltError::Scan(error.into())
    }
}
