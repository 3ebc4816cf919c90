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

    pub(super) fn set_leader(&self, leader: u64, leads: bool) {
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
