//! The comparison of a source with the base snapshot, pure: sorted records beside the segments'
//! indexes.
//!
//! Holds: within a lineage a bit only turns off, and only for a record at or below the compaction
//! revision C, one that was copied forward, or one in a segment that is lost (its records go up
//! again from the source, and that is a finding); a record that vanished above C stays alive and is
//! a finding; where digests differ the old record stays alive, the new one goes up as contested,
//! and it is a finding; every record of the source ends up alive exactly once. Where the records of
//! a segment were named to the source ([`BaseSegment::implied`]), those that it says nothing of are
//! equal: it compared their digests. Memory: the indexes
//! of the segments that overlap the current revision, never a map of records.

mod judge;
#[cfg(test)]
mod tests;
mod types;

pub use types::{
    BaseEntry, BaseIndex, BaseSegment, Emit, Finding, LiveTotals, Mode, NotNamed, Rev, SourceItem,
    SourceRecord, Target, Unsorted, WalkResult, WalkedSegment,
};

use crate::format::{LiveHash, ObjectId, TagKey};
use crate::snapshot::kinship::SourceFacts;
use judge::Match;
use roaring::RoaringBitmap;
use std::collections::BTreeSet;

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
    /// Of a source that tells differences: its own count of everything.
    totals: Option<LiveTotals>,
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
        let result = WalkResult { counts, ..WalkResult::default() };
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
            totals: None,
            result,
        }
    }

    /// The source tells differences, and this is all that it has.
    pub fn with_totals(mut self, totals: LiveTotals) -> Walk {
        self.totals = Some(totals);
        self
    }

    /// Whether the source tells of this segment's records only where they differ.
    pub fn is_implied(&self, segment: usize) -> bool {
        self.segments[segment].implied
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

    /// Takes the next revision of which the source says that it is gone.
    ///
    /// # Panics
    /// If an index is wanted first.
    pub fn take_gone(&mut self, rev: Rev) -> Result<Result<(), NotNamed>, Unsorted> {
        if rev <= self.last {
            return Err(Unsorted { last: self.last, next: rev });
        }
        assert!(self.wants(Some(rev)).is_none(), "an index is wanted first");
        self.last = rev;
        self.skip_to(Some(rev));
        let found = self.lose_named(rev);
        self.pass(rev);
        Ok(if found { Ok(()) } else { Err(NotNamed(rev)) })
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
        let digest = match self.totals {
            Some(totals) => totals.live_sha256,
            None => self.hash.finish(),
        };
        result.live_sha256 = self.exact.then_some(digest);
        result
    }
}
