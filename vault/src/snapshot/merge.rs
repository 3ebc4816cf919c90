//! The order of a restore, pure: which frames are needed when, and their live records by revision.
//!
//! Segments may overlap in range, and a segment has two sorted lanes; so frames are taken in order of their
//! first revision, and the records of those that overlap are merged. Holds: a frame without live bits is
//! never needed; records come out strictly ascending, each once (an equal revision twice is an error); only
//! frames that overlap the current revision are held.

use crate::format::segment::FrameCursor;
use crate::snapshot::walk::Rev;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// A frame that a restore needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFrame {
    /// Which segment, by its place in the body.
    pub segment: usize,
    /// Which frame of it.
    pub frame: usize,
    /// First revision in it.
    pub first: Rev,
    /// Ordinal of its first record in the segment.
    pub first_ordinal: u32,
    /// Its records.
    pub count: u32,
    /// Whether all of them are alive.
    pub whole: bool,
    /// Where it lies in the object.
    pub offset: u64,
    /// Its sealed length.
    pub sealed_length: u32,
    /// Its plain length.
    pub plain_length: u32,
}

/// All frames with live records, in the order in which a merge needs them.
pub fn order(mut frames: Vec<PlannedFrame>, live: &[Arc<RoaringBitmap>]) -> Vec<PlannedFrame> {
    frames.retain_mut(|frame| {
        let range = frame.first_ordinal..frame.first_ordinal.saturating_add(frame.count);
        let alive = live.get(frame.segment).map_or(0, |live| live.range_cardinality(range));
        frame.whole = alive == u64::from(frame.count);
        alive > 0
    });
    frames.sort_by_key(|frame| (frame.first, frame.segment, frame.frame));
    frames
}

/// A record as a restore gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Main revision.
    pub main: i64,
    /// Position in its transaction.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// The bucket's value, exactly as in etcd's bucket.
    pub value: &'a [u8],
}

/// What a merge does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// It needs the plaintext of this planned frame; always the next in order.
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
    #[error("segment {segment}, frame {frame}: {detail}")]
    Frame {
        /// Which segment.
        segment: usize,
        /// Which frame.
        frame: usize,
        /// What is wrong.
        detail: String,
    },
    /// Two live records have one revision, or the order is broken.
    #[error("segment {segment}, frame {frame}: revision {}/{} comes after {}/{}", next.0, next.1, last.0, last.1)]
    Order {
        /// Which segment.
        segment: usize,
        /// Which frame.
        frame: usize,
        /// What came before.
        last: Rev,
        /// What came.
        next: Rev,
    },
}

struct Active {
    planned: usize,
    plain: Vec<u8>,
    cursor: FrameCursor,
    ordinal: u32,
    rev: Rev,
}

/// A merge in progress.
pub struct Merge {
    frames: Arc<[PlannedFrame]>,
    live: Vec<Arc<RoaringBitmap>>,
    next: usize,
    active: Vec<Active>,
    current: Option<usize>,
    last: Rev,
    spent: Vec<Vec<u8>>,
}

impl Merge {
    /// Over ordered frames and the bitmaps of the segments.
    pub fn new(frames: Arc<[PlannedFrame]>, live: Vec<Arc<RoaringBitmap>>) -> Merge {
        let last = (i64::MIN, i64::MIN);
        Merge { frames, live, next: 0, active: vec![], current: None, last, spent: vec![] }
    }

    /// Goes on to the next record.
    pub fn pull(&mut self) -> Result<Pull, MergeError> {
        if let Some(place) = self.current.take() {
            self.advance(place)?;
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
            let frame = &self.frames[self.active[place].planned];
            let (segment, frame) = (frame.segment, frame.frame);
            return Err(MergeError::Order { segment, frame, last: self.last, next: rev });
        }
        self.last = rev;
        self.current = Some(place);
        Ok(Pull::Ready)
    }

    /// The plaintext of the frame that was needed.
    pub fn give(&mut self, planned: usize, plain: Vec<u8>) -> Result<(), MergeError> {
        assert_eq!(planned, self.next, "frames are given in order");
        self.next += 1;
        let rev = (i64::MIN, i64::MIN);
        let ordinal = self.frames[planned].first_ordinal;
        self.active.push(Active { planned, plain, cursor: FrameCursor::default(), ordinal, rev });
        self.advance(self.active.len() - 1)
    }

    /// The record that stands ready.
    pub fn record(&self) -> Option<RecordRef<'_>> {
        let active = &self.active[self.current?];
        Some(RecordRef {
            main: active.rev.0,
            sub: active.rev.1,
            tombstone: active.cursor.tombstone(),
            value: active.cursor.value(&active.plain),
        })
    }

    /// A buffer of a frame that is done, for the next one.
    pub fn spent(&mut self) -> Option<Vec<u8>> {
        self.spent.pop()
    }

    /// Moves one cursor to its next live record, or drops it at its end.
    fn advance(&mut self, place: usize) -> Result<(), MergeError> {
        let active = &mut self.active[place];
        let frame = &self.frames[active.planned];
        let live = &self.live[frame.segment];
        let wrong = |detail: String| MergeError::Frame {
            segment: frame.segment,
            frame: frame.frame,
            detail,
        };
        loop {
            if !active.cursor.next(&active.plain).map_err(|error| wrong(error.to_string()))? {
                let count = active.ordinal - frame.first_ordinal;
                if count != frame.count {
                    return Err(wrong(format!("{count} of {} records", frame.count)));
                }
                let done = self.active.swap_remove(place);
                self.spent.push(done.plain);
                return Ok(());
            }
            let ordinal = active.ordinal;
            if ordinal - frame.first_ordinal >= frame.count {
                return Err(wrong(format!("more than {} records", frame.count)));
            }
            active.ordinal += 1;
            if frame.whole || live.contains(ordinal) {
                active.rev = active.cursor.rev();
                return Ok(());
            }
        }
    }
}
