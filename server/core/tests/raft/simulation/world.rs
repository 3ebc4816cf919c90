//! The simulated world: members, what is between them, and what happens next.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::progress::InflightLimits;
use holdfast_core::raft::{Config, Message, MessageKind, RaftError, ReadMode, Ready};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind};

use super::chance::{Chance, fold};
use super::checks::Checks;
use super::member::Member;

/// How members break their promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They do not.
    None,
    /// The vote is not put on disk.
    VotesAreNotKept,
    /// What must wait for the disk leaves before it.
    AnswersBeforeDisk,
    /// Reads trust that all clocks run alike, which they do not.
    ReadsByLease,
}

/// Messages under way at most; the oldest are lost.
const MAX_MESSAGES: usize = 300;
/// Members at most, those that are gone included: ids are not used twice.
const MAX_MEMBERS: u64 = 8;

#[derive(Debug)]
pub(crate) struct World {
    chance: Chance,
    fault: Fault,
    config: Config,
    members: BTreeMap<u64, Member>,
    messages: Vec<Message>,
    /// Members on the other side of a partition.
    apart: Vec<u64>,
    /// Reads under way: what each must at least see.
    reads: BTreeMap<u64, u64>,
    counter: u64,
    trace: u64,
    calm: bool,
    pub(crate) checks: Checks,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Fault) -> Self {
        let mut chance = Chance::new(seed);
        let voters = [1, 3, 3, 5, 5][chance.below(5)];
        let limit = |chance: &mut Chance| [40, 100, 1000, u64::MAX][chance.below(4)];
        let by_lease = fault == Fault::ReadsByLease;
        let config = Config {
            max_message_bytes: limit(&mut chance),
            max_applying_bytes: limit(&mut chance),
            max_uncommitted_bytes: limit(&mut chance),
            inflight: InflightLimits {
                messages: 1 + chance.below(4),
                bytes: chance.once_in(2).then_some(50),
            },
            check_quorum: by_lease || chance.once_in(2),
            pre_vote: chance.once_in(2) && fault != Fault::VotesAreNotKept,
            reads: if by_lease { ReadMode::LeaseBased } else { ReadMode::Safe },
            step_down_on_removal: chance.once_in(2),
            ..Config::etcd(1, 4, seed)
        };
        let first = ConfState::of_voters((1..=voters).collect());
        let mut world = World {
            chance,
            fault,
            config,
            members: BTreeMap::new(),
            messages: Vec::new(),
            apart: Vec::new(),
            reads: BTreeMap::new(),
            counter: 0,
            trace: 0,
            calm: false,
            checks: Checks::default(),
        };
        for id in 1..=voters {
            world.add_member(id, &first);
        }
        world
    }

    /// So many steps of chance.
    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let action = self.chance.below(1000);
            self.note(action as u64);
            self.act(action);
        }
    }

    /// All faults end: after a while everybody has the same, new entry.
    pub(crate) fn settle(&mut self) {
        self.calm = true;
        self.apart.clear();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in &ids {
            self.start(*id);
        }
        for round in 0..4000 {
            for id in &ids {
                // Clocks differ a little, or two candidates could meet for ever.
                if self.chance.once_in(3) {
                    self.with(*id, |member| member.node.as_mut().unwrap().tick());
                }
                self.process(*id);
            }
            for message in std::mem::take(&mut self.messages) {
                self.deliver(message);
            }
            if round % 20 == 19 {
                self.propose_at_leader();
            }
            if round > 200 && self.is_level() {
                return;
            }
        }
        panic!("the group does not settle: {:#?}", self.summary());
    }

    fn summary(&self) -> Vec<String> {
        let line = |member: &Member| {
            let (id, state) = (member.id, &member.state);
            let status = member.node.as_ref().map(holdfast_core::raft::Node::status);
            format!("{id}: removed {}, state {state:?}, {status:?}", member.is_removed)
        };
        self.members.values().map(line).collect()
    }

    /// A hash over all that happened.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    fn act(&mut self, action: usize) {
        match action {
            0..360 => self.deliver_any(),
            360..370 => {
                if let Some(message) = self.take_message() {
                    self.sent(&message, false);
                }
            }
            370..380 => {
                if let Some(message) = self.take_message() {
                    self.send(vec![message.clone(), message]);
                }
            }
            380..650 => self.on_any(Self::process),
            650..860 => {
                self.on_any(|world, id| {
                    let slowness = world.member(id).slowness;
                    if world.chance.once_in(slowness) {
                        world.with(id, |member| member.node.as_mut().unwrap().tick());
                    }
                });
            }
            860..880 => self.on_any(Self::propose),
            880..892 => self.propose_at_leader(),
            892..925 => self.on_any(Self::read),
            925..960 => {
                let down = self.members.values().filter(|m| m.node.is_none()).map(|m| m.id);
                let down: Vec<u64> = down.collect();
                if let Some(id) = self.chance.pick(&down) {
                    self.start(id);
                }
            }
            960..962 => {
                let ids: Vec<u64> = self.members.keys().copied().collect();
                self.apart = match self.leader().filter(|_| self.chance.once_in(2)) {
                    // Alone, or with one that still follows it.
                    Some(id) => vec![id, self.any_id()],
                    None => ids.into_iter().filter(|_| self.chance.once_in(2)).collect(),
                };
            }
            962..963 => self.apart.clear(),
            963..967 => self.on_any(|world, id| {
                let loses = world.chance.once_in(2);
                world.stop(id, loses);
            }),
            967..975 => {
                if let Some(id) = self.leader() {
                    self.change_members(id);
                }
            }
            975..979 => self.on_any(|world, id| {
                world.with(id, |member| member.node.as_mut().unwrap().campaign());
            }),
            979..983 => self.on_any(|world, id| {
                let to = world.any_id();
                world.with(id, |member| member.node.as_mut().unwrap().transfer_leader(to));
            }),
            983..990 => self.on_any(|world, id| {
                let keep = world.chance.below(4) as u64;
                world.with(id, |member| member.compact(keep));
            }),
            990..996 => self.on_any(|world, id| {
                world.with(id, |member| member.kept_state = member.state.clone());
            }),
            _ => self.on_any(|world, id| {
                let of = world.any_id();
                world.with(id, |member| member.node.as_mut().unwrap().report_unreachable(of));
            }),
        }
    }

    /// One round of a member, as the server drives it; it may stop at each step.
    fn process(&mut self, id: u64) {
        self.apply_waiting(id, false);
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(node) = member.node.as_mut().filter(|node| node.has_ready()) else { return };
        let is_leader = node.is_leader();
        let mut ready = node.ready().unwrap();
        self.checks.persisting(member, &ready);
        let mut messages = std::mem::take(&mut ready.messages);
        for message in messages.iter_mut().filter(|message| message.snapshot.is_some()) {
            message.snapshot = Some(Box::new(member.snapshot()));
        }
        let answers = std::mem::take(&mut ready.answers);
        self.finish_reads(std::mem::take(&mut ready.read_states));
        let mut late = Vec::new();
        if is_leader {
            self.send(messages);
        } else {
            late = messages;
        }
        if self.fault == Fault::AnswersBeforeDisk {
            self.send(answers);
        } else {
            late.extend(answers);
        }
        if self.stops() {
            return self.stop(id, true);
        }
        let keeps_votes = self.fault != Fault::VotesAreNotKept;
        self.member(id).persist(&ready, keeps_votes);
        if self.stops() {
            let loses = self.chance.once_in(2);
            return self.stop(id, loses);
        }
        let Ready { entries, snapshot, committed, .. } = ready;
        if let Some(snapshot) = &snapshot {
            self.apply_waiting(id, true);
            let member = self.members.get_mut(&id).unwrap();
            member.state = member.kept_state.clone();
            let node = member.node.as_mut().unwrap();
            node.storage_mut().apply_snapshot(snapshot.clone()).unwrap();
            self.checks.counts.snapshots += 1;
            self.checks.applied(member);
        }
        self.member(id).waiting.extend(committed);
        self.apply_waiting(id, false);
        let voted = late.iter().any(|message| message.kind == MessageKind::VoteAnswer);
        self.send(late);
        if voted && !self.calm && self.chance.once_in(5) {
            // What it promised must outlive it.
            self.stop(id, true);
            return self.start(id);
        }
        if self.chance.once_in(3) {
            // The server hears others while it waits for its disk.
            self.hear(id);
        }
        self.with(id, |member| {
            let node = member.node.as_mut().unwrap();
            node.storage_mut().append(&entries).unwrap();
            node.advance().unwrap();
            node.take_events();
        });
    }

    /// Applies what was handed out, or leaves it for later, as a thread of its own would.
    fn apply_waiting(&mut self, id: u64, all: bool) {
        let most = if all || self.calm { usize::MAX } else { self.chance.below(6) };
        for _ in 0..most {
            let running = self.members.get_mut(&id).filter(|member| member.node.is_some());
            let Some(member) = running else { return };
            let Some(entry) = member.waiting.pop_front() else { return };
            if member.apply(&entry).is_some() {
                self.checks.counts.conf_changes += 1;
            }
            self.checks.applied(member);
        }
    }

    /// Delivers some of what is under way to a member.
    fn hear(&mut self, id: u64) {
        for _ in 0..3 {
            let apart = &self.apart;
            let reaches = |message: &Message| {
                message.to == id && apart.contains(&message.from) == apart.contains(&id)
            };
            if let Some(at) = self.messages.iter().position(reaches) {
                let message = self.messages.remove(at);
                self.deliver(message);
            }
        }
    }

    fn deliver_any(&mut self) {
        if let Some(message) = self.take_message() {
            let is_cut = self.apart.contains(&message.from) != self.apart.contains(&message.to);
            if is_cut {
                self.sent(&message, false);
            } else {
                self.deliver(message);
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        for number in [message.kind.number().unsigned_abs().into(), from, to, message.term] {
            self.note(number);
        }
        for number in [message.index, message.commit, message.entries.len() as u64] {
            self.note(number);
        }
        let is_up = self.members.get(&to).is_some_and(|member| member.node.is_some());
        // Upstream's transport turns away who was removed.
        let knows = |id: &u64| self.members.get(id).is_some_and(|member| !member.is_removed);
        let arrives = is_up && knows(&from);
        self.sent(&message, arrives);
        if arrives {
            self.with(to, |member| {
                let taken = member.node.as_mut().unwrap().step(message);
                let is_fatal = matches!(taken, Err(RaftError::Corrupt(_)));
                assert!(!is_fatal, "member {to} from {from}: {taken:?}");
                let is_malformed = matches!(taken, Err(RaftError::Malformed { .. }));
                assert!(!is_malformed, "member {to} from {from}: {taken:?}");
            });
        }
    }

    /// A transport tells what became of a snapshot.
    fn sent(&mut self, message: &Message, arrives: bool) {
        let Message { kind, from, to, .. } = *message;
        if kind == MessageKind::Snapshot {
            self.with(from, |member| member.node.as_mut().unwrap().report_snapshot(to, arrives));
        }
    }

    fn propose(&mut self, id: u64) {
        let count = 1 + self.chance.below(3) as u64;
        let first = self.counter + 1;
        self.counter += count;
        let data = |number: u64| Bytes::from((number * 7919).to_string());
        let proposals = (first..first + count).map(data);
        self.with(id, |member| drop(member.node.as_mut().unwrap().propose_all(proposals)));
    }

    fn propose_at_leader(&mut self) {
        if let Some(id) = self.leader() {
            self.propose(id);
        }
    }

    /// One of those that believe to lead.
    fn leader(&self) -> Option<u64> {
        let is_leader = |member: &&Member| member.node.as_ref().is_some_and(|n| n.is_leader());
        self.members.values().find(is_leader).map(|member| member.id)
    }

    fn read(&mut self, id: u64) {
        self.counter += 1;
        let context = Bytes::copy_from_slice(&self.counter.to_be_bytes());
        self.reads.insert(self.counter, self.checks.acknowledged);
        self.with(id, |member| member.node.as_mut().unwrap().read_index(context));
    }

    fn finish_reads(&mut self, states: Vec<holdfast_core::raft::ReadState>) {
        for state in states {
            let number = u64::from_be_bytes(state.context[..].try_into().unwrap());
            // A doubled answer is not looked at twice.
            let Some(least) = self.reads.remove(&number) else { continue };
            assert!(state.index >= least, "a stale read: {} of {least}", state.index);
            self.checks.counts.reads += 1;
        }
    }

    fn change_members(&mut self, id: u64) {
        let conf = self.member(id).state.conf_state.clone();
        // Others may not know who the members are now.
        if !self.member(id).node.as_ref().is_some_and(|node| node.is_leader()) {
            return;
        }
        let kind =
            [ConfChangeKind::AddNode, ConfChangeKind::AddLearner, ConfChangeKind::RemoveNode]
                [self.chance.below(3)];
        let next = self.members.len() as u64 + 1;
        let node_id = match kind {
            // With two voters, the one that is removed may be gone before the other knows.
            ConfChangeKind::RemoveNode if conf.voters.len() < 3 => return,
            ConfChangeKind::RemoveNode => self.chance.pick(&conf.voters),
            // A learner becomes a voter.
            ConfChangeKind::AddNode if !conf.learners.is_empty() => {
                self.chance.pick(&conf.learners)
            }
            _ if next > MAX_MEMBERS => return,
            _ => {
                self.add_member(next, &ConfState::default());
                Some(next)
            }
        };
        let change = ConfChange { id: 0, kind, node_id: node_id.unwrap(), context: Vec::new() };
        self.with(id, |member| {
            drop(member.node.as_mut().unwrap().propose_conf_change(&change));
        });
    }

    fn add_member(&mut self, id: u64, first: &ConfState) {
        self.members.insert(id, Member::new(id, first));
        self.start(id);
    }

    fn start(&mut self, id: u64) {
        let config = Config { id, seed: self.config.seed ^ self.counter, ..self.config.clone() };
        let slowness = [1, 1, 1, 8][self.chance.below(4)];
        let member = self.member(id);
        if member.node.is_none() && !member.is_removed {
            member.slowness = slowness;
            member.start(config);
        }
    }

    fn stop(&mut self, id: u64, loses: bool) {
        self.checks.counts.crashes += 1;
        self.member(id).stop(loses);
    }

    /// Whether a member stops in the middle of what it does.
    fn stops(&mut self) -> bool {
        !self.calm && self.chance.once_in(300)
    }

    /// Does something with a member, and looks at it afterwards.
    fn with(&mut self, id: u64, act: impl FnOnce(&mut Member)) {
        if !self.is_running(id) {
            return;
        }
        let member = self.members.get_mut(&id).unwrap();
        act(member);
        self.checks.observe(member);
        let is_idle = member.node.as_ref().is_some_and(|node| !node.has_ready());
        if member.is_removed && is_idle {
            member.node = None;
        }
    }

    fn on_any(&mut self, act: impl FnOnce(&mut Self, u64)) {
        let up = self.members.values().filter(|member| member.node.is_some());
        let up: Vec<u64> = up.map(|member| member.id).collect();
        if let Some(id) = self.chance.pick(&up) {
            self.note(id);
            act(self, id);
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        self.messages.extend(messages);
        if self.messages.len() > MAX_MESSAGES {
            let too_many = self.messages.len() - MAX_MESSAGES;
            let lost: Vec<Message> = self.messages.drain(..too_many).collect();
            lost.iter().for_each(|message| self.sent(message, false));
        }
    }

    fn take_message(&mut self) -> Option<Message> {
        if self.messages.is_empty() {
            return None;
        }
        // Mostly in order, sometimes not.
        let near = self.messages.len().min(if self.chance.once_in(5) { 100 } else { 3 });
        let at = self.chance.below(near);
        Some(self.messages.remove(at))
    }

    fn is_level(&self) -> bool {
        let running = || self.members.values().filter_map(|m| Some((m, m.node.as_ref()?)));
        let leader = running().find(|(_, node)| node.is_leader());
        let Some((leader, node)) = leader else { return false };
        let own = node.term_at(leader.state.index) == Some(node.status().hard_state.term);
        let conf = &leader.state.conf_state;
        let mut expected = conf.voters.iter().chain(&conf.learners);
        own && expected.all(|id| self.members.get(id).is_some_and(|m| m.state == leader.state))
    }

    fn is_running(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.node.is_some())
    }

    fn any_id(&mut self) -> u64 {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        self.chance.pick(&ids).unwrap()
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    fn note(&mut self, number: u64) {
        self.trace = fold(self.trace, number);
    }
}
