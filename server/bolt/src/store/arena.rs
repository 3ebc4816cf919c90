//! Where a transaction keeps the keys and values it has read for changing or was given: one copy
//! each, in a few large pieces of memory, thrown away as a whole.
//!
//! What must hold: a place stays valid until the arena is cleared; nothing is ever moved.

/// Bytes of the first piece; each further one is twice as large, up to a limit.
const FIRST_CHUNK_BYTES: usize = 64 << 10;
const LARGEST_CHUNK_BYTES: usize = 1 << 20;
/// The largest piece that is kept for the next transaction. A member is idle most of the time, and
/// fresh memory costs a large transaction next to nothing.
const KEPT_BYTES: usize = 256 << 10;

/// Keys and values of one transaction.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
}

/// Where bytes begin in an arena.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    chunk: u32,
    at: usize,
}

impl Place {
    /// A place some bytes further on in the same copy.
    pub(super) fn plus(self, bytes: usize) -> Place {
        Place { chunk: self.chunk, at: self.at + bytes }
    }
}

impl Arena {
    /// Copies two pieces, one after the other.
    pub(super) fn push(&mut self, first: &[u8], second: &[u8]) -> Place {
        let len = first.len() + second.len();
        let room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len();
        if self.chunks.last().is_none_or(|last| room(last) < len) {
            let doubled = FIRST_CHUNK_BYTES << self.chunks.len().min(10);
            self.chunks.push(Vec::with_capacity(doubled.min(LARGEST_CHUNK_BYTES).max(len)));
        }
        // 2^32 pieces of 64 KiB or more do not fit any memory.
        let chunk = u32::try_from(self.chunks.len() - 1).unwrap_or(u32::MAX);
        let last = self.chunks.len() - 1;
        let bytes = &mut self.chunks[last];
        let at = bytes.len();
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
        Place { chunk, at }
    }

    /// The bytes at a place.
    #[inline]
    pub(super) fn bytes(&self, place: Place, len: usize) -> &[u8] {
        &self.chunks[place.chunk as usize][place.at..place.at + len]
    }

    /// Forgets all, and keeps one piece for the next transaction.
    pub(super) fn clear(&mut self) {
        let kept = self.chunks.drain(..).filter(|c| c.capacity() <= KEPT_BYTES);
        if let Some(mut chunk) = kept.max_by_key(Vec::capacity) {
            chunk.clear();
            self.chunks.push(chunk);
        }
    }
}
