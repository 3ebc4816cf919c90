//! Members that are told what to do, step by step, and everything they say.

use std::fmt::Write as _;

use bytes::Bytes;
use holdfast_core::raft::progress::InflightLimits;
use holdfast_core::raft::{
    Config, Entry, LogStorage, MemoryLog, Message, MessageKind, Node, ReadMode, Ready, Snapshot,
    Start, StorageError,
};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind, EntryKind};

use super::V2;
use crate::datadriven::Directive;
use crate::words;

const ELECTION_TICKS: u32 = 3;
const NONE: usize = 5;
const LEVELS: [&str; 6] = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"];

/// A member's log on disk, and the states it went through: what it sends is the last one.
struct Storage {
    log: MemoryLog,
    history: Vec<Snapshot>,
}

impl LogStorage for Storage {
    fn first_index(&self) -> u64 {
        self.log.first_index()
    }
    fn last_index(&self) -> u64 {
        self.log.last_index()
    }
    fn term(&self, index: u64) -> Result<u64, StorageError> {
        self.log.term(index)
    }
    fn entries(&self, from: u64, end: u64, max_bytes: u64) -> Result<Vec<Entry>, StorageError> {
        self.log.entries(from, end, max_bytes)
    }
    fn snapshot(&self) -> Option<Snapshot> {
        self.history.last().filter(|snapshot| snapshot.metadata.index > 0).cloned()
    }
}

/// The members, what is between them, and what was said.
#[derive(Default)]
pub(super) struct World {
    nodes: Vec<Node<Storage>>,
    messages: Vec<Message>,
    output: String,
    level: usize,
}

impl World {
    pub(super) fn handle(&mut self, directive: &Directive) -> Result<String, String> {
        self.output.clear();
        let refused = self.run(directive)?;
        if let Some(error) = refused {
            if self.level == NONE {
                return Ok(error);
            }
            self.output.push_str(&error);
        }
        Ok(if self.output.is_empty() { "ok".to_owned() } else { self.output.clone() })
    }

    /// What a member answered, if it was an error. `Err` where the directive is not known.
    fn run(&mut self, directive: &Directive) -> Result<Option<String>, String> {
        let ids = || directive.numbers();
        let first = || directive.args[0].key.parse::<u64>().map_err(|error| error.to_string());
        match directive.command.as_str() {
            "log-level" => self.level = level(&directive.args[0].key),
            "add-nodes" => self.add_nodes(directive)?,
            "campaign" => self.on(first()?, Node::campaign),
            "propose" => {
                let data = Bytes::from(directive.args[1].key.clone());
                return Ok(self.on(first()?, |node| refusal(node.propose(data))));
            }
            "propose-conf-change" => {
                let change = conf_change(directive)?;
                return Ok(self.on(first()?, |node| refusal(node.propose_conf_change(&change))));
            }
            "process-ready" => self.process_ready_of(&ids()),
            "deliver-msgs" => self.deliver(directive),
            "stabilize" => self.stabilize(directive),
            "tick-election" => self.tick(first()?, ELECTION_TICKS),
            "tick-heartbeat" => self.tick(first()?, 1),
            "set-randomized-election-timeout" => {
                let ticks = directive.values("timeout")[0].parse().unwrap();
                self.on(first()?, |node| node.set_election_timeout(ticks));
            }
            "transfer-leadership" => {
                let id = |key| directive.values(key)[0].parse::<u64>().unwrap();
                self.on(id("from"), |node| node.transfer_leader(id("to")));
            }
            "report-unreachable" => self.on(ids()[0], |node| node.report_unreachable(ids()[1])),
            "send-snapshot" => self.send_snapshot(ids()[0], ids()[1]),
            "compact" => {
                self.on(ids()[0], |node| node.storage_mut().log.compact(ids()[1]).unwrap());
                self.print_log(ids()[0]);
            }
            "raft-log" => self.print_log(first()?),
            "raft-state" => self.print_states(),
            "status" => {
                for (id, progress) in self.node(first()?).status().progress {
                    self.say(&format!("{id}: {}", words::progress(&progress)));
                }
            }
            unknown => return Err(format!("nothing that etcd uses: {unknown}")),
        }
        Ok(None)
    }

    fn add_nodes(&mut self, directive: &Directive) -> Result<(), String> {
        let count: usize = directive.args[0].key.parse().unwrap();
        let mut snapshot = Snapshot::default();
        let mut config = Config {
            check_quorum: false,
            pre_vote: false,
            max_message_bytes: u64::MAX,
            max_applying_bytes: u64::MAX,
            inflight: InflightLimits { messages: usize::MAX, bytes: None },
            ..Config::etcd(1, ELECTION_TICKS, 0)
        };
        for arg in &directive.args[1..] {
            let value = arg.values[0].as_str();
            let number = || value.parse::<u64>().unwrap();
            let ids = || arg.values.iter().map(|id| id.parse().unwrap()).collect();
            let conf_state = &mut snapshot.metadata.conf_state;
            match arg.key.as_str() {
                "voters" => conf_state.voters = ids(),
                "learners" => conf_state.learners = ids(),
                "index" => snapshot.metadata.index = number(),
                "content" => snapshot.data = Bytes::from(value.to_owned()),
                "inflight" => config.inflight.messages = value.parse().unwrap(),
                "prevote" => config.pre_vote = value == "true",
                "checkquorum" => config.check_quorum = value == "true",
                "max-committed-size-per-ready" => config.max_applying_bytes = number(),
                "step-down-on-removal" => config.step_down_on_removal = value == "true",
                "read-only" if value == "safe" => config.reads = ReadMode::Safe,
                "read-only" => config.reads = ReadMode::LeaseBased,
                unknown => return Err(format!("nothing that etcd uses: {unknown}")),
            }
        }
        if snapshot.metadata.index > 0 {
            snapshot.metadata.term = 1;
        }
        for _ in 0..count {
            config.id = self.nodes.len() as u64 + 1;
            let log = MemoryLog::new(snapshot.clone());
            let storage = Storage { log, history: vec![snapshot.clone()] };
            let conf_state = snapshot.metadata.conf_state.clone();
            let applied = snapshot.metadata.index;
            let start = Start { conf_state, applied, ..Start::default() };
            let node = Node::new(config.clone(), storage, &start).map_err(|e| e.to_string())?;
            self.nodes.push(node);
            self.print_events(config.id);
        }
        Ok(())
    }

    fn tick(&mut self, id: u64, ticks: u32) {
        for _ in 0..ticks {
            self.on(id, Node::tick);
        }
    }

    fn stabilize(&mut self, directive: &Directive) {
        let before = self.level;
        if let [name] = directive.values("log-level") {
            self.level = level(name);
        }
        let mut ids = directive.numbers();
        if ids.is_empty() {
            ids = (1..=self.nodes.len() as u64).collect();
        }
        loop {
            let mut done = true;
            for id in &ids {
                if self.node(*id).has_ready() {
                    self.say(&format!("> {id} handling Ready"));
                    self.indented(|world| world.process_ready(*id));
                    done = false;
                }
            }
            for id in &ids {
                if self.messages.iter().any(|message| message.to == *id) {
                    self.say(&format!("> {id} receiving messages"));
                    self.indented(|world| world.deliver_to(*id, None, false));
                    done = false;
                }
            }
            if done {
                break;
            }
        }
        self.level = before;
    }

    fn process_ready_of(&mut self, ids: &[u64]) {
        if let [id] = ids {
            self.process_ready(*id);
            return;
        }
        for id in ids {
            self.say(&format!("> {id} handling Ready"));
            self.indented(|world| world.process_ready(*id));
        }
    }

    fn process_ready(&mut self, id: u64) {
        let ready = self.on(id, |node| node.ready().unwrap());
        self.say(&words::ready(&ready));
        let Ready { entries, snapshot, committed, messages, answers, .. } = ready;
        let log = &mut self.nodes[place(id)].storage_mut().log;
        match snapshot {
            Some(snapshot) => log.apply_snapshot(snapshot).unwrap(),
            None => log.append(&entries).unwrap(),
        }
        for entry in committed {
            self.on(id, |node| apply(node, &entry));
        }
        self.messages.extend(messages);
        self.messages.extend(answers);
        self.on(id, |node| node.advance().unwrap());
    }

    fn deliver(&mut self, directive: &Directive) {
        let kind = directive.values("type").first().map(|name| words::kind_named(name).unwrap());
        let before = self.messages.len();
        for arg in &directive.args {
            match arg.key.as_str() {
                "type" => {}
                "drop" => {
                    for id in &arg.values {
                        self.deliver_to(id.parse().unwrap(), kind, true);
                    }
                }
                id => self.deliver_to(id.parse().unwrap(), kind, false),
            }
        }
        if self.messages.len() == before {
            self.say("no messages");
        }
    }

    fn deliver_to(&mut self, id: u64, kind: Option<MessageKind>, drop: bool) {
        let is_meant = |message: &mut Message| {
            let is_own = message.from == message.to;
            message.to == id && kind.is_none_or(|kind| message.kind == kind) && !(drop && is_own)
        };
        let meant: Vec<Message> = self.messages.extract_if(.., is_meant).collect();
        for message in meant {
            let dropped = if drop { "dropped: " } else { "" };
            self.say(&format!("{dropped}{}", words::message(&message)));
            if !drop && let Err(error) = self.on(id, |node| node.step(message)) {
                self.say(&error.to_string());
            }
        }
    }

    fn send_snapshot(&mut self, from: u64, to: u64) {
        let node = self.node(from);
        let term = node.status().hard_state.term;
        let snapshot = node.storage().snapshot().map(Box::new);
        let message = Message::new(MessageKind::Snapshot, to);
        let message = Message { from, term, snapshot, ..message };
        self.say(&words::message(&message));
        self.messages.push(message);
    }

    fn print_log(&mut self, id: u64) {
        let log = &self.node(id).storage().log;
        let (first, last) = (log.first_index(), log.last_index());
        let text = if last < first {
            format!("log is empty: first index={first}, last index={last}")
        } else {
            words::entries(&log.entries(first, last + 1, u64::MAX).unwrap())
        };
        self.say(text.trim_end());
    }

    fn print_states(&mut self) {
        for place in 0..self.nodes.len() {
            let status = self.nodes[place].status();
            let (id, soft) = (status.id, status.soft_state);
            let (voters, outgoing) =
                (&status.conf_state.voters, &status.conf_state.voters_outgoing);
            let is_voter = voters.contains(&id) || outgoing.contains(&id);
            let voter = if is_voter { "(Voter)" } else { "(Non-Voter)" };
            let (role, term) = (words::role(soft.role), status.hard_state.term);
            self.say(&format!("{id}: {role} {voter} Term:{term} Lead:{}", soft.leader));
        }
    }

    fn node(&self, id: u64) -> &Node<Storage> {
        &self.nodes[place(id)]
    }

    /// Does something with a member and prints what it has to say.
    fn on<T>(&mut self, id: u64, act: impl FnOnce(&mut Node<Storage>) -> T) -> T {
        let node = &mut self.nodes[place(id)];
        let done = act(node);
        node.check_invariants();
        self.print_events(id);
        done
    }

    fn print_events(&mut self, id: u64) {
        let (events, dropped) = self.nodes[place(id)].take_events();
        assert_eq!(dropped, 0, "no event is lost");
        for event in events {
            let (level, text) = words::line(id, &event);
            if level >= self.level {
                self.say(&format!("{} {text}", LEVELS[level]));
            }
        }
    }

    fn say(&mut self, text: &str) {
        if self.level < NONE {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            write!(self.output, "{text}{end}").unwrap();
        }
    }

    fn indented(&mut self, act: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.output);
        act(self);
        let inner = std::mem::replace(&mut self.output, before);
        for line in inner.lines() {
            writeln!(self.output, "  {line}").unwrap();
        }
    }
}

/// The state machine: it appends what it is given to what it has.
fn apply(node: &mut Node<Storage>, entry: &Entry) {
    let before = node.storage().history.last().unwrap().clone();
    let (update, conf_state) = match entry.kind {
        EntryKind::ConfChange => {
            let change = ConfChange::decode(&entry.data).unwrap();
            let after = node.apply_conf_change(&change).unwrap();
            (Bytes::from(change.context), after)
        }
        _ => (entry.data.clone(), before.metadata.conf_state.clone()),
    };
    let mut after = before;
    after.data = [after.data, update].concat().into();
    after.metadata.conf_state = conf_state;
    (after.metadata.index, after.metadata.term) = (entry.index, entry.term);
    node.storage_mut().history.push(after);
}

fn conf_change(directive: &Directive) -> Result<ConfChange, String> {
    if directive.values("v1") != ["true"] {
        return Err(V2.to_owned());
    }
    let step = directive.input.trim();
    let kind = match step.as_bytes()[0] {
        b'v' => ConfChangeKind::AddNode,
        b'l' => ConfChangeKind::AddLearner,
        b'r' => ConfChangeKind::RemoveNode,
        _ => ConfChangeKind::UpdateNode,
    };
    let node_id = step[1..].parse().map_err(|_| format!("not one step: {step}"))?;
    Ok(ConfChange { id: 0, kind, node_id, context: Vec::new() })
}

fn refusal(result: Result<(), impl ToString>) -> Option<String> {
    result.err().map(|error| error.to_string())
}

fn level(name: &str) -> usize {
    LEVELS.iter().position(|level| level.eq_ignore_ascii_case(name)).unwrap()
}

fn place(id: u64) -> usize {
    usize::try_from(id).unwrap() - 1
}
