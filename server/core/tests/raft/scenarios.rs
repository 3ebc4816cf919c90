//! Small groups by hand: what upstream's files do not show.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{
    CAMPAIGN_TRANSFER, ConfChangeRefusal, Config, Entry, Event, LogStorage, MemoryLog, Message,
    MessageKind, Node, RaftError, ReadMode, ReadState, Role, Snapshot, Start, StartError,
};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind, EntryKind, HardState, SnapshotMetadata};

/// Members that hear each other at once, but for those that are cut off.
#[derive(Default)]
struct Group {
    nodes: BTreeMap<u64, Node<MemoryLog>>,
    cut: Vec<u64>,
    committed: BTreeMap<u64, Vec<Entry>>,
    reads: Vec<(u64, ReadState)>,
    /// All that was sent.
    sent: Vec<Message>,
}

impl Group {
    fn of(voters: u64, settings: impl Fn(Config) -> Config) -> Self {
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

    fn led(voters: u64, settings: impl Fn(Config) -> Config) -> Self {
        let mut group = Group::of(voters, settings);
        group.on(1).campaign();
        group.settle();
        assert!(group.on(1).is_leader());
        group
    }

    fn on(&mut self, id: u64) -> &mut Node<MemoryLog> {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Until nobody has anything to do.
    fn settle(&mut self) {
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

    fn payloads(&self, id: u64) -> Vec<&[u8]> {
        let of = self.committed.get(&id).into_iter().flatten();
        of.filter(|entry| !entry.data.is_empty()).map(|entry| &entry.data[..]).collect()
    }
}

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
fn a_learner_follows_votes_when_asked_and_becomes_a_voter() {
    let mut group = Group::led(1, |config| config);
    let blank = Node::new(Config::etcd(2, 10, 1), MemoryLog::default(), &Start::default());
    group.nodes.insert(2, blank.unwrap());
    let change = |kind| ConfChange { id: 0, kind, node_id: 2, context: Vec::new() };
    group.on(1).propose_conf_change(&change(ConfChangeKind::AddLearner)).unwrap();
    group.settle();
    group.on(1).tick();
    group.settle();
    let status = group.on(1).status();
    assert_eq!(status.conf_state.learners, [2]);
    assert!(status.progress[1].1.is_learner);
    group.on(2).campaign();
    let (events, _) = group.on(2).take_events();
    assert!(events.contains(&Event::Unpromotable));
    // A candidate may know of its promotion before it does.
    let last = group.on(1).last_index();
    let vote = Message {
        from: 1,
        term: 9,
        log_term: 9,
        index: last,
        context: Bytes::from_static(CAMPAIGN_TRANSFER),
        ..Message::new(MessageKind::Vote, 2)
    };
    group.on(2).step(vote).unwrap();
    let answers = group.on(2).ready().unwrap().answers;
    assert!(answers.iter().any(|answer| answer.kind == MessageKind::VoteAnswer && !answer.reject));
    group.on(2).advance().unwrap();
}

#[test]
fn one_change_of_the_configuration_at_a_time() {
    let mut group = Group::led(3, |config| config);
    let change =
        |node_id| ConfChange { id: 0, kind: ConfChangeKind::AddLearner, node_id, context: vec![] };
    group.on(1).propose_conf_change(&change(4)).unwrap();
    group.on(1).propose_conf_change(&change(5)).unwrap();
    group.settle();
    assert_eq!(group.on(1).status().conf_state.learners, [4]);
    let kinds: Vec<EntryKind> = group.committed[&1].iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Normal, EntryKind::ConfChange, EntryKind::Normal]);
    group.on(1).propose_conf_change(&change(5)).unwrap();
    group.settle();
    assert_eq!(group.on(1).status().conf_state.learners, [4, 5]);
}

/// What a member's `Ready`s say, with what is to be applied left for later.
fn hand_out(node: &mut Node<MemoryLog>) -> (Vec<ConfChange>, Vec<Message>) {
    let (mut changes, mut sent) = (Vec::new(), Vec::new());
    while node.has_ready() {
        let ready = node.ready().unwrap();
        node.storage_mut().append(&ready.entries).unwrap();
        let committed = ready.committed.iter();
        let committed = committed.filter(|entry| entry.kind == EntryKind::ConfChange);
        changes.extend(committed.map(|entry| ConfChange::decode(&entry.data).unwrap()));
        sent.extend(ready.messages.into_iter().chain(ready.answers));
        node.advance().unwrap();
    }
    (changes, sent)
}

/// A server applies on a thread of its own: what it was handed is not applied yet.
#[test]
fn a_leader_changes_nothing_more_before_what_it_handed_out_is_applied() {
    let mut group = Group::led(1, |config| config);
    let node = group.on(1);
    let change =
        |node_id| ConfChange { id: 0, kind: ConfChangeKind::AddNode, node_id, context: vec![] };
    node.propose_conf_change(&change(2)).unwrap();
    let (handed, sent) = hand_out(node);
    assert_eq!((handed.as_slice(), sent.len()), (&[change(2)][..], 0), "nobody hears of it yet");
    node.take_events();
    node.propose_conf_change(&change(3)).unwrap();
    let ignored = node.take_events().0.into_iter().find_map(|event| match event {
        Event::ConfChangeIgnored { reason, .. } => Some(reason),
        _ => None,
    });
    let index = node.last_index() - 1;
    assert_eq!(ignored, Some(ConfChangeRefusal::Pending { index, applied: index - 1 }));
    // Meanwhile it decides alone, as before: whoever is asked afterwards needs its voice as well.
    node.propose(Bytes::from_static(b"x")).unwrap();
    assert_eq!(hand_out(node).1, []);
    assert_eq!(node.status().hard_state.commit, node.last_index());
    let members = node.apply_conf_change(&handed[0]).unwrap();
    assert_eq!(members.voters, [1, 2]);
    node.propose(Bytes::from_static(b"y")).unwrap();
    let (_, sent) = hand_out(node);
    assert!(sent.iter().all(|message| message.to == 2) && !sent.is_empty());
    assert_eq!(node.status().hard_state.commit, node.last_index() - 1, "now it needs the other");
}

#[test]
fn a_follower_neither_campaigns_nor_takes_a_snapshot_before_what_it_was_handed_is_applied() {
    let conf_state = ConfState::of_voters(vec![1, 2, 3]);
    let start = Start { conf_state: conf_state.clone(), ..Start::default() };
    let config = Config { pre_vote: false, ..Config::etcd(1, 10, 1) };
    let mut node = Node::new(config, MemoryLog::default(), &start).unwrap();
    let remove =
        |node_id| ConfChange { id: 0, kind: ConfChangeKind::RemoveNode, node_id, context: vec![] };
    let entry = |index, node_id| {
        let data = Bytes::from(remove(node_id).to_bytes());
        Entry { index, term: 1, ..Entry::proposal(EntryKind::ConfChange, data) }
    };
    let entries = vec![entry(1, 2), entry(2, 9)];
    node.step(Message { from: 2, term: 1, commit: 2, entries, ..append() }).unwrap();
    let (handed, _) = hand_out(&mut node);
    assert_eq!(handed, [remove(2), remove(9)]);
    // Without 2 it needs the voice of 3, with 2 that of either.
    let blocked = |node: &mut Node<MemoryLog>| {
        node.campaign();
        node.take_events().0.contains(&Event::CampaignBlocked { term: 1 })
    };
    let snapshot = || {
        let conf_state = ConfState::of_voters(vec![1, 3, 4]);
        let metadata = SnapshotMetadata { conf_state, index: 9, term: 1 };
        let snapshot = Some(Box::new(Snapshot { data: Bytes::new(), metadata }));
        Message { from: 3, term: 1, snapshot, ..Message::new(MessageKind::Snapshot, 1) }
    };
    for change in &handed {
        assert!(blocked(&mut node));
        node.step(snapshot()).unwrap();
        let (_, answers) = hand_out(&mut node);
        assert_eq!(answers.last().unwrap().index, 2, "the leader learns that it is not there");
        node.apply_conf_change(change).unwrap();
    }
    assert_eq!(node.status().conf_state, ConfState::of_voters(vec![1, 3]));
    node.step(snapshot()).unwrap();
    assert_eq!(node.status().conf_state, ConfState::of_voters(vec![1, 3, 4]));
    let ready = node.ready().unwrap();
    node.storage_mut().apply_snapshot(ready.snapshot.unwrap()).unwrap();
    node.advance().unwrap();
    assert!(!blocked(&mut node));
    // A change that the rules forbid is done with as well.
    let mut group = Group::led(1, |config| config);
    let node = group.on(1);
    node.propose_conf_change(&remove(1)).unwrap();
    let (handed, _) = hand_out(node);
    node.apply_conf_change(&handed[0]).unwrap_err();
    node.propose_conf_change(&remove(7)).unwrap();
    assert_eq!(hand_out(node).0, [remove(7)]);
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
fn what_an_earlier_leader_changed_is_applied_before_anything_else_changes() {
    let conf_state = ConfState::of_voters(vec![1, 2, 3]);
    let change =
        |node_id| ConfChange { id: 0, kind: ConfChangeKind::RemoveNode, node_id, context: vec![] };
    let mut log = MemoryLog::default();
    let data = Bytes::from(change(3).to_bytes());
    let inherited = Entry { index: 1, term: 1, ..Entry::proposal(EntryKind::ConfChange, data) };
    log.append(&[inherited]).unwrap();
    let hard_state = |commit| HardState { term: 1, vote: 0, commit };
    let vote = |kind, term| Message { from: 2, term, ..Message::new(kind, 1) };
    let node = |commit| {
        let (conf_state, hard_state) = (conf_state.clone(), hard_state(commit));
        let start = Start { hard_state, conf_state, applied: 0 };
        let config = Config { pre_vote: false, ..Config::etcd(1, 10, 1) };
        Node::new(config, log.clone(), &start).unwrap()
    };

    // Committed and not applied: it might be about this very member.
    let mut blocked = node(1);
    blocked.campaign();
    assert!(blocked.take_events().0.contains(&Event::CampaignBlocked { term: 1 }));

    // Not committed: it leads, and takes no other change until the one is applied.
    let mut leader = node(0);
    leader.campaign();
    leader.ready().unwrap();
    leader.advance().unwrap();
    leader.step(vote(MessageKind::VoteAnswer, 2)).unwrap();
    assert!(leader.is_leader());
    leader.propose_conf_change(&change(2)).unwrap();
    let entries = leader.ready().unwrap().entries;
    let kinds: Vec<EntryKind> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Normal, EntryKind::Normal], "the second is empty");
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

#[test]
fn a_fresh_group_begins_with_its_members_in_the_log() {
    // As etcd begins: a change for each member, committed from the start.
    let mut group = Group::default();
    for id in 1..=3 {
        let mut log = MemoryLog::default();
        let add = |index| {
            let kind = ConfChangeKind::AddNode;
            let change = ConfChange { id: 0, kind, node_id: index, context: vec![] };
            let data = Bytes::from(change.to_bytes());
            Entry { index, term: 1, ..Entry::proposal(EntryKind::ConfChange, data) }
        };
        log.append(&[add(1), add(2), add(3)]).unwrap();
        let hard_state = HardState { term: 1, vote: 0, commit: 3 };
        let start = Start { hard_state, ..Start::default() };
        let node = Node::new(Config::etcd(id, 10, id), log, &start).unwrap();
        group.nodes.insert(id, node);
    }
    group.settle();
    assert_eq!(group.on(2).status().conf_state, ConfState::of_voters(vec![1, 2, 3]));
    for _ in 0..20 {
        for id in 1..=3 {
            group.on(id).tick();
            group.settle();
        }
    }
    let leaders = group.nodes.values().filter(|node| node.is_leader());
    assert_eq!(leaders.count(), 1);
}

fn append() -> Message {
    Message::new(MessageKind::Append, 1)
}
