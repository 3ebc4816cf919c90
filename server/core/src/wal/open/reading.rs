//! What the records of a log say, one segment after the other. No disk in it.
//!
//! What must hold: entries come without a gap, of those with one index the last; what no raft
//! writes is refused; entries that were synced and are missing at the end are told.

use bytes::Bytes;

use super::{LogContents, LogEntry, LogStart, WalOpenError};
use crate::raftpb::{Entry, EntryKind};
use crate::wal::{Record, SegmentReader, WalDamage, WalError, WalFault, tail};

/// Where the good part of a segment ends.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail {
    pub(super) offset: usize,
    pub(super) crc: u32,
    pub(super) damage: Option<WalDamage>,
    /// Only zeros lie behind it.
    pub(super) is_clean: bool,
}

/// What was read so far.
pub(super) struct Reading {
    start: LogStart,
    contents: LogContents,
    chain: Option<u32>,
    has_metadata: bool,
    /// The term with which the log notes the snapshot.
    noted: Option<u64>,
}

impl Reading {
    pub(super) fn new(start: LogStart) -> Self {
        let contents = LogContents::default();
        Reading { start, contents, chain: None, has_metadata: false, noted: None }
    }

    fn last_index(&self) -> u64 {
        self.start.index + self.contents.entries.len() as u64
    }

    pub(super) fn segment(
        &mut self,
        name: &str,
        bytes: &[u8],
        last: bool,
    ) -> Result<Tail, WalOpenError> {
        let mut reader = SegmentReader::new(bytes, self.chain, last);
        let mut heads = 0;
        let damage = loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    heads += u8::from(heads == 0 && matches!(record, Record::Crc(_)));
                    heads += u8::from(heads == 1 && matches!(record, Record::Metadata(_)));
                    self.record(name, record)?;
                }
                Ok(None) => break None,
                Err(damage) if damage.torn => break Some(damage),
                Err(damage) => return Err(damaged(name, damage)),
            }
        };
        if heads < 2 {
            // The head was durable before the segment got its name: no crash takes it away.
            let offset = reader.offset();
            let headless = WalDamage { offset, torn: false, fault: WalFault::NoHead };
            return Err(damaged(
                name,
                damage.map_or(headless, |it| WalDamage { torn: false, ..it }),
            ));
        }
        self.chain = Some(reader.crc());
        let offset = usize::try_from(reader.offset()).unwrap_or(bytes.len());
        Ok(Tail { offset, crc: reader.crc(), damage, is_clean: false })
    }

    fn record(&mut self, name: &str, record: Record<'_>) -> Result<(), WalOpenError> {
        match record {
            Record::Crc(_) => {}
            Record::State(state) => self.contents.hard_state = state,
            Record::Snapshot(note) if note.index == self.start.index => {
                let (LogStart { index, term }, found) = (self.start, note.term);
                if found != term {
                    return Err(WalOpenError::OtherSnapshot { index, term, found });
                }
                self.noted = Some(found);
            }
            Record::Snapshot(_) => {}
            Record::Metadata(metadata) => {
                if self.has_metadata && metadata != self.contents.metadata {
                    let reason = "its metadata names another member or cluster";
                    return Err(WalError::Metadata { name: name.to_owned(), reason }.into());
                }
                (self.contents.metadata, self.has_metadata) = (metadata, true);
            }
            Record::Entry(entry) => self.entry(name, &entry)?,
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, entry: &Entry<'_>) -> Result<(), WalOpenError> {
        let Some(at) = entry.index.checked_sub(self.start.index + 1) else { return Ok(()) };
        let (previous, found) = (self.last_index(), entry.index);
        let place = usize::try_from(at).ok().filter(|at| *at <= self.contents.entries.len());
        let name = name.to_owned();
        let Some(place) = place else {
            return Err(WalError::Entries { name, previous, found }.into());
        };
        if let Some(reason) = self.impossible(place, entry) {
            return Err(WalError::Impossible { name, index: found, reason }.into());
        }
        self.contents.entries.truncate(place);
        let Entry { kind, term, index, data } = *entry;
        let data = Bytes::copy_from_slice(data);
        self.contents.entries.push(LogEntry { kind, term, index, data });
        Ok(())
    }

    /// Why no raft writes this entry here. A record's type is under no checksum, so a flipped bit
    /// makes an entry of a hard state; and its fields then say such things.
    fn impossible(&self, place: usize, entry: &Entry<'_>) -> Option<&'static str> {
        let before = place.checked_sub(1).and_then(|before| self.contents.entries.get(before));
        if before.map_or(self.start.term, |before| before.term) > entry.term {
            return Some("its term is below that of the entry before");
        }
        if entry.index <= self.contents.hard_state.commit && place < self.contents.entries.len() {
            return Some("it replaces an entry that is committed");
        }
        if entry.kind != EntryKind::Normal && entry.data.is_empty() {
            return Some("it is a change of members without content");
        }
        None
    }

    /// Whether entries that were synced are missing at the end.
    pub(super) fn check_loss(
        &self,
        name: &str,
        bytes: &[u8],
        tail: &Tail,
    ) -> Result<(), WalOpenError> {
        let last = self.last_index();
        let said = Some(self.contents.hard_state.commit).filter(|commit| *commit > last);
        let behind = || tail::committed_behind(bytes, tail.offset, last);
        let proven = || if tail.is_clean { None } else { behind() };
        match said.or_else(proven) {
            None => Ok(()),
            Some(commit) => {
                let (segment, offset) = (name.to_owned(), tail.offset as u64);
                Err(WalOpenError::Lost { commit, last, segment, offset })
            }
        }
    }

    pub(super) fn finish(self, names: &[String]) -> Result<(LogContents, u64), WalOpenError> {
        if !self.has_metadata {
            let name = names.last().cloned().unwrap_or_default();
            return Err(WalError::Metadata { name, reason: "the log has no metadata" }.into());
        }
        if self.noted.is_none() {
            let LogStart { index, term } = self.start;
            return Err(WalOpenError::NoSnapshot { index, term });
        }
        let last_index = self.last_index();
        Ok((self.contents, last_index))
    }
}

fn damaged(name: &str, damage: WalDamage) -> WalOpenError {
    WalError::Damage { name: name.to_owned(), damage }.into()
}
