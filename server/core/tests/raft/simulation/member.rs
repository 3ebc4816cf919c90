//! A simulated member: its node while it runs, its disk always.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{Config, Entry, LogStorage, MemoryLog, Node, Ready, Snapshot, Start};
use holdfast_core::raftpb::{ConfChange, EntryKind, HardState, SnapshotMetadata};

use super::chance::fold;

/// What is on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: MemoryLog,
}

/// The state machine: a hash over all that was applied, and the members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) index: u64,
    pub(crate) hash: u64,
    pub(crate) conf_state: ConfState,
}

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) node: Option<Node<MemoryLog>>,
    /// As the system has it.
    pub(crate) written: Disk,
    /// As it survives a loss of power.
    pub(crate) synced: Disk,
    pub(crate) state: State,
    /// As it survives a stop.
    pub(crate) kept_state: State,
    /// Handed out, and not applied yet.
    pub(crate) waiting: VecDeque<Entry>,
    /// Whether it applied its own removal.
    pub(crate) is_removed: bool,
    /// How slow its clock is.
    pub(crate) slowness: usize,
    /// Its leadership as last seen: the term, and its log's end.
    pub(crate) led: Option<(u64, u64, u64)>,
}

impl Member {
    /// One that knows nothing, or begins with the others at `first`.
    pub(crate) fn new(id: u64, first: &ConfState) -> Self {
        let mut snapshot = Snapshot::default();
        let mut state = State::default();
        if !first.voters.is_empty() {
            snapshot.metadata.conf_state = first.clone();
            (snapshot.metadata.index, snapshot.metadata.term) = (1, 1);
            state = State { index: 1, hash: 0, conf_state: first.clone() };
            snapshot.data = Bytes::copy_from_slice(&0u64.to_le_bytes());
        }
        let disk = Disk { hard_state: HardState::default(), log: MemoryLog::new(snapshot) };
        Member {
            id,
            node: None,
            written: disk.clone(),
            synced: disk,
            state: state.clone(),
            kept_state: state,
            waiting: VecDeque::new(),
            is_removed: false,
            slowness: 1,
            led: None,
        }
    }

    pub(crate) fn start(&mut self, config: Config) {
        assert!(self.node.is_none() && !self.is_removed);
        self.written = self.synced.clone();
        self.state = self.kept_state.clone();
        let start = Start {
            hard_state: self.synced.hard_state,
            conf_state: self.state.conf_state.clone(),
            applied: self.state.index,
        };
        let node = Node::new(config, self.synced.log.clone(), &start);
        self.node = Some(node.unwrap_or_else(|error| panic!("{} cannot start: {error}", self.id)));
        self.led = None;
    }

    /// It stops at once. `loses` what was not synced.
    pub(crate) fn stop(&mut self, loses: bool) {
        self.node = None;
        self.waiting.clear();
        if !loses {
            self.synced = self.written.clone();
        }
    }

    /// Puts on disk what a `Ready` says.
    pub(crate) fn persist(&mut self, ready: &Ready, keeps_votes: bool) {
        let disk = &mut self.written;
        if let Some(snapshot) = &ready.snapshot {
            disk.log.apply_snapshot(snapshot.clone()).unwrap();
            // The state came with it, and a restart takes it from there.
            let hash = u64::from_le_bytes(snapshot.data[..].try_into().unwrap());
            let metadata = &snapshot.metadata;
            let conf_state = metadata.conf_state.clone();
            self.kept_state = State { index: metadata.index, hash, conf_state };
        }
        disk.log.append(&ready.entries).unwrap();
        if let Some(hard_state) = ready.hard_state {
            disk.hard_state = hard_state;
            if !keeps_votes {
                disk.hard_state.vote = 0;
            }
        }
        if ready.must_sync || ready.snapshot.is_some() {
            self.synced = self.written.clone();
        }
    }

    /// Applies an entry; the change of the configuration, if it is one.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Option<ConfChange> {
        assert_eq!(entry.index, self.state.index + 1, "{} applies in order", self.id);
        self.state.index = entry.index;
        self.state.hash =
            entry.data.iter().fold(self.state.hash, |hash, byte| fold(hash, u64::from(*byte)));
        self.state.hash = fold(self.state.hash, entry.term);
        if entry.kind != EntryKind::ConfChange {
            return None;
        }
        let change = ConfChange::decode(&entry.data).unwrap();
        let node = self.node.as_mut().unwrap();
        // One that the rules forbid does nothing.
        let after = node.apply_conf_change(&change);
        let after = after.unwrap_or_else(|_| node.status().conf_state);
        let conf = &after;
        let was_in = self.state.conf_state.voters.contains(&self.id)
            || self.state.conf_state.learners.contains(&self.id);
        let is_in = conf.voters.contains(&self.id) || conf.learners.contains(&self.id);
        self.is_removed |= was_in && !is_in;
        self.state.conf_state = after;
        Some(change)
    }

    /// What is sent to a member that is too far behind: as in etcd's server not the storage's
    /// snapshot, but what is applied now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let State { index, hash, conf_state } = &self.state;
        let term = self.node.as_ref().unwrap().term_at(*index).unwrap();
        let metadata = SnapshotMetadata { conf_state: conf_state.clone(), index: *index, term };
        Snapshot { data: Bytes::copy_from_slice(&hash.to_le_bytes()), metadata }
    }

    /// Notes a snapshot at what is applied, and drops what lies some entries before it.
    pub(crate) fn compact(&mut self, keep: u64) {
        self.kept_state = self.state.clone();
        let State { index, hash, conf_state } = &self.state;
        let data = Bytes::copy_from_slice(&hash.to_le_bytes());
        let node = self.node.as_mut().unwrap();
        for log in [node.storage_mut(), &mut self.written.log] {
            if log.create_snapshot(*index, conf_state.clone(), data.clone()).is_ok() {
                let to = index.saturating_sub(keep);
                if to >= log.first_index() {
                    log.compact(to).unwrap();
                }
            }
        }
        // A snapshot's record in the WAL is synced, and with it all before it.
        self.synced = self.written.clone();
    }
}
