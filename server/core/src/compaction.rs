//! What a compaction keeps, and so which records of a database are alive.
//!
//! A compaction at main revision C keeps, of the records with main ≤ C, for each key the newest
//! one, unless that is a tombstone. A tombstone with main = C exactly is kept by etcd 3.5.16 /
//! 3.4.34 and later and dropped by older ones: [`TombstoneRule`]. Records with main > C are not
//! touched.
//!
//! The deletion runs in the background, batch after batch, at each member's own pace. So what lies
//! in a file is an accident; **alive** is the logical rule with C = the higher of the two
//! compaction marks: main > C, or kept by a compaction at C. [`Liveness`] learns it in one scan and
//! tells it in further ones over the same records in the same order:
//!
//! - first scan: [`LivenessBuilder::observe`] each record, then [`LivenessBuilder::finish`];
//! - later scans: [`Liveness::judge`], then [`Judge::next`] for each record, then
//!   [`Judge::finish`].
//!
//! Memory: 23 to 29 bytes per distinct key during the first scan (see `keytable.rs`), then two bits
//! per record. The answers are exact.
//!
//! Upstream cuts a key's history into generations, each ending in a tombstone. "The newest record ≤
//! C" is the same rule as long as no transaction puts a key after deleting it. The API refuses
//! that, but for deletes from a key on, which its check does not see; upstream then loses the
//! value.

use crate::bitmap::Bitmap;
use crate::keytable::{KeyTable, Latest, MAX_RECORDS};
use crate::record::{Record, RecordError};
use crate::revision::{BucketKey, Revision};

/// What becomes of a tombstone whose main revision is the compaction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TombstoneRule {
    /// Kept: etcd 3.4.34, 3.5.16, 3.6 and later. The canonical rule of a snapshot.
    KeepAtCompaction,
    /// Dropped: etcd up to 3.4.33 and 3.5.15.
    DropAtCompaction,
}

/// Why a record is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadReason {
    /// A newer record of the same key stands at or below the compaction revision.
    Superseded,
    /// A tombstone at or below the compaction revision, as the rule has it.
    Tombstone,
}

/// What a compaction at C makes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Compacted away, although it may still lie in the file.
    Dead(DeadReason),
    /// Part of the logical state.
    Live {
        /// True if the scan holds a newer record of the same key: the next compaction takes this
        /// one.
        superseded: bool,
    },
}

/// A scan that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The records do not ascend by revision.
    #[error("record {found} stands behind {previous}: the bucket key is out of order")]
    OutOfOrder {
        /// The record before.
        previous: Revision,
        /// The record that should come later.
        found: Revision,
    },
    /// More records than ordinals.
    #[error("more than {MAX_RECORDS} records in the bucket key")]
    TooMany,
    /// A later scan saw other records than the first one.
    #[error("the records changed between two scans ({expected} then {found} records)")]
    Changed {
        /// Records in the first scan.
        expected: u64,
        /// Records in this one.
        found: u64,
    },
    /// HashKV was asked for a revision below its compaction revision.
    #[error("HashKV at revision {revision} is below the compaction revision {compact_revision}")]
    HashRange {
        /// The revision asked for.
        revision: i64,
        /// The compaction revision asked for.
        compact_revision: i64,
    },
}

/// The first scan: learns each key's newest record.
#[derive(Debug)]
pub struct LivenessBuilder {
    compacted: i64,
    rule: TombstoneRule,
    keys: KeyTable,
    alive_keys: u64,
    order: Order,
    dead: Bitmap,
    superseded: Bitmap,
}

/// Which records of one scan are alive, by their position in it.
#[derive(Debug)]
pub struct Liveness {
    compacted: i64,
    rule: TombstoneRule,
    keys: u64,
    alive_keys: u64,
    order: Order,
    dead: Bitmap,
    superseded: Bitmap,
}

/// A later scan over the same records. Finish it, so that a changed source is noticed.
#[derive(Debug)]
pub struct Judge<'a> {
    liveness: &'a Liveness,
    order: Order,
}

/// Counts and fingerprints a scan, and holds it to its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Order {
    last: Option<Revision>,
    count: u32,
    fingerprint: u64,
}

impl LivenessBuilder {
    /// Starts a scan of a store compacted at `compacted` (-1 if never: see
    /// [`crate::meta::CompactionMarks::effective`]).
    pub fn new(compacted: i64, rule: TombstoneRule) -> Self {
        LivenessBuilder {
            compacted,
            rule,
            keys: KeyTable::new(),
            alive_keys: 0,
            order: Order::default(),
            dead: Bitmap::default(),
            superseded: Bitmap::default(),
        }
    }

    /// Takes the next record, in revision order.
    ///
    /// # Errors
    /// A record that cannot be read or stands out of order, and more than 2^31 - 1 of them.
    pub fn observe(&mut self, record: &Record<'_>) -> Result<(), ScanError> {
        let key = record.user_key()?;
        let BucketKey { revision, tombstone } = record.at;
        let ordinal = self.order.advance(record.at)?;
        self.dead.push(self.tombstone_dies(record.at));
        self.superseded.push(false);
        let before = self.keys.replace(key, Latest { ordinal, tombstone });
        if let Some(before) = before {
            self.superseded.set(before.ordinal);
            if revision.main <= self.compacted {
                self.dead.set(before.ordinal);
            }
        }
        match (before.is_some_and(|before| !before.tombstone), tombstone) {
            (false, false) => self.alive_keys += 1,
            (true, true) => self.alive_keys -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Ends the scan; the table of keys is given back, two bits per record stay.
    pub fn finish(self) -> Liveness {
        assert_eq!(self.dead.len(), self.order.count, "one bit per record");
        Liveness {
            compacted: self.compacted,
            rule: self.rule,
            keys: self.keys.len() as u64,
            alive_keys: self.alive_keys,
            order: self.order,
            dead: self.dead,
            superseded: self.superseded,
        }
    }

    fn tombstone_dies(&self, at: BucketKey) -> bool {
        let main = at.revision.main;
        at.tombstone
            && match self.rule {
                TombstoneRule::KeepAtCompaction => main < self.compacted,
                TombstoneRule::DropAtCompaction => main <= self.compacted,
            }
    }
}

impl Liveness {
    /// Starts a further scan over the same records.
    pub fn judge(&self) -> Judge<'_> {
        Judge { liveness: self, order: Order::default() }
    }

    /// The compaction revision the verdicts hold for.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The tombstone rule the verdicts hold for.
    pub fn rule(&self) -> TombstoneRule {
        self.rule
    }

    /// Records seen, dead ones included.
    pub fn records(&self) -> u64 {
        u64::from(self.order.count)
    }

    /// Records alive.
    pub fn live_records(&self) -> u64 {
        self.records() - self.dead.count_ones()
    }

    /// Distinct keys seen, deleted ones included.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Keys whose newest record is not a tombstone.
    pub fn alive_keys(&self) -> u64 {
        self.alive_keys
    }

    /// The last record's revision, if there is any.
    pub fn last_revision(&self) -> Option<Revision> {
        self.order.last
    }

    /// True for a tombstone at the compaction revision itself: members that differ in their version
    /// may differ in it, so a comparison must not insist on it.
    pub fn is_optional(&self, at: BucketKey) -> bool {
        at.tombstone && at.revision.main == self.compacted
    }
}

impl Judge<'_> {
    /// The verdict on the next record.
    ///
    /// # Errors
    /// A record out of order, or more of them than in the first scan.
    pub fn next(&mut self, record: &Record<'_>) -> Result<Verdict, ScanError> {
        let ordinal = self.order.advance(record.at)?;
        if ordinal >= self.liveness.order.count {
            return Err(self.changed());
        }
        if !self.liveness.dead.get(ordinal) {
            return Ok(Verdict::Live { superseded: self.liveness.superseded.get(ordinal) });
        }
        let superseded = self.liveness.superseded.get(ordinal) && !record.at.tombstone;
        let reason = if superseded { DeadReason::Superseded } else { DeadReason::Tombstone };
        Ok(Verdict::Dead(reason))
    }

    /// Ends the scan.
    ///
    /// # Errors
    /// [`ScanError::Changed`] if these were not the records of the first scan: the verdicts given
    /// were then worthless.
    pub fn finish(self) -> Result<(), ScanError> {
        if self.order == self.liveness.order { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> ScanError {
        let (expected, found) = (self.liveness.order.count, self.order.count);
        ScanError::Changed { expected: u64::from(expected), found: u64::from(found) }
    }
}

impl Verdict {
    /// True if the record belongs to the logical state.
    pub fn is_live(self) -> bool {
        matches!(self, Verdict::Live { .. })
    }
}

impl Order {
    fn advance(&mut self, at: BucketKey) -> Result<u32, ScanError> {
        let found = at.revision;
        if let Some(previous) = self.last.filter(|previous| *previous >= found) {
            return Err(ScanError::OutOfOrder { previous, found });
        }
        if self.count == MAX_RECORDS {
            return Err(ScanError::TooMany);
        }
        let ordinal = self.count;
        self.last = Some(found);
        self.count += 1;
        for word in [found.main, found.sub, i64::from(at.tombstone)] {
            let mixed =
                (self.fingerprint ^ word.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.fingerprint = mixed.rotate_left(29);
        }
        Ok(ordinal)
    }
}

#[cfg(test)]
mod tests;
