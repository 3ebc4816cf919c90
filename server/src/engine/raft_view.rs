//! What the raft thread shows of itself: term, leader, commit index, for everybody to read.
//!
//! What must hold: reading costs an atomic load; who waits for a change of leadership is told of
//! each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdfast_core::raft::NOBODY;
use tokio::sync::watch;

/// The raft thread's state as others see it.
#[derive(Debug)]
pub(crate) struct RaftView {
    term: AtomicU64,
    committed: AtomicU64,
    leads: AtomicBool,
    decides_alone: AtomicBool,
    leader: watch::Sender<u64>,
    changes: AtomicU64,
}

impl RaftView {
    /// Of a member that starts.
    pub(crate) fn new(term: u64, committed: u64) -> RaftView {
        RaftView {
            term: AtomicU64::new(term),
            committed: AtomicU64::new(committed),
            leads: AtomicBool::new(false),
            decides_alone: AtomicBool::new(false),
            leader: watch::Sender::new(NOBODY),
            changes: AtomicU64::new(0),
        }
    }

    /// The member's term.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Index of the last entry known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The leader's id; [`NOBODY`] where none is known.
    pub(crate) fn leader(&self) -> u64 {
        *self.leader.borrow()
    }

    /// Whether this member leads.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// The commit index that a linearizable read has to wait for, where no other member has to be
    /// asked for it: this member leads, is the only voter, and has committed in its term.
    pub(crate) fn read_index_alone(&self) -> Option<u64> {
        // In this order: whatever was acknowledged before the first load is in the second.
        self.decides_alone.load(Ordering::Acquire).then(|| self.committed())
    }

    /// How often a leader was seen that was not the one before.
    pub(crate) fn leader_changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Tells of each change of the leader from now on.
    pub(crate) fn watch_leader(&self) -> watch::Receiver<u64> {
        self.leader.subscribe()
    }

    pub(super) fn set_term(&self, term: u64) {
        self.term.store(term, Ordering::Relaxed);
    }

    pub(super) fn set_committed(&self, index: u64) {
        self.committed.fetch_max(index, Ordering::AcqRel);
    }

    /// To be called before anything leaves this member that lets another one decide.
    pub(super) fn set_decides_alone(&self, alone: bool) {
        self.decides_alone.store(alone, Ordering::Release);
    }

    pub(super) fn set_leader(&self, leader: u64, leads: bool) {
        if !leads {
            self.set_decides_alone(false);
        }
        self.leads.store(leads, Ordering::Release);
        self.leader.send_if_modified(|known| {
            let is_news = *known != leader;
            if is_news && leader != NOBODY {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
            *known = leader;
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_lead_decides_nothing_alone() {
        let view = RaftView::new(1, 5);
        assert_eq!(view.read_index_alone(), None);
        view.set_leader(1, true);
        assert_eq!(view.read_index_alone(), None, "nothing is committed in its term yet");
        view.set_decides_alone(true);
        view.set_committed(7);
        assert_eq!(view.read_index_alone(), Some(7));
        view.set_committed(6);
        assert_eq!((view.committed(), view.read_index_alone()), (7, Some(7)), "it only grows");
        view.set_leader(2, false);
        assert_eq!(view.read_index_alone(), None);
    }
}
