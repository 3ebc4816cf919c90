//! Writing a sealed object: `header (272) | data frames | index section | trailer (64)`.
//!
//! ```text
//! index section  sealed: u64 true length | frame table | payload | zero padding
//! trailer        index offset u64 | index sealed length u64 | zero 8 | "HFTRAIL1" |
//!                SHA-256 of all before
//! ```
//! Holds: bytes leave in order as they are made, so an object of any size needs one frame of
//! memory; each byte is sealed once; the object's length is a Padmé length; exactly one data frame,
//! the last, carries the last bit.

use super::frame::put_table;
use super::header::FORMAT;
use super::open::TRAILER_MAGIC;
use super::seal::{KeyClass, ObjectKey, Place, TAG_BYTES, sha256};
use super::{
    ClusterId, Codec, DigestKey, Entropy, FormatError, FrameClass, FrameEntry, HEADER_BYTES,
    Header, MAX_FRAME_BYTES, ObjectId, ObjectName, TRAILER_BYTES, VaultId, padme,
};
use crate::keys::{DataSeed, IndexSeed};
use crate::proto::{ObjectKind, ObjectRef};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::io::Write;

/// Whose object it is, and under which seeds.
#[derive(Debug, Clone, Copy)]
pub struct ObjectContext<'a> {
    /// The vault.
    pub vault: VaultId,
    /// The cluster in it.
    pub cluster: ClusterId,
    /// Seals data frames; `None` for objects without.
    pub data: Option<&'a DataSeed>,
    /// Seals the index section.
    pub index: &'a IndexSeed,
}

/// What is random about a new object.
#[derive(Debug, Clone)]
pub struct NewObject {
    id: ObjectId,
    salt: [u8; 32],
}

impl NewObject {
    /// A random id and a random salt.
    pub fn random(entropy: &mut dyn Entropy) -> NewObject {
        NewObject::with_id(ObjectId::random(entropy), entropy)
    }

    /// A given id (a commit's attempt id) and a random salt.
    pub fn with_id(id: ObjectId, entropy: &mut dyn Entropy) -> NewObject {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        NewObject { id, salt }
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.id
    }
}

/// Whether a frame is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Never: sensitive content.
    Never,
    /// zstd at this level, unless that makes it longer.
    Zstd(i32),
}

/// A finished object, for the one who refers to it.
#[derive(Debug, Clone)]
pub struct FinishedObject {
    /// Id, size, digest and seeds.
    pub reference: ObjectRef,
    /// Where the index section begins, in bytes.
    pub index_offset: u64,
    /// Its sealed length, in bytes.
    pub index_length: u64,
    /// SHA-256 of the sealed index section.
    pub index_sha256: [u8; 32],
    /// The data frames.
    pub frames: Vec<FrameEntry>,
}

/// Writes one object into a sink, front to back.
pub struct ObjectWriter<W> {
    sink: W,
    object: ObjectName,
    header: Header,
    header_sha256: [u8; 32],
    data: Option<ObjectKey>,
    index: ObjectKey,
    frames: Vec<FrameEntry>,
    offset: u64,
    whole: Sha256,
    scratch: Vec<u8>,
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl<W> std::fmt::Debug for ObjectWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectWriter({}, {} bytes)", self.object, self.offset)
    }
}

impl<W: Write> ObjectWriter<W> {
    /// Begins an object: derives its keys and writes the header.
    pub fn new(
        kind: ObjectKind,
        context: &ObjectContext<'_>,
        new: &NewObject,
        sink: W,
    ) -> Result<ObjectWriter<W>, FormatError> {
        assert!(kind != ObjectKind::Unspecified, "an object has a kind");
        let mut header = Header {
            format: FORMAT,
            min_reader: FORMAT,
            kind,
            optional: 0,
            vault: context.vault,
            cluster: context.cluster,
            object: new.id,
            data_seed: context.data.map(DataSeed::id),
            index_seed: context.index.id(),
            salt: new.salt,
            data_commitment: [0; 32],
            index_commitment: [0; 32],
            reserve: [0; 64],
        };
        let bare = header.encode();
        let data = context.data.map(|seed| ObjectKey::derive(seed.seed(), KeyClass::Data, &bare));
        let index = ObjectKey::derive(context.index.seed(), KeyClass::Index, &bare);
        header.data_commitment = data.as_ref().map_or([0; 32], |key| key.commitment);
        header.index_commitment = index.commitment;
        let encoded = header.encode();
        let mut writer = ObjectWriter {
            sink,
            object: ObjectName { kind, id: Some(new.id) },
            header,
            header_sha256: sha256(&encoded),
            data,
            index,
            frames: Vec::new(),
            offset: 0,
            whole: Sha256::new(),
            scratch: Vec::new(),
            zstd: None,
        };
        writer.emit(&encoded)?;
        Ok(writer)
    }

    /// The name of the object in errors.
    pub fn name(&self) -> ObjectName {
        self.object
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.offset
    }

    /// The key of record digests in this object.
    pub fn digest_key(&self) -> DigestKey {
        self.index.digest_key()
    }

    /// Seals one data frame. `last` must be true for the last one and for no other.
    ///
    /// Errors: `Refused` for an empty or too large plaintext; `Sink`.
    pub fn frame(
        &mut self,
        class: FrameClass,
        compression: Compression,
        plain: &[u8],
        last: bool,
    ) -> Result<FrameEntry, FormatError> {
        assert!(class != FrameClass::Index, "the index section is written by finish");
        assert!(!self.frames.last().is_some_and(|frame| frame.last), "no frame after the last one");
        if plain.is_empty() || plain.len() > MAX_FRAME_BYTES {
            let reason = format!("a frame of {} bytes; 1 to {MAX_FRAME_BYTES} fit", plain.len());
            return Err(self.refused(reason.into()));
        }
        let codec = self.encode(class, compression, plain)?;
        let number = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        let mut frame = FrameEntry {
            number,
            class,
            codec,
            last,
            offset: self.offset,
            sealed_len: 0,
            plain_len: u32::try_from(plain.len()).expect("at most 64 MiB, checked above"),
            sha256: [0; 32],
        };
        let place = frame.place(self.header_sha256);
        let mut scratch = std::mem::take(&mut self.scratch);
        let Some(key) = &self.data else {
            return Err(self.refused("it has data frames, but no data seed was given".into()));
        };
        match codec {
            Codec::Zstd => key.seal_in_place(&place, &mut scratch),
            Codec::None => {
                scratch.resize(plain.len(), 0);
                let tag = key.seal(&place, plain, &mut scratch);
                scratch.extend_from_slice(&tag);
            }
        }
        frame.sealed_len =
            u32::try_from(scratch.len()).expect("at most the plain length and a tag");
        frame.sha256 = sha256(&scratch);
        self.emit(&scratch)?;
        self.scratch = scratch;
        self.frames.push(frame);
        Ok(frame)
    }

    /// Seals the index section, writes the trailer and gives the sink back. Nothing is flushed or
    /// synced.
    pub fn finish(mut self, payload: &[u8]) -> Result<(FinishedObject, W), FormatError> {
        assert!(
            self.frames.last().is_none_or(|frame| frame.last),
            "the last frame has the last bit"
        );
        if self.data.is_some() && self.frames.is_empty() {
            return Err(self.refused("it names a data seed, but has no data frames".into()));
        }
        let index_offset = self.offset;
        let mut plain = self.index_plaintext(payload);
        self.index.seal_in_place(&Place::index(self.header_sha256, plain.len() as u64), &mut plain);
        let index_sha256 = sha256(&plain);
        let index_length = plain.len() as u64;
        self.emit(&plain)?;
        let mut trailer = [0; TRAILER_BYTES - 32];
        trailer[..8].copy_from_slice(&index_offset.to_le_bytes());
        trailer[8..16].copy_from_slice(&index_length.to_le_bytes());
        trailer[24..].copy_from_slice(&TRAILER_MAGIC);
        self.emit(&trailer)?;
        let before: [u8; 32] = self.whole.clone().finalize().into();
        self.emit(&before)?;
        assert_eq!(padme(self.offset), self.offset, "an object's length is padded");
        let whole: [u8; 32] = self.whole.finalize().into();
        let seed = self.header.data_seed.map_or(Bytes::new(), |seed| seed.to_bytes());
        let reference = ObjectRef {
            kind: self.header.kind as i32,
            object_id: self.header.object.to_bytes(),
            size_bytes: self.offset,
            sha256: Bytes::copy_from_slice(&whole),
            data_seed_id: seed,
            index_seed_id: self.header.index_seed.to_bytes(),
        };
        let frames = self.frames;
        Ok((
            FinishedObject { reference, index_offset, index_length, index_sha256, frames },
            self.sink,
        ))
    }

    /// True length, frame table, payload and as many zeroes as make the whole object a Padmé
    /// length.
    fn index_plaintext(&self, payload: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(payload.len() + 64 * self.frames.len() + 4096);
        plain.extend_from_slice(&[0; 8]);
        put_table(&mut plain, &self.frames);
        plain.extend_from_slice(payload);
        let true_len = plain.len() as u64 - 8;
        plain[..8].copy_from_slice(&true_len.to_le_bytes());
        let fixed = self.offset + (TAG_BYTES + TRAILER_BYTES) as u64;
        let bare = fixed + plain.len() as u64;
        let padding =
            usize::try_from(padme(bare) - bare).expect("at most an eighth of what is in memory");
        plain.resize(plain.len() + padding, 0);
        plain
    }

    /// Compresses into `scratch` when that is allowed and makes it shorter.
    fn encode(
        &mut self,
        class: FrameClass,
        compression: Compression,
        plain: &[u8],
    ) -> Result<Codec, FormatError> {
        self.scratch.clear();
        let Compression::Zstd(level) = compression else { return Ok(Codec::None) };
        if class == FrameClass::Sensitive {
            return Ok(Codec::None);
        }
        if self.zstd.as_ref().is_none_or(|(at, _)| *at != level) {
            let fresh =
                zstd::bulk::Compressor::new(level).map_err(|source| self.sink_error(source))?;
            self.zstd = Some((level, fresh));
        }
        let Some((_, compressor)) = &mut self.zstd else { return Ok(Codec::None) };
        self.scratch.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let compressed = compressor.compress_to_buffer(plain, &mut self.scratch);
        match compressed {
            Ok(length) if length < plain.len() => Ok(Codec::Zstd),
            Ok(_) => Ok(Codec::None),
            Err(source) => Err(self.sink_error(source)),
        }
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.sink.write_all(bytes).map_err(|source| self.sink_error(source))?;
        self.whole.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn sink_error(&self, source: std::io::Error) -> FormatError {
        FormatError::Sink { object: self.object, source }
    }

    pub(crate) fn refused(&self, reason: Cow<'static, str>) -> FormatError {
        FormatError::Refused { object: self.object, reason }
    }
}

/// Seals a message without data frames (commit, page, ledger, report) into bytes.
pub fn seal_message<M: prost::Message>(
    kind: ObjectKind,
    context: &ObjectContext<'_>,
    new: &NewObject,
    message: &M,
) -> Result<(FinishedObject, Vec<u8>), FormatError> {
    let context = ObjectContext { data: None, ..*context };
    let bytes =
        Vec::with_capacity(HEADER_BYTES + TRAILER_BYTES + message.encoded_len() * 9 / 8 + 64);
    let writer = ObjectWriter::new(kind, &context, new, bytes)?;
    writer.finish(&message.encode_to_vec())
}
