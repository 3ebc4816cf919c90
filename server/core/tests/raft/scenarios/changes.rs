//! Changes of members: one at a time, and nothing before what was handed out is applied.

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{
    CAMPAIGN_TRANSFER, ConfChangeRefusal, Config, Entry, Event, MemoryLog, Message, MessageKind,
    Node, Snapshot, Start,
};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind, EntryKind, HardState, SnapshotMetadata};

use super::append;
use super::group::Group;

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
