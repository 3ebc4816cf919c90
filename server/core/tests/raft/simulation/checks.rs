//! The five safety properties of the paper's figure 3, and linearizable reads.

use std::collections::BTreeMap;

use holdfast_core::raft::{Entry, Ready, Role};

use super::member::Member;

/// What was seen so far, by whomever.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Who led which term.
    leaders: BTreeMap<u64, u64>,
    /// Every entry that was in a log, by term and index: what it holds, and the term before it.
    entries: BTreeMap<(u64, u64), (Entry, Option<u64>)>,
    /// Terms of committed entries.
    committed: BTreeMap<u64, u64>,
    /// State after each applied index.
    states: BTreeMap<u64, u64>,
    /// Highest index that anybody applied, and so may have acknowledged.
    pub(crate) acknowledged: u64,
    pub(crate) counts: Counts,
}

/// How much happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) leaders: u64,
    pub(crate) committed: u64,
    pub(crate) reads: u64,
    pub(crate) snapshots: u64,
    pub(crate) conf_changes: u64,
    pub(crate) crashes: u64,
}

impl Checks {
    /// After anything happened to a member.
    pub(crate) fn observe(&mut self, member: &mut Member) {
        let Some(node) = &member.node else { return };
        node.check_invariants();
        let (status, id) = (node.status(), member.id);
        let (term, last) = (status.hard_state.term, node.last_index());
        let last_term = node.term_at(last).expect("a log's end is known");

        if status.soft_state.role == Role::Leader {
            // Election safety.
            let known = *self.leaders.entry(term).or_insert(id);
            assert_eq!(known, id, "{known} and {id}: only one leads term {term}");
            match member.led.filter(|(led, _, _)| *led == term) {
                None => {
                    self.counts.leaders += 1;
                    self.check_completeness(member);
                }
                // Leader append-only: a log that still has its old end has all before it.
                Some((_, end, end_term)) => {
                    let now = member.node.as_ref().unwrap().term_at(end);
                    let is_same = now.is_none_or(|now| now == end_term);
                    assert!(last >= end && is_same, "leader {id} only appends in term {term}");
                }
            }
            member.led = Some((term, last, last_term));
        } else {
            member.led = None;
        }
        self.check_commit(member, status.hard_state.commit);
    }

    /// What a member is about to put on disk.
    pub(crate) fn persisting(&mut self, member: &Member, ready: &Ready) {
        let node = member.node.as_ref().unwrap();
        let mut before = ready.entries.first().and_then(|first| node.term_at(first.index - 1));
        for entry in &ready.entries {
            // Log matching: the same index and term means the same entry, behind the same one.
            let new = (entry.clone(), before);
            let (known, known_before) =
                self.entries.entry((entry.term, entry.index)).or_insert(new);
            assert_eq!(known, entry, "entries of one id are one");
            let is_behind = known_before.is_none() || before.is_none() || *known_before == before;
            assert!(is_behind, "{entry:?} has one predecessor: {known_before:?}, {before:?}");
            before = Some(entry.term);
        }
    }

    /// State machine safety: after an index, all are in the same state.
    pub(crate) fn applied(&mut self, member: &Member) {
        let (index, hash) = (member.state.index, member.state.hash);
        let known = *self.states.entry(index).or_insert(hash);
        assert_eq!(known, hash, "member {}: one state after index {index}", member.id);
        self.acknowledged = self.acknowledged.max(index);
    }

    fn check_commit(&mut self, member: &Member, commit: u64) {
        let node = member.node.as_ref().unwrap();
        for index in (1..=commit).rev() {
            let Some(term) = node.term_at(index) else { break };
            if let Some(known) = self.committed.get(&index) {
                assert_eq!(*known, term, "member {}: index {index} is committed once", member.id);
                // What is before it was looked at when it was committed.
                break;
            }
            self.committed.insert(index, term);
            self.counts.committed += 1;
        }
    }

    /// Leader completeness: who leads has all that was committed before.
    fn check_completeness(&self, member: &Member) {
        let node = member.node.as_ref().unwrap();
        let first = node.storage().first();
        for (index, term) in self.committed.range(first..) {
            let own = node.term_at(*index);
            assert_eq!(own, Some(*term), "leader {} has committed index {index}", member.id);
        }
    }
}

/// The first index that a log must still have.
trait First {
    fn first(&self) -> u64;
}

impl First for holdfast_core::raft::MemoryLog {
    fn first(&self) -> u64 {
        holdfast_core::raft::LogStorage::first_index(self)
    }
}
