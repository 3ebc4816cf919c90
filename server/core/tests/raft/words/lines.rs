//! Upstream's log lines, with their levels.

use holdfast_core::raft::{ConfChangeRefusal, Event, LogPosition, Role, VoteDecision, VoteRequest};
use holdfast_core::raftpb::ConfChangeKind;

use super::*;

const DEBUG: usize = 0;
const INFO: usize = 1;
const WARN: usize = 2;

/// The log line of an event of member `id`, with its level.
pub(crate) fn line(id: u64, event: &Event) -> (usize, String) {
    let level = match event {
        Event::Unpromotable
        | Event::CampaignBlocked { .. }
        | Event::QuorumLost
        | Event::UncommittedLimitReached
        | Event::SnapshotOfOthers { .. } => WARN,
        Event::AlreadyLeader
        | Event::UnknownMember { .. }
        | Event::ProposalDuringTransfer { .. }
        | Event::AppendRefused { .. }
        | Event::RefusalReceived { .. }
        | Event::ProgressDecreased { .. }
        | Event::MemberUnreachable { .. }
        | Event::SnapshotWithheld { .. }
        | Event::SnapshotUnavailable { .. }
        | Event::SnapshotSent { .. }
        | Event::ReplicationPaused { .. }
        | Event::SnapshotUnneeded { .. }
        | Event::SnapshotReported { .. }
        | Event::TransferToLearner
        | Event::TransferToSelf
        | Event::TimeoutNowIgnored { .. } => DEBUG,
        _ => INFO,
    };
    let text = election_line(id, event)
        .or_else(|| replication_line(id, event))
        .or_else(|| snapshot_line(id, event))
        .or_else(|| transfer_line(id, event));
    (level, text.unwrap_or_else(|| format!("{id:x} {event:?}")))
}

fn election_line(id: u64, event: &Event) -> Option<String> {
    Some(match event {
        Event::Started { voters, term, commit, applied, last } => {
            let peers: Vec<String> = voters.iter().map(|id| format!("{id:x}")).collect();
            format!(
                "newRaft {id:x} [peers: [{}], term: {term}, commit: {commit}, applied: {applied}, lastindex: {}, lastterm: {}]",
                peers.join(","),
                last.index,
                last.term
            )
        }
        Event::Became { role, term } => {
            let name = match role {
                Role::Follower => "follower",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
                Role::PreCandidate => "pre-candidate",
            };
            format!("{id:x} became {name} at term {term}")
        }
        Event::ConfigurationSwitched(new) => {
            format!("{id:x} switched to configuration {}", configuration(new))
        }
        Event::AlreadyLeader => format!("{id:x} ignoring MsgHup because already leader"),
        Event::Unpromotable => format!("{id:x} is unpromotable and can not campaign"),
        Event::CampaignBlocked { term } => format!(
            "{id:x} cannot campaign at term {term} since there are still pending configuration changes to apply"
        ),
        Event::ElectionStarted { term } => {
            format!("{id:x} is starting a new election at term {term}")
        }
        Event::VoteAsked { kind: asked, to, last, term } => format!(
            "{id:x} [logterm: {}, index: {}] sent {} request to {to:x} at term {term}",
            last.term,
            last.index,
            kind(*asked)
        ),
        Event::VoteReceived { kind: answer, from, granted, term } => {
            let rejection = if *granted { "" } else { " rejection" };
            format!("{id:x} received {}{rejection} from {from:x} at term {term}", kind(*answer))
        }
        Event::VotesCounted { kind: answer, granted, refused } => format!(
            "{id:x} has received {granted} {} votes and {refused} vote rejections",
            kind(*answer)
        ),
        Event::VoteDecided(request, decision) => vote_line(id, request, *decision),
        Event::HigherTerm { kind: what, from, term, own } => format!(
            "{id:x} [term: {own}] received a {} message with higher term from {from:x} [term: {term}]",
            kind(*what)
        ),
        Event::LowerTerm { kind: what, from, term, own } => format!(
            "{id:x} [term: {own}] ignored a {} message with lower term from {from:x} [term: {term}]",
            kind(*what)
        ),
        Event::PersistedInEarlierTerm { term, own } => format!(
            "{id:x} [term: {own}] ignored entry appends from a MsgStorageAppendResp message with lower term [term: {term}]"
        ),
        Event::QuorumLost => format!("{id:x} stepped down to follower since quorum is not active"),
        _ => return None,
    })
}

fn vote_line(id: u64, request: &VoteRequest, decision: VoteDecision) -> String {
    let VoteRequest { kind: asked, candidate, theirs, own, vote, term } = request;
    let verb = match decision {
        VoteDecision::Ignored { .. } => format!("ignored {} from", kind(*asked)),
        VoteDecision::Refused => format!("rejected {} from", kind(*asked)),
        VoteDecision::Cast => format!("cast {} for", kind(*asked)),
    };
    let lease = match decision {
        VoteDecision::Ignored { lease_ticks } => {
            format!(": lease is not expired (remaining ticks: {lease_ticks})")
        }
        _ => String::new(),
    };
    format!(
        "{id:x} [logterm: {}, index: {}, vote: {vote:x}] {verb} {candidate:x} [logterm: {}, index: {}] at term {term}{lease}",
        own.term, own.index, theirs.term, theirs.index
    )
}

fn replication_line(id: u64, event: &Event) -> Option<String> {
    Some(match event {
        Event::UnknownMember { from } => format!("{id:x} no progress available for {from:x}"),
        Event::ProposalWithoutLeader { term } => {
            format!("{id:x} no leader at term {term}; dropping proposal")
        }
        Event::ProposalDuringTransfer { to, term } => format!(
            "{id:x} [term {term}] transfer leadership to {to:x} is in progress; dropping proposal"
        ),
        Event::UncommittedLimitReached => format!(
            "{id:x} appending new entries to log would exceed uncommitted entry size limit; dropping proposal"
        ),
        Event::ConfChangeIgnored { change, at, reason } => {
            let reason = match reason {
                ConfChangeRefusal::Pending { index, applied } => {
                    format!(
                        "possible unapplied conf change at index {index} (applied to {applied})"
                    )
                }
                ConfChangeRefusal::Joint => "must transition out of joint config first".to_owned(),
            };
            let kind = match change.kind {
                ConfChangeKind::AddNode => "ConfChangeAddNode",
                ConfChangeKind::AddLearner => "ConfChangeAddLearnerNode",
                ConfChangeKind::RemoveNode => "ConfChangeRemoveNode",
                ConfChangeKind::UpdateNode => "ConfChangeUpdateNode",
            };
            let change =
                format!("{{{kind} {} {:?} {}}}", change.node_id, change.context, change.id);
            format!(
                "{id:x} ignoring conf change {change} at config {}: {reason}",
                configuration(at)
            )
        }
        Event::ConflictFound { index, existing, conflicting } => format!(
            "found conflict at index {index} [existing term: {existing}, conflicting term: {conflicting}]"
        ),
        Event::UnstableReplaced { from } => {
            format!("replace the unstable entries from index {from}")
        }
        Event::UnstableTruncated { before } => {
            format!("truncate the unstable entries before index {before}")
        }
        Event::AppendRefused { from, previous, existing } => format!(
            "{id:x} [logterm: {existing}, index: {0}] rejected MsgApp [logterm: {1}, index: {0}] from {from:x}",
            previous.index, previous.term
        ),
        Event::RefusalReceived { from, index, hint } => format!(
            "{id:x} received MsgAppResp(rejected, hint: (index {}, term {})) from {from:x} for index {index}",
            hint.index, hint.term
        ),
        Event::ProgressDecreased { of, progress: now } => {
            format!("{id:x} decreased progress of {of:x} to [{}]", progress(now))
        }
        Event::MemberUnreachable { of, progress: now } => format!(
            "{id:x} failed to send message to {of:x} because it is unreachable [{}]",
            progress(now)
        ),
        _ => return None,
    })
}

fn snapshot_line(id: u64, event: &Event) -> Option<String> {
    Some(match event {
        Event::SnapshotWithheld { to } => {
            format!("ignore sending snapshot to {to:x} since it is not recently active")
        }
        Event::SnapshotUnavailable { to } => format!(
            "{id:x} failed to send snapshot to {to:x} because snapshot is temporarily unavailable"
        ),
        Event::SnapshotSent { to, first, commit, snapshot, progress: now } => format!(
            "{id:x} [firstindex: {first}, commit: {commit}] sent snapshot[index: {}, term: {}] to {to:x} [{}]",
            snapshot.index,
            snapshot.term,
            progress(now)
        ),
        Event::ReplicationPaused { to, progress: now } => {
            format!("{id:x} paused sending replication messages to {to:x} [{}]", progress(now))
        }
        Event::SnapshotUnneeded { of, progress: now } => format!(
            "{id:x} recovered from needing snapshot, resumed sending replication messages to {of:x} [{}]",
            progress(now)
        ),
        Event::SnapshotReported { of, taken, progress: now } => format!(
            "{id:x} snapshot {}, resumed sending replication messages to {of:x} [{}]",
            if *taken { "succeeded" } else { "failed" },
            progress(now)
        ),
        Event::SnapshotRestoring { log, index, term } => {
            let unstable = format!(
                "unstable.offset={}, unstable.offsetInProgress={}, len(unstable.Entries)={}",
                log.unstable_offset, log.unstable_in_progress, log.unstable_len
            );
            let LogPosition { committed, applied, applying, .. } = log;
            format!(
                "log [committed={committed}, applied={applied}, applying={applying}, {unstable}] starts to restore snapshot [index: {index}, term: {term}]"
            )
        }
        Event::SnapshotRestored { commit, last, snapshot } => format!(
            "{id:x} [commit: {commit}, lastindex: {}, lastterm: {}] restored snapshot [index: {}, term: {}]",
            last.index, last.term, snapshot.index, snapshot.term
        ),
        Event::SnapshotFastForwarded { commit, last, snapshot } => format!(
            "{id:x} [commit: {commit}, lastindex: {}, lastterm: {}] fast-forwarded commit to snapshot [index: {}, term: {}]",
            last.index, last.term, snapshot.index, snapshot.term
        ),
        Event::SnapshotHandled { commit, snapshot, restored } => format!(
            "{id:x} [commit: {commit}] {} snapshot [index: {}, term: {}]",
            if *restored { "restored" } else { "ignored" },
            snapshot.index,
            snapshot.term
        ),
        _ => return None,
    })
}

fn transfer_line(id: u64, event: &Event) -> Option<String> {
    Some(match event {
        Event::TransferToLearner => {
            format!("{id:x} is learner. Ignored transferring leadership")
        }
        Event::TransferRepeated { to, term } => format!(
            "{id:x} [term {term}] transfer leadership to {to:x} is in progress, ignores request to same node {to:x}"
        ),
        Event::TransferReplaced { before, term } => {
            format!("{id:x} [term {term}] abort previous transferring leadership to {before:x}")
        }
        Event::TransferToSelf => {
            format!("{id:x} is already leader. Ignored transferring leadership to self")
        }
        Event::TransferStarted { to, term } => {
            format!("{id:x} [term {term}] starts to transfer leadership to {to:x}")
        }
        Event::TransferTold { to, at_once: true } => format!(
            "{id:x} sends MsgTimeoutNow to {to:x} immediately as {to:x} already has up-to-date log"
        ),
        Event::TransferTold { to, at_once: false } => {
            format!("{id:x} sent MsgTimeoutNow to {to:x} after received MsgAppResp")
        }
        Event::TransferWithoutLeader { term } => {
            format!("{id:x} no leader at term {term}; dropping leader transfer msg")
        }
        Event::TimeoutNowReceived { from, term } => format!(
            "{id:x} [term {term}] received MsgTimeoutNow from {from:x} and starts an election to get leadership."
        ),
        Event::TimeoutNowIgnored { from, term, role: now } => {
            format!("{id:x} [term {term} state {}] ignored MsgTimeoutNow from {from:x}", role(*now))
        }
        Event::ReadWithoutLeader { term } => {
            format!("{id:x} no leader at term {term}; dropping index reading msg")
        }
        _ => return None,
    })
}
