//! The log, stable and unstable together, against a list.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::raft::storage::MemoryLog;
use crate::raftpb::{EntryKind, SnapshotMetadata};

/// What may happen to a log.
#[derive(Debug, Clone)]
enum Op {
    /// A leader's entries behind some index, of a term so much above the last one.
    Append {
        back: u64,
        count: u64,
        term_step: u64,
    },
    /// A leader's entries whose predecessor is of another term.
    AppendMismatching {
        back: u64,
    },
    Commit {
        ahead: u64,
    },
    /// The entries so far are handed out to be persisted.
    Accept,
    /// What was handed out is on disk.
    Stable,
    HandOut,
    Applied,
    Compact {
        behind: u64,
    },
    Restore {
        ahead: u64,
    },
}

/// The log as a list from index 1, of which a part is forgotten.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    /// Highest index that is not known any more, but for its term.
    before: u64,
    top_term: u64,
    committed: u64,
    handed_out: u64,
    applied: u64,
    /// Handed out to be persisted: entries, or a snapshot.
    persisting: Option<(Vec<Entry>, Option<Snapshot>, EntryId)>,
}

const MAX_APPLYING: u64 = 60;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0u64..4, 0u64..4, 0u64..2).prop_map(|(back, count, term_step)| Op::Append {
            back, count, term_step
        }),
        1 => (0u64..4).prop_map(|back| Op::AppendMismatching { back }),
        2 => (0u64..4).prop_map(|ahead| Op::Commit { ahead }),
        2 => Just(Op::Accept),
        2 => Just(Op::Stable),
        2 => Just(Op::HandOut),
        2 => Just(Op::Applied),
        1 => (0u64..4).prop_map(|behind| Op::Compact { behind }),
        1 => (1u64..4).prop_map(|ahead| Op::Restore { ahead }),
    ];
    proptest::collection::vec(op, 0..80)
}

proptest! {
    #[test]
    fn the_log_is_a_list(ops in ops(), limit in 1u64..80) {
        let mut log = Log::new(MemoryLog::default(), MAX_APPLYING);
        let mut model = Model::default();
        let mut events = Events::default();
        for op in ops {
            model.run(&op, &mut log, &mut events);
            model.compare(&log, limit);
        }
    }
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        index.checked_sub(1).map_or(0, |at| self.at(at).term)
    }

    fn at(&self, place: u64) -> &Entry {
        &self.entries[usize::try_from(place).unwrap()]
    }

    fn range(&self, from: u64, end: u64) -> &[Entry] {
        &self.entries[usize::try_from(from - 1).unwrap()..usize::try_from(end - 1).unwrap()]
    }

    fn run(&mut self, op: &Op, log: &mut Log<MemoryLog>, events: &mut Events) {
        match *op {
            Op::Append { back, count, term_step } => {
                let index = self.last().saturating_sub(back).max(self.committed);
                let new = self.leaders_entries(index, count, term_step);
                self.append(index, new, log, events);
            }
            Op::AppendMismatching { back } => {
                let index = self.last().saturating_sub(back);
                let previous = EntryId { term: self.term(index) + 1, index };
                let taken = log.append_matching(previous, &[], 0, events);
                assert!(matches!(taken, Err(Mismatch::Previous)));
            }
            Op::Commit { ahead } => {
                let index = self.committed + ahead;
                let is_known = index <= self.last();
                assert_eq!(log.commit_to(index).is_ok(), is_known);
                if is_known {
                    self.committed = index;
                }
            }
            Op::Accept => {
                let entries = log.unstable.next_entries().to_vec();
                let snapshot = log.unstable.next_snapshot().cloned();
                if self.persisting.is_none() && (!entries.is_empty() || snapshot.is_some()) {
                    let end = log.last_id();
                    log.unstable.accept();
                    self.persisting = Some((entries, snapshot, end));
                }
            }
            Op::Stable => self.stable(log),
            Op::HandOut => self.hand_out(log),
            Op::Applied => {
                let done = self.range(self.applied + 1, self.handed_out + 1);
                let bytes: u64 = done.iter().map(Entry::encoded_len).sum();
                log.applied_to(self.handed_out, bytes);
                self.applied = self.handed_out;
            }
            Op::Compact { behind } => {
                let index = self.applied.saturating_sub(behind);
                // What was applied is on disk before anybody thinks of dropping it.
                let is_stored = log.storage.term(index) == Ok(self.term(index));
                if is_stored && log.unstable.snapshot.is_none() && index > self.before {
                    log.storage.compact(index).unwrap();
                    self.before = index;
                }
            }
            Op::Restore { ahead } => self.restore(ahead, log, events),
        }
    }

    /// A leader sends again what it sent, or goes on; another one is of a later term.
    fn leaders_entries(&mut self, index: u64, count: u64, term_step: u64) -> Vec<Entry> {
        let end = index + count;
        if term_step == 0 && index < self.last() {
            return self.range(index + 1, end.min(self.last()) + 1).to_vec();
        }
        self.top_term = (self.top_term + term_step).max(1);
        (index + 1..=end).map(|at| entry(self.top_term, at)).collect()
    }

    fn append(
        &mut self,
        index: u64,
        new: Vec<Entry>,
        log: &mut Log<MemoryLog>,
        events: &mut Events,
    ) {
        let previous = EntryId { term: self.term(index), index };
        let end = index + new.len() as u64;
        let taken = log.append_matching(previous, &new, 0, events);
        assert!(matches!(taken, Ok(last) if last == end));
        // From the first one that differs, all is replaced.
        let differs = |e: &&Entry| e.index > self.last() || self.term(e.index) != e.term;
        if let Some(first) = new.iter().find(differs) {
            let keep = first.index - 1;
            self.entries.truncate(usize::try_from(keep).unwrap());
            self.entries.extend(new.into_iter().filter(|e| e.index > keep));
        }
    }

    fn stable(&mut self, log: &mut Log<MemoryLog>) {
        let Some((entries, snapshot, end)) = self.persisting.take() else { return };
        if let Some(snapshot) = snapshot {
            let index = snapshot.metadata.index;
            log.storage.apply_snapshot(snapshot).unwrap();
            log.unstable.snapshot_stable(index);
            log.applied_to(index.max(log.applied()), 0);
            self.applied = self.applied.max(index);
            self.handed_out = self.handed_out.max(index);
        }
        log.storage.append(&entries).unwrap();
        log.unstable.stable_to(end);
    }

    fn hand_out(&mut self, log: &mut Log<MemoryLog>) {
        let got = log.to_apply().unwrap();
        let Some(last) = got.last() else { return };
        assert_eq!(got, self.range(self.handed_out + 1, last.index + 1));
        let bytes: u64 = got.iter().map(Entry::encoded_len).sum();
        assert!(got.len() == 1 || bytes <= MAX_APPLYING);
        log.accept_applying(last.index, bytes);
        self.handed_out = last.index;
    }

    fn restore(&mut self, ahead: u64, log: &mut Log<MemoryLog>, events: &mut Events) {
        let index = self.committed + ahead;
        self.top_term += 1;
        let term = self.top_term;
        self.persisting = None;
        self.entries = (1..=index).map(|at| entry(term, at)).collect();
        let metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
        log.restore(Snapshot { data: Bytes::new(), metadata }, events);
        (self.before, self.committed) = (index, index);
    }

    fn compare(&self, log: &Log<MemoryLog>, limit: u64) {
        assert_eq!(log.last_index(), self.last());
        assert_eq!(log.first_index(), self.before + 1);
        assert_eq!((log.committed, log.applied()), (self.committed, self.applied));
        assert_eq!(log.term(self.last() + 1), Err(StorageError::Unavailable));
        for index in self.before..=self.last() {
            assert_eq!(log.term(index), Ok(self.term(index)), "term at {index}");
        }
        for from in self.before + 1..=self.last() {
            assert_eq!(
                log.slice(from, self.last() + 1, u64::MAX).unwrap(),
                self.range(from, self.last() + 1)
            );
            let some = log.entries_from(from, limit).unwrap();
            let size = |list: &[Entry]| -> u64 { list.iter().map(Entry::encoded_len).sum() };
            let count = some.len() as u64;
            assert!(count == 1 || size(&some) <= limit);
            assert_eq!(some, self.range(from, from + count));
            let more = self.range(from, (from + count + 1).min(self.last() + 1));
            assert!(more.len() == some.len() || size(more) > limit, "as many as fit");
        }
        if self.before > 0 {
            let gone = log.slice(self.before, self.last() + 1, limit);
            assert_eq!(gone, Err(StorageError::Compacted));
        }
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let data = Bytes::from(format!("{term}/{index}"));
    Entry { kind: EntryKind::Normal, term, index, data }
}
