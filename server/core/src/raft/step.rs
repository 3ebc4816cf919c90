//! Taking messages: what is refused at the door, and who in which role takes what.
//!
//! Must hold: nothing that a peer sends makes a member panic; a message of a later term ends this
//! member's before it is taken, one of an earlier term is never taken.

use super::election::Reason;
use super::event::Event;
use super::message::{Message, MessageKind, NOBODY};
use super::storage::LogStorage;
use super::{Node, RaftError, Role};

/// Terms and indices of messages stay below it, so that counting on never overflows.
const MAX_NUMBER: u64 = u64::MAX / 2;

impl<S: LogStorage> Node<S> {
    /// Takes a message of another member.
    ///
    /// # Errors
    /// It was not taken; see [`RaftError`] for what that means.
    pub fn step(&mut self, message: Message) -> Result<(), RaftError> {
        if message.kind.is_local() {
            return Err(RaftError::LocalMessage);
        }
        if message.kind.is_answer() && !self.members.progress.contains_key(&message.from) {
            return Err(RaftError::UnknownPeer);
        }
        if let Some(problem) = problem_of(&message, self.config.id) {
            return Err(RaftError::Malformed { kind: message.kind, from: message.from, problem });
        }
        self.take(message)
    }

    /// Message by term: later ones end this member's, earlier ones are answered at most.
    pub(super) fn take(&mut self, message: Message) -> Result<(), RaftError> {
        if message.term > self.term {
            if self.lease_forbids(&message) {
                return Ok(());
            }
            self.follow_higher_term(&message);
        } else if message.term < self.term && message.term != 0 {
            self.answer_lower_term(&message);
            return Ok(());
        }
        if matches!(message.kind, MessageKind::Vote | MessageKind::PreVote) {
            self.decide_vote(&message);
            return Ok(());
        }
        match self.role {
            Role::Leader => self.take_as_leader(message),
            Role::Candidate | Role::PreCandidate => self.take_as_candidate(message),
            Role::Follower => self.take_as_follower(message),
        }
    }

    fn take_as_leader(&mut self, message: Message) -> Result<(), RaftError> {
        match message.kind {
            MessageKind::Propose => return self.append_proposals(message),
            MessageKind::ReadIndex => {
                self.lead_read(message);
                return Ok(());
            }
            _ => {}
        }
        if !self.members.progress.contains_key(&message.from) {
            self.events.push(Event::UnknownMember { from: message.from });
            return Ok(());
        }
        match message.kind {
            MessageKind::AppendAnswer => self.append_answered(&message),
            MessageKind::HeartbeatAnswer => {
                self.heartbeat_answered(&message);
                Ok(())
            }
            MessageKind::TransferLeader => {
                self.start_transfer(message.from);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_as_candidate(&mut self, message: Message) -> Result<(), RaftError> {
        match message.kind {
            MessageKind::Propose => {
                self.events.push(Event::ProposalWithoutLeader { term: self.term });
                Err(RaftError::ProposalDropped)
            }
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Snapshot => {
                self.become_follower(message.term, message.from);
                self.take_from_leader(message)
            }
            MessageKind::VoteAnswer | MessageKind::PreVoteAnswer => {
                self.count_vote(&message);
                Ok(())
            }
            MessageKind::TimeoutNow => {
                let (from, term, role) = (message.from, self.term, self.role);
                self.events.push(Event::TimeoutNowIgnored { from, term, role });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_as_follower(&mut self, message: Message) -> Result<(), RaftError> {
        let term = self.term;
        match message.kind {
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Snapshot => {
                self.election_elapsed = 0;
                self.leader = message.from;
                self.take_from_leader(message)
            }
            MessageKind::Propose if self.leader == NOBODY => {
                self.events.push(Event::ProposalWithoutLeader { term });
                Err(RaftError::ProposalDropped)
            }
            MessageKind::TransferLeader if self.leader == NOBODY => {
                self.events.push(Event::TransferWithoutLeader { term });
                Ok(())
            }
            MessageKind::ReadIndex if self.leader == NOBODY => {
                self.events.push(Event::ReadWithoutLeader { term });
                Ok(())
            }
            MessageKind::Propose | MessageKind::TransferLeader | MessageKind::ReadIndex => {
                self.send(Message { to: self.leader, ..message });
                Ok(())
            }
            MessageKind::TimeoutNow => {
                self.events.push(Event::TimeoutNowReceived { from: message.from, term });
                self.campaign_because(Reason::Transfer);
                Ok(())
            }
            MessageKind::ReadIndexAnswer => {
                self.read_answered(message);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_from_leader(&mut self, message: Message) -> Result<(), RaftError> {
        match message.kind {
            MessageKind::Append => self.take_append(&message),
            MessageKind::Heartbeat => self.take_heartbeat(message),
            _ => self.take_snapshot(message),
        }
    }
}

/// What no member sends to `own`. Indexing and counting rely on these.
fn problem_of(message: &Message, own: u64) -> Option<&'static str> {
    let Message { index, term, commit, log_term, reject_hint, .. } = message;
    let numbers = [index, term, commit, log_term, reject_hint];
    if numbers.iter().any(|number| **number > MAX_NUMBER) {
        return Some("a number is out of range");
    }
    if message.from == NOBODY {
        return Some("it has no sender");
    }
    use MessageKind::{ForgetLeader, Propose, ReadIndex, TransferLeader};
    let is_forwarded = matches!(message.kind, Propose | ReadIndex | TransferLeader | ForgetLeader);
    if message.term == 0 && !is_forwarded {
        return Some("it has no term");
    }
    if message.from == own && !is_forwarded {
        return Some("its sender is this member");
    }
    match message.kind {
        MessageKind::Propose if message.entries.is_empty() => Some("nothing is proposed"),
        MessageKind::ReadIndex | MessageKind::ReadIndexAnswer if message.entries.len() != 1 => {
            Some("a read has one entry, its context")
        }
        MessageKind::Append => {
            let (mut last, mut last_term) = (message.index, message.log_term);
            for entry in &message.entries {
                if entry.index != last + 1 || entry.term < last_term || entry.term > message.term {
                    return Some("its entries are no piece of a log");
                }
                (last, last_term) = (entry.index, entry.term);
            }
            None
        }
        MessageKind::Snapshot => match &message.snapshot {
            None => Some("it has no snapshot"),
            Some(snapshot) if snapshot.metadata.index > MAX_NUMBER => Some("its index is too high"),
            Some(snapshot) if snapshot.metadata.term > message.term => {
                Some("its snapshot is of a later term")
            }
            Some(_) => None,
        },
        _ => None,
    }
}
