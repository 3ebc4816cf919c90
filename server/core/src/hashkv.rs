//! HashKV: upstream's checksum over the history of a store, computed offline.
//!
//! HashKV(R, C) for a revision R and a compaction revision C ≤ R is the CRC-32C over the bytes
//! `key` (the bucket's name) and then, record by record in order, the raw bucket key and the raw
//! value of each record that passes:
//!
//! 1. main ≤ R.
//! 2. If main ≤ C, and Keep(R) is not empty: the record is in Keep(R).
//! 3. Not a tombstone with main = C.
//!
//! Keep(R) holds, per key that is alive at R, its newest record ≤ R. It is taken at **R**, not at
//! C: a record ≤ C that was superseded by R is left out although a compaction at C keeps it. If
//! nothing is alive at R rule 2 is off, and all that lies in the file counts; only then does the
//! hash depend on how far a running compaction has come.
//!
//! A database whose mark is C holds all that is needed for **any** C' with C ≤ C' ≤ R. So ask a
//! member for HashKV(R), then compute with the compaction revision that its answer names. (etcd
//! remembers the hashes of its last compactions and answers for such a revision with an *earlier*
//! one. Compare only hashes of equal revision and equal compaction revision.) Rule 3 makes the hash
//! independent of the tombstone rule of the member's version. Measured on etcd 3.5.35, 3.6.16 and
//! 3.7.3.

use crate::compaction::{Liveness, LivenessBuilder, ScanError, TombstoneRule, Verdict};
use crate::record::Record;

const BUCKET_NAME: &[u8] = b"key";

/// What a hash is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashScope {
    /// R: records of later main revisions do not count.
    pub revision: i64,
    /// C: the compaction revision the member answers with; -1 if it never compacted.
    pub compact_revision: i64,
}

/// Records in revision order that can be scanned more than once.
pub trait RecordSource {
    /// What a scan fails with.
    type Error: From<ScanError>;

    /// Gives every record to `visit`, in revision order, and stops at its first error.
    ///
    /// # Errors
    /// The source's own, and those of `visit`.
    fn scan(
        &self,
        visit: &mut dyn FnMut(Record<'_>) -> Result<(), ScanError>,
    ) -> Result<(), Self::Error>;
}

/// Takes the hash of judged records, in revision order.
#[derive(Debug, Clone)]
pub struct KvHasher {
    scope: HashScope,
    any_alive: bool,
    crc: u32,
}

impl KvHasher {
    /// Starts a hash at the last revision of the scan that `liveness` learned from.
    ///
    /// # Errors
    /// [`ScanError::HashRange`] if the revision is below the compaction revision.
    ///
    /// # Panics
    /// If `liveness` saw records above `scope.revision`: its verdicts then mean another revision.
    /// For an earlier revision, see [`hashkv`].
    pub fn new(scope: HashScope, liveness: &Liveness) -> Result<Self, ScanError> {
        let HashScope { revision, compact_revision } = scope;
        if revision < compact_revision {
            return Err(ScanError::HashRange { revision, compact_revision });
        }
        let last = liveness.last_revision().map_or(0, |last| last.main);
        assert!(last <= revision, "liveness was learned up to {last}, beyond {revision}");
        let any_alive = liveness.alive_keys() > 0;
        Ok(KvHasher::judged(scope, any_alive))
    }

    /// Starts a hash whose caller knows each record's verdict from an index, and whether Keep(R)
    /// holds anything.
    pub fn judged(scope: HashScope, any_alive: bool) -> Self {
        KvHasher { scope, any_alive, crc: crc32c::crc32c(BUCKET_NAME) }
    }

    /// Adds the next record with its verdict, which may be of any compaction revision.
    pub fn add(&mut self, record: &Record<'_>, verdict: Verdict) {
        let main = record.at.revision.main;
        if main <= self.scope.compact_revision && self.any_alive {
            let newest = verdict == Verdict::Live { superseded: false };
            if !newest || record.at.tombstone {
                return;
            }
        }
        if main == self.scope.compact_revision && record.at.tombstone {
            return;
        }
        self.crc = crc32c::crc32c_append(self.crc, record.raw_key);
        self.crc = crc32c::crc32c_append(self.crc, record.raw_value);
    }

    /// The hash, as the RPC HashKV answers it.
    pub fn finish(self) -> u32 {
        self.crc
    }
}

/// HashKV(R, C) of a source, in two scans.
///
/// # Errors
/// The source's own, and [`ScanError`].
pub fn hashkv<S: RecordSource>(source: &S, scope: HashScope) -> Result<u32, S::Error> {
    let mut builder = LivenessBuilder::new(scope.compact_revision, TombstoneRule::KeepAtCompaction);
    source.scan(&mut |record| {
        if record.at.revision.main <= scope.revision { builder.observe(&record) } else { Ok(()) }
    })?;
    let liveness = builder.finish();
    let mut hasher = KvHasher::new(scope, &liveness)?;
    let mut judge = liveness.judge();
    source.scan(&mut |record| {
        if record.at.revision.main <= scope.revision {
            hasher.add(&record, judge.next(&record)?);
        }
        Ok(())
    })?;
    judge.finish()?;
    Ok(hasher.finish())
}
