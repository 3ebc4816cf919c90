//! Small buckets: everything of etcd's database that is not the `key` bucket, kept whole.
//!
//! ```text
//! bucket plaintext   per entry: varint key length | key | varint value length | value
//! ```
//! Frames hold whole entries, about 1 MiB; an empty bucket has no frame. Holds: keys strictly
//! ascend; the SHA-256 over the frames' plaintexts joined is the one in [`SmallBucket`].

use super::varint::{Cursor, put_varint, varint_bytes};
use super::{
    Bound, Compression, FormatError, FrameBuffer, FrameClass, NewObject, ObjectContext,
    ObjectWriter, OpenedObject, Part,
};
use crate::keys::Keyring;
use crate::proto::{ObjectKind, SmallBucket};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::Write;

/// Plaintext at which a bucket's frame is full, in bytes.
const FRAME_BYTES: usize = 1 << 20;
/// Plain bytes above which a bucket becomes an object of its own.
pub const SPILL_BYTES: u64 = 1 << 20;

/// One entry of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketEntry {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// Bytes that an entry takes in a bucket's plaintext.
pub fn bucket_entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    let heads = varint_bytes(key.len() as u64) + varint_bytes(value.len() as u64);
    (heads + key.len() + value.len()) as u64
}

/// A small bucket in memory, to be sealed in a body. For one above [`SPILL_BYTES`] use
/// [`SpillWriter`].
#[derive(Debug, Clone)]
pub struct Bucket {
    encoder: Encoder,
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) compression: Compression,
}

impl Bucket {
    /// An empty bucket. `compression`: never for what holds secrets (`auth*`).
    pub fn new(name: &[u8], sequence: u64, compression: Compression) -> Bucket {
        Bucket { encoder: Encoder::new(name, sequence), frames: Vec::new(), compression }
    }

    /// Adds an entry; keys must ascend.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.frames.extend(self.encoder.push(key, value));
    }

    /// Plain bytes so far.
    pub fn size_bytes(&self) -> u64 {
        self.encoder.size
    }

    /// Ends the bucket: what the body says of it (frames numbered from `first_frame`), and its
    /// frames.
    pub(super) fn finish(mut self, first_frame: u32) -> (SmallBucket, Vec<Vec<u8>>) {
        self.frames.extend(self.encoder.rest());
        let mut bucket = self.encoder.describe();
        bucket.first_frame = first_frame;
        bucket.frame_count = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        (bucket, self.frames)
    }
}

/// Writes a large bucket as an object of its own, front to back, one frame in memory.
///
/// Its payload is its own [`SmallBucket`] (without the reference to itself).
#[derive(Debug)]
pub struct SpillWriter<W> {
    object: ObjectWriter<W>,
    encoder: Encoder,
    compression: Compression,
    frame_count: u32,
}

impl<W: Write> SpillWriter<W> {
    /// Begins a spill; `context.data` must be given.
    pub fn new(
        context: &ObjectContext<'_>,
        new: &NewObject,
        (name, sequence): (&[u8], u64),
        compression: Compression,
        sink: W,
    ) -> Result<SpillWriter<W>, FormatError> {
        assert!(context.data.is_some(), "a spill has data frames");
        let object = ObjectWriter::new(ObjectKind::Spill, context, new, sink)?;
        let encoder = Encoder::new(name, sequence);
        Ok(SpillWriter { object, encoder, compression, frame_count: 0 })
    }

    /// Adds an entry; keys must ascend.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        match self.encoder.push(key, value) {
            Some(full) => self.write(&full, false),
            None => Ok(()),
        }
    }

    /// Ends the object: what the body says of the bucket, the reference included, and the sink.
    pub fn finish(mut self) -> Result<(SmallBucket, W), FormatError> {
        match self.encoder.rest() {
            Some(rest) => self.write(&rest, true)?,
            None => return Err(self.object.refused("a spill without entries".into())),
        }
        let mut bucket = self.encoder.describe();
        bucket.frame_count = self.frame_count;
        let payload = prost::Message::encode_to_vec(&bucket);
        let (done, sink) = self.object.finish(&payload)?;
        bucket.spill = Some(done.reference);
        Ok((bucket, sink))
    }

    fn write(&mut self, plain: &[u8], last: bool) -> Result<(), FormatError> {
        self.object.frame(FrameClass::Bucket, self.compression, plain, last)?;
        self.frame_count += 1;
        Ok(())
    }
}

/// Reads a bucket out of the object that holds its frames (`bytes`, whole): a body or a spill.
///
/// Errors: `Damaged` for a frame that does not open, entries that do not parse, a wrong digest or
/// count.
pub fn read_bucket(
    object: &OpenedObject,
    bytes: &[u8],
    bucket: &SmallBucket,
    keyring: &Keyring,
) -> Result<Vec<BucketEntry>, FormatError> {
    let mut entries = Vec::new();
    let mut sha256 = Sha256::new();
    if bucket.frame_count > 0 {
        let opener = object.frames_opener(keyring)?;
        let mut buffer = FrameBuffer::new();
        for frame in bucket_frames(object, bucket)? {
            let sealed = frame.slice(bytes).unwrap_or_default();
            let plain = opener.open(sealed, frame, Bound::ByFrame, &mut buffer)?;
            sha256.update(plain);
            parse_entries(plain, &mut entries).map_err(|reason| FormatError::Damaged {
                object: object.name,
                part: Part::Content(frame.number),
                reason: reason.into(),
            })?;
        }
    }
    let digest: [u8; 32] = sha256.finalize().into();
    if digest[..] != bucket.sha256 || entries.len() as u64 != bucket.entry_count {
        let name = String::from_utf8_lossy(&bucket.name);
        return Err(object.damaged_index(format!("bucket {name} is not what was recorded of it")));
    }
    Ok(entries)
}

/// A spilled bucket that is looked at frame by frame.
#[derive(Debug)]
pub(crate) struct BucketCheck {
    bucket: SmallBucket,
    sha256: Sha256,
    count: u64,
    last: Vec<BucketEntry>,
}

impl BucketCheck {
    /// Of the spill `object`, which must be `bucket`.
    pub(crate) fn of_spill(
        object: &OpenedObject,
        bucket: &SmallBucket,
    ) -> Result<BucketCheck, FormatError> {
        let own: Result<SmallBucket, _> = prost::Message::decode(object.payload());
        let bucket = SmallBucket { spill: None, ..bucket.clone() };
        if own.as_ref() != Ok(&bucket) {
            return Err(object.damaged_index("the spill is not the bucket that the body names"));
        }
        if bucket_frames(object, &bucket)?.len() != object.frames.len() {
            return Err(object.damaged_index("it has frames that its bucket does not name"));
        }
        Ok(BucketCheck { bucket, sha256: Sha256::new(), count: 0, last: Vec::new() })
    }

    /// The next frame's plaintext.
    pub(crate) fn frame(
        &mut self,
        object: &OpenedObject,
        frame: &super::FrameEntry,
        plain: &[u8],
    ) -> Result<(), FormatError> {
        self.sha256.update(plain);
        let known = self.last.len();
        parse_entries(plain, &mut self.last).map_err(|reason| FormatError::Damaged {
            object: object.name,
            part: Part::Content(frame.number),
            reason: reason.into(),
        })?;
        self.count += (self.last.len() - known) as u64;
        self.last.drain(..self.last.len().saturating_sub(1));
        Ok(())
    }

    /// Behind the last frame.
    pub(crate) fn finish(&self, object: &OpenedObject) -> Result<(), FormatError> {
        let digest: [u8; 32] = self.sha256.clone().finalize().into();
        if digest[..] == self.bucket.sha256 && self.count == self.bucket.entry_count {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&self.bucket.name);
        Err(object.damaged_index(format!("bucket {name} is not what was recorded of it")))
    }
}

fn bucket_frames<'a>(
    object: &'a OpenedObject,
    bucket: &SmallBucket,
) -> Result<&'a [super::FrameEntry], FormatError> {
    let first = bucket.first_frame as usize;
    let frames = first
        .checked_add(bucket.frame_count as usize)
        .and_then(|end| object.frames.get(first..end))
        .filter(|frames| frames.iter().all(|frame| frame.class == FrameClass::Bucket));
    frames.ok_or_else(|| object.damaged_index("a bucket names frames that are not there"))
}

fn parse_entries(plain: &[u8], entries: &mut Vec<BucketEntry>) -> Result<(), &'static str> {
    let mut cursor = Cursor::new(plain);
    let mut piece = || -> Option<Bytes> {
        let length = usize::try_from(cursor.varint().ok()?).ok()?;
        cursor.take(length).ok().map(Bytes::copy_from_slice)
    };
    let mut left = plain.len();
    while left > 0 {
        let (Some(key), Some(value)) = (piece(), piece()) else {
            return Err("a bucket entry is cut short");
        };
        left -= usize::try_from(bucket_entry_bytes(&key, &value)).unwrap_or(left).min(left);
        if entries.last().is_some_and(|before| before.key >= key) {
            return Err("bucket keys are out of order");
        }
        entries.push(BucketEntry { key, value });
    }
    Ok(())
}

/// Cuts entries into frames.
#[derive(Debug, Clone)]
struct Encoder {
    name: Bytes,
    sequence: u64,
    plain: Vec<u8>,
    last_key: Option<Vec<u8>>,
    count: u64,
    size: u64,
    sha256: Sha256,
}

impl Encoder {
    fn new(name: &[u8], sequence: u64) -> Encoder {
        Encoder {
            name: Bytes::copy_from_slice(name),
            sequence,
            plain: Vec::new(),
            last_key: None,
            count: 0,
            size: 0,
            sha256: Sha256::new(),
        }
    }

    /// Adds an entry; a frame that it does not fit into comes out, full.
    fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        assert!(
            self.last_key.as_deref().is_none_or(|last| last < key),
            "bucket keys are given in order"
        );
        let entry = bucket_entry_bytes(key, value);
        let fits = self.plain.is_empty() || self.plain.len() as u64 + entry <= FRAME_BYTES as u64;
        let full = if fits { None } else { self.rest() };
        put_varint(&mut self.plain, key.len() as u64);
        self.plain.extend_from_slice(key);
        put_varint(&mut self.plain, value.len() as u64);
        self.plain.extend_from_slice(value);
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.count += 1;
        self.size += entry;
        full
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        if self.plain.is_empty() {
            return None;
        }
        self.sha256.update(&self.plain);
        Some(std::mem::take(&mut self.plain))
    }

    fn describe(&self) -> SmallBucket {
        assert!(self.plain.is_empty(), "the last frame was taken");
        let sha256: [u8; 32] = self.sha256.clone().finalize().into();
        SmallBucket {
            name: self.name.clone(),
            sequence: self.sequence,
            entry_count: self.count,
            first_frame: 0,
            frame_count: 0,
            spill: None,
            sha256: Bytes::copy_from_slice(&sha256),
        }
    }
}
