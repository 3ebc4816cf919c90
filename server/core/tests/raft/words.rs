//! Upstream's words for what the core says: as its interaction files print messages, `Ready`,
//! progress and log lines. Nothing but these tests knows them.

mod lines;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use holdfast_core::meta::ConfState;
use holdfast_core::raft::membership::Configuration;
use holdfast_core::raft::progress::{Mode, ProgressStatus};
use holdfast_core::raft::{Entry, Message, MessageKind, Ready, Role, Snapshot};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind, EntryKind, HardState};

pub(crate) use lines::line;

const KINDS: [&str; 24] = [
    "MsgHup",
    "MsgBeat",
    "MsgProp",
    "MsgApp",
    "MsgAppResp",
    "MsgVote",
    "MsgVoteResp",
    "MsgSnap",
    "MsgHeartbeat",
    "MsgHeartbeatResp",
    "MsgUnreachable",
    "MsgSnapStatus",
    "MsgCheckQuorum",
    "MsgTransferLeader",
    "MsgTimeoutNow",
    "MsgReadIndex",
    "MsgReadIndexResp",
    "MsgPreVote",
    "MsgPreVoteResp",
    "MsgStorageAppend",
    "MsgStorageAppendResp",
    "MsgStorageApply",
    "MsgStorageApplyResp",
    "MsgForgetLeader",
];

pub(crate) fn kind(kind: MessageKind) -> &'static str {
    KINDS[usize::try_from(kind.number()).unwrap()]
}

pub(crate) fn kind_named(name: &str) -> Option<MessageKind> {
    let number = KINDS.iter().position(|known| *known == name)?;
    MessageKind::from_number(i32::try_from(number).ok()?)
}

pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "StateFollower",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
        Role::PreCandidate => "StatePreCandidate",
    }
}

pub(crate) fn entry(entry: &Entry) -> String {
    let (name, payload) = match entry.kind {
        EntryKind::Normal => {
            ("EntryNormal", format!(" {:?}", String::from_utf8_lossy(&entry.data)))
        }
        EntryKind::ConfChange => {
            let change = ConfChange::decode(&entry.data).unwrap();
            let letter = match change.kind {
                ConfChangeKind::AddNode => 'v',
                ConfChangeKind::AddLearner => 'l',
                ConfChangeKind::RemoveNode => 'r',
                ConfChangeKind::UpdateNode => 'u',
            };
            ("EntryConfChange", format!(" {letter}{}", change.node_id))
        }
        EntryKind::ConfChangeV2 => ("EntryConfChangeV2", String::new()),
    };
    format!("{}/{} {name}{payload}", entry.term, entry.index)
}

pub(crate) fn entries(list: &[Entry]) -> String {
    list.iter().map(|one| entry(one) + "\n").collect()
}

pub(crate) fn message(message: &Message) -> String {
    let Message { from, to, term, log_term, index, .. } = message;
    let name = kind(message.kind);
    let mut out = format!("{from:x}->{to:x} {name} Term:{term} Log:{log_term}/{index}");
    if message.reject {
        write!(out, " Rejected (Hint: {})", message.reject_hint).unwrap();
    }
    if message.commit != 0 {
        write!(out, " Commit:{}", message.commit).unwrap();
    }
    match message.entries.as_slice() {
        [] => {}
        [one] => write!(out, " Entries:[{}]", entry(one)).unwrap(),
        several => {
            let lines: String = several.iter().map(|one| format!("\n  {}", entry(one))).collect();
            write!(out, " Entries:[{lines}\n]").unwrap();
        }
    }
    if let Some(one) = &message.snapshot {
        write!(out, "\n  Snapshot: {}", snapshot(one)).unwrap();
    }
    out
}

pub(crate) fn ready(ready: &Ready) -> String {
    let mut out = String::new();
    if let Some(soft) = ready.soft_state {
        writeln!(out, "Lead:{} State:{}", soft.leader, role(soft.role)).unwrap();
    }
    if let Some(HardState { term, vote, commit }) = ready.hard_state {
        let vote = if vote == 0 { String::new() } else { format!(" Vote:{vote}") };
        writeln!(out, "HardState Term:{term}{vote} Commit:{commit}").unwrap();
    }
    if !ready.entries.is_empty() {
        write!(out, "Entries:\n{}", entries(&ready.entries)).unwrap();
    }
    if let Some(one) = &ready.snapshot {
        writeln!(out, "Snapshot {}", snapshot(one)).unwrap();
    }
    if !ready.committed.is_empty() {
        write!(out, "CommittedEntries:\n{}", entries(&ready.committed)).unwrap();
    }
    if !ready.messages.is_empty() || !ready.answers.is_empty() {
        out.push_str("Messages:\n");
        for one in ready.messages.iter().chain(&ready.answers) {
            writeln!(out, "{}", message(one)).unwrap();
        }
    }
    if out.is_empty() {
        return "<empty Ready>".to_owned();
    }
    format!("Ready MustSync={}:\n{out}", ready.must_sync)
}

pub(crate) fn progress(progress: &ProgressStatus) -> String {
    let mode = match progress.mode {
        Mode::Probe => "StateProbe",
        Mode::Replicate => "StateReplicate",
        Mode::Snapshot { .. } => "StateSnapshot",
    };
    let mut out = format!("{mode} match={} next={}", progress.matched, progress.next);
    if progress.is_learner {
        out.push_str(" learner");
    }
    if progress.is_paused {
        out.push_str(" paused");
    }
    if let Mode::Snapshot { index } = progress.mode {
        write!(out, " pendingSnap={index}").unwrap();
    }
    if !progress.recent_active {
        out.push_str(" inactive");
    }
    if progress.inflight > 0 {
        write!(out, " inflight={}", progress.inflight).unwrap();
        if progress.inflight_full {
            out.push_str("[full]");
        }
    }
    out
}

pub(crate) fn configuration(configuration: &Configuration) -> String {
    let list = |ids: &BTreeSet<u64>| {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        format!("({})", ids.join(" "))
    };
    let Configuration { voters, learners, learners_next, auto_leave } = configuration;
    let mut out = format!("voters={}", list(&voters.incoming.0));
    if voters.is_joint() {
        write!(out, "&&{}", list(&voters.outgoing.0)).unwrap();
    }
    for (name, ids) in [("learners", learners), ("learners_next", learners_next)] {
        if !ids.is_empty() {
            write!(out, " {name}={}", list(ids)).unwrap();
        }
    }
    if *auto_leave {
        out.push_str(" autoleave");
    }
    out
}

fn snapshot(snapshot: &Snapshot) -> String {
    let metadata = &snapshot.metadata;
    let list = |ids: &[u64]| {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        format!("[{}]", ids.join(" "))
    };
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave } =
        &metadata.conf_state;
    format!(
        "Index:{} Term:{} ConfState:Voters:{} VotersOutgoing:{} Learners:{} LearnersNext:{} AutoLeave:{auto_leave}",
        metadata.index,
        metadata.term,
        list(voters),
        list(voters_outgoing),
        list(learners),
        list(learners_next),
    )
}
