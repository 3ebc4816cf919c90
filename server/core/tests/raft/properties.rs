//! Properties: majorities against counting, messages against their bytes, and a node against
//! whatever a peer may send.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast_api::raftpb as pb;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::membership::Members;
use holdfast_core::raft::progress::{InflightLimits, Inflights};
use holdfast_core::raft::quorum::{Majority, Tally, Voters};
use holdfast_core::raft::{
    Config, Entry, MemoryLog, Message, MessageKind, Node, RaftError, Snapshot, Start,
};
use holdfast_core::raftpb::{ConfChangeKind, EntryKind, SnapshotMetadata};
use proptest::prelude::*;
use prost::Message as _;

fn ids() -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1u64..8, 0..6)
}

proptest! {
    #[test]
    fn an_index_is_committed_if_and_only_if_a_quorum_of_each_half_has_it(
        incoming in ids(), outgoing in ids(),
        has in proptest::collection::btree_map(1u64..8, 0u64..6, 0..8),
    ) {
        let voters =
            Voters { incoming: Majority(incoming.clone()), outgoing: Majority(outgoing.clone()) };
        let committed = voters.committed(|id| has.get(&id).copied());
        let by_counting = |index: u64| [&incoming, &outgoing].into_iter().all(|half| {
            let those = half.iter().filter(|id| has.get(id).copied().unwrap_or(0) >= index);
            half.is_empty() || those.count() * 2 > half.len()
        });
        if incoming.is_empty() && outgoing.is_empty() {
            prop_assert_eq!(committed, u64::MAX);
        } else {
            prop_assert!(by_counting(committed));
            prop_assert!(!by_counting(committed + 1));
        }
    }

    #[test]
    fn a_vote_is_decided_once_the_silent_cannot_change_it(
        incoming in ids(), outgoing in ids(),
        said in proptest::collection::btree_map(1u64..8, any::<bool>(), 0..8),
    ) {
        let voters = Voters { incoming: Majority(incoming), outgoing: Majority(outgoing) };
        let all: Vec<u64> = voters.ids().into_iter().collect();
        let silent: Vec<u64> = all.iter().copied().filter(|id| !said.contains_key(id)).collect();
        // Whatever the silent say, in every combination.
        let mut outcomes = BTreeSet::new();
        for combination in 0..1u32 << silent.len() {
            let mut votes: BTreeMap<u64, bool> = said.clone();
            for (bit, id) in silent.iter().enumerate() {
                votes.insert(*id, combination >> bit & 1 == 1);
            }
            let wins = |half: &BTreeSet<u64>| {
                let granted = half.iter().filter(|id| votes[id]).count();
                half.is_empty() || granted * 2 > half.len()
            };
            outcomes.insert(wins(&voters.incoming.0) && wins(&voters.outgoing.0));
        }
        let outcomes: Vec<bool> = outcomes.into_iter().collect();
        match voters.tally(|id| said.get(&id).copied()) {
            Tally::Won => prop_assert_eq!(outcomes, [true]),
            Tally::Lost => prop_assert_eq!(outcomes, [false]),
            // Both halves may be open in a way that no combination satisfies both: still pending.
            Tally::Pending => prop_assert!(outcomes.contains(&false)),
        }
    }

    #[test]
    fn members_come_back_from_what_is_stored_of_them(
        changes in proptest::collection::vec((0usize..4, 1u64..7), 0..20),
        joint in proptest::collection::vec((0usize..3, 1u64..7), 0..4),
        enters: bool, auto_leave: bool,
    ) {
        use ConfChangeKind::{AddLearner, AddNode, RemoveNode, UpdateNode};
        let kinds = [AddNode, AddLearner, RemoveNode, UpdateNode];
        let limits = InflightLimits { messages: 1, bytes: None };
        let mut members = Members::new(limits);
        for (kind, id) in changes {
            // What the rules forbid changes nothing.
            members = members.simple(&[(kinds[kind], id)], 1).unwrap_or(members);
        }
        if enters {
            let steps: Vec<_> = joint.into_iter().map(|(kind, id)| (kinds[kind], id)).collect();
            members = members.enter_joint(auto_leave, &steps, 1).unwrap_or(members);
        }
        let stored = members.configuration.conf_state();
        let restored = Members::restore(limits, &stored, 1);
        prop_assert_eq!(restored.map(|members| members.configuration), Ok(members.configuration));
        // Nobody has two roles.
        let twice = ConfState { learners: stored.voters.clone(), ..stored };
        let is_empty = twice.voters.is_empty();
        prop_assert_eq!(Members::restore(limits, &twice, 1).is_ok(), is_empty);
    }

    #[test]
    fn what_is_under_way_stays_within_its_limits(
        messages in 1usize..5, bytes in proptest::option::of(1u64..100),
        steps in proptest::collection::vec((any::<bool>(), 0u64..60), 0..60),
    ) {
        let mut inflights = Inflights::new(InflightLimits { messages, bytes });
        let (mut model, mut last) = (Vec::<(u64, u64)>::new(), 0);
        for (adds, number) in steps {
            if !adds {
                inflights.free_to(number);
                model.retain(|(index, _)| *index > number);
            } else if !inflights.is_full() {
                last += 1 + number % 3;
                inflights.add(last, number);
                model.push((last, number));
            }
            let under_way: u64 = model.iter().map(|(_, size)| size).sum();
            prop_assert_eq!(inflights.count(), model.len());
            let is_full = model.len() == messages || bytes.is_some_and(|limit| under_way >= limit);
            prop_assert_eq!(inflights.is_full(), is_full);
        }
    }

    #[test]
    fn messages_come_back_from_their_bytes(message in messages(u64::MAX)) {
        let bytes = message.clone().encode().encode_to_vec();
        let read = Message::decode(pb::Message::decode(&bytes[..]).unwrap());
        prop_assert_eq!(read, Ok(message));
    }

    #[test]
    fn an_entrys_length_is_that_of_its_bytes(entry in entries(u64::MAX)) {
        prop_assert_eq!(entry.encoded_len(), entry.as_record().to_bytes().len() as u64);
    }

    #[test]
    fn nothing_that_a_peer_sends_makes_a_member_panic(
        received in proptest::collection::vec((messages(8), any::<u8>()), 0..60),
        leads: bool, pre_vote: bool, check_quorum: bool,
    ) {
        let config = Config { pre_vote, check_quorum, ..Config::etcd(1, 3, 7) };
        let voters = if leads { vec![1] } else { vec![1, 2, 3] };
        let conf_state = ConfState { voters, learners: vec![4], ..ConfState::default() };
        let start = Start { conf_state, ..Start::default() };
        let mut node = Node::new(config, MemoryLog::default(), &start).unwrap();
        node.campaign();
        for (message, then) in received {
            match node.step(message) {
                // The member would be stopped.
                Err(RaftError::Corrupt(_)) => break,
                Ok(()) | Err(_) => node.check_invariants(),
            }
            match then % 8 {
                0 => node.tick(),
                1 => drop(node.propose(Bytes::from_static(b"x"))),
                2 => node.read_index(Bytes::from_static(b"r")),
                3 => node.transfer_leader(u64::from(then) % 5),
                4 => node.report_snapshot(u64::from(then) % 5, then > 128),
                _ if node.has_ready() => {
                    let Ok(ready) = node.ready() else { break };
                    if let Some(snapshot) = ready.snapshot {
                        node.storage_mut().apply_snapshot(snapshot).unwrap();
                    }
                    node.storage_mut().append(&ready.entries).unwrap();
                    if node.advance().is_err() {
                        break;
                    }
                }
                _ => {}
            }
            node.check_invariants();
        }
    }
}

#[test]
fn a_message_has_the_bytes_that_upstream_reads_and_writes() {
    let message =
        Message { from: 2, term: 3, commit: 300, ..Message::new(MessageKind::Heartbeat, 1) };
    let bytes = message.clone().encode().encode_to_vec();
    // Each scalar is there, also the zeros: type, to, from, term, logTerm, index, commit, reject,
    // rejectHint, vote. These are the bytes that Go's raft 3.6 writes.
    let older = [8, 8, 16, 1, 24, 2, 32, 3, 40, 0, 48, 0, 64, 172, 2, 80, 0, 88, 0, 104, 0];
    assert_eq!(bytes, older);
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    let metadata = SnapshotMetadata { conf_state, index: 5, term: 2 };
    let snapshot = Some(Box::new(Snapshot { data: Bytes::from_static(b"s"), metadata }));
    let sent = Message { from: 2, term: 3, snapshot, ..Message::new(MessageKind::Snapshot, 1) };
    let golden = [
        8, 7, 16, 1, 24, 2, 32, 3, 40, 0, 48, 0, 64, 0, 74, 19, 10, 1, 115, 18, 14, 10, 8, 8, 1, 8,
        2, 16, 3, 40, 0, 16, 5, 24, 2, 80, 0, 88, 0, 104, 0,
    ];
    assert_eq!(sent.encode().encode_to_vec(), golden);
    let entry = |kind, index, data| Entry { kind, term: 3, index, data: Bytes::from_static(data) };
    let sent = Message {
        from: 2,
        term: 3,
        log_term: 2,
        index: 7,
        entries: vec![entry(EntryKind::Normal, 8, b"x"), entry(EntryKind::ConfChange, 9, b"")],
        context: Bytes::from_static(b"c"),
        reject: true,
        reject_hint: 4,
        ..Message::new(MessageKind::Append, 1)
    };
    let golden = [
        8, 3, 16, 1, 24, 2, 32, 3, 40, 2, 48, 7, 58, 9, 8, 0, 16, 3, 24, 8, 34, 1, 120, 58, 6, 8,
        1, 16, 3, 24, 9, 64, 0, 80, 1, 88, 4, 98, 1, 99, 104, 0,
    ];
    assert_eq!(sent.encode().encode_to_vec(), golden);
    // 3.7 leaves zeros out; 3.5 puts an empty snapshot into every message.
    let newer = [8, 8, 16, 1, 24, 2, 32, 3, 64, 0xac, 2];
    let with_snapshot = [&older[..], &[74, 8, 18, 6, 10, 0, 16, 0, 24, 0]].concat();
    for bytes in [&newer[..], &with_snapshot] {
        let read = Message::decode(pb::Message::decode(bytes).unwrap());
        assert_eq!(read.as_ref(), Ok(&message));
    }
    let unknown = pb::Message { r#type: Some(24), ..pb::Message::default() };
    assert!(Message::decode(unknown).is_err());
}

fn entries(highest: u64) -> impl Strategy<Value = Entry> {
    let kinds = [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2];
    let data = proptest::collection::vec(any::<u8>(), 0..4);
    (0usize..3, 0..=highest, 0..=highest, data).prop_map(move |(kind, term, index, data)| Entry {
        kind: kinds[kind],
        term,
        index,
        data: Bytes::from(data),
    })
}

fn snapshots(highest: u64) -> impl Strategy<Value = Snapshot> {
    let ids = || proptest::collection::vec(0u64..6, 0..4);
    (1..=highest, 0..=highest, ids(), ids(), ids(), any::<bool>()).prop_map(
        |(index, term, voters, learners, voters_outgoing, auto_leave)| {
            let conf_state =
                ConfState { voters, learners, voters_outgoing, auto_leave, ..ConfState::default() };
            let metadata = SnapshotMetadata { conf_state, index, term };
            Snapshot { data: Bytes::from_static(b"state"), metadata }
        },
    )
}

/// Messages with numbers up to `highest`; where that is small, often with a plausible piece of log.
fn messages(highest: u64) -> impl Strategy<Value = Message> {
    let numbers = proptest::collection::vec(0..=highest, 8);
    let pieces = proptest::collection::vec(entries(highest), 0..4);
    let snapshot = proptest::option::of(snapshots(highest));
    (0i32..24, numbers, pieces, snapshot, any::<[bool; 2]>()).prop_map(
        move |(kind, numbers, mut entries, snapshot, [reject, is_piece])| {
            let kind = MessageKind::from_number(kind).unwrap();
            let [to, from, term, log_term, index, commit, reject_hint, context] = numbers[..]
            else {
                unreachable!("eight numbers");
            };
            if is_piece && highest < 100 {
                for (entry, at) in entries.iter_mut().zip(index + 1..) {
                    (entry.index, entry.term) = (at, log_term.max(entry.term).min(term));
                }
            }
            let context = if context % 3 == 0 { Bytes::from_static(b"r") } else { Bytes::new() };
            Message {
                kind,
                to,
                from,
                term,
                log_term,
                index,
                entries,
                commit,
                snapshot: snapshot.map(Box::new),
                reject,
                reject_hint,
                context,
            }
        },
    )
}
