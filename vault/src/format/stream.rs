//! Checking a large object piece by piece: header and index section first, then its data frames in
//! order, then the trailer.
//!
//! Holds: whoever was fed every byte and finished without an error has seen exactly the object that
//! the chain recorded; no more than one frame is open at a time; a damaged part is named as when
//! the object is read whole.

use super::bucket::BucketCheck;
use super::open::{IndexSlice, TRAILER_BYTES, Trailer, open_index};
use super::{
    Bound, Expected, FormatError, FrameBuffer, FrameEntry, FrameOpener, HEADER_BYTES, OpenedObject,
    Part, SegmentIndex,
};
use crate::keys::Keyring;
use crate::proto::{ObjectRef, SegmentRef, SmallBucket};
use sha2::{Digest, Sha256};

/// What a body says of an object's content.
#[derive(Debug, Clone, Copy)]
pub enum Described<'a> {
    /// It is this segment.
    Segment(&'a SegmentRef),
    /// It is this bucket.
    Spill(&'a SmallBucket),
    /// No body that can be read tells: frames are opened and not looked into.
    Not,
}

/// The parts of an object that are needed before its frames.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Its first 272 bytes.
    pub header: &'a [u8],
    /// The sealed index section.
    pub index: &'a [u8],
    /// Its last 64 bytes.
    pub trailer: &'a [u8],
}

enum Content {
    Records(Box<SegmentIndex>),
    Bucket(Box<(OpenedObject, BucketCheck)>),
    Blind(Box<OpenedObject>),
}

/// A check in progress.
pub struct StreamCheck {
    content: Content,
    opener: Option<FrameOpener>,
    hasher: Sha256,
    next: usize,
    buffer: FrameBuffer,
}

impl StreamCheck {
    /// Begins with the ends of the object of `expected`. Frames are opened and looked into when
    /// `deep`, which needs the data seed; else only their digests are compared.
    pub fn new(
        ends: Ends<'_>,
        expected: &Expected<'_>,
        described: Described<'_>,
        keyring: &Keyring,
        deep: bool,
    ) -> Result<StreamCheck, FormatError> {
        let name = expected.name();
        let damaged = |part, reason: &'static str| FormatError::Damaged {
            object: name,
            part,
            reason: reason.into(),
        };
        let size = (HEADER_BYTES + TRAILER_BYTES + ends.index.len()) as u64;
        let size = expected.reference.map_or(size, |reference| reference.size_bytes);
        let trailer = Trailer::parse(ends.trailer, size, name)?;
        if trailer.index_length != ends.index.len() as u64 {
            return Err(damaged(Part::Trailer, "the index section does not lie where it says"));
        }
        let own: [u8; 32] = Sha256::digest(ends.index).into();
        let slice = |sha256| IndexSlice {
            header: ends.header,
            sealed: ends.index,
            offset: trailer.index_offset,
            sha256,
        };
        let content = match described {
            Described::Segment(segment) => {
                let owner = (expected.vault, expected.cluster);
                if segment.index_offset != trailer.index_offset {
                    return Err(damaged(Part::Trailer, "its index lies elsewhere"));
                }
                let (header, index) = (ends.header, ends.index);
                let opened = SegmentIndex::open_ranges(header, index, segment, owner, keyring);
                Content::Records(Box::new(opened?))
            }
            Described::Spill(bucket) => {
                let opened = open_index(&slice(&own), expected, keyring)?;
                let check = BucketCheck::of_spill(&opened, bucket)?;
                Content::Bucket(Box::new((opened, check)))
            }
            Described::Not => {
                Content::Blind(Box::new(open_index(&slice(&own), expected, keyring)?))
            }
        };
        let mut hasher = Sha256::new();
        hasher.update(ends.header);
        let (buffer, next) = (FrameBuffer::new(), 0);
        let mut check = StreamCheck { content, opener: None, hasher, next, buffer };
        if deep && !check.frames().is_empty() {
            check.opener = Some(check.object().frames_opener(keyring)?);
        }
        Ok(check)
    }

    /// The data frames, in the order in which they must be fed.
    pub fn frames(&self) -> &[FrameEntry] {
        &self.object().frames
    }

    fn object(&self) -> &OpenedObject {
        match &self.content {
            Content::Records(index) => index.object(),
            Content::Bucket(bucket) => &bucket.0,
            Content::Blind(object) => object,
        }
    }

    /// Takes the next frame's bytes as stored.
    pub fn frame(&mut self, sealed: &[u8]) -> Result<(), FormatError> {
        let frame = self.frames()[self.next];
        self.hasher.update(sealed);
        if Sha256::digest(sealed)[..] != frame.sha256 {
            return Err(FormatError::Damaged {
                object: self.object().name,
                part: Part::Frame(frame.number),
                reason: "its SHA-256 is not the one recorded".into(),
            });
        }
        if let Some(opener) = &self.opener {
            // Compared above.
            let plain = opener.open(sealed, &frame, Bound::ByObject, &mut self.buffer)?;
            match &mut self.content {
                Content::Records(index) => index.check_frame(&index.frames()[self.next], plain)?,
                Content::Bucket(bucket) => bucket.1.frame(&bucket.0, &frame, plain)?,
                Content::Blind(_) => {}
            }
        }
        self.next += 1;
        Ok(())
    }

    /// Ends behind the last frame: the bytes seen are those that were recorded.
    pub fn finish(mut self, ends: Ends<'_>, recorded: &ObjectRef) -> Result<(), FormatError> {
        let object = self.object().name;
        assert!(self.next == self.frames().len(), "every frame is fed");
        self.hasher.update(ends.index);
        let (front, digest) = ends.trailer.split_at(ends.trailer.len() - 32);
        self.hasher.update(front);
        let own = self.hasher.clone().finalize();
        self.hasher.update(digest);
        if own[..] != *digest {
            let (part, reason) = (Part::Trailer, "its SHA-256 is not the one recorded".into());
            return Err(FormatError::Damaged { object, part, reason });
        }
        if self.hasher.finalize()[..] != recorded.sha256[..] {
            let reason = "its SHA-256 is not the one that the chain recorded".into();
            return Err(FormatError::Exchanged { object, reason });
        }
        match (&self.content, &self.opener) {
            (Content::Bucket(bucket), Some(_)) => bucket.1.finish(&bucket.0),
            _ => Ok(()),
        }
    }
}
