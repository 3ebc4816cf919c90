//! Small groups by hand: what upstream's files do not show.

mod changes;
mod group;

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{
    CAMPAIGN_TRANSFER, Config, Entry, LogStorage, MemoryLog, Message, MessageKind, Node, RaftError,
    ReadMode, ReadState, Role, Start, StartError,
};
use holdfast_core::raftpb::{EntryKind, HardState};

use group::Group;

#[test]
fn a_single_voter_commits_alone_and_only_after_its_disk() {
    let mut group = Group::of(1, |config| config);
    let node = group.on(1);
    node.campaign();
    while node.has_ready() {
        let ready = node.ready().unwrap();
        assert!(ready.messages.is_empty() && ready.answers.is_empty(), "nobody is there");
        node.storage_mut().append(&ready.entries).unwrap();
        node.advance().unwrap();
    }
    assert!(node.is_leader());
    node.propose_all([Bytes::from_static(b"a"), Bytes::from_static(b"b")]).unwrap();
    let ready = node.ready().unwrap();
    assert!(ready.must_sync && ready.entries.len() == 2 && ready.committed.is_empty());
    node.storage_mut().append(&ready.entries).unwrap();
    node.advance().unwrap();
    let ready = node.ready().unwrap();
    assert!(!ready.must_sync && ready.committed.len() == 2, "committed once it is on disk");
}

#[test]
fn three_voters_replicate_and_a_follower_forwards() {
    let mut group = Group::led(3, |config| config);
    group.on(1).propose_all([Bytes::from_static(b"a"), Bytes::from_static(b"b")]).unwrap();
    group.settle();
    group.on(3).propose(Bytes::from_static(b"c")).unwrap();
    group.settle();
    group.on(1).tick();
    group.settle();
    for id in 1..=3 {
        assert_eq!(group.payloads(id), [b"a", b"b", b"c"], "member {id}");
    }
    let forwarded = group.sent.iter().find(|message| message.kind == MessageKind::Propose).unwrap();
    assert_eq!((forwarded.from, forwarded.to, forwarded.term), (3, 1, 0));
}

#[test]
fn a_read_needs_a_round_and_a_follower_asks_its_leader() {
    let mut group = Group::led(3, |config| config);
    group.on(3).read_index(Bytes::from_static(b"of 3"));
    group.on(1).read_index(Bytes::from_static(b"of 1"));
    group.settle();
    let mut got = std::mem::take(&mut group.reads);
    got.sort_by_key(|(id, _)| *id);
    let state = |context: &'static [u8]| ReadState { index: 2, context: Bytes::from(context) };
    assert_eq!(got, [(1, state(b"of 1")), (3, state(b"of 3"))]);
    group.cut = vec![2, 3];
    group.on(1).read_index(Bytes::from_static(b"alone"));
    group.settle();
    assert_eq!(group.reads, [], "nobody confirms it");
    // The next heartbeat carries it again, and confirms what came before.
    group.on(1).read_index(Bytes::from_static(b"later"));
    group.settle();
    group.cut.clear();
    group.on(1).tick();
    group.settle();
    assert_eq!(group.reads, [(1, state(b"alone")), (1, state(b"later"))]);
    // Of five, one follower is no quorum.
    let mut group = Group::led(5, |config| config);
    group.cut = vec![3, 4, 5];
    group.on(1).read_index(Bytes::from_static(b"of two"));
    group.settle();
    assert_eq!(group.reads, []);
}

#[test]
fn a_single_voter_reads_only_after_it_committed_in_its_term() {
    // It acknowledged entry 2 before it stopped; its commit index was not on disk.
    let mut log = MemoryLog::default();
    let entry = |index| Entry { index, term: 1, ..Entry::proposal(EntryKind::Normal, "x".into()) };
    log.append(&[entry(1), entry(2)]).unwrap();
    let hard_state = HardState { term: 1, vote: 1, commit: 1 };
    let start = Start { hard_state, conf_state: ConfState::of_voters(vec![1]), ..Start::default() };
    let mut group = Group::default();
    let node = Node::new(Config::etcd(1, 10, 1), log, &start).unwrap();
    group.nodes.insert(1, node);
    group.on(1).campaign();
    while !group.on(1).is_leader() {
        let node = group.on(1);
        node.ready().unwrap();
        node.advance().unwrap();
    }
    group.on(1).read_index(Bytes::from_static(b"r"));
    group.settle();
    assert_eq!(group.reads[0].1.index, 3, "not 1: what was acknowledged is seen");
}

#[test]
fn what_was_applied_counts_as_committed_at_a_start() {
    let mut log = MemoryLog::default();
    let entry = |index| Entry { index, term: 1, ..Entry::proposal(EntryKind::Normal, "x".into()) };
    log.append(&[entry(1), entry(2), entry(3)]).unwrap();
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    let conf_state = ConfState::of_voters(vec![1, 2, 3]);
    let start = Start { hard_state, conf_state, applied: 2 };
    let mut node = Node::new(Config::etcd(1, 10, 1), log.clone(), &start).unwrap();
    let ready = node.ready().unwrap();
    assert_eq!(ready.hard_state, Some(HardState { commit: 2, ..hard_state }), "it is put on disk");
    assert_eq!(ready.committed, [], "nothing is applied twice");
    let beyond = Start { applied: 4, ..start.clone() };
    let refused = Node::new(Config::etcd(1, 10, 1), log.clone(), &beyond);
    assert!(matches!(refused, Err(StartError::Applied { applied: 4, last: 3, .. })));
    let beyond = Start { hard_state: HardState { commit: 4, ..hard_state }, ..start };
    let refused = Node::new(Config::etcd(1, 10, 1), log, &beyond);
    assert!(matches!(refused, Err(StartError::Commit { commit: 4, last: 3, .. })));
}

#[test]
fn handing_over_overrides_the_lease_and_blocks_proposals() {
    let mut group = Group::led(3, |config| config);
    group.on(1).transfer_leader(3);
    let refused = group.on(1).propose(Bytes::from_static(b"x"));
    assert_eq!(refused, Err(RaftError::ProposalDropped));
    group.settle();
    assert!(group.on(3).is_leader() && !group.on(1).is_leader());
    let asked = group.sent.iter().filter(|message| message.kind == MessageKind::Vote);
    let contexts: Vec<&Bytes> = asked.rev().take(2).map(|message| &message.context).collect();
    assert_eq!(contexts, [CAMPAIGN_TRANSFER, CAMPAIGN_TRANSFER]);
    let pre_votes = group.sent.iter().filter(|message| message.kind == MessageKind::PreVote);
    assert_eq!(pre_votes.count(), 2, "only the first election asked before");
    // Asked of a follower, it is the leader who hands over.
    group.on(2).transfer_leader(1);
    group.settle();
    assert!(group.on(1).is_leader());
}

#[test]
fn handing_over_to_nobody_ends_after_an_election() {
    let mut group = Group::led(3, |config| config);
    group.cut = vec![3];
    group.on(1).propose(Bytes::from_static(b"x")).unwrap();
    group.settle();
    group.on(1).transfer_leader(3);
    assert_eq!(group.on(1).status().transferee, 3);
    for _ in 0..10 {
        group.on(1).tick();
        group.settle();
    }
    assert_eq!(group.on(1).status().transferee, 0);
    group.on(1).propose(Bytes::from_static(b"y")).unwrap();
}

#[test]
fn too_much_that_is_not_committed_is_refused() {
    let mut group = Group::led(3, |config| Config { max_uncommitted_bytes: 10, ..config });
    group.cut = vec![2, 3];
    let payload = || Bytes::from_static(b"12345678");
    group.on(1).propose(Bytes::from(vec![0; 100])).unwrap();
    assert_eq!(group.on(1).propose(payload()), Err(RaftError::ProposalDropped));
    group.settle();
    group.cut.clear();
    for _ in 0..3 {
        group.on(1).tick();
        group.settle();
    }
    assert_eq!(group.on(1).propose(payload()), Ok(()), "one always fits where nothing waits");
}

#[test]
fn a_leader_reads_by_its_lease_without_a_round() {
    let settings = |config| Config { reads: ReadMode::LeaseBased, ..config };
    let mut group = Group::led(3, settings);
    group.cut = vec![2, 3];
    group.on(1).read_index(Bytes::from_static(b"r"));
    group.settle();
    assert_eq!(group.reads.len(), 1);
    let unsafe_reads = Config { check_quorum: false, ..settings(Config::etcd(1, 10, 1)) };
    let refused = Node::new(unsafe_reads, MemoryLog::default(), &Start::default());
    assert!(matches!(refused, Err(StartError::Setting { setting: "reads", .. })));
}

#[test]
fn a_member_whose_log_was_lost_is_told_to_stop() {
    let mut group = Group::led(3, |config| config);
    group.on(1).propose(Bytes::from_static(b"x")).unwrap();
    group.settle();
    let start = Start { conf_state: ConfState::of_voters(vec![1, 2, 3]), ..Start::default() };
    let mut lost = Node::new(Config::etcd(2, 10, 1), MemoryLog::default(), &start).unwrap();
    let term = group.on(1).status().hard_state.term;
    let heartbeat = Message { from: 1, term, commit: 2, ..Message::new(MessageKind::Heartbeat, 2) };
    let told = lost.step(heartbeat).unwrap_err();
    assert!(matches!(told, RaftError::Corrupt(_)));
    assert!(told.to_string().contains("remove the member and add it anew"), "{told}");
}

#[test]
fn a_leader_far_ahead_sends_a_snapshot_and_goes_on() {
    let mut group = Group::led(3, |config| config);
    group.cut = vec![3];
    for _ in 0..5 {
        group.on(1).propose(Bytes::from_static(b"x")).unwrap();
        group.settle();
    }
    let conf_state = group.on(1).status().conf_state;
    let log = group.on(1).storage_mut();
    log.create_snapshot(6, conf_state, Bytes::from_static(b"state")).unwrap();
    log.compact(6).unwrap();
    group.cut.clear();
    for _ in 0..3 {
        group.on(1).tick();
        group.settle();
    }
    let sent = group.sent.iter().filter(|message| message.kind == MessageKind::Snapshot);
    assert_eq!(sent.count(), 1);
    let late = group.on(3);
    assert_eq!((late.storage().first_index(), late.last_index()), (7, 7));
    assert_eq!(late.status().soft_state.role, Role::Follower);
    assert_eq!(group.payloads(3), [b"x"], "what is behind the snapshot is applied");
}

#[test]
fn what_a_leader_did_not_send_is_not_committed_by_its_commit_index() {
    // Behind entry 1, this member has what an earlier leader did not commit.
    let entry =
        |index, term| Entry { index, term, ..Entry::proposal(EntryKind::Normal, "x".into()) };
    let mut log = MemoryLog::default();
    log.append(&[entry(1, 1), entry(2, 2), entry(3, 2)]).unwrap();
    let hard_state = HardState { term: 2, vote: 0, commit: 1 };
    let conf_state = ConfState::of_voters(vec![1, 2, 3]);
    let start = Start { hard_state, conf_state, applied: 1 };
    let mut node = Node::new(Config::etcd(1, 10, 1), log, &start).unwrap();
    let append = Message { from: 2, term: 3, log_term: 1, index: 1, commit: 3, ..append() };
    node.step(append.clone()).unwrap();
    assert_eq!(node.status().hard_state.commit, 1);
    node.step(Message { entries: vec![entry(2, 3)], ..append }).unwrap();
    assert_eq!((node.status().hard_state.commit, node.last_index()), (2, 2));
}

fn append() -> Message {
    Message::new(MessageKind::Append, 1)
}
