//! Data frames and the table that places them.
//!
//! ```text
//! frame table   varint count, then per frame:
//!               class u8 | codec u8 | varint sealed length | varint plain length |
//!               SHA-256 of the sealed frame (32)
//! sealed frame  AES-256-GCM ciphertext of the encoded plaintext, tag (16)
//! ```
//! Holds: frames lie without gaps behind the header, so offsets are sums of lengths and are not
//! stored; the last frame of the table is the one sealed with the last bit; a plaintext is 1 byte
//! to 64 MiB and never more than the table says, whatever the compressed bytes claim.

use super::seal::{ObjectKey, Place, TAG_BYTES, sha256};
use super::varint::{Cursor, CursorError, put_varint};
use super::{FormatError, HEADER_BYTES, ObjectName, Part};
use std::borrow::Cow;

/// Largest plaintext of a frame in bytes (64 MiB); a record that does not fit is refused when
/// written.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Bytes of the shortest table entry.
const ENTRY_MIN: usize = 4 + 32;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameClass {
    /// Records without sensitive content; compressed.
    Normal = 1,
    /// Records under sensitive prefixes; never compressed.
    Sensitive = 2,
    /// A piece of a small bucket.
    Bucket = 3,
    /// The index section; never in a frame table.
    Index = 4,
}

/// How a frame's plaintext is encoded before it is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    None = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// One frame of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    /// Its number in the object, from 0; also the counter of its nonce.
    pub number: u32,
    /// What it holds.
    pub class: FrameClass,
    /// How it is encoded.
    pub codec: Codec,
    /// Whether it is the object's last data frame.
    pub last: bool,
    /// Where it begins in the object, in bytes.
    pub offset: u64,
    /// Its length as stored, in bytes.
    pub sealed_len: u32,
    /// Its plaintext's length, in bytes.
    pub plain_len: u32,
    /// SHA-256 as stored.
    pub sha256: [u8; 32],
}

impl FrameEntry {
    /// The byte after it in the object.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.sealed_len)
    }

    /// Its bytes in a whole object.
    pub fn slice<'a>(&self, object: &'a [u8]) -> Option<&'a [u8]> {
        let start = usize::try_from(self.offset).ok()?;
        object.get(start..start.checked_add(self.sealed_len as usize)?)
    }
}

/// What already binds a sealed frame to the commit, so that it is hashed once and not twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Nothing yet (a range read): the frame's own SHA-256 is compared.
    ByFrame,
    /// The whole object's SHA-256 has been compared with its reference.
    ByObject,
}

/// Buffers that frames are opened into, one per worker, reused from frame to frame.
#[derive(Default)]
pub struct FrameBuffer {
    encoded: Vec<u8>,
    plain: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl FrameBuffer {
    /// Empty buffers.
    pub fn new() -> FrameBuffer {
        FrameBuffer::default()
    }

    /// The plaintext of the frame opened last; empty after a failure.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Takes the plaintext out, to hand it to another thread; the next frame allocates anew.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    /// Gives a spent plaintext's memory back for the next frame.
    pub fn give_back(&mut self, spent: Vec<u8>) {
        if spent.capacity() > self.plain.capacity() {
            self.plain = spent;
        }
    }
}

impl std::fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameBuffer({} bytes)", self.plain.len())
    }
}

/// Opens the data frames of one object. Cheap to share between threads; each brings its own
/// [`FrameBuffer`].
#[derive(Debug, Clone)]
pub struct FrameOpener {
    pub(crate) object: ObjectName,
    pub(crate) key: ObjectKey,
    pub(crate) header_sha256: [u8; 32],
}

impl FrameOpener {
    /// Opens one sealed frame into `buffer` and returns its plaintext.
    ///
    /// Errors: `Damaged` when the bytes are not the frame that the table names at this place.
    pub fn open<'b>(
        &self,
        sealed: &[u8],
        frame: &FrameEntry,
        bound: Bound,
        buffer: &'b mut FrameBuffer,
    ) -> Result<&'b [u8], FormatError> {
        buffer.plain.clear();
        if sealed.len() != frame.sealed_len as usize {
            return Err(self.damaged(frame, "its length is not the one recorded"));
        }
        if bound == Bound::ByFrame && sha256(sealed) != frame.sha256 {
            return Err(self.damaged(frame, "its SHA-256 is not the one recorded"));
        }
        let place = frame.place(self.header_sha256);
        let (unsealed, target) = match frame.codec {
            Codec::None => (self.key.open(&place, sealed, &mut buffer.plain), None),
            Codec::Zstd => {
                (self.key.open(&place, sealed, &mut buffer.encoded), Some(&buffer.encoded))
            }
        };
        if !unsealed {
            return Err(self.spoilt(frame, "it does not open"));
        }
        if let Some(encoded) = target {
            decompress(encoded, frame.plain_len as usize, &mut buffer.zstd, &mut buffer.plain)
                .map_err(|reason| self.spoilt(frame, reason))?;
        }
        if buffer.plain.len() != frame.plain_len as usize {
            buffer.plain.clear();
            return Err(self.spoilt(frame, "it is shorter than recorded"));
        }
        Ok(&buffer.plain)
    }

    /// The sealed bytes are not those that were recorded.
    fn damaged(&self, frame: &FrameEntry, reason: &'static str) -> FormatError {
        self.error(Part::Frame(frame.number), reason)
    }

    /// They are, but what they seal is wrong.
    fn spoilt(&self, frame: &FrameEntry, reason: &'static str) -> FormatError {
        self.error(Part::Content(frame.number), reason)
    }

    fn error(&self, part: Part, reason: &'static str) -> FormatError {
        FormatError::Damaged { object: self.object, part, reason: reason.into() }
    }
}

impl FrameEntry {
    pub(crate) fn place(&self, header_sha256: [u8; 32]) -> Place {
        Place {
            header_sha256,
            class: self.class,
            codec: self.codec,
            last: self.last,
            counter: u64::from(self.number),
            plain_len: u64::from(self.plain_len),
        }
    }
}

/// Decompresses into a buffer of exactly the stated length: what claims more does not fit and
/// fails.
fn decompress(
    encoded: &[u8],
    plain_len: usize,
    context: &mut Option<zstd::bulk::Decompressor<'static>>,
    plain: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let context = match context {
        Some(context) => context,
        None => {
            let fresh = zstd::bulk::Decompressor::new();
            context.insert(fresh.map_err(|_| "no memory to decompress it")?)
        }
    };
    plain.clear();
    // A slice as target, not the Vec: its length is the bound, whatever capacity an earlier frame
    // left.
    plain.resize(plain_len, 0);
    match context.decompress_to_buffer(encoded, &mut plain[..]) {
        Ok(written) => {
            plain.truncate(written);
            Ok(())
        }
        Err(_) => {
            plain.clear();
            Err("it does not decompress into the recorded length")
        }
    }
}

/// Appends the frame table.
pub(crate) fn put_table(out: &mut Vec<u8>, frames: &[FrameEntry]) {
    put_varint(out, frames.len() as u64);
    for frame in frames {
        out.extend_from_slice(&[frame.class as u8, frame.codec as u8]);
        put_varint(out, u64::from(frame.sealed_len));
        put_varint(out, u64::from(frame.plain_len));
        out.extend_from_slice(&frame.sha256);
    }
}

/// Reads the frame table; `index_offset` is where the frames must end.
pub(crate) fn parse_table(
    cursor: &mut Cursor<'_>,
    index_offset: u64,
) -> Result<Vec<FrameEntry>, Cow<'static, str>> {
    let count = cursor.varint().map_err(ended)?;
    // Bounded by the bytes at hand before anything is allocated.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if count as usize > cursor.remaining().len() / ENTRY_MIN {
        return Err("the frame table claims more frames than it has bytes for".into());
    }
    let mut frames = Vec::with_capacity(count as usize);
    let mut offset = HEADER_BYTES as u64;
    for number in 0..count {
        let frame = parse_entry(cursor, number, offset)
            .map_err(|reason| Cow::from(format!("frame {number} in the table: {reason}")))?;
        offset = frame.end();
        frames.push(FrameEntry { last: number + 1 == count, ..frame });
    }
    if offset != index_offset {
        return Err("the frames do not fill the space before the index section".into());
    }
    Ok(frames)
}

fn parse_entry(
    cursor: &mut Cursor<'_>,
    number: u32,
    offset: u64,
) -> Result<FrameEntry, &'static str> {
    let ended = |_: CursorError| "it ends too early";
    let class = match cursor.byte().map_err(ended)? {
        1 => FrameClass::Normal,
        2 => FrameClass::Sensitive,
        3 => FrameClass::Bucket,
        _ => return Err("unknown class"),
    };
    let codec = match cursor.byte().map_err(ended)? {
        0 => Codec::None,
        1 if class != FrameClass::Sensitive => Codec::Zstd,
        1 => return Err("a sensitive frame is compressed"),
        _ => return Err("unknown codec"),
    };
    let sealed_len = cursor.varint().map_err(ended)?;
    let plain_len = cursor.varint().map_err(ended)?;
    let sha256 = cursor.array().map_err(ended)?;
    if plain_len == 0 || plain_len > MAX_FRAME_BYTES as u64 {
        return Err("its plain length is out of bounds");
    }
    let longest = plain_len + TAG_BYTES as u64;
    if sealed_len <= TAG_BYTES as u64
        || sealed_len > longest
        || (codec == Codec::None && sealed_len != longest)
    {
        return Err("its lengths contradict each other");
    }
    let small = |length| u32::try_from(length).map_err(|_| "its lengths are out of bounds");
    let (sealed_len, plain_len) = (small(sealed_len)?, small(plain_len)?);
    Ok(FrameEntry { number, class, codec, last: false, offset, sealed_len, plain_len, sha256 })
}

fn ended(error: CursorError) -> Cow<'static, str> {
    format!("the frame table {error}").into()
}
