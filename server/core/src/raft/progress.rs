//! What a leader knows of a member's log, and what it may send to it next.
//!
//! | mode | what is sent |
//! |---|---|
//! | probe | one append, then nothing until it is answered or a heartbeat is |
//! | replicate | appends one after another, within the limits on what is under way |
//! | snapshot | nothing until the snapshot was taken or given up |
//!
//! Must hold: `matched < next`; what is between them is under way. In mode snapshot, `next` is the
//! snapshot's index + 1.

use std::collections::VecDeque;

/// How a leader sends to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Looks for the place where the logs agree.
    Probe,
    /// Streams entries.
    Replicate,
    /// A snapshot is under way.
    Snapshot {
        /// Its index; 0 once it failed.
        index: u64,
    },
}

/// Limits on appends that are not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InflightLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload; the message that reaches it is still sent. `None` for no limit.
    pub bytes: Option<u64>,
}

/// Appends that are under way: for each the last index and the bytes of payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inflights {
    limits: InflightLimits,
    sent: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Highest index at which its log is known to be the leader's.
    pub matched: u64,
    /// The index that is sent next.
    pub next: u64,
    /// How it is sent to.
    pub mode: Mode,
    /// Whether it was heard of since the last check of the quorum.
    pub recent_active: bool,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// Whether no append may leave before it answers.
    flow_paused: bool,
    /// Highest commit index that is under way to it.
    sent_commit: u64,
    /// Appends under way.
    inflights: Inflights,
}

/// A copy of what [`Progress`] shows to operators and in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressStatus {
    /// Highest index at which its log is known to be the leader's.
    pub matched: u64,
    /// The index that is sent next.
    pub next: u64,
    /// How it is sent to.
    pub mode: Mode,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// Whether nothing is sent to it now.
    pub is_paused: bool,
    /// Whether it was heard of since the last check of the quorum.
    pub recent_active: bool,
    /// Appends under way.
    pub inflight: usize,
    /// Whether no more fit.
    pub inflight_full: bool,
}

impl Inflights {
    /// None under way.
    pub fn new(limits: InflightLimits) -> Self {
        Inflights { limits, sent: VecDeque::new(), bytes: 0 }
    }

    /// How many messages are under way.
    pub fn count(&self) -> usize {
        self.sent.len()
    }

    /// Whether no more fit.
    pub fn is_full(&self) -> bool {
        self.sent.len() >= self.limits.messages
            || self.limits.bytes.is_some_and(|limit| self.bytes >= limit)
    }

    /// Notes a message whose last entry is `index`, higher than all before.
    pub fn add(&mut self, index: u64, bytes: u64) {
        assert!(!self.is_full(), "appends under way to a member stay within their limits");
        assert!(self.sent.back().is_none_or(|(last, _)| *last < index), "appends leave in order");
        self.sent.push_back((index, bytes));
        self.bytes += bytes;
    }

    /// Forgets messages up to `index`: the member has them.
    pub fn free_to(&mut self, index: u64) {
        while let Some((last, bytes)) = self.sent.front().copied()
            && last <= index
        {
            self.sent.pop_front();
            self.bytes -= bytes;
        }
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }
}

impl Progress {
    /// Of a member of which nothing is known but that `next` is worth a try.
    pub fn new(next: u64, is_learner: bool, limits: InflightLimits) -> Self {
        Progress {
            matched: 0,
            next,
            mode: Mode::Probe,
            recent_active: false,
            is_learner,
            flow_paused: false,
            sent_commit: 0,
            inflights: Inflights::new(limits),
        }
    }

    /// A copy for the eye.
    pub fn status(&self) -> ProgressStatus {
        ProgressStatus {
            matched: self.matched,
            next: self.next,
            mode: self.mode,
            is_learner: self.is_learner,
            is_paused: self.is_paused(),
            recent_active: self.recent_active,
            inflight: self.inflights.count(),
            inflight_full: self.inflights.is_full(),
        }
    }

    /// Whether nothing is sent now.
    pub fn is_paused(&self) -> bool {
        self.flow_paused || matches!(self.mode, Mode::Snapshot { .. })
    }

    /// Whether entries may go out, not only what is known to be committed.
    pub fn takes_entries(&self) -> bool {
        self.mode != Mode::Replicate || !self.inflights.is_full()
    }

    /// Goes back to looking for the place of agreement; behind the snapshot, where one was sent.
    pub fn probe(&mut self) {
        let behind_snapshot = match self.mode {
            Mode::Snapshot { index } => index + 1,
            Mode::Probe | Mode::Replicate => 0,
        };
        self.enter(Mode::Probe);
        self.next = behind_snapshot.max(self.matched + 1);
        self.lower_sent_commit();
    }

    /// Streams from behind the place of agreement.
    pub fn replicate(&mut self) {
        self.enter(Mode::Replicate);
        self.next = self.matched + 1;
    }

    /// A snapshot is on its way.
    pub fn send_snapshot(&mut self, index: u64) {
        self.enter(Mode::Snapshot { index });
        self.next = index + 1;
        self.sent_commit = index;
    }

    /// The snapshot reached the member or not. Either way nothing is sent until it answers
    /// something.
    pub fn snapshot_ended(&mut self, taken: bool) {
        if !taken {
            // Not behind the snapshot, which it does not have.
            self.mode = Mode::Snapshot { index: 0 };
        }
        self.probe();
        self.flow_paused = true;
    }

    /// An append with so many entries and bytes has left, and with it the commit index.
    pub fn sent(&mut self, entries: u64, bytes: u64, commit: u64) {
        match self.mode {
            Mode::Replicate => {
                if entries > 0 {
                    self.next += entries;
                    self.inflights.add(self.next - 1, bytes);
                }
                // What leaves although no more fits, or fills the limit, is a probe.
                self.flow_paused = self.inflights.is_full();
            }
            Mode::Probe => self.flow_paused |= entries > 0,
            Mode::Snapshot { .. } => unreachable!("nothing is appended behind a snapshot"),
        }
        self.sent_commit = commit;
    }

    /// A heartbeat with this commit index has left.
    pub fn sent_commit(&mut self, commit: u64) {
        self.sent_commit = commit;
    }

    /// Whether telling this commit index may be news to the member.
    pub fn commit_is_news(&self, commit: u64) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next - 1
    }

    /// The member is alive: one append may go out again.
    pub fn resume(&mut self) {
        self.flow_paused = false;
    }

    /// The member has everything up to `index`. `false` where that is no news.
    pub fn acknowledge(&mut self, index: u64) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index + 1);
        self.flow_paused = false;
        true
    }

    /// Frees what is under way up to `index`.
    pub fn free_to(&mut self, index: u64) {
        self.inflights.free_to(index);
    }

    /// The member refused the append behind `rejected`; `hint` is the highest index that can
    /// match. `false` where the refusal is out of date.
    pub fn refused(&mut self, rejected: u64, hint: u64) -> bool {
        if self.mode == Mode::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched + 1;
        } else {
            // Who is not streamed to is probed at one place, which must be the refused one.
            if self.next - 1 != rejected {
                return false;
            }
            self.next = rejected.min(hint.saturating_add(1)).max(self.matched + 1);
            self.flow_paused = false;
        }
        self.lower_sent_commit();
        true
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.flow_paused = false;
        self.inflights.clear();
    }

    fn lower_sent_commit(&mut self) {
        self.sent_commit = self.sent_commit.min(self.next - 1);
    }
}
