//! The order of a restore, pure: which frames are needed when, and their live records by revision.
//!
//! Segments may overlap in range, and a segment has two sorted lanes; so frames are taken in order
//! of their first revision, and the records of those that overlap are merged. Holds: a frame
//! without live bits is never needed; records come out strictly ascending, each once (an equal
//! revision twice is an error); only frames that overlap the current revision are held.

use crate::format::{FrameEntry, FrameRecords, Record, SegmentFrame};
use crate::snapshot::walk::Rev;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::Arc;

/// A frame that a restore needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFrame {
    /// Which segment, by its place in the body.
    pub segment: usize,
    /// Its place, lengths and digest.
    pub entry: FrameEntry,
    /// First revision in it, alive or not.
    pub first: Rev,
    /// Ordinals of its records.
    pub ordinals: Range<u32>,
    /// Live records in it.
    pub alive: u64,
}

/// The planned frame of `frame`, if anything in it is alive.
pub fn planned(segment: usize, frame: &SegmentFrame, live: &RoaringBitmap) -> Option<PlannedFrame> {
    let ordinals = frame.ordinals.clone();
    let alive = live.range_cardinality(ordinals.clone());
    let (entry, first) = (frame.entry, frame.first);
    (alive > 0).then_some(PlannedFrame { segment, entry, first, ordinals, alive })
}

/// Sorts frames as a merge needs them.
pub fn order(frames: &mut [PlannedFrame]) {
    frames.sort_by_key(|frame| (frame.first, frame.segment, frame.entry.number));
}

/// Where a live record lies in its frame's plaintext.
#[derive(Debug, Clone, Copy)]
struct Slot {
    rev: Rev,
    tombstone: bool,
    start: u32,
    end: u32,
}

/// An opened frame with the places of its live records.
#[derive(Debug, Default)]
pub struct Decoded {
    plain: Vec<u8>,
    slots: Vec<Slot>,
    next: usize,
}

impl Decoded {
    /// Finds the live records in `plain`. `spent` is a decoded frame whose memory may be used.
    pub fn new(
        frame: &PlannedFrame,
        live: &RoaringBitmap,
        plain: Vec<u8>,
        spent: Decoded,
    ) -> Result<Decoded, MergeError> {
        let wrong = |detail: String| MergeError::Frame {
            segment: frame.segment,
            frame: frame.entry.number,
            detail,
        };
        let count = frame.ordinals.end - frame.ordinals.start;
        let whole = frame.alive == u64::from(count);
        let mut slots = spent.slots;
        slots.clear();
        let base = plain.as_ptr() as usize;
        let mut ordinals = frame.ordinals.clone();
        for record in FrameRecords::new(&plain) {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let ordinal =
                ordinals.next().ok_or_else(|| wrong("more records than indexed".into()))?;
            if ordinal == frame.ordinals.start && record.revision() != frame.first {
                return Err(wrong("its first revision is not the index's".into()));
            }
            if whole || live.contains(ordinal) {
                let start = record.value.as_ptr() as usize - base;
                let place = u32::try_from(start).ok().zip(u32::try_from(record.value.len()).ok());
                let (start, length) = place.expect("a frame has at most 64 MiB");
                let end = start + length;
                let (rev, tombstone) = (record.revision(), record.tombstone);
                slots.push(Slot { rev, tombstone, start, end });
            }
        }
        if !ordinals.is_empty() || slots.len() as u64 != frame.alive {
            return Err(wrong("fewer records than indexed".into()));
        }
        Ok(Decoded { plain, slots, next: 0 })
    }

    /// Takes the plaintext's memory out.
    pub fn take_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    fn rev(&self) -> Option<Rev> {
        self.slots.get(self.next).map(|slot| slot.rev)
    }
}

/// What a merge does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// It needs this planned frame, opened; always the next in order.
    Need(usize),
    /// A record stands ready.
    Ready,
    /// All is given.
    End,
}

/// Why a merge stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A frame's plaintext is not what the index says.
    #[error("segment {segment} of the snapshot, frame {frame}: {detail}")]
    Frame {
        /// Which segment, by its place in the body.
        segment: usize,
        /// Which frame.
        frame: u32,
        /// What is wrong.
        detail: String,
    },
    /// Two live records have one revision, or the order is broken.
    #[error("segment {segment} of the snapshot: revision {}/{} comes after {}/{}", next.0, next.1, last.0, last.1)]
    Order {
        /// Which segment.
        segment: usize,
        /// What came before.
        last: Rev,
        /// What came.
        next: Rev,
    },
}

struct Active {
    segment: usize,
    frame: Decoded,
    rev: Rev,
}

/// A merge in progress.
pub struct Merge {
    frames: Arc<[PlannedFrame]>,
    next: usize,
    active: Vec<Active>,
    current: Option<usize>,
    last: Rev,
    spent: Vec<Decoded>,
}

impl Merge {
    /// Over frames in order.
    pub fn new(frames: Arc<[PlannedFrame]>) -> Merge {
        let last = (i64::MIN, i64::MIN);
        Merge { frames, next: 0, active: vec![], current: None, last, spent: vec![] }
    }

    /// Goes on to the next record.
    pub fn pull(&mut self) -> Result<Pull, MergeError> {
        if let Some(place) = self.current.take() {
            self.active[place].frame.next += 1;
            self.settle(place);
        }
        let least = self.active.iter().enumerate().min_by_key(|(_, active)| active.rev);
        let least = least.map(|(place, active)| (place, active.rev));
        if let Some(frame) = self.frames.get(self.next)
            && least.is_none_or(|(_, rev)| frame.first <= rev)
        {
            return Ok(Pull::Need(self.next));
        }
        let Some((place, rev)) = least else { return Ok(Pull::End) };
        if rev <= self.last {
            let segment = self.active[place].segment;
            return Err(MergeError::Order { segment, last: self.last, next: rev });
        }
        self.last = rev;
        self.current = Some(place);
        Ok(Pull::Ready)
    }

    /// The frame that was needed.
    ///
    /// # Panics
    /// If it is not the next in order.
    pub fn give(&mut self, planned: usize, frame: Decoded) {
        assert_eq!(planned, self.next, "frames are given in order");
        self.next += 1;
        let segment = self.frames[planned].segment;
        self.active.push(Active { segment, frame, rev: self.last });
        self.settle(self.active.len() - 1);
    }

    /// The record that stands ready.
    pub fn record(&self) -> Option<Record<'_>> {
        let active = &self.active[self.current?];
        let slot = active.frame.slots.get(active.frame.next)?;
        let value = &active.frame.plain[slot.start as usize..slot.end as usize];
        Some(Record { main: slot.rev.0, sub: slot.rev.1, tombstone: slot.tombstone, value })
    }

    /// A frame that is done: its memory serves the next one.
    pub fn spent(&mut self) -> Option<Decoded> {
        self.spent.pop()
    }

    /// Notes the next revision of an active frame, or drops it at its end.
    fn settle(&mut self, place: usize) {
        match self.active[place].frame.rev() {
            Some(rev) => self.active[place].rev = rev,
            None => self.spent.push(self.active.swap_remove(place).frame),
        }
    }
}
