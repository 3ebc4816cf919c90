//! Reading a segment's index, and comparing frames with it.
//!
//! Holds: everything in an index has been checked when it is open: order within lanes, counts,
//! lengths against the frame table and the body's reference; so its iterators cannot fail.

use crate::format::open::open_index;
use crate::format::record::{FrameRecords, Record, encoded_len, next_revision};
use crate::format::varint::{Cursor, CursorError};
use crate::format::{
    ClusterId, DigestKey, Expected, FormatError, FrameClass, FrameEntry, FrameOpener, IndexSlice,
    OpenedObject, Part, VaultId, open_object,
};
use crate::keys::Keyring;
use crate::proto::{ObjectKind, SegmentRef};
use std::borrow::Cow;
use std::ops::Range;

/// Bytes of the shortest record entry.
const ENTRY_MIN: usize = 4 + 4 + 4;

/// What the index says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRecord {
    /// Its place in file order; its bit in the live bitmap.
    pub ordinal: u32,
    /// The frame it is in.
    pub frame: u32,
    /// Main revision.
    pub main: i64,
    /// Sub revision.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// Length of its value in bytes.
    pub value_len: u32,
    /// Keyed digest of the record, see [`Record::digest`].
    pub digest: u32,
    /// Tag of its key, see [`TagKey`](crate::format::TagKey).
    pub tag: u32,
}

impl IndexRecord {
    /// Its place in the order of records.
    pub fn revision(&self) -> (i64, i64) {
        (self.main, self.sub)
    }
}

/// What the index says of one frame.
#[derive(Debug, Clone)]
pub struct SegmentFrame {
    /// Its place, lengths and digest.
    pub entry: FrameEntry,
    /// Revision of its first record.
    pub first: (i64, i64),
    /// Revision of its last record.
    pub last: (i64, i64),
    /// Ordinals of its records.
    pub ordinals: Range<u32>,
    records: Range<usize>,
}

/// The opened index of a segment.
#[derive(Debug)]
pub struct SegmentIndex {
    object: OpenedObject,
    frames: Vec<SegmentFrame>,
    digest_key: DigestKey,
}

impl SegmentIndex {
    /// Opens a whole segment that is in memory; its SHA-256 is compared with the reference.
    pub fn open(
        bytes: &[u8],
        reference: &SegmentRef,
        owner: (VaultId, ClusterId),
        keyring: &Keyring,
    ) -> Result<SegmentIndex, FormatError> {
        let object = open_object(bytes, &expected(reference, owner), keyring)?;
        SegmentIndex::from_object(object, reference)
    }

    /// Opens an index from two range reads: the object's first 272 bytes, and `index_length` bytes
    /// from `index_offset`. It is bound to the reference by the index's own SHA-256.
    pub fn open_ranges(
        header: &[u8],
        sealed: &[u8],
        reference: &SegmentRef,
        owner: (VaultId, ClusterId),
        keyring: &Keyring,
    ) -> Result<SegmentIndex, FormatError> {
        let (offset, sha256) = (reference.index_offset, &reference.index_sha256[..]);
        let slice = IndexSlice { header, sealed, offset, sha256 };
        let object = open_index(&slice, &expected(reference, owner), keyring)?;
        SegmentIndex::from_object(object, reference)
    }

    /// The segment's frames, in file order.
    pub fn frames(&self) -> &[SegmentFrame] {
        &self.frames
    }

    /// The object behind it.
    pub fn object(&self) -> &OpenedObject {
        &self.object
    }

    /// What opens the frames; needs the data seed.
    pub fn frames_opener(&self, keyring: &Keyring) -> Result<FrameOpener, FormatError> {
        self.object.frames_opener(keyring)
    }

    /// The digest that this index holds of such a record.
    pub fn digest(&self, record: &Record<'_>) -> u32 {
        record.digest(&self.digest_key)
    }

    /// All records in file order: by ordinal.
    pub fn records(&self) -> impl Iterator<Item = IndexRecord> + '_ {
        self.frames.iter().flat_map(|frame| self.frame_records(frame))
    }

    /// The records of one frame, in revision order.
    pub fn frame_records<'a>(
        &'a self,
        frame: &SegmentFrame,
    ) -> impl Iterator<Item = IndexRecord> + use<'a> {
        let entries = &self.object.payload()[frame.records.clone()];
        Entries {
            cursor: Cursor::new(entries),
            base: frame.first.0,
            previous: None,
            frame: frame.entry.number,
            ordinals: frame.ordinals.clone(),
        }
    }

    /// All records in revision order: the two lanes merged.
    pub fn ordered(&self) -> impl Iterator<Item = IndexRecord> + '_ {
        let lane = |class: FrameClass| {
            let frames = self.frames.iter().filter(move |frame| frame.entry.class == class);
            frames.flat_map(|frame| self.frame_records(frame)).peekable()
        };
        let (mut normal, mut sensitive) = (lane(FrameClass::Normal), lane(FrameClass::Sensitive));
        std::iter::from_fn(move || match (normal.peek(), sensitive.peek()) {
            (Some(a), Some(b)) if a.revision() > b.revision() => sensitive.next(),
            (Some(_), _) => normal.next(),
            (None, _) => sensitive.next(),
        })
    }

    /// Compares a frame's opened plaintext with the index, record by record, digests included.
    pub fn check_frame(&self, frame: &SegmentFrame, plain: &[u8]) -> Result<(), FormatError> {
        let damaged = |reason: Cow<'static, str>| FormatError::Damaged {
            object: self.object.name,
            part: Part::Content(frame.entry.number),
            reason,
        };
        let mut known = self.frame_records(frame);
        for record in FrameRecords::new(plain) {
            let record = record.map_err(|error| damaged(error.to_string().into()))?;
            let entry = known.next().ok_or_else(|| damaged("more records than indexed".into()))?;
            if entry.revision() != record.revision()
                || entry.tombstone != record.tombstone
                || entry.value_len as usize != record.value.len()
                || entry.digest != self.digest(&record)
            {
                let (main, sub) = record.revision();
                return Err(damaged(format!("record {main}.{sub} differs from the index").into()));
            }
        }
        if known.next().is_some() {
            return Err(damaged("fewer records than indexed".into()));
        }
        Ok(())
    }

    fn from_object(
        object: OpenedObject,
        reference: &SegmentRef,
    ) -> Result<SegmentIndex, FormatError> {
        let frames = parse_frames(&object).map_err(|reason| object.damaged_index(reason))?;
        let index = SegmentIndex { digest_key: object.digest_key(), object, frames };
        index.check_reference(reference)?;
        Ok(index)
    }

    /// What the body says of the segment is what the segment says of itself.
    fn check_reference(&self, reference: &SegmentRef) -> Result<(), FormatError> {
        let count = self.frames.last().map_or(0, |frame| u64::from(frame.ordinals.end));
        let first = self.frames.iter().map(|frame| frame.first).min();
        let last = self.frames.iter().map(|frame| frame.last).max();
        let bytes: u64 = self.records().map(|record| u64::from(record.value_len)).sum();
        let same = reference.record_count == count
            && reference.record_bytes == bytes
            && reference.first.zip(first).is_some_and(|(rev, own)| rev == own)
            && reference.last.zip(last).is_some_and(|(rev, own)| rev == own)
            && self.object.frames.last().is_some_and(|frame| frame.end() == reference.index_offset);
        if same {
            return Ok(());
        }
        let reason = "its counts or revisions are not those that the body recorded";
        Err(FormatError::Exchanged { object: self.object.name, reason: reason.into() })
    }
}

/// What a segment must be by its reference.
fn expected(reference: &SegmentRef, owner: (VaultId, ClusterId)) -> Expected<'_> {
    let (vault, cluster) = owner;
    Expected { kind: ObjectKind::Segment, vault, cluster, reference: reference.object.as_ref() }
}

fn parse_frames(object: &OpenedObject) -> Result<Vec<SegmentFrame>, Cow<'static, str>> {
    let payload = object.payload();
    let mut cursor = Cursor::new(payload);
    let mut frames = Vec::with_capacity(object.frames.len());
    let mut ordinal = 0u32;
    let mut lanes = [None; 2];
    for entry in &object.frames {
        let lane = match entry.class {
            FrameClass::Normal => &mut lanes[0],
            FrameClass::Sensitive => &mut lanes[1],
            FrameClass::Bucket | FrameClass::Index => {
                return Err(format!("frame {} does not hold records", entry.number).into());
            }
        };
        let frame = parse_frame(&mut cursor, payload, entry, ordinal)
            .map_err(|reason| Cow::from(format!("frame {}: {reason}", entry.number)))?;
        if lane.is_some_and(|before| before >= frame.first) {
            return Err(format!("frame {} is out of order", entry.number).into());
        }
        *lane = Some(frame.last);
        ordinal = frame.ordinals.end;
        frames.push(frame);
    }
    if !cursor.is_empty() {
        return Err("bytes behind its last frame".into());
    }
    if frames.is_empty() {
        return Err("no frames".into());
    }
    Ok(frames)
}

fn parse_frame(
    cursor: &mut Cursor<'_>,
    payload: &[u8],
    entry: &FrameEntry,
    ordinal: u32,
) -> Result<SegmentFrame, &'static str> {
    let ended = |_: CursorError| "its head is cut short or misspelled";
    let mut number = || -> Result<i64, &'static str> {
        i64::try_from(cursor.varint().map_err(ended)?).map_err(|_| "a revision is out of bounds")
    };
    let first = (number()?, number()?);
    let last = (number()?, number()?);
    let count = cursor.varint().map_err(ended)?;
    let start = payload.len() - cursor.remaining().len();
    // Bounded by the bytes at hand before anything is counted in.
    if count == 0 || count > (cursor.remaining().len() / ENTRY_MIN) as u64 {
        return Err("its record count is out of bounds");
    }
    let end = u32::try_from(count).ok().and_then(|count| ordinal.checked_add(count));
    let ordinals = ordinal..end.ok_or("more than 2^32 - 1 records")?;
    let mut previous = None;
    let mut plain_len = 0u64;
    for _ in ordinals.clone() {
        let before = previous.map_or(0, |(main, _)| main);
        let (revision, value_len) = check_entry(cursor, first, previous)?;
        plain_len += encoded_len(revision.0, revision.1, before, value_len as usize) as u64;
        previous = Some(revision);
    }
    if previous != Some(last) {
        return Err("its last revision is not that of its last record");
    }
    if plain_len != u64::from(entry.plain_len) {
        return Err("its records do not add up to its length");
    }
    let stop = payload.len() - cursor.remaining().len();
    Ok(SegmentFrame { entry: *entry, first, last, ordinals, records: start..stop })
}

/// Reads one record entry: its revision and value length.
fn check_entry(
    cursor: &mut Cursor<'_>,
    first: (i64, i64),
    previous: Option<(i64, i64)>,
) -> Result<((i64, i64), u32), &'static str> {
    let cut = |_: CursorError| "a record entry is cut short or misspelled";
    let delta = cursor.varint().map_err(cut)?;
    let sub = cursor.varint().map_err(cut)?;
    let flags = cursor.byte().map_err(cut)?;
    let value_len = cursor.varint().map_err(cut)?;
    cursor.take(8).map_err(cut)?;
    let order = |_| "its records are out of order";
    let revision = match previous {
        Some(_) => next_revision(previous, delta, sub).map_err(order)?,
        None if delta == 0 && sub == first.1.unsigned_abs() => first,
        None => return Err("its first record is not the one it names"),
    };
    if flags > 1 {
        return Err("a record has unknown flags");
    }
    let value_len = u32::try_from(value_len).map_err(|_| "a value length is out of bounds")?;
    Ok((revision, value_len))
}

/// Record entries of one frame that were checked when the index was opened.
struct Entries<'a> {
    cursor: Cursor<'a>,
    base: i64,
    previous: Option<(i64, i64)>,
    frame: u32,
    ordinals: Range<u32>,
}

impl Entries<'_> {
    fn read(&mut self, ordinal: u32) -> Option<IndexRecord> {
        let delta = self.cursor.varint().ok()?;
        let sub = self.cursor.varint().ok()?;
        let flags = self.cursor.byte().ok()?;
        let value_len = u32::try_from(self.cursor.varint().ok()?).ok()?;
        let digest = u32::from_le_bytes(self.cursor.array().ok()?);
        let tag = u32::from_le_bytes(self.cursor.array().ok()?);
        let base = self.previous.map_or(self.base, |(main, _)| main);
        let (main, sub) = (base.checked_add_unsigned(delta)?, i64::try_from(sub).ok()?);
        self.previous = Some((main, sub));
        let (frame, tombstone) = (self.frame, flags == 1);
        Some(IndexRecord { ordinal, frame, main, sub, tombstone, value_len, digest, tag })
    }
}

impl Iterator for Entries<'_> {
    type Item = IndexRecord;

    fn next(&mut self) -> Option<IndexRecord> {
        let ordinal = self.ordinals.next()?;
        let record = self.read(ordinal);
        debug_assert!(record.is_some(), "entries were checked when the index was opened");
        record
    }
}
