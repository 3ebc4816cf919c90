//! Reads a segment or a spill for a check, piece by piece.
//!
//! Holds: besides its index section, at most `RUN_BYTES` or one frame of an object are in memory.
//! Whatever is wrong with the bytes is a format error that names the part, also when the damage
//! makes the object ask for a key that does not exist.

use crate::access::{Access, AccessError};
use crate::chain::ChainError;
use crate::format::{
    Described, Ends, FormatError, HEADER_BYTES, ObjectName, Part, StreamCheck, TRAILER_BYTES,
    Trailer,
};
use crate::proto::{ObjectKind, ObjectRef};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Frames are fetched together up to this many bytes.
const RUN_BYTES: u64 = 4 << 20;

/// An object that is read piece by piece.
pub(super) struct Pieces<'a> {
    pub(super) access: &'a Access,
    pub(super) name: &'a str,
    pub(super) object: &'a ObjectRef,
    pub(super) deep: bool,
}

struct Read {
    header: Bytes,
    index: Bytes,
    trailer: Bytes,
}

impl Read {
    fn ends(&self) -> Ends<'_> {
        Ends { header: &self.header, index: &self.index, trailer: &self.trailer }
    }
}

/// Kinds whose objects may be large.
pub(super) fn is_large(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Segment | ObjectKind::Spill)
}

impl Pieces<'_> {
    /// Reads and checks everything. `Ok(Err(_))` is damage.
    ///
    /// # Errors
    /// What keeps it from being read or opened without being damage; that it is missing too.
    pub(super) async fn check(
        &self,
        described: Described<'_>,
    ) -> Result<Result<(), FormatError>, ChainError> {
        match self.parts(described).await {
            Ok(()) => Ok(Ok(())),
            Err(Trouble::Store(error)) => Err(error.into()),
            Err(Trouble::Format(error)) if error.is_damage() => Ok(Err(error)),
            // A damaged header may name another seed: its digest tells.
            Err(Trouble::Format(error)) => {
                if self.is_sound().await? {
                    return Err(AccessError::from(error).into());
                }
                let reason = format!("its SHA-256 is not the one recorded ({error})");
                Ok(Err(self.damaged(Part::Header, reason)))
            }
        }
    }

    async fn parts(&self, described: Described<'_>) -> Result<(), Trouble> {
        let size = self.store().head(self.name).await?.size_bytes;
        if size != self.object.size_bytes {
            let reason = format!("{size} bytes instead of {}", self.object.size_bytes);
            return Err(self.damaged(Part::Whole, reason).into());
        }
        let read = self.ends().await?;
        let expected = self.access.expected(self.object.kind(), Some(self.object));
        let keyring = self.access.keyring();
        let mut check = StreamCheck::new(read.ends(), &expected, described, &keyring, self.deep)?;
        let mut next = 0;
        while next < check.frames().len() {
            let end = run_end(&check, next);
            let start = check.frames()[next].offset;
            let run = start..check.frames()[end - 1].end();
            let bytes = self.store().get_range(self.name, run).await?;
            for place in next..end {
                let frame = check.frames()[place];
                let from = usize::try_from(frame.offset - start).unwrap_or(usize::MAX);
                let sealed = bytes.slice(from..from + frame.sealed_len as usize);
                check.frame(&sealed)?;
            }
            next = end;
        }
        check.finish(read.ends(), self.object)?;
        Ok(())
    }

    async fn ends(&self) -> Result<Read, Trouble> {
        let size = self.object.size_bytes;
        let Some(tail) = size.checked_sub(TRAILER_BYTES as u64) else {
            return Err(self.damaged(Part::Whole, "it is shorter than a trailer").into());
        };
        let trailer = self.store().get_range(self.name, tail..size).await?;
        let parsed = Trailer::parse(&trailer, size, self.object_name())?;
        let header = self.store().get_range(self.name, 0..HEADER_BYTES as u64).await?;
        let index = self.store().get_range(self.name, parsed.index_offset..tail).await?;
        Ok(Read { header, index, trailer })
    }

    /// Whether the whole has the recorded digest.
    async fn is_sound(&self) -> Result<bool, StoreError> {
        let (mut hasher, mut at) = (Sha256::new(), 0);
        let size = self.object.size_bytes;
        while at < size {
            let end = size.min(at + RUN_BYTES);
            hasher.update(self.store().get_range(self.name, at..end).await?);
            at = end;
        }
        Ok(hasher.finalize()[..] == self.object.sha256[..])
    }

    fn store(&self) -> &Store {
        self.access.store()
    }

    fn object_name(&self) -> ObjectName {
        self.access.expected(self.object.kind(), Some(self.object)).name()
    }

    fn damaged(&self, part: Part, reason: impl Into<String>) -> FormatError {
        let (object, reason) = (self.object_name(), reason.into().into());
        FormatError::Damaged { object, part, reason }
    }
}

/// Where the run of frames that begins at `next` ends: at least one frame.
fn run_end(check: &StreamCheck, next: usize) -> usize {
    let frames = check.frames();
    let start = frames[next].offset;
    let fits = frames[next + 1..].iter().take_while(|frame| frame.end() - start <= RUN_BYTES);
    next + 1 + fits.count()
}

enum Trouble {
    Store(StoreError),
    Format(FormatError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Trouble {
        Trouble::Format(error)
    }
}
