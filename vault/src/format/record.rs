//! Records: what a vault keeps of an etcd revision, and how a frame holds a run of them.
//!
//! ```text
//! frame plaintext, per record:
//!   varint main revision, less that of the record before (the first: as it is)
//!   varint sub revision | flags u8 (1: tombstone) | varint value length | value
//! ```
//! Holds: revisions in a frame strictly ascend by (main, sub); the value's bytes are etcd's own and
//! opaque here.

use super::Entropy;
use super::seal::DigestKey;
use super::varint::{Cursor, put_varint, varint_bytes};
use crate::proto::Rev;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// One record of etcd's `key` bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Main revision; 0 or more.
    pub main: i64,
    /// Sub revision: its place in the transaction; 0 or more.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// The KeyValue message, exactly as in etcd's bucket.
    pub value: &'a [u8],
}

impl Record<'_> {
    /// Its place in the order of records.
    pub fn revision(&self) -> (i64, i64) {
        (self.main, self.sub)
    }

    pub(crate) fn flags(&self) -> u8 {
        u8::from(self.tombstone)
    }

    /// The 32-bit digest that a segment's index holds of it.
    pub fn digest(&self, key: &DigestKey) -> u32 {
        let mut head = [0; 17];
        head[..8].copy_from_slice(&self.main.to_le_bytes());
        head[8..16].copy_from_slice(&self.sub.to_le_bytes());
        head[16] = self.flags();
        key.digest(&[&head, self.value])
    }

    /// Bytes it takes behind a record of main revision `previous` (0 for the first of a frame).
    pub(crate) fn encoded_len(&self, previous: i64) -> usize {
        encoded_len(self.main, self.sub, previous, self.value.len())
    }

    pub(crate) fn encode(&self, previous: i64, out: &mut Vec<u8>) {
        put_varint(out, self.main.abs_diff(previous));
        put_varint(out, self.sub.unsigned_abs());
        out.push(self.flags());
        put_varint(out, self.value.len() as u64);
        out.extend_from_slice(self.value);
    }
}

/// Bytes of an encoded record with a value of this length.
pub(crate) fn encoded_len(main: i64, sub: i64, previous: i64, value_len: usize) -> usize {
    varint_bytes(main.abs_diff(previous))
        + varint_bytes(sub.unsigned_abs())
        + 1
        + varint_bytes(value_len as u64)
        + value_len
}

/// What can be wrong with the records of an opened frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a record, or a number is misspelled.
    #[error("a record is cut short or misspelled")]
    Cut,
    /// A revision above 2^63 - 1.
    #[error("a revision is out of bounds")]
    Revision,
    /// Not above the record before it.
    #[error("records are out of order")]
    Order,
    /// A flag that format 1 does not have.
    #[error("a record has unknown flags")]
    Flags,
}

/// The records of one opened frame, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct FrameRecords<'a> {
    cursor: Cursor<'a>,
    previous: Option<(i64, i64)>,
}

impl<'a> FrameRecords<'a> {
    /// Reads a frame's plaintext.
    pub fn new(plain: &'a [u8]) -> FrameRecords<'a> {
        FrameRecords { cursor: Cursor::new(plain), previous: None }
    }

    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let cut = |_| RecordError::Cut;
        let delta = self.cursor.varint().map_err(cut)?;
        let sub = self.cursor.varint().map_err(cut)?;
        let flags = self.cursor.byte().map_err(cut)?;
        let length = self.cursor.varint().map_err(cut)?;
        let value = self.cursor.take(usize::try_from(length).unwrap_or(usize::MAX)).map_err(cut)?;
        let (main, sub) = next_revision(self.previous, delta, sub)?;
        if flags > 1 {
            return Err(RecordError::Flags);
        }
        self.previous = Some((main, sub));
        Ok(Record { main, sub, tombstone: flags == 1, value })
    }
}

impl<'a> Iterator for FrameRecords<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(record)
    }
}

/// The revision that a delta and a sub revision stand for; strictly above the one before.
#[inline]
pub(crate) fn next_revision(
    previous: Option<(i64, i64)>,
    delta: u64,
    sub: u64,
) -> Result<(i64, i64), RecordError> {
    let base = previous.map_or(0, |(main, _)| main);
    let main = i64::try_from(delta).ok().and_then(|delta| base.checked_add(delta));
    let revision = main.zip(i64::try_from(sub).ok()).ok_or(RecordError::Revision)?;
    if previous.is_some_and(|before| before >= revision) {
        return Err(RecordError::Order);
    }
    Ok(revision)
}

/// The running SHA-256 over live records that a snapshot's facts hold.
///
/// Over, per record in revision order: main u64 | sub u64 | flags u8 | value length u64 | value
/// (little-endian).
#[derive(Debug, Clone, Default)]
pub struct LiveHash {
    sha256: Sha256,
    last: Option<(i64, i64)>,
}

impl LiveHash {
    /// Of no records yet.
    pub fn new() -> LiveHash {
        LiveHash::default()
    }

    /// Adds the next record; revisions must ascend.
    pub fn update(&mut self, record: &Record<'_>) {
        assert!(self.last.is_none_or(|last| last < record.revision()), "records in revision order");
        self.last = Some(record.revision());
        let mut head = [0; 25];
        head[..8].copy_from_slice(&record.main.to_le_bytes());
        head[8..16].copy_from_slice(&record.sub.to_le_bytes());
        head[16] = record.flags();
        head[17..].copy_from_slice(&(record.value.len() as u64).to_le_bytes());
        self.sha256.update(head);
        self.sha256.update(record.value);
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        self.sha256.finalize().into()
    }
}

/// The key of record key tags: one for a cluster's whole life, sealed in every commit.
#[derive(Clone)]
pub struct TagKey {
    bytes: Zeroizing<[u8; 32]>,
    digest: DigestKey,
}

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(..)")
    }
}

impl PartialEq for TagKey {
    fn eq(&self, other: &TagKey) -> bool {
        super::seal::equal_in_constant_time(&*self.bytes, &*other.bytes)
    }
}

impl Eq for TagKey {}

impl TagKey {
    /// A fresh key, made once by `init`.
    pub fn random(entropy: &mut dyn Entropy) -> TagKey {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes);
        TagKey { digest: DigestKey::new(&bytes), bytes }
    }

    /// From `Commit.tag_key`; `None` when it has not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<TagKey> {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.try_into().ok()?);
        Some(TagKey { digest: DigestKey::new(&bytes), bytes })
    }

    /// For `Commit.tag_key`.
    pub fn to_bytes(&self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&*self.bytes)
    }

    /// The tag of an etcd key: equal keys have equal tags in all segments of a cluster.
    pub fn tag(&self, key: &[u8]) -> u32 {
        self.digest.digest(&[key])
    }
}

impl PartialEq<(i64, i64)> for Rev {
    fn eq(&self, other: &(i64, i64)) -> bool {
        (self.main, self.sub) == *other
    }
}
