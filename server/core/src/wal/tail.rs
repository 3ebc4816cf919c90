//! Tells a tail that a crash tore from a hole in the middle of a log.
//!
//! Reading stops at the first frame that is not whole. Upstream then cuts the log there and boots,
//! whatever lies behind: a single flipped bit in a frame's length loses all that follows it,
//! acknowledged or not. But what lies behind can prove that the hole was not torn. A hard state
//! says which entries are committed. If one behind the hole names entries that are not before it,
//! then they were in the hole; and if anything was appended after that hard state, or alone with
//! it, then the append with the hole had been synced when that was written. A crash cannot undo
//! what was synced. So such a log is damaged, and cutting it would lose acknowledged writes.
//!
//! Without that proof the tail may be torn (or a follower's, whose hard state is in one append with
//! the entries it commits), and it is cut off; a copy is kept.

use super::decode::{RawRecord, raw_record, split_length};
use super::{FRAME_HEADER, TYPE_METADATA, TYPE_SNAPSHOT, TYPE_STATE};
use crate::raftpb::HardState;

/// The commit index that proves a hole at `offset`, where the entries before it end at
/// `last_index`; `None` if a crash explains what is there.
pub(super) fn committed_behind(bytes: &[u8], offset: usize, last_index: u64) -> Option<u64> {
    let mut at = offset.next_multiple_of(FRAME_HEADER);
    while at < bytes.len() {
        let Some((first, next)) = frame(bytes, at) else {
            at += FRAME_HEADER;
            continue;
        };
        let mut run = Run { crc: first.crc, last_index, claim: None, after_state: false };
        run.visit(&first);
        let mut end = next;
        while let Some((record, next)) = frame(bytes, end).filter(|(record, _)| run.chains(record))
        {
            if let Some(commit) = run.visit(&record) {
                return Some(commit);
            }
            end = next;
        }
        // A single frame may be anything: look again right behind its first bytes.
        at = if end == next { at + FRAME_HEADER } else { end };
    }
    None
}

/// Frames behind the hole that follow each other in one chain.
struct Run {
    crc: u32,
    last_index: u64,
    /// A commit index above the entries at hand, in the frame before.
    claim: Option<u64>,
    /// The frame before is a hard state.
    after_state: bool,
}

impl Run {
    /// Whether `record` goes on in the chain.
    fn chains(&mut self, record: &RawRecord<'_>) -> bool {
        let crc = crc32c::crc32c_append(self.crc, record.data);
        let goes_on = crc == record.crc;
        if goes_on {
            self.crc = crc;
        }
        goes_on
    }

    /// Takes the next frame; a commit index if it completes the proof.
    fn visit(&mut self, record: &RawRecord<'_>) -> Option<u64> {
        let claim = (record.kind == TYPE_STATE)
            .then(|| HardState::decode(record.data).ok())
            .flatten()
            .map(|state| state.commit)
            .filter(|commit| *commit > self.last_index);
        let proof = self.claim.or(claim.filter(|_| self.after_state));
        self.claim = claim;
        self.after_state = record.kind == TYPE_STATE;
        proof
    }
}

/// A well-formed frame at `at`, checksum aside, and where the next one begins.
fn frame(bytes: &[u8], at: usize) -> Option<(RawRecord<'_>, usize)> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<FRAME_HEADER>()?;
    // The record's first field, its type, stands first in everything that etcd writes.
    if rest.first() != Some(&8) {
        return None;
    }
    let (length, padding) = split_length(u64::from_le_bytes(*length));
    let length = usize::try_from(length).ok().filter(|length| (1..=rest.len()).contains(length))?;
    let whole = length.checked_add(usize::try_from(padding).ok()?)?;
    if whole > rest.len() || !whole.is_multiple_of(FRAME_HEADER) {
        return None;
    }
    let record = raw_record(&rest[..length]).ok()?;
    let known = (TYPE_METADATA..=TYPE_SNAPSHOT).contains(&record.kind);
    known.then_some((record, at + FRAME_HEADER + whole))
}
