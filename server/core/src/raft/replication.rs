//! Replication: the leader's log becomes everybody's.
//!
//! A leader sends entries behind a place at which it believes the logs to agree. A member that
//! does not know that place refuses, with a hint that skips whole terms; the leader goes back and
//! tries again, and sends a snapshot where its log does not reach back so far.
//!
//! Must hold: an index is committed once a quorum has it on disk and it is of the leader's own
//! term (section 5.4.2: earlier terms commit with it, never by counting alone).

use super::event::Event;
use super::log::Mismatch;
use super::membership::Members;
use super::message::{Entry, EntryId, Message, MessageKind, Snapshot};
use super::progress::Mode;
use super::storage::LogStorage;
use super::{Node, RaftError, Role};

impl<S: LogStorage> Node<S> {
    /// Ticks of the leader.
    pub(super) fn tick_leader(&mut self) {
        self.heartbeat_elapsed += 1;
        self.election_elapsed += 1;
        if self.election_elapsed >= self.config.election_ticks {
            self.election_elapsed = 0;
            if self.config.check_quorum {
                self.check_quorum();
            }
            // Who was to take over had the time of an election for it.
            self.transferee = super::NOBODY;
        }
        if self.role == Role::Leader && self.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            let context = self.reads.last_context();
            self.broadcast_heartbeat(&context);
        }
    }

    /// Appends to the leader's own log. `false` where too much is not committed already.
    pub(super) fn append_own(&mut self, mut entries: Vec<Entry>) -> bool {
        let bytes: u64 = entries.iter().map(|entry| entry.data.len() as u64).sum();
        let after = self.uncommitted_bytes.saturating_add(bytes);
        // Empty entries always fit, and so does anything where nothing is uncommitted.
        if self.uncommitted_bytes > 0 && bytes > 0 && after > self.config.max_uncommitted_bytes {
            self.events.push(Event::UncommittedLimitReached);
            return false;
        }
        self.uncommitted_bytes = after;
        let last = self.log.last_index();
        for (entry, index) in entries.iter_mut().zip(last + 1..) {
            (entry.term, entry.index) = (self.term, index);
        }
        let index = self.log.append(&entries, &mut self.events);
        // The leader's own log counts only as far as it is on disk.
        self.send(Message { index, ..Message::new(MessageKind::AppendAnswer, self.config.id) });
        true
    }

    /// Entries of that many bytes of payload were applied.
    pub(super) fn reduce_uncommitted(&mut self, bytes: u64) {
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
    }

    /// Sends what each member lacks, or only the commit index.
    pub(super) fn broadcast_append(&mut self) {
        for to in self.others() {
            self.send_append(to, true);
        }
    }

    /// Sends entries that members lack.
    pub(super) fn broadcast_entries(&mut self) {
        for to in self.others() {
            self.send_append(to, false);
        }
    }

    /// Sends a member the entries that come next. `even_empty` where the commit index alone is
    /// worth a message. Whether something was sent.
    pub(super) fn send_append(&mut self, to: u64, even_empty: bool) -> bool {
        let Some(progress) = self.members.progress.get_mut(&to) else { return false };
        if progress.is_paused() {
            return false;
        }
        let index = progress.next - 1;
        let Ok(log_term) = self.log.term(index) else { return self.send_snapshot(to) };
        let entries = if progress.takes_entries() {
            self.log.entries_from(progress.next, self.config.max_message_bytes)
        } else {
            Ok(Vec::new())
        };
        if !even_empty && entries.as_ref().map_or(true, Vec::is_empty) {
            return false;
        }
        let Ok(entries) = entries else { return self.send_snapshot(to) };
        let commit = self.log.committed;
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        progress.sent(entries.len() as u64, bytes, commit);
        let message = Message::new(MessageKind::Append, to);
        self.send(Message { log_term, index, entries, commit, ..message });
        true
    }

    /// Tells all members that this one leads, and which read it wants confirmed.
    pub(super) fn broadcast_heartbeat(&mut self, context: &bytes::Bytes) {
        for to in self.others() {
            let Some(progress) = self.members.progress.get_mut(&to) else { continue };
            // Not beyond what the member is known to have: the rest of its log may differ.
            let commit = progress.matched.min(self.log.committed);
            progress.sent_commit(commit);
            let message = Message::new(MessageKind::Heartbeat, to);
            self.send(Message { commit, context: context.clone(), ..message });
        }
    }

    /// Commits what a quorum has. Whether that was news.
    pub(super) fn commit_by_quorum(&mut self) -> bool {
        let index = self.members.committed();
        let is_own = self.log.matches(EntryId { term: self.term, index });
        if index <= self.log.committed || !is_own {
            return false;
        }
        self.log.committed = index;
        true
    }

    /// Whether an entry of this leader's own term is committed, so that it knows all that is.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.term(self.log.committed) == Ok(self.term)
    }

    /// A member answered an append or a snapshot.
    pub(super) fn append_answered(&mut self, answer: &Message) -> Result<(), RaftError> {
        let (kind, from) = (answer.kind, answer.from);
        let highest = if answer.reject { answer.reject_hint } else { answer.index };
        if highest > self.log.last_index() && !answer.reject {
            let problem = "it acknowledges what was not sent";
            return Err(RaftError::Malformed { kind, from, problem });
        }
        let Some(progress) = self.members.progress.get_mut(&from) else { return Ok(()) };
        progress.recent_active = true;
        if answer.reject {
            self.append_was_refused(answer);
            return Ok(());
        }
        let is_probe = progress.mode == Mode::Probe && progress.matched == answer.index;
        if !progress.acknowledge(answer.index) && !is_probe {
            return Ok(());
        }
        match progress.mode {
            Mode::Probe => progress.replicate(),
            Mode::Snapshot { .. } if progress.matched + 1 >= self.log.first_index() => {
                // Whatever snapshot it took, the log reaches back to it.
                let status = progress.status();
                self.events.push(Event::SnapshotUnneeded { of: from, progress: status });
                progress.replicate();
            }
            Mode::Snapshot { .. } => {}
            Mode::Replicate => progress.free_to(answer.index),
        }
        let tells_news = progress.commit_is_news(self.log.committed);
        let is_other = from != self.config.id;
        if self.commit_by_quorum() {
            self.release_reads();
            self.broadcast_append();
        } else if is_other && tells_news {
            self.send_append(from, true);
        }
        // Room was made, perhaps for several messages.
        while is_other && self.send_append(from, false) {}
        self.finish_transfer(from);
        Ok(())
    }

    /// A member answered a heartbeat.
    pub(super) fn heartbeat_answered(&mut self, answer: &Message) {
        let last = self.log.last_index();
        let Some(progress) = self.members.progress.get_mut(&answer.from) else { return };
        progress.recent_active = true;
        progress.resume();
        // All that was under way may be lost, and a probe is not answered by heartbeats.
        if progress.matched < last || progress.mode == Mode::Probe {
            self.send_append(answer.from, true);
        }
        self.read_acknowledged(answer);
    }

    /// Takes a leader's entries.
    pub(super) fn take_append(&mut self, append: &Message) -> Result<(), RaftError> {
        let answer = Message::new(MessageKind::AppendAnswer, append.from);
        if append.index < self.log.committed {
            // What is committed is equal anyway.
            self.send(Message { index: self.log.committed, ..answer });
            return Ok(());
        }
        let previous = EntryId { term: append.log_term, index: append.index };
        let (entries, commit) = (&append.entries, append.commit);
        match self.log.append_matching(previous, entries, commit, &mut self.events) {
            Ok(index) => {
                self.send(Message { index, ..answer });
                Ok(())
            }
            Err(Mismatch::Fatal(error)) => Err(error),
            Err(Mismatch::Previous) => {
                let existing = self.log.term(previous.index).unwrap_or_default();
                self.events.push(Event::AppendRefused { from: append.from, previous, existing });
                // Entries of terms above the leader's at that place cannot be the leader's.
                let end = previous.index.min(self.log.last_index());
                let hint = self.log.last_not_above(end, previous.term);
                self.send(Message {
                    index: previous.index,
                    reject: true,
                    reject_hint: hint.index,
                    log_term: hint.term,
                    ..answer
                });
                Ok(())
            }
        }
    }

    /// Takes a leader's heartbeat.
    pub(super) fn take_heartbeat(&mut self, heartbeat: Message) -> Result<(), RaftError> {
        self.log.commit_to(heartbeat.commit)?;
        let answer = Message::new(MessageKind::HeartbeatAnswer, heartbeat.from);
        self.send(Message { context: heartbeat.context, ..answer });
        Ok(())
    }

    /// Takes a leader's snapshot, if it is news.
    pub(super) fn take_snapshot(&mut self, message: Message) -> Result<(), RaftError> {
        let Some(snapshot) = message.snapshot else { return Ok(()) };
        let id = snapshot.id();
        let restored = self.restore(*snapshot, message.from)?;
        let commit = self.log.committed;
        self.events.push(Event::SnapshotHandled { commit, snapshot: id, restored });
        let index = if restored { self.log.last_index() } else { commit };
        self.send(Message { index, ..Message::new(MessageKind::AppendAnswer, message.from) });
        Ok(())
    }

    /// Puts a snapshot in place of the log. `false` where the log is at least as far, or it is not
    /// the time for it.
    fn restore(&mut self, snapshot: Snapshot, from: u64) -> Result<bool, RaftError> {
        let id = snapshot.id();
        if id.index <= self.log.committed {
            return Ok(false);
        }
        let state = &snapshot.metadata.conf_state;
        let lists = [&state.voters, &state.learners, &state.voters_outgoing];
        if !lists.iter().any(|ids| ids.contains(&self.config.id)) {
            let configuration = state.clone();
            self.events.push(Event::SnapshotOfOthers { configuration });
            return Ok(false);
        }
        if self.log.matches(id) {
            // It is here already; now it is known to be committed.
            let (commit, last) = (self.log.committed, self.log.last_id());
            self.events.push(Event::SnapshotFastForwarded { commit, last, snapshot: id });
            self.log.commit_to(id.index)?;
            return Ok(false);
        }
        if !self.unapplied.is_empty() {
            // Those changes would be made to members that have them already, or are past them. It
            // counts as one that got lost: the leader sends it again.
            return Ok(false);
        }
        let Ok(members) = Members::restore(self.config.inflight, state, id.index) else {
            let problem = "the members in its snapshot contradict each other";
            return Err(RaftError::Malformed { kind: MessageKind::Snapshot, from, problem });
        };
        self.log.restore(snapshot, &mut self.events);
        self.switch_members(members);
        let (commit, last) = (self.log.committed, self.log.last_id());
        self.events.push(Event::SnapshotRestored { commit, last, snapshot: id });
        Ok(true)
    }

    /// A member does not have the entry in front of what it was sent.
    fn append_was_refused(&mut self, answer: &Message) {
        let from = answer.from;
        let hint = EntryId { term: answer.log_term, index: answer.reject_hint };
        self.events.push(Event::RefusalReceived { from, index: answer.index, hint });
        // Where our terms are above the one it has at its hint, the logs cannot agree.
        let next = match hint.term {
            0 => hint.index,
            term => self.log.last_not_above(hint.index, term).index,
        };
        let Some(progress) = self.members.progress.get_mut(&from) else { return };
        if progress.refused(answer.index, next) {
            let status = progress.status();
            self.events.push(Event::ProgressDecreased { of: from, progress: status });
            if progress.mode == Mode::Replicate {
                progress.probe();
            }
            self.send_append(from, true);
        }
    }

    fn send_snapshot(&mut self, to: u64) -> bool {
        let Some(progress) = self.members.progress.get_mut(&to) else { return false };
        if !progress.recent_active {
            self.events.push(Event::SnapshotWithheld { to });
            return false;
        }
        let Some(snapshot) = self.log.snapshot() else {
            self.events.push(Event::SnapshotUnavailable { to });
            return false;
        };
        let (first, commit) = (self.log.first_index(), self.log.committed);
        let (id, before) = (snapshot.id(), progress.status());
        progress.send_snapshot(id.index);
        let after = progress.status();
        let sent = Event::SnapshotSent { to, first, commit, snapshot: id, progress: before };
        self.events.push(sent);
        self.events.push(Event::ReplicationPaused { to, progress: after });
        let message = Message::new(MessageKind::Snapshot, to);
        self.send(Message { snapshot: Some(Box::new(snapshot)), ..message });
        true
    }

    fn check_quorum(&mut self) {
        if !self.members.quorum_is_active() {
            self.events.push(Event::QuorumLost);
            self.become_follower(self.term, super::NOBODY);
        }
        // From here on everybody has to be heard of again.
        for (id, progress) in &mut self.members.progress {
            progress.recent_active &= *id == self.config.id;
        }
    }
}
