//! Handing leadership over: the leader brings a member up to date and tells it to campaign.
//!
//! Must hold: nothing is proposed meanwhile; after the time of an election it is given up.

use super::event::Event;
use super::message::{Message, MessageKind, NOBODY};
use super::storage::LogStorage;
use super::{Node, Role};

impl<S: LogStorage> Node<S> {
    /// Hands leadership to a voter; asked of a follower, it asks its leader. Whether it succeeds
    /// shows in who leads.
    pub fn transfer_leader(&mut self, to: u64) {
        match self.role {
            Role::Leader if self.members.progress.contains_key(&to) => self.start_transfer(to),
            Role::Leader => self.events.push(Event::UnknownMember { from: to }),
            Role::Follower if self.leader == NOBODY => {
                self.events.push(Event::TransferWithoutLeader { term: self.term });
            }
            Role::Follower => {
                // In the name of the member that is to lead.
                let message = Message::new(MessageKind::TransferLeader, self.leader);
                self.send(Message { from: to, ..message });
            }
            Role::Candidate | Role::PreCandidate => {}
        }
    }

    /// Begins to hand over.
    pub(super) fn start_transfer(&mut self, to: u64) {
        let Some(progress) = self.members.progress.get(&to) else { return };
        let term = self.term;
        if progress.is_learner {
            self.events.push(Event::TransferToLearner);
            return;
        }
        if self.transferee == to {
            self.events.push(Event::TransferRepeated { to, term });
            return;
        }
        if self.transferee != NOBODY {
            self.events.push(Event::TransferReplaced { before: self.transferee, term });
            self.transferee = NOBODY;
        }
        if to == self.config.id {
            self.events.push(Event::TransferToSelf);
            return;
        }
        self.events.push(Event::TransferStarted { to, term });
        self.election_elapsed = 0;
        self.transferee = to;
        if progress.matched == self.log.last_index() {
            self.send(Message::new(MessageKind::TimeoutNow, to));
            self.events.push(Event::TransferTold { to, at_once: true });
        } else {
            self.send_append(to, true);
        }
    }

    /// Tells the member to campaign, if it is the one that waits and has everything now.
    pub(super) fn finish_transfer(&mut self, id: u64) {
        let matched = self.members.progress.get(&id).map(|progress| progress.matched);
        if id == self.transferee && matched == Some(self.log.last_index()) {
            self.events.push(Event::TransferTold { to: id, at_once: false });
            self.send(Message::new(MessageKind::TimeoutNow, id));
        }
    }
}
