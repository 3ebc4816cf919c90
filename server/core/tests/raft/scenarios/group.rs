//! Members that hear each other at once, but for those that are cut off.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{Config, Entry, MemoryLog, Message, Node, ReadState, Snapshot, Start};
use holdfast_core::raftpb::{ConfChange, EntryKind, SnapshotMetadata};

/// They, and what they said.
#[derive(Default)]
pub(super) struct Group {
    pub(super) nodes: BTreeMap<u64, Node<MemoryLog>>,
    pub(super) cut: Vec<u64>,
    pub(super) committed: BTreeMap<u64, Vec<Entry>>,
    pub(super) reads: Vec<(u64, ReadState)>,
    /// All that was sent.
    pub(super) sent: Vec<Message>,
}

impl Group {
    pub(super) fn of(voters: u64, settings: impl Fn(Config) -> Config) -> Self {
        let mut group = Group::default();
        for id in 1..=voters {
            let conf_state = ConfState::of_voters((1..=voters).collect());
            let start = Start { conf_state: conf_state.clone(), ..Start::default() };
            let config = settings(Config::etcd(id, 10, 1));
            let metadata = SnapshotMetadata { conf_state, index: 1, term: 1 };
            let log = MemoryLog::new(Snapshot { data: Bytes::new(), metadata });
            group.nodes.insert(id, Node::new(config, log, &start).unwrap());
        }
        group
    }

    pub(super) fn led(voters: u64, settings: impl Fn(Config) -> Config) -> Self {
        let mut group = Group::of(voters, settings);
        group.on(1).campaign();
        group.settle();
        assert!(group.on(1).is_leader());
        group
    }

    pub(super) fn on(&mut self, id: u64) -> &mut Node<MemoryLog> {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Until nobody has anything to do.
    pub(super) fn settle(&mut self) {
        loop {
            let mut messages = Vec::new();
            for (id, node) in self.nodes.iter_mut().filter(|(_, node)| node.has_ready()) {
                let ready = node.ready().unwrap();
                if let Some(snapshot) = ready.snapshot {
                    node.storage_mut().apply_snapshot(snapshot).unwrap();
                }
                node.storage_mut().append(&ready.entries).unwrap();
                for entry in &ready.committed {
                    if entry.kind == EntryKind::ConfChange {
                        node.apply_conf_change(&ConfChange::decode(&entry.data).unwrap()).unwrap();
                    }
                }
                node.advance().unwrap();
                self.committed.entry(*id).or_default().extend(ready.committed);
                self.reads.extend(ready.read_states.into_iter().map(|state| (*id, state)));
                messages.extend(ready.messages.into_iter().chain(ready.answers));
            }
            if messages.is_empty() && !self.nodes.values().any(Node::has_ready) {
                return;
            }
            for message in messages {
                self.sent.push(message.clone());
                let is_cut = self.cut.contains(&message.to) || self.cut.contains(&message.from);
                if let Some(node) = self.nodes.get_mut(&message.to).filter(|_| !is_cut) {
                    // A proposal may be dropped, and a stranger's answer is refused.
                    let _ = node.step(message);
                }
            }
        }
    }

    pub(super) fn payloads(&self, id: u64) -> Vec<&[u8]> {
        let of = self.committed.get(&id).into_iter().flatten();
        of.filter(|entry| !entry.data.is_empty()).map(|entry| &entry.data[..]).collect()
    }
}
