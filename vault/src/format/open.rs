//! Reading a sealed object.
//!
//! Holds: the object is what was asked for (kind, vault, cluster, and id, size, digest and seeds
//! when a reference is at hand) before anything in it is believed; commitments are compared before
//! anything is opened; when a digest is wrong, the parts are tried one by one so that the error
//! names the one that is damaged.

use super::frame::parse_table;
use super::seal::{KeyClass, ObjectKey, Place, TAG_BYTES, equal_in_constant_time, sha256};
use super::varint::Cursor;
use super::{
    ClusterId, DigestKey, FormatError, FrameEntry, FrameOpener, HEADER_BYTES, Header, ObjectId,
    ObjectName, Part, SeedId, VaultId, padme,
};
use crate::keys::{DataSeed, Keyring, Seed};
use crate::proto::{ObjectKind, ObjectRef, SeedKind};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Length of a trailer in bytes.
pub const TRAILER_BYTES: usize = 64;
pub(crate) const TRAILER_MAGIC: [u8; 8] = *b"HFTRAIL1";

/// What the caller asked the store for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The kind that the name stands for.
    pub kind: ObjectKind,
    /// The vault.
    pub vault: VaultId,
    /// The cluster.
    pub cluster: ClusterId,
    /// What a commit or body says of it; `None` only where nothing can (the newest commit).
    pub reference: Option<&'a ObjectRef>,
}

impl Expected<'_> {
    /// The object's name in errors.
    pub fn name(&self) -> ObjectName {
        let id = self.reference.and_then(|known| ObjectId::from_bytes(&known.object_id).ok());
        ObjectName { kind: self.kind, id }
    }
}

/// The trailer of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the index section begins, in bytes.
    pub index_offset: u64,
    /// Its sealed length, in bytes.
    pub index_length: u64,
    /// SHA-256 of all before this digest.
    pub sha256: [u8; 32],
}

impl Trailer {
    /// Reads the last 64 bytes of an object of `size` bytes.
    pub fn parse(bytes: &[u8], size: u64, object: ObjectName) -> Result<Trailer, FormatError> {
        let damaged = |reason: &'static str| damaged(object, Part::Trailer, reason);
        let tail: &[u8; TRAILER_BYTES] =
            bytes.last_chunk().ok_or_else(|| damaged("the object is shorter than a trailer"))?;
        let (head, sha256) = tail.split_at(TRAILER_BYTES - 32);
        if head[24..] != TRAILER_MAGIC || head[16..24] != [0; 8] {
            return Err(damaged(
                "it is not a trailer: the object was cut short or has bytes behind its end",
            ));
        }
        let number = |at: usize| {
            head[at..at + 8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (index_offset, index_length) = (number(0), number(8));
        let end = index_offset.checked_add(index_length).and_then(|end| end.checked_add(64));
        if index_offset < HEADER_BYTES as u64 || index_length < 8 + 16 + 1 || end != Some(size) {
            return Err(damaged("the index section does not lie between frames and trailer"));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(sha256);
        Ok(Trailer { index_offset, index_length, sha256: digest })
    }
}

/// A header and an index section read by range, with what binds them to the commit.
#[derive(Debug, Clone, Copy)]
pub struct IndexSlice<'a> {
    /// The first 272 bytes of the object.
    pub header: &'a [u8],
    /// The sealed index section.
    pub sealed: &'a [u8],
    /// Where it begins in the object, as the reference says.
    pub offset: u64,
    /// SHA-256 of the sealed index section, as the reference says.
    pub sha256: &'a [u8],
}

/// An object whose header, commitments and index section have been checked and opened.
pub struct OpenedObject {
    /// The name in errors.
    pub name: ObjectName,
    /// Its header.
    pub header: Header,
    /// Its data frames, in order.
    pub frames: Vec<FrameEntry>,
    /// SHA-256 of the whole object as stored; `None` after a range read.
    pub sha256: Option<[u8; 32]>,
    header_sha256: [u8; 32],
    header_bytes: [u8; HEADER_BYTES],
    index: ObjectKey,
    plain: Vec<u8>,
    payload: std::ops::Range<usize>,
}

impl std::fmt::Debug for OpenedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenedObject({}, {} frames)", self.name, self.frames.len())
    }
}

impl OpenedObject {
    /// What stands behind the frame table: a message, or a segment's index.
    pub fn payload(&self) -> &[u8] {
        &self.plain[self.payload.clone()]
    }

    /// The key of record digests in this object.
    pub fn digest_key(&self) -> DigestKey {
        self.index.digest_key()
    }

    /// What opens its data frames.
    ///
    /// Errors: `MissingSeed` without the data seed, `WrongSeed` when it is not the one; `Refused`
    /// never.
    pub fn frames_opener(&self, keyring: &Keyring) -> Result<FrameOpener, FormatError> {
        let Some(id) = self.header.data_seed else {
            return Err(damaged(self.name, Part::Header, "it has no data frames"));
        };
        let seed = keyring.data(&id).map(DataSeed::seed);
        let name = self.name;
        let key = derive(&self.header, &self.header_bytes, KeyClass::Data, seed, name)?;
        Ok(FrameOpener { object: self.name, key, header_sha256: self.header_sha256 })
    }

    /// An error about this object's sealed content.
    pub(crate) fn damaged_index(&self, reason: impl Into<Cow<'static, str>>) -> FormatError {
        FormatError::Damaged { object: self.name, part: Part::Index, reason: reason.into() }
    }
}

/// Whether an object ends with the digest of all before it: what it says is what was written, by
/// whomever.
pub fn has_sound_trailer(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<32>().is_some_and(|(before, digest)| sha256(before) == *digest)
}

/// Opens a whole object: everything but its data frames, which [`FrameOpener`] opens one by one.
///
/// Errors: `Damaged` with the part; `Exchanged` when it is sound but not the one asked for;
/// `TooNew`; `MissingSeed`; `WrongSeed`.
pub fn open_object(
    bytes: &[u8],
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<OpenedObject, FormatError> {
    let name = expected.name();
    let size = bytes.len() as u64;
    if bytes.len() < HEADER_BYTES + 25 + TRAILER_BYTES {
        return Err(damaged(name, Part::Whole, format!("{size} bytes are too few for an object")));
    }
    let (before, digest) = bytes.split_at(bytes.len() - 32);
    let mut hasher = Sha256::new_with_prefix(before);
    let own: [u8; 32] = hasher.clone().finalize().into();
    hasher.update(digest);
    let whole: [u8; 32] = hasher.finalize().into();
    let sound = own == digest;

    let opened = open_parts(bytes, expected, keyring);
    let opened = match opened {
        Ok(opened) if sound => opened,
        // The parts open, yet the bytes are not those written: a frame, padding or the trailer.
        Ok(opened) => return Err(find_damage(bytes, &opened)),
        Err(error) if sound => return Err(error),
        Err(FormatError::Damaged { object, part, reason }) => {
            return Err(FormatError::Damaged { object, part, reason });
        }
        Err(FormatError::WrongSeed { object, .. }) => {
            return Err(damaged(object, Part::Header, "it is not the header that was sealed"));
        }
        Err(other) => {
            // Without its seed, the part cannot be told.
            let blind = matches!(other, FormatError::MissingSeed { .. });
            let part = if blind { Part::Whole } else { Part::Header };
            let reason = format!("its SHA-256 is not the one in its trailer ({other})");
            return Err(damaged(name, part, reason));
        }
    };
    let other = |known: &ObjectRef| known.size_bytes != size || known.sha256 != whole[..];
    if expected.reference.is_some_and(other) {
        let reason = "its size or SHA-256 is not the one that the chain recorded".into();
        return Err(FormatError::Exchanged { object: name, reason });
    }
    Ok(OpenedObject { sha256: Some(whole), ..opened })
}

/// Opens a whole object and decodes its message.
pub fn open_message<M: prost::Message + Default>(
    bytes: &[u8],
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<(M, OpenedObject), FormatError> {
    let opened = open_object(bytes, expected, keyring)?;
    let message = M::decode(opened.payload())
        .map_err(|error| opened.damaged_index(format!("its message does not decode: {error}")))?;
    Ok((message, opened))
}

/// Opens header and index section that were read by range.
pub(crate) fn open_index(
    slice: &IndexSlice<'_>,
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<OpenedObject, FormatError> {
    let name = expected.name();
    let header = Header::parse(slice.header, name)?;
    check_identity(&header, expected)?;
    if slice.sha256 != sha256(slice.sealed) {
        return Err(damaged(name, Part::Index, "its SHA-256 is not the one recorded"));
    }
    let opened = open_sealed_index(header, slice, expected, keyring);
    match opened {
        // The header is bound by no digest of its own here, so a difference may be its damage.
        Err(FormatError::WrongSeed { object, seed, .. }) => {
            let reason = format!("it does not belong to seed {seed}, or that seed is another one");
            Err(damaged(object, Part::Header, reason))
        }
        other => other,
    }
}

fn open_parts(
    bytes: &[u8],
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<OpenedObject, FormatError> {
    let header = Header::parse(bytes, expected.name())?;
    let name = expected.name();
    let trailer = Trailer::parse(bytes, bytes.len() as u64, name)?;
    check_identity(&header, expected)?;
    let tail = &bytes[..bytes.len() - TRAILER_BYTES];
    let sealed = usize::try_from(trailer.index_offset).ok().and_then(|offset| tail.get(offset..));
    let sealed =
        sealed.ok_or_else(|| damaged(name, Part::Trailer, "index section out of bounds"))?;
    let slice = IndexSlice { header: bytes, sealed, offset: trailer.index_offset, sha256: &[] };
    open_sealed_index(header, &slice, expected, keyring)
}

/// The header says what the caller asked for.
fn check_identity(header: &Header, expected: &Expected<'_>) -> Result<(), FormatError> {
    let seed = |id: Option<SeedId>| id.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let reason = if header.kind != expected.kind {
        "it is of another kind"
    } else if header.vault != expected.vault {
        "it belongs to another vault"
    } else if header.cluster != expected.cluster {
        "it belongs to another cluster"
    } else if expected
        .reference
        .is_some_and(|known| known.object_id != header.object.as_bytes()[..])
    {
        "it has another id"
    } else if expected.reference.is_some_and(|known| {
        known.kind != header.kind as i32
            || known.index_seed_id != seed(Some(header.index_seed))
            || known.data_seed_id != seed(header.data_seed)
    }) {
        "its kind or seeds are not those that the chain recorded"
    } else {
        return Ok(());
    };
    Err(FormatError::Exchanged { object: expected.name(), reason: reason.into() })
}

fn open_sealed_index(
    header: Header,
    slice: &IndexSlice<'_>,
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<OpenedObject, FormatError> {
    let name = ObjectName { kind: expected.kind, id: Some(header.object) };
    let header_bytes = header.encode();
    // What we understood is what was written, byte for byte.
    if slice.header.get(..HEADER_BYTES) != Some(&header_bytes[..]) {
        return Err(damaged(name, Part::Header, "it holds what no writer writes"));
    }
    let header_sha256 = sha256(&header_bytes);
    let seed = keyring.index(&header.index_seed).map(|seed| seed.seed());
    let index = derive(&header, &header_bytes, KeyClass::Index, seed, name)?;
    let length = slice.sealed.len().checked_sub(TAG_BYTES);
    let length = length.ok_or_else(|| damaged(name, Part::Index, "it is too short"))?;
    let mut plain = Vec::new();
    if !index.open(&Place::index(header_sha256, length as u64), slice.sealed, &mut plain) {
        // Of the header, only the data commitment is bound by the seal alone: look there first.
        let seed = header.data_seed.and_then(|id| keyring.data(&id)).map(DataSeed::seed);
        if seed.is_some() {
            derive(&header, &header_bytes, KeyClass::Data, seed, name)?;
        }
        return Err(damaged(name, Part::Index, "it does not open"));
    }
    let mut opened = OpenedObject {
        name,
        header,
        frames: Vec::new(),
        sha256: None,
        header_sha256,
        header_bytes,
        index,
        plain,
        payload: 0..0,
    };
    parse_index(&mut opened, slice.offset)?;
    Ok(opened)
}

/// True length, padding, frame table; what is left is the payload.
fn parse_index(opened: &mut OpenedObject, offset: u64) -> Result<(), FormatError> {
    let damaged = |reason: Cow<'static, str>| damaged(opened.name, Part::Index, reason);
    let mut cursor = Cursor::new(&opened.plain);
    let true_len = cursor.array().map(u64::from_le_bytes);
    let true_len = true_len.map_err(|error| damaged(error.to_string().into()))?;
    let used = usize::try_from(true_len).unwrap_or(usize::MAX);
    let content = cursor.take(used).map_err(|_| damaged("its length is out of bounds".into()))?;
    if cursor.remaining().iter().any(|byte| *byte != 0) {
        return Err(damaged("its padding is not zero".into()));
    }
    let whole = offset + (opened.plain.len() + TAG_BYTES + TRAILER_BYTES) as u64;
    if padme(whole) != whole {
        return Err(damaged("it is not padded".into()));
    }
    let mut cursor = Cursor::new(content);
    let frames = parse_table(&mut cursor, offset).map_err(damaged)?;
    if frames.is_empty() != opened.header.data_seed.is_none() {
        return Err(damaged(
            "it has frames without a data seed, or a data seed without frames".into(),
        ));
    }
    let end = 8 + used;
    opened.payload = end - cursor.remaining().len()..end;
    opened.frames = frames;
    Ok(())
}

/// Derives a key and compares its commitment with the header's.
fn derive(
    header: &Header,
    bytes: &[u8; HEADER_BYTES],
    class: KeyClass,
    seed: Option<&Seed>,
    object: ObjectName,
) -> Result<ObjectKey, FormatError> {
    let (id, kind, commitment) = match class {
        KeyClass::Data => {
            (header.data_seed.unwrap_or(header.index_seed), SeedKind::Data, &header.data_commitment)
        }
        KeyClass::Index => (header.index_seed, SeedKind::Index, &header.index_commitment),
    };
    let seed = seed.ok_or(FormatError::MissingSeed { object, seed: id, kind })?;
    let key = ObjectKey::derive(seed, class, bytes);
    if !equal_in_constant_time(&key.commitment, commitment) {
        return Err(FormatError::WrongSeed { object, seed: id, kind });
    }
    Ok(key)
}

/// The object opens but its digest is wrong: names the first frame that differs, else the trailer.
fn find_damage(bytes: &[u8], opened: &OpenedObject) -> FormatError {
    let differs = |frame: &&FrameEntry| {
        frame.slice(bytes).is_none_or(|sealed| sha256(sealed) != frame.sha256)
    };
    let frame = opened.frames.iter().find(differs);
    let part = frame.map_or(Part::Trailer, |frame| Part::Frame(frame.number));
    damaged(opened.name, part, "its SHA-256 is not the one recorded")
}

fn damaged(object: ObjectName, part: Part, reason: impl Into<Cow<'static, str>>) -> FormatError {
    FormatError::Damaged { object, part, reason: reason.into() }
}
