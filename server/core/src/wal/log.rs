//! What a whole log says: the view that a booting member takes of its segments.

use super::{Record, SegmentReader, SnapshotRecord, WalDamage, WalMetadata, parse_segment_name};
use crate::raftpb::HardState;

/// A log, read from its first segment to its last good record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// Who writes it.
    pub metadata: WalMetadata,
    /// The last hard state.
    pub hard_state: HardState,
    /// All notes of saved snapshots, in order. Those above the commit index do not count at boot.
    pub snapshots: Vec<SnapshotRecord>,
    /// Index of the first entry of the unbroken run at the log's end; 0 without entries.
    pub first_index: u64,
    /// Index of the last entry at hand; 0 without entries.
    pub last_index: u64,
    /// Term of the last entry at hand.
    pub last_term: u64,
    /// Entries that were replaced by later ones of the same index.
    pub replaced: u64,
    /// A torn tail of the last segment, which a boot cuts off.
    pub torn_tail: Option<WalDamage>,
}

/// A log that no member boots from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// No segment at all.
    #[error("the WAL has no segments")]
    Empty,
    /// A name that is not a segment's.
    #[error("{name:?} is not the name of a WAL segment")]
    Name {
        /// The name.
        name: String,
    },
    /// Sequence numbers that do not follow each other.
    #[error("WAL segment {name} does not follow segment number {previous}")]
    Gap {
        /// The segment.
        name: String,
        /// The sequence number before it.
        previous: u64,
    },
    /// A segment that is not readable.
    #[error("WAL segment {name}: {damage}")]
    Damage {
        /// The segment.
        name: String,
        /// Where and why.
        damage: WalDamage,
    },
    /// Metadata that changes on the way, or is missing.
    #[error("WAL segment {name}: {reason}")]
    Metadata {
        /// The segment.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry that cannot stand where it stands.
    #[error("WAL segment {name}: entry {index} is damaged: {reason}")]
    Impossible {
        /// The segment.
        name: String,
        /// The entry.
        index: u64,
        /// What is impossible about it.
        reason: &'static str,
    },
    /// Entries that do not follow each other.
    #[error("WAL segment {name}: entry {found} stands behind entry {previous}")]
    Entries {
        /// The segment.
        name: String,
        /// The entry before.
        previous: u64,
        /// The entry found.
        found: u64,
    },
}

/// Reads segments, given in ascending order as (name, bytes) by `next`, one at a time: at most one
/// is in memory. A torn tail in the last one is reported, not an error.
///
/// # Errors
/// `next`'s own, and [`WalError`].
pub fn summarize<E: From<WalError>>(
    names: &[String],
    mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<LogSummary, E> {
    check_names(names)?;
    let mut state = State::default();
    let (last, earlier) = names.split_last().ok_or(WalError::Empty)?;
    for name in earlier {
        state.segment(name, &read(name)?, false)?;
    }
    state.segment(last, &read(last)?, true)?;
    if !state.has_metadata {
        let name = last.clone();
        return Err(WalError::Metadata { name, reason: "the log has no metadata" }.into());
    }
    Ok(state.summary)
}

/// Holds sequence numbers to follow each other.
pub(super) fn check_names(names: &[String]) -> Result<(), WalError> {
    let mut previous: Option<u64> = None;
    for name in names {
        let bad = || WalError::Name { name: name.clone() };
        let (sequence, _) = parse_segment_name(name).ok_or_else(bad)?;
        if let Some(previous) = previous.filter(|before| before.checked_add(1) != Some(sequence)) {
            return Err(WalError::Gap { name: name.clone(), previous });
        }
        previous = Some(sequence);
    }
    Ok(())
}

#[derive(Default)]
struct State {
    summary: LogSummary,
    chain: Option<u32>,
    has_metadata: bool,
}

impl State {
    fn segment(&mut self, name: &str, bytes: &[u8], last: bool) -> Result<(), WalError> {
        let mut reader = SegmentReader::new(bytes, self.chain, last);
        loop {
            match reader.next_record() {
                Ok(Some(record)) => self.record(name, record)?,
                Ok(None) => break,
                Err(damage) if damage.torn => {
                    self.summary.torn_tail = Some(damage);
                    break;
                }
                Err(damage) => return Err(WalError::Damage { name: name.to_owned(), damage }),
            }
        }
        self.chain = Some(reader.crc());
        Ok(())
    }

    fn record(&mut self, name: &str, record: Record<'_>) -> Result<(), WalError> {
        let summary = &mut self.summary;
        match record {
            Record::Crc(_) => {}
            Record::State(state) => summary.hard_state = state,
            Record::Snapshot(snapshot) => summary.snapshots.push(snapshot),
            Record::Metadata(metadata) => {
                if self.has_metadata && metadata != summary.metadata {
                    let reason = "its metadata names another member or cluster";
                    return Err(WalError::Metadata { name: name.to_owned(), reason });
                }
                (summary.metadata, self.has_metadata) = (metadata, true);
            }
            Record::Entry(entry) => {
                let previous = summary.last_index;
                let gap = entry.index > previous.saturating_add(1);
                // A snapshot that came from the leader covers what never reached this log.
                let covered = || summary.snapshots.iter().any(|note| note.index >= entry.index - 1);
                if summary.first_index == 0 || gap && covered() {
                    summary.first_index = entry.index;
                } else if gap || entry.index < summary.first_index {
                    let (name, found) = (name.to_owned(), entry.index);
                    return Err(WalError::Entries { name, previous, found });
                } else if entry.index <= previous {
                    summary.replaced += previous - entry.index + 1;
                }
                (summary.last_index, summary.last_term) = (entry.index, entry.term);
            }
        }
        Ok(())
    }
}
