//! The comparison of a source with the base snapshot, pure: sorted records beside the segments'
//! indexes.
//!
//! Holds: within a lineage a bit only turns off, and only for a record at or below the compaction
//! revision C, one that was copied forward, or one in a segment that is lost (its records go up
//! again from the source, and that is a finding); a record that vanished above C stays alive and is
//! a finding; where digests differ the old record stays alive, the new one goes up as contested,
//! and it is a finding; every record of the source ends up alive exactly once. Memory: the indexes
//! of the segments that overlap the current revision, never a map of records.

use crate::format::{LiveHash, ObjectId, Record, TagKey};
use crate::snapshot::kinship::SourceFacts;
use roaring::RoaringBitmap;
use std::collections::BTreeSet;

/// A revision: main and sub.
pub type Rev = (i64, i64);

/// One record of the source: exactly what lies in etcd's `key` bucket, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRecord<'a> {
    /// Main revision.
    pub main: i64,
    /// Position in its transaction.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// The user's key.
    pub key: &'a [u8],
    /// The bucket's value: the KeyValue message's bytes, opaque here.
    pub value: &'a [u8],
    /// A later record of the same key exists: it will be compacted away soon.
    pub superseded: bool,
    /// It must be neither compressed nor share a frame with others.
    pub sensitive: bool,
}

impl SourceRecord<'_> {
    /// Its revision.
    pub fn rev(&self) -> Rev {
        (self.main, self.sub)
    }
}

/// What an index tells of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseEntry {
    /// Its bit in the live bitmap.
    pub ordinal: u32,
    /// Its revision.
    pub rev: Rev,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// Length of its value.
    pub length: u64,
    /// Keyed digest.
    pub digest: u32,
    /// Tag of its key.
    pub tag: u32,
}

/// An opened segment index.
pub trait BaseIndex: Send {
    /// How many records.
    fn len(&self) -> u32;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The record at this place, below `len`, in order of revision.
    fn entry(&self, place: u32) -> BaseEntry;
    /// The digest that this record would have in this segment.
    fn digest(&self, record: &SourceRecord<'_>) -> u32;
}

/// Where a record that must be stored goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// New and the newest of its key.
    Live,
    /// New and superseded already.
    Superseded,
    /// Alive in a segment that is given up, together with those of this group.
    Copied(u32),
    /// A second version of a record that differs.
    Contested,
}

/// Takes the records that must be stored.
pub trait Emit {
    /// Its failure.
    type Error;
    /// Stores `record`.
    fn emit(&mut self, target: Target, record: &SourceRecord<'_>) -> Result<(), Self::Error>;
}

/// A segment of the base snapshot.
pub struct BaseSegment {
    /// Its id.
    pub id: ObjectId,
    /// Holds second versions of contested records; its bits are never restored.
    pub contested: bool,
    /// First and last revision in it, alive or not.
    pub range: (Rev, Rev),
    /// Bits of records alive in the base.
    pub live: RoaringBitmap,
    /// Give it up: records that are alive go into a new segment, with those of this group.
    pub give_up: Option<u32>,
}

/// Something that must not happen, or that people must hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A record vanished above the compaction revision: lost in the source. It stays alive here.
    Vanished(Rev),
    /// Same revision, other bytes: corrupt here or in another member. Both are kept.
    Changed(Rev),
    /// A record at or below the base's revision that the base did not have.
    Appeared(Rev),
    /// An object of the newest snapshot is gone or rotten. What it held was stored again.
    Lost(ObjectId),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Vanished((main, sub)) => {
                write!(f, "record {main}/{sub} is gone from the member, and was not compacted")
            }
            Finding::Changed((main, sub)) => {
                write!(f, "record {main}/{sub} has other bytes than it had: corrupt here or there")
            }
            Finding::Appeared((main, sub)) => {
                write!(f, "record {main}/{sub} is old, and was not there before")
            }
            Finding::Lost(id) => write!(
                f,
                "object {id} is gone or rotten in the store: what it held was stored again; older \
                 snapshots that need it are broken; run `holdfast vault check`"
            ),
        }
    }
}

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The lineage goes on; values are the source's C (-1: none) and the base's revision.
    Same {
        /// Records at or below it may vanish.
        compact_revision: i64,
        /// Records at or below it should be known.
        base_revision: i64,
    },
    /// Another history begins: whatever differs follows the source.
    NewLineage,
}

/// A base segment after the walk.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkedSegment {
    /// Its id.
    pub id: ObjectId,
    /// Bits of records that stay alive in it.
    pub live: RoaringBitmap,
    /// Bytes of them.
    pub live_bytes: u64,
}

/// What the walk found.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkResult {
    /// The base's segments, in the order given.
    pub segments: Vec<WalkedSegment>,
    /// For the kinship verdict; revisions, indexes and terms are the caller's to fill.
    pub counts: SourceFacts,
    /// Up to 1,000 of them; the counts in `counts` are complete.
    pub findings: Vec<Finding>,
    /// (revision, segment with the version that stays alive, segment with the other version if it
    /// was stored before).
    pub contested: Vec<(Rev, ObjectId, Option<ObjectId>)>,
    /// Records alive after it: all of the source and those that vanished wrongly.
    pub record_count: u64,
    /// Tombstones among them.
    pub tombstone_count: u64,
    /// Bytes of their values.
    pub live_bytes: u64,
    /// SHA-256 over them in order of revision; `None` when the vault keeps other bytes than the
    /// source has.
    pub live_sha256: Option<[u8; 32]>,
    /// Bits that turned off because of compaction.
    pub compacted: u64,
}

/// The source is not sorted, or repeats a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source gives revision {}/{} after {}/{}: it must be sorted", next.0, next.1, last.0, last.1)]
pub struct Unsorted {
    /// What came before.
    pub last: Rev,
    /// What came.
    pub next: Rev,
}

/// Most findings that are kept one by one.
const FINDINGS: usize = 1000;
/// Keys that are looked for when no record is equal.
const SAMPLED_TAGS: usize = 4096;

struct Open {
    segment: usize,
    index: Box<dyn BaseIndex>,
    next: u32,
}

impl Open {
    fn entry(&self) -> Option<BaseEntry> {
        (self.next < self.index.len()).then(|| self.index.entry(self.next))
    }
}

/// A walk in progress.
pub struct Walk {
    mode: Mode,
    segments: Vec<BaseSegment>,
    walked: Vec<WalkedSegment>,
    /// Segments in order of their first revision, and how many of them were opened.
    queue: Vec<usize>,
    opened: usize,
    open: Vec<Open>,
    /// Where records were that cannot be compared any more.
    lost: Vec<(Rev, Rev)>,
    tag_key: Option<TagKey>,
    /// Tags of keys whose records were compacted, while nothing is equal yet.
    gone_tags: BTreeSet<u32>,
    shared_tags: BTreeSet<u32>,
    last: Rev,
    hash: LiveHash,
    exact: bool,
    result: WalkResult,
}

impl Walk {
    /// Begins beside these segments (any order).
    pub fn new(segments: Vec<BaseSegment>, mode: Mode) -> Walk {
        let mut queue: Vec<usize> = (0..segments.len()).collect();
        queue.sort_by_key(|index| segments[*index].range.0);
        let blank = |segment: &BaseSegment| WalkedSegment {
            id: segment.id,
            live: RoaringBitmap::new(),
            live_bytes: 0,
        };
        let counts = SourceFacts {
            lowest_changed: i64::MAX,
            lowest_vanished: i64::MAX,
            ..SourceFacts::default()
        };
        let result = WalkResult {
            segments: Vec::new(),
            counts,
            findings: Vec::new(),
            contested: Vec::new(),
            record_count: 0,
            tombstone_count: 0,
            live_bytes: 0,
            live_sha256: None,
            compacted: 0,
        };
        let walked = segments.iter().map(blank).collect();
        let (open, last) = (Vec::new(), (i64::MIN, i64::MIN));
        Walk {
            mode,
            segments,
            walked,
            queue,
            opened: 0,
            open,
            lost: Vec::new(),
            tag_key: None,
            gone_tags: BTreeSet::new(),
            shared_tags: BTreeSet::new(),
            last,
            hash: LiveHash::new(),
            exact: true,
            result,
        }
    }

    /// Looks for common keys, too, as long as no record is equal.
    pub fn with_tag_key(mut self, key: TagKey) -> Walk {
        self.tag_key = Some(key);
        self
    }

    /// The index that was wanted is lost, or what the segment holds: none of its records counts as
    /// alive any more, so what the source has of them goes up again.
    pub fn lose(&mut self, segment: usize) {
        assert_eq!(self.queue.get(self.opened), Some(&segment), "an index that was not wanted");
        self.opened += 1;
        let BaseSegment { id, range, .. } = self.segments[segment];
        self.lost.push(range);
        self.found(Finding::Lost(id));
    }

    /// Nothing of the base is known: its body, `id`, is lost.
    pub fn lose_all(&mut self, id: ObjectId) {
        self.lost.push(((i64::MIN, i64::MIN), (i64::MAX, i64::MAX)));
        self.found(Finding::Lost(id));
    }

    /// The segment whose index must be given before a record at `rev` can be taken; with `None`
    /// before `finish`. The number is its place in the list given to `new`.
    pub fn wants(&self, rev: Option<Rev>) -> Option<usize> {
        let next = *self.queue.get(self.opened)?;
        let reached = rev.is_none_or(|rev| self.segments[next].range.0 <= rev);
        reached.then_some(next)
    }

    /// The index that was wanted.
    pub fn give(&mut self, segment: usize, index: Box<dyn BaseIndex>) {
        assert_eq!(self.queue.get(self.opened), Some(&segment), "an index that was not wanted");
        self.opened += 1;
        self.result.counts.base_live +=
            if self.segments[segment].contested { 0 } else { self.segments[segment].live.len() };
        self.open.push(Open { segment, index, next: 0 });
    }

    /// Takes the next record of the source.
    ///
    /// # Panics
    /// If an index is wanted first.
    pub fn take<E: Emit>(
        &mut self,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<Result<(), Unsorted>, E::Error> {
        let rev = record.rev();
        if rev <= self.last {
            return Ok(Err(Unsorted { last: self.last, next: rev }));
        }
        assert!(self.wants(Some(rev)).is_none(), "an index is wanted first");
        self.last = rev;
        self.skip_to(Some(rev));
        match self.find(record) {
            Match::Equal { open, ordinal } => self.keep(open, ordinal, record, emit)?,
            Match::Differs { open, ordinal, length, known } => {
                self.differ((open, ordinal, length), known, record, emit)?;
            }
            Match::Absent => self.fresh(record, emit)?,
        }
        self.pass(rev);
        self.count(record);
        Ok(Ok(()))
    }

    /// Ends after the source's last record.
    ///
    /// # Panics
    /// If an index is wanted first.
    pub fn finish(mut self) -> WalkResult {
        assert!(self.wants(None).is_none(), "an index is wanted first");
        self.skip_to(None);
        let mut result = self.result;
        result.counts.gone_keys = self.gone_tags.len() as u64;
        result.counts.shared_keys = self.shared_tags.len() as u64;
        result.segments = self.walked;
        result.live_sha256 = self.exact.then(|| self.hash.finish());
        result
    }

    /// Judges the base's records below `rev`: the source does not have them.
    fn skip_to(&mut self, rev: Option<Rev>) {
        for place in 0..self.open.len() {
            while let Some(entry) = self.open[place].entry() {
                if rev.is_some_and(|rev| entry.rev >= rev) {
                    break;
                }
                self.open[place].next += 1;
                self.gone(place, &entry);
            }
        }
        self.open.retain(|open| open.next < open.index.len());
    }

    fn gone(&mut self, place: usize, entry: &BaseEntry) {
        let segment = self.open[place].segment;
        let alive = self.segments[segment].live.contains(entry.ordinal);
        if !alive || self.segments[segment].contested {
            return;
        }
        match self.mode {
            Mode::Same { compact_revision, .. } if entry.rev.0 > compact_revision => {
                self.result.counts.vanished += 1;
                let lowest = &mut self.result.counts.lowest_vanished;
                *lowest = (*lowest).min(entry.rev.0);
                self.found(Finding::Vanished(entry.rev));
                // Its bytes are not at hand, so it stays where it is and the digest of all cannot
                // be told.
                self.stay(segment, entry.ordinal, entry.length);
                self.exact = false;
                self.result.record_count += 1;
                self.result.tombstone_count += u64::from(entry.tombstone);
                self.result.live_bytes += entry.length;
            }
            Mode::Same { .. } => {
                self.result.compacted += 1;
                if self.result.counts.common == 0 && self.gone_tags.len() < SAMPLED_TAGS {
                    self.gone_tags.insert(entry.tag);
                }
            }
            Mode::NewLineage => {
                self.result.counts.vanished += 1;
                let lowest = &mut self.result.counts.lowest_vanished;
                *lowest = (*lowest).min(entry.rev.0);
            }
        }
    }

    /// Looks for the record among the open indexes; only records alive in the base count.
    fn find(&self, record: &SourceRecord<'_>) -> Match {
        let mut differs = None;
        let mut known = None;
        for (place, open) in self.open.iter().enumerate() {
            let Some(entry) = open.entry() else { continue };
            let ordinal = entry.ordinal;
            let segment = &self.segments[open.segment];
            if entry.rev != record.rev() || !segment.live.contains(ordinal) {
                continue;
            }
            let same = entry.tombstone == record.tombstone
                && entry.length == record.value.len() as u64
                && entry.digest == open.index.digest(record);
            match (segment.contested, same) {
                (false, true) => return Match::Equal { open: place, ordinal },
                (false, false) => differs = Some((place, ordinal, entry.length)),
                (true, true) => known = Some((place, ordinal)),
                (true, false) => {}
            }
        }
        match differs {
            Some((open, ordinal, length)) => Match::Differs { open, ordinal, length, known },
            None => Match::Absent,
        }
    }

    fn keep<E: Emit>(
        &mut self,
        place: usize,
        ordinal: u32,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<(), E::Error> {
        let segment = self.open[place].segment;
        self.result.counts.common += 1;
        let highest = &mut self.result.counts.highest_common;
        *highest = (*highest).max(record.main);
        if let Some(group) = self.segments[segment].give_up {
            return emit.emit(Target::Copied(group), record);
        }
        self.stay(segment, ordinal, record.value.len() as u64);
        Ok(())
    }

    fn differ<E: Emit>(
        &mut self,
        (place, ordinal, length): (usize, u32, u64),
        known: Option<(usize, u32)>,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<(), E::Error> {
        self.result.counts.changed += 1;
        let lowest = &mut self.result.counts.lowest_changed;
        *lowest = (*lowest).min(record.main);
        if self.mode == Mode::NewLineage {
            return emit.emit(new_target(record), record);
        }
        self.found(Finding::Changed(record.rev()));
        self.exact = false;
        let segment = self.open[place].segment;
        self.stay(segment, ordinal, length);
        let kept = self.segments[segment].id;
        match known {
            Some((other, other_ordinal)) => {
                let other_segment = self.open[other].segment;
                self.stay(other_segment, other_ordinal, record.value.len() as u64);
                let id = self.segments[other_segment].id;
                self.result.contested.push((record.rev(), kept, Some(id)));
                Ok(())
            }
            None => {
                self.result.contested.push((record.rev(), kept, None));
                emit.emit(Target::Contested, record)
            }
        }
    }

    fn fresh<E: Emit>(&mut self, record: &SourceRecord<'_>, emit: &mut E) -> Result<(), E::Error> {
        if let Mode::Same { base_revision, compact_revision } = self.mode
            && record.main <= base_revision
            && !self.was_lost(record.rev())
            // Old members drop it and new ones keep it.
            && !(record.tombstone && record.main == compact_revision)
        {
            self.result.counts.appeared += 1;
            self.found(Finding::Appeared(record.rev()));
        }
        self.compare_key(record);
        emit.emit(new_target(record), record)
    }

    fn was_lost(&self, rev: Rev) -> bool {
        self.lost.iter().any(|(first, last)| (*first..=*last).contains(&rev))
    }

    /// Notes a key that the base had, too, while nothing else shows a common history.
    fn compare_key(&mut self, record: &SourceRecord<'_>) {
        let Some(key) = &self.tag_key else { return };
        if self.result.counts.common == 0 && !self.gone_tags.is_empty() {
            let tag = key.tag(record.key);
            if self.gone_tags.contains(&tag) {
                self.shared_tags.insert(tag);
            }
        }
    }

    /// Moves every open index past `rev`.
    fn pass(&mut self, rev: Rev) {
        for open in &mut self.open {
            while open.entry().is_some_and(|entry| entry.rev == rev) {
                open.next += 1;
            }
        }
    }

    fn stay(&mut self, segment: usize, ordinal: u32, length: u64) {
        let walked = &mut self.walked[segment];
        assert!(self.segments[segment].live.contains(ordinal), "a bit would turn on");
        assert!(walked.live.insert(ordinal), "a record is judged once");
        walked.live_bytes += length;
    }

    fn found(&mut self, finding: Finding) {
        if self.result.findings.len() < FINDINGS {
            self.result.findings.push(finding);
        }
    }

    fn count(&mut self, record: &SourceRecord<'_>) {
        self.result.record_count += 1;
        self.result.tombstone_count += u64::from(record.tombstone);
        self.result.live_bytes += record.value.len() as u64;
        if self.exact {
            let SourceRecord { main, sub, tombstone, value, .. } = *record;
            self.hash.update(&Record { main, sub, tombstone, value });
        }
    }
}

enum Match {
    Equal { open: usize, ordinal: u32 },
    Differs { open: usize, ordinal: u32, length: u64, known: Option<(usize, u32)> },
    Absent,
}

fn new_target(record: &SourceRecord<'_>) -> Target {
    if record.superseded { Target::Superseded } else { Target::Live }
}

#[cfg(test)]
mod tests;
