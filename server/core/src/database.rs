//! Reads a member's database: its small buckets, its records, and the facts about it.

use holdfast_bolt::{Bucket, Db, PageSource, ReadError};

use crate::buckets::{self, Alarm, KEY, SmallBuckets};
use crate::compaction::ScanError;
use crate::hashkv::RecordSource;
use crate::membership::Member;
use crate::meta::{Meta, MetaError};
use crate::rebuilt::{CLUSTER_VERSION, DOWNGRADE};
use crate::record::Record;
use crate::revision::Revision;
use crate::wire::WireError;

/// Most bytes that the small buckets may hold, keys and values: a million leases have 30 MB.
pub const SMALL_BUCKETS_LIMIT_BYTES: usize = 128 << 20;

/// A database that cannot be read as a member's.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The bolt file is damaged or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is damaged, or the records are out of order.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// There is no history: not an etcd database.
    #[error("there is no bucket `key`: this is not an etcd database")]
    NoKeyBucket,
    /// A bucket inside a bucket, which etcd never makes.
    #[error("bucket {bucket} holds a bucket; etcd never nests them")]
    Nested {
        /// The outer one's name.
        bucket: String,
    },
    /// The small buckets are not small.
    #[error("the buckets beside `key` hold more than {SMALL_BUCKETS_LIMIT_BYTES} bytes")]
    TooLarge,
    /// `meta` is not readable.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// A member's JSON is not readable.
    #[error("members/{id}: {source}")]
    Member {
        /// The member's key.
        id: String,
        /// serde's error.
        source: serde_json::Error,
    },
    /// An alarm is not readable.
    #[error("alarm: {0}")]
    Alarm(WireError),
}

/// The records of a database, as a repeatable source.
#[derive(Debug)]
pub struct DatabaseRecords<'d, S: PageSource> {
    db: &'d Db<S>,
}

/// What one scan over the bucket `key` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyFacts {
    /// All records, dead ones included.
    pub records: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Bytes of their bucket keys and values.
    pub size_bytes: u64,
    /// The last record's revision.
    pub last: Option<Revision>,
}

/// What a database says about itself and its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The logical revision: of the last record or the higher compaction mark, at least 1.
    pub revision: i64,
    /// Counts of the bucket `key`.
    pub key: KeyFacts,
    /// The bucket `meta`.
    pub meta: Meta,
    /// Members by their keys' order.
    pub members: Vec<Member>,
    /// Ids of removed members, as stored.
    pub removed_members: Vec<String>,
    /// Raised alarms.
    pub alarms: Vec<Alarm>,
    /// Number of leases.
    pub leases: u64,
    /// Number of users.
    pub users: u64,
    /// Number of roles.
    pub roles: u64,
    /// Whether authentication is on.
    pub auth_enabled: bool,
    /// `3.6.0` and the like, as stored.
    pub cluster_version: Option<String>,
    /// JSON of a downgrade, running or cancelled.
    pub downgrade: Option<String>,
    /// Buckets that no known etcd has, escaped.
    pub unknown_buckets: Vec<String>,
}

impl<'d, S: PageSource> DatabaseRecords<'d, S> {
    /// The records of `db`.
    pub fn new(db: &'d Db<S>) -> Self {
        DatabaseRecords { db }
    }

    fn bucket(&self) -> Result<Bucket<'d, S>, DatabaseError> {
        self.db.bucket(KEY)?.ok_or(DatabaseError::NoKeyBucket)
    }
}

impl<S: PageSource> RecordSource for DatabaseRecords<'_, S> {
    type Error = DatabaseError;

    fn scan(
        &self,
        visit: &mut dyn FnMut(Record<'_>) -> Result<(), ScanError>,
    ) -> Result<(), DatabaseError> {
        let mut cursor = self.bucket()?.cursor();
        while let Some(entry) = cursor.next()? {
            if entry.is_bucket {
                return Err(DatabaseError::Nested { bucket: "key".to_owned() });
            }
            let record = Record::parse(entry.key, entry.value).map_err(ScanError::from)?;
            visit(record)?;
        }
        Ok(())
    }
}

impl KeyFacts {
    /// Counts the next record.
    pub fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.tombstones += u64::from(record.at.tombstone);
        self.size_bytes += (record.raw_key.len() + record.raw_value.len()) as u64;
        self.last = Some(record.at.revision);
    }
}

impl DatabaseFacts {
    /// Reads a database, with one scan over its records.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn read<S: PageSource>(db: &Db<S>) -> Result<Self, DatabaseError> {
        let mut key = KeyFacts::default();
        DatabaseRecords::new(db).scan(&mut |record| {
            key.add(&record);
            Ok(())
        })?;
        DatabaseFacts::of(&read_small(db)?, key)
    }

    /// Puts together what the small buckets say and what a scan counted.
    ///
    /// # Errors
    /// `meta`, a member or an alarm that is not readable.
    pub fn of(small: &SmallBuckets, key: KeyFacts) -> Result<Self, DatabaseError> {
        let meta = Meta::read(small)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let count = |bucket| small.entries(bucket).count() as u64;
        let members = small.entries(buckets::MEMBERS).map(|(id, json)| {
            Member::from_json(json).map_err(|source| DatabaseError::Member { id: text(id), source })
        });
        let alarms = small.entries(buckets::ALARM).map(|(alarm, _)| Alarm::decode(alarm));
        Ok(DatabaseFacts {
            revision: meta.marks.logical_revision(key.last.map(|last| last.main)),
            key,
            meta,
            members: members.collect::<Result<_, _>>()?,
            removed_members: small
                .entries(buckets::MEMBERS_REMOVED)
                .map(|(id, _)| text(id))
                .collect(),
            alarms: alarms.collect::<Result<_, _>>().map_err(DatabaseError::Alarm)?,
            leases: count(buckets::LEASE),
            users: count(buckets::AUTH_USERS),
            roles: count(buckets::AUTH_ROLES),
            auth_enabled: small.get(buckets::AUTH, b"authEnabled") == Some(&[1]),
            cluster_version: small.get(buckets::CLUSTER, CLUSTER_VERSION).map(text),
            downgrade: small.get(buckets::CLUSTER, DOWNGRADE).map(text),
            unknown_buckets: small.unknown().map(|name| name.escape_ascii().to_string()).collect(),
        })
    }
}

/// Reads every bucket but `key` whole.
///
/// # Errors
/// Damage, nested buckets, and more than [`SMALL_BUCKETS_LIMIT_BYTES`].
pub fn read_small<S: PageSource>(db: &Db<S>) -> Result<SmallBuckets, DatabaseError> {
    let mut small = SmallBuckets::default();
    let mut size_bytes = 0usize;
    for named in db.buckets() {
        let (name, bucket) = named?;
        if name == KEY {
            continue;
        }
        small.create(&name);
        size_bytes += name.len();
        let mut cursor = bucket.cursor();
        while let Some(entry) = cursor.next()? {
            if entry.is_bucket {
                return Err(DatabaseError::Nested { bucket: name.escape_ascii().to_string() });
            }
            size_bytes = size_bytes.saturating_add(entry.key.len() + entry.value.len());
            if size_bytes > SMALL_BUCKETS_LIMIT_BYTES {
                return Err(DatabaseError::TooLarge);
            }
            small.put(&name, entry.key, entry.value);
        }
    }
    Ok(small)
}
