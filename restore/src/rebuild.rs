//! Streams a snapshot's records into a new member's database.
//!
//! Push records in revision order ([`Rebuild::push`]), then [`Rebuild::finish`]: the bucket `key`
//! is written as they come, all other buckets at the end by the rules of
//! `holdfast_core::rebuilt`. No record is held: memory is the bolt builder's buffers, the sample,
//! and the keys whose lease is unknown.
//!
//! Holds: every record at or below the trim goes in exactly once and in order, byte for byte;
//! every lease that a live key names exists afterwards; the bump record, if any, is the last one.
//! That the records are those that were backed up is the reader's proof (`VerifiedSnapshot`).

use holdfast_bolt::{BuildError, BuildOptions, Builder, Disk, Summary};
use holdfast_core::buckets::{self, Lease, SmallBuckets};
use holdfast_core::membership::Founding;
use holdfast_core::meta::{CompactionMarks, MetaError};
use holdfast_core::rebuilt::{self, Bump, Change, ChangeKind, RebuildPlan};
use holdfast_core::record::{KeyValue, Record, RecordError};
use holdfast_core::revision::{BucketKey, Revision};
use holdfast_core::versions::EtcdVersion;

use crate::leases::LeaseWatch;
use crate::sample::{Sampled, Sampler};

/// Seconds to live of a made-up lease, unless configured.
pub const MADE_UP_TTL_SECONDS: i64 = 3600;

/// One record of a snapshot. `value` is the KeyValue message as etcd stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRecord<'a> {
    /// Main revision.
    pub main: i64,
    /// Sub revision.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// The stored message.
    pub value: &'a [u8],
}

/// Something that takes a snapshot's records in revision order.
pub trait RecordSink {
    /// Takes the next record.
    ///
    /// # Errors
    /// See [`RebuildError`]. After one, the rebuild is to be thrown away.
    fn push(&mut self, record: &SourceRecord<'_>) -> Result<(), RebuildError>;
}

/// What is built.
#[derive(Debug, Clone)]
pub struct RebuildSpec {
    /// The new cluster of one.
    pub founding: Founding,
    /// The etcd that will boot on it.
    pub target: EtcdVersion,
    /// Records above this main revision are dropped.
    pub trim_to: Option<i64>,
    /// The revision to lift the store to; `None` leaves it.
    pub bump_to: Option<i64>,
    /// Time to live of a made-up lease.
    pub made_up_ttl_seconds: i64,
    /// How many records to remember for a later comparison; 0 for none.
    pub sample: usize,
    /// Seed of the sample.
    pub sample_seed: u64,
    /// Switches authentication off, for a sandbox that nobody has credentials for.
    pub authentication_off: bool,
    /// Page size, fill, freelist.
    pub options: BuildOptions,
}

impl RebuildSpec {
    /// A spec that carries everything over and does not trim, bump or sample.
    pub fn new(founding: Founding, target: EtcdVersion) -> RebuildSpec {
        RebuildSpec {
            founding,
            target,
            trim_to: None,
            bump_to: None,
            made_up_ttl_seconds: MADE_UP_TTL_SECONDS,
            sample: 0,
            sample_seed: 0,
            authentication_off: false,
            options: BuildOptions::default(),
        }
    }
}

/// A rebuild in progress.
#[derive(Debug)]
pub struct Rebuild<D: Disk> {
    builder: Builder<D>,
    spec: RebuildSpec,
    source: SmallBuckets,
    marks: CompactionMarks,
    counts: Counts,
    leases: LeaseWatch,
    sampler: Sampler,
}

/// Counts of one rebuild or export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Records written, the bump record not counted.
    pub records: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Records dropped because they lie above the trim.
    pub trimmed: u64,
    /// Records of an earlier bump: they have no content and cannot be read through the API.
    pub bump_records: u64,
    /// Main revision of the last record written; 0 without any.
    pub last_main: i64,
    /// Its sub revision.
    pub last_sub: i64,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// Counts of records.
    pub counts: Counts,
    /// Logical revision before a bump.
    pub revision: i64,
    /// C, the higher of the two marks of the source; -1 for none.
    pub compact_revision: i64,
    /// Logical revision after a bump; the same without one.
    pub served_revision: i64,
    /// Leases that were made up.
    pub made_up_leases: Vec<Lease>,
    /// Everything in the small buckets that is not carried over byte for byte.
    pub changes: Vec<Change>,
    /// The remembered records.
    pub sample: Vec<Sampled>,
    /// What the database holds.
    pub summary: Summary,
}

/// A rebuild that failed. What was written must be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database could not be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A record is not readable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A revision that cannot be: negative.
    #[error("the snapshot holds a record at the impossible revision {main}.{sub}")]
    Revision {
        /// Main revision.
        main: i64,
        /// Sub revision.
        sub: i64,
    },
    /// The small buckets cannot be rebuilt.
    #[error(transparent)]
    Buckets(#[from] rebuilt::RebuildError),
    /// The source's marks are not readable.
    #[error(transparent)]
    Marks(#[from] MetaError),
    /// The trim lies below what a compaction took away.
    #[error(
        "revision {trim_to} was compacted away in this snapshot (compacted at {compacted}): \
         choose a later one, or an older snapshot"
    )]
    TrimBelowCompaction {
        /// The revision asked for.
        trim_to: i64,
        /// C.
        compacted: i64,
    },
    /// The bump does not lift.
    #[error(
        "the revision cannot be lifted to {bump_to}: the restored store is at {revision} already"
    )]
    BumpTooLow {
        /// The revision asked for.
        bump_to: i64,
        /// The revision there is.
        revision: i64,
    },
}

impl<D: Disk> Rebuild<D> {
    /// Begins a database on an empty disk. `source` holds every bucket of the snapshot but `key`.
    ///
    /// # Errors
    /// Unreadable marks, a trim below the compaction, or the disk.
    pub fn new(
        disk: D,
        source: SmallBuckets,
        spec: RebuildSpec,
    ) -> Result<Rebuild<D>, RebuildError> {
        let marks = CompactionMarks::read(&source)?;
        let compacted = marks.effective();
        if let Some(trim_to) = spec.trim_to.filter(|trim_to| *trim_to < compacted) {
            return Err(RebuildError::TrimBelowCompaction { trim_to, compacted });
        }
        let mut builder = Builder::new(disk, spec.options)?;
        builder.begin_bucket(buckets::KEY)?;
        let leases = LeaseWatch::of(&source);
        let sampler = Sampler::new(spec.sample, spec.sample_seed, compacted);
        let counts = Counts::default();
        Ok(Rebuild { builder, spec, source, marks, counts, leases, sampler })
    }

    /// Writes the remaining buckets and makes the file durable; its name in the directory is the
    /// caller's.
    ///
    /// # Errors
    /// See [`RebuildError`].
    pub fn finish(mut self) -> Result<(D, Rebuilt), RebuildError> {
        let last = (self.counts.records > 0).then_some(self.counts.last_main);
        let revision = self.marks.logical_revision(last);
        let bump = self.bump(revision)?;
        let made_up_leases: Vec<Lease> = self
            .leases
            .unknown()
            .into_iter()
            .map(|id| Lease {
                id,
                ttl_seconds: self.spec.made_up_ttl_seconds,
                remaining_ttl_seconds: 0,
            })
            .collect();
        let plan = RebuildPlan {
            founding: &self.spec.founding,
            target: self.spec.target,
            bump,
            made_up_leases: &made_up_leases,
        };
        let mut rebuilt = rebuilt::rebuild(&self.source, &plan)?;
        if let Some(record) = &rebuilt.bump_record {
            self.builder.push(&record.raw_key, b"")?;
        }
        self.builder.end_bucket()?;
        if self.spec.authentication_off {
            switch_authentication_off(&mut rebuilt.small, &mut rebuilt.changes);
        }
        rebuilt.small.write(&mut self.builder)?;
        let (disk, summary) = self.builder.finish()?;
        let served_revision = bump.map_or(revision, |bump| bump.record().revision.main);
        let done = Rebuilt {
            counts: self.counts,
            revision,
            compact_revision: self.marks.effective(),
            served_revision,
            made_up_leases,
            changes: rebuilt.changes,
            sample: self.sampler.finish(),
            summary,
        };
        Ok((disk, done))
    }

    fn bump(&self, revision: i64) -> Result<Option<Bump>, RebuildError> {
        let Some(bump_to) = self.spec.bump_to else { return Ok(None) };
        match bump_to.checked_sub(revision) {
            Some(by) if by > 0 => Ok(Some(Bump { from: revision, by })),
            _ => Err(RebuildError::BumpTooLow { bump_to, revision }),
        }
    }
}

impl<D: Disk> RecordSink for Rebuild<D> {
    fn push(&mut self, record: &SourceRecord<'_>) -> Result<(), RebuildError> {
        let Some(raw_key) = self.counts.admit(record, self.spec.trim_to)? else { return Ok(()) };
        let stored = Record::parse(&raw_key, record.value)?;
        let content = stored.key_value()?;
        self.builder.push(&raw_key, record.value)?;
        self.counts.note(record, &content);
        self.leases.observe(record.tombstone, &content);
        self.sampler.observe(record, &content);
        Ok(())
    }
}

impl Counts {
    /// The record's bucket key, or `None` if the trim drops it.
    pub(crate) fn admit(
        &mut self,
        record: &SourceRecord<'_>,
        trim_to: Option<i64>,
    ) -> Result<Option<holdfast_core::revision::BucketKeyBytes>, RebuildError> {
        let SourceRecord { main, sub, tombstone, .. } = *record;
        if main < 0 || sub < 0 {
            return Err(RebuildError::Revision { main, sub });
        }
        if trim_to.is_some_and(|trim_to| main > trim_to) {
            self.trimmed += 1;
            return Ok(None);
        }
        Ok(Some(BucketKey { revision: Revision::new(main, sub), tombstone }.encode()))
    }

    pub(crate) fn note(&mut self, record: &SourceRecord<'_>, content: &KeyValue<'_>) {
        self.records += 1;
        self.tombstones += u64::from(record.tombstone);
        self.value_bytes += record.value.len() as u64;
        self.bump_records += u64::from(!record.tombstone && content.key.is_empty());
        (self.last_main, self.last_sub) = (record.main, record.sub);
    }
}

fn switch_authentication_off(small: &mut SmallBuckets, changes: &mut Vec<Change>) {
    const ENABLED: &[u8] = b"authEnabled";
    if small.get(buckets::AUTH, ENABLED).is_none_or(|value| value == [0]) {
        return;
    }
    small.put(buckets::AUTH, ENABLED, [0]);
    changes.push(Change {
        kind: ChangeKind::Rewritten,
        place: "auth/authEnabled".to_owned(),
        what: "authentication is off in this sandbox; users and roles are all there".to_owned(),
    });
}

#[cfg(test)]
mod tests;
