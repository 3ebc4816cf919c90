//! How names, records and entries lie in the payloads of the service Records
//! (`server/api/proto/holdfast.proto` has the layout).
//!
//! What must hold: one writer and one reader for each; a reader never panics and never gives
//! anything that is out of order.

use crate::revision::{BucketKey, Revision};
use crate::wire::{put_varint, split_varint};

const TOMBSTONE: u8 = 1;
const SUPERSEDED: u8 = 2;
const GONE: u8 = 4;

/// A payload that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It ends inside a field, or a number is too large.
    #[error("a payload is cut short, or holds a number that is too large")]
    Cut,
    /// Revisions do not ascend.
    #[error("a payload's revisions do not ascend")]
    Order,
    /// Flags that nobody writes.
    #[error("a payload has unknown flags")]
    Flags,
}

/// A record that the caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its revision.
    pub at: Revision,
    /// The number of the digest's key.
    pub key: u32,
    /// The first four bytes of the HMAC, little-endian.
    pub digest: u32,
}

/// Puts names into a payload.
#[derive(Debug, Default)]
pub struct KnownWriter {
    previous: i64,
    out: Vec<u8>,
}

/// What the answer says of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record that the caller does not have, or has with other bytes.
    Record {
        /// Its revision, and whether it is a tombstone.
        at: BucketKey,
        /// Whether a newer one of its key exists.
        superseded: bool,
        /// Its bytes in the bucket `key`.
        value: &'a [u8],
    },
    /// It was named and is not alive.
    Gone(Revision),
}

/// Puts items into a payload.
#[derive(Debug, Default)]
pub struct ItemWriter {
    previous: i64,
    out: Vec<u8>,
}

/// The items of a payload, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct ItemReader<'a> {
    rest: &'a [u8],
    last: Option<Revision>,
    previous: i64,
}

/// The entries of a payload: key, value. Ends after the first error.
#[derive(Debug, Clone)]
pub struct EntryReader<'a>(&'a [u8]);

fn take_varint(rest: &mut &[u8]) -> Result<u64, PayloadError> {
    let (value, length) = split_varint(rest).ok_or(PayloadError::Cut)?;
    *rest = &rest[length..];
    Ok(value)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], PayloadError> {
    let length = usize::try_from(length).map_err(|_| PayloadError::Cut)?;
    let (taken, left) = rest.split_at_checked(length).ok_or(PayloadError::Cut)?;
    *rest = left;
    Ok(taken)
}

/// A revision behind one of main revision `previous`, and above `last`.
fn take_revision(
    rest: &mut &[u8],
    previous: i64,
    last: Option<Revision>,
) -> Result<Revision, PayloadError> {
    let (delta, sub) = (take_varint(rest)?, take_varint(rest)?);
    let main = i64::try_from(delta).ok().and_then(|delta| previous.checked_add(delta));
    let (main, sub) = main.zip(i64::try_from(sub).ok()).ok_or(PayloadError::Cut)?;
    let revision = Revision::new(main, sub);
    if last.is_some_and(|last| last >= revision) {
        return Err(PayloadError::Order);
    }
    Ok(revision)
}

fn put_revision(out: &mut Vec<u8>, previous: &mut i64, at: Revision) {
    put_varint(out, at.main.abs_diff(*previous));
    put_varint(out, at.sub.unsigned_abs());
    *previous = at.main;
}

impl KnownWriter {
    /// Adds the next one; revisions must ascend.
    pub fn push(&mut self, known: &Known) {
        assert!(self.previous <= known.at.main, "names ascend");
        put_revision(&mut self.out, &mut self.previous, known.at);
        put_varint(&mut self.out, u64::from(known.key));
        self.out.extend_from_slice(&known.digest.to_le_bytes());
    }

    /// The payload; the next one begins.
    pub fn take(&mut self) -> Vec<u8> {
        self.previous = 0;
        std::mem::take(&mut self.out)
    }
}

/// Reads a payload of names. `last`: of the payload before, if there was one.
///
/// # Errors
/// See [`PayloadError`].
pub fn read_known(payload: &[u8], last: Option<Revision>) -> Result<Vec<Known>, PayloadError> {
    let (mut rest, mut last, mut previous) = (payload, last, 0);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let at = take_revision(&mut rest, previous, last)?;
        let key = u32::try_from(take_varint(&mut rest)?).map_err(|_| PayloadError::Cut)?;
        let digest = take(&mut rest, 4)?;
        let digest = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        out.push(Known { at, key, digest });
        (last, previous) = (Some(at), at.main);
    }
    Ok(out)
}

impl ItemWriter {
    /// Adds the next one; revisions must ascend.
    pub fn push(&mut self, item: &Item<'_>) {
        let at = item.revision();
        assert!(self.previous <= at.main, "items ascend");
        put_revision(&mut self.out, &mut self.previous, at);
        match item {
            Item::Gone(_) => self.out.push(GONE),
            Item::Record { at, superseded, value } => {
                let tombstone = if at.tombstone { TOMBSTONE } else { 0 };
                self.out.push(tombstone | if *superseded { SUPERSEDED } else { 0 });
                put_varint(&mut self.out, value.len() as u64);
                self.out.extend_from_slice(value);
            }
        }
    }

    /// Bytes so far.
    pub fn size_bytes(&self) -> usize {
        self.out.len()
    }

    /// The payload; the next one begins.
    pub fn take(&mut self) -> Vec<u8> {
        self.previous = 0;
        std::mem::take(&mut self.out)
    }
}

impl Item<'_> {
    /// What it is about.
    pub fn revision(&self) -> Revision {
        match self {
            Item::Record { at, .. } => at.revision,
            Item::Gone(at) => *at,
        }
    }
}

impl<'a> ItemReader<'a> {
    /// Reads a payload. `last`: the last revision of the payload before, if there was one.
    pub fn new(payload: &'a [u8], last: Option<Revision>) -> ItemReader<'a> {
        ItemReader { rest: payload, last, previous: 0 }
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where reading goes on: the last revision, and what the next one is counted from. With
    /// [`ItemReader::rest`] it stands for this reader.
    pub fn place(&self) -> (Option<Revision>, i64) {
        (self.last, self.previous)
    }

    /// Goes on from a [`ItemReader::place`].
    pub fn at(rest: &'a [u8], (last, previous): (Option<Revision>, i64)) -> ItemReader<'a> {
        ItemReader { rest, last, previous }
    }

    fn read(&mut self) -> Result<Item<'a>, PayloadError> {
        let revision = take_revision(&mut self.rest, self.previous, self.last)?;
        let flags = take(&mut self.rest, 1)?[0];
        (self.last, self.previous) = (Some(revision), revision.main);
        if flags == GONE {
            return Ok(Item::Gone(revision));
        }
        if flags & !(TOMBSTONE | SUPERSEDED) != 0 {
            return Err(PayloadError::Flags);
        }
        let length = take_varint(&mut self.rest)?;
        let value = take(&mut self.rest, length)?;
        let at = BucketKey { revision, tombstone: flags & TOMBSTONE != 0 };
        Ok(Item::Record { at, superseded: flags & SUPERSEDED != 0, value })
    }
}

impl<'a> Iterator for ItemReader<'a> {
    type Item = Result<Item<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Adds an entry to a payload.
pub fn put_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        put_varint(out, part.len() as u64);
        out.extend_from_slice(part);
    }
}

impl<'a> EntryReader<'a> {
    /// Reads a payload.
    pub fn new(payload: &'a [u8]) -> EntryReader<'a> {
        EntryReader(payload)
    }

    fn read(&mut self) -> Result<(&'a [u8], &'a [u8]), PayloadError> {
        let length = take_varint(&mut self.0)?;
        let key = take(&mut self.0, length)?;
        let length = take_varint(&mut self.0)?;
        Ok((key, take(&mut self.0, length)?))
    }
}

impl<'a> Iterator for EntryReader<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.0 = &[];
        }
        Some(entry)
    }
}
