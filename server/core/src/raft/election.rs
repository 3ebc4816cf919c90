//! Elections: who leads a term.
//!
//! A member that hears no leader for its timeout campaigns. With pre-vote it first asks whether it
//! would be elected, which changes nobody's term. With check-quorum a leader that no quorum hears
//! steps down, and whoever hears a leader keeps its vote: the leader's lease. A member that was
//! told to take over asks past the lease.
//!
//! Must hold: at most one vote in a term, on disk before it is given; a vote only for a log at
//! least as complete as one's own; a leader appends an empty entry first, because only entries of
//! its own term commit by counting.

use bytes::Bytes;

use super::event::{Event, VoteDecision, VoteRequest};
use super::message::{CAMPAIGN_TRANSFER, Entry, EntryId, Message, MessageKind, NOBODY};
use super::quorum::Tally;
use super::storage::LogStorage;
use super::{Node, Role};
use crate::raftpb::EntryKind;

/// Why a campaign is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// To learn whether an election would be won.
    PreVote,
    /// To be elected.
    Election,
    /// To be elected although there is a leader: it asked for it.
    Transfer,
}

impl<S: LogStorage> Node<S> {
    /// Campaigns now, without waiting for the timeout.
    pub fn campaign(&mut self) {
        let reason = if self.config.pre_vote { Reason::PreVote } else { Reason::Election };
        self.campaign_because(reason);
    }

    /// Campaigns after so many ticks without a leader, until the next role draws anew.
    pub fn set_election_timeout(&mut self, ticks: u32) {
        self.election_timeout = ticks;
    }

    /// Ticks of a member that does not lead.
    pub(super) fn tick_election(&mut self) {
        self.election_elapsed += 1;
        if self.is_promotable() && self.election_elapsed >= self.election_timeout {
            self.election_elapsed = 0;
            self.campaign();
        }
    }

    /// Campaigns, unless this member leads already or must not.
    pub(super) fn campaign_because(&mut self, reason: Reason) {
        if self.role == Role::Leader {
            self.events.push(Event::AlreadyLeader);
        } else if !self.is_promotable() {
            self.events.push(Event::Unpromotable);
        } else if !self.unapplied.is_empty() || self.log.has_unapplied_conf_change() {
            // It might have been voted out already.
            self.events.push(Event::CampaignBlocked { term: self.term });
        } else {
            self.events.push(Event::ElectionStarted { term: self.term });
            self.ask_for_votes(reason);
        }
    }

    /// Counts a vote, and becomes what the votes make of this member.
    pub(super) fn count_vote(&mut self, answer: &Message) {
        let expected = match self.role {
            Role::PreCandidate => MessageKind::PreVoteAnswer,
            _ => MessageKind::VoteAnswer,
        };
        if answer.kind != expected {
            return;
        }
        let (kind, from, granted) = (answer.kind, answer.from, !answer.reject);
        self.events.push(Event::VoteReceived { kind, from, granted, term: self.term });
        self.votes.entry(from).or_insert(granted);

        let is_voter = |id| self.members.progress.get(id).is_some_and(|known| !known.is_learner);
        let counted = |wanted| {
            self.votes.iter().filter(|(id, vote)| **vote == wanted && is_voter(id)).count()
        };
        let (granted, refused) = (counted(true), counted(false));
        self.events.push(Event::VotesCounted { kind, granted, refused });
        match self.members.configuration.voters.tally(|id| self.votes.get(&id).copied()) {
            Tally::Pending => {}
            Tally::Won if self.role == Role::PreCandidate => self.ask_for_votes(Reason::Election),
            Tally::Won => {
                self.become_leader();
                self.broadcast_append();
            }
            // The term stays: a refused pre-vote changes nothing.
            Tally::Lost => self.become_follower(self.term, NOBODY),
        }
    }

    /// Gives or refuses a vote of this term; a pre-vote of a later one.
    pub(super) fn decide_vote(&mut self, request: &Message) {
        let asked = self.vote_request(request);
        let is_free = self.vote == NOBODY && self.leader == NOBODY;
        let is_future = request.kind == MessageKind::PreVote && request.term > self.term;
        let may_vote = self.vote == request.from || is_free || is_future;
        let kind = match request.kind {
            MessageKind::PreVote => MessageKind::PreVoteAnswer,
            _ => MessageKind::VoteAnswer,
        };
        let answer = Message::new(kind, request.from);
        if may_vote && self.log.is_up_to_date(asked.theirs) {
            self.events.push(Event::VoteDecided(asked, VoteDecision::Cast));
            // A pre-vote is answered in the term that would be.
            self.send(Message { term: request.term, ..answer });
            if request.kind == MessageKind::Vote {
                self.election_elapsed = 0;
                self.vote = request.from;
            }
        } else {
            self.events.push(Event::VoteDecided(asked, VoteDecision::Refused));
            self.send(Message { term: self.term, reject: true, ..answer });
        }
    }

    /// Whether a request of a later term is not even looked at: the leader was heard of within the
    /// shortest election timeout, and nobody else is to disturb it.
    pub(super) fn lease_forbids(&mut self, message: &Message) -> bool {
        let asks = matches!(message.kind, MessageKind::Vote | MessageKind::PreVote);
        let has_lease = self.config.check_quorum
            && self.leader != NOBODY
            && self.election_elapsed < self.config.election_ticks;
        if !asks || !has_lease || message.context == CAMPAIGN_TRANSFER {
            return false;
        }
        let lease_ticks = self.config.election_ticks - self.election_elapsed;
        let request = self.vote_request(message);
        self.events.push(Event::VoteDecided(request, VoteDecision::Ignored { lease_ticks }));
        true
    }

    /// A later term has begun, unless it is only thought about.
    pub(super) fn follow_higher_term(&mut self, message: &Message) {
        let (kind, from, term) = (message.kind, message.from, message.term);
        let is_thought =
            kind == MessageKind::PreVote || (kind == MessageKind::PreVoteAnswer && !message.reject);
        if is_thought {
            return;
        }
        self.events.push(Event::HigherTerm { kind, from, term, own: self.term });
        let is_leaders =
            matches!(kind, MessageKind::Append | MessageKind::Heartbeat | MessageKind::Snapshot);
        self.become_follower(term, if is_leaders { from } else { NOBODY });
    }

    /// A message of an earlier term.
    pub(super) fn answer_lower_term(&mut self, message: &Message) {
        let (kind, from) = (message.kind, message.from);
        let is_leaders = matches!(kind, MessageKind::Append | MessageKind::Heartbeat);
        if is_leaders && (self.config.check_quorum || self.config.pre_vote) {
            // A leader that was cut off must learn of the later term, or this member, whose own
            // requests are refused because of the lease, would never be heard again.
            self.send(Message::new(MessageKind::AppendAnswer, from));
        } else if kind == MessageKind::PreVote {
            let request = self.vote_request(message);
            self.events.push(Event::VoteDecided(request, VoteDecision::Refused));
            let answer = Message::new(MessageKind::PreVoteAnswer, from);
            self.send(Message { term: self.term, reject: true, ..answer });
        } else {
            self.events.push(Event::LowerTerm { kind, from, term: message.term, own: self.term });
        }
    }

    /// Follows `leader`, if it is known, in `term`.
    pub(super) fn become_follower(&mut self, term: u64, leader: u64) {
        self.reset(term);
        self.leader = leader;
        self.role = Role::Follower;
        self.events.push(Event::Became { role: self.role, term });
    }

    /// The first thing a node says of itself.
    pub(super) fn announce_start(&mut self, last: EntryId) {
        self.events.push(Event::ConfigurationSwitched(self.members.configuration.clone()));
        self.become_follower(self.term, NOBODY);
        let voters = self.members.configuration.voters.ids().into_iter().collect();
        let (commit, applied) = (self.log.committed, self.log.applied());
        self.events.push(Event::Started { voters, term: self.term, commit, applied, last });
        self.remember_output();
    }

    /// Whether this member may lead: it has a vote and its whole log.
    fn is_promotable(&self) -> bool {
        let own = self.members.progress.get(&self.config.id);
        own.is_some_and(|own| !own.is_learner) && self.log.unstable.snapshot.is_none()
    }

    fn ask_for_votes(&mut self, reason: Reason) {
        let (kind, answer, term) = if reason == Reason::PreVote {
            self.become_pre_candidate();
            (MessageKind::PreVote, MessageKind::PreVoteAnswer, self.term + 1)
        } else {
            self.become_candidate();
            (MessageKind::Vote, MessageKind::VoteAnswer, self.term)
        };
        let last = self.log.last_id();
        for to in self.members.configuration.voters.ids() {
            if to == self.config.id {
                // One's own vote too counts only once it is on disk.
                self.send(Message { term, ..Message::new(answer, to) });
                continue;
            }
            self.events.push(Event::VoteAsked { kind, to, last, term: self.term });
            let context = if reason == Reason::Transfer { CAMPAIGN_TRANSFER } else { b"" };
            self.send(Message {
                term,
                log_term: last.term,
                index: last.index,
                context: Bytes::from_static(context),
                ..Message::new(kind, to)
            });
        }
    }

    fn become_pre_candidate(&mut self) {
        // Neither term nor vote changes, and the timeout stays.
        self.votes.clear();
        self.leader = NOBODY;
        self.role = Role::PreCandidate;
        self.events.push(Event::Became { role: self.role, term: self.term });
    }

    fn become_candidate(&mut self) {
        self.reset(self.term + 1);
        self.vote = self.config.id;
        self.role = Role::Candidate;
        self.events.push(Event::Became { role: self.role, term: self.term });
    }

    fn become_leader(&mut self) {
        assert!(self.role == Role::Candidate, "only who was elected leads");
        self.reset(self.term);
        self.leader = self.config.id;
        self.role = Role::Leader;
        if let Some(own) = self.members.progress.get_mut(&self.config.id) {
            own.replicate();
            own.recent_active = true;
        }
        // The log may hold a change that is not applied; none is taken before all of it is.
        self.pending_conf_index = self.log.last_index();
        let first = Entry::proposal(EntryKind::Normal, Bytes::new());
        self.append_own(vec![first]);
        self.events.push(Event::Became { role: self.role, term: self.term });
    }

    fn reset(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.vote = NOBODY;
        }
        self.leader = NOBODY;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.draw_election_timeout();
        self.transferee = NOBODY;
        self.votes.clear();
        self.members.reset(self.config.id, self.log.last_index());
        self.pending_conf_index = 0;
        self.uncommitted_bytes = 0;
        self.reads.forget();
    }

    /// Between the configured ticks and twice as many, so that members seldom campaign at once.
    fn draw_election_timeout(&mut self) {
        // splitmix64
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.chance;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^= drawn >> 31;
        let ticks = self.config.election_ticks;
        let extra = u32::try_from(drawn % u64::from(ticks)).unwrap_or_default();
        self.election_timeout = ticks + extra;
    }

    fn vote_request(&self, message: &Message) -> VoteRequest {
        VoteRequest {
            kind: message.kind,
            candidate: message.from,
            theirs: EntryId { term: message.log_term, index: message.index },
            own: self.log.last_id(),
            vote: self.vote,
            term: self.term,
        }
    }
}
