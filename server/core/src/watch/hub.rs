//! The hub: watchers, synced and unsynced, and what is given to those that are synced.
//!
//! What must hold: a watcher is listed in one place: among the synced ones, or, unless it is
//! blocked, among the unsynced ones under its next revision.

mod catch_up;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use holdfast_api::mvccpb::Event;

use super::group::Group;
use super::shared::{Selections, SharedEvents};
use super::spec::WatchSpec;
pub use catch_up::{CatchUp, CaughtUp};

/// A watcher, for as long as the hub lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(u64);

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// Events of whole revisions, in order, without what the filters leave out; never none.
    Events {
        /// For the header: the current revision, which may be ahead of the events.
        revision: i64,
        /// They.
        events: Arc<SharedEvents>,
    },
    /// The next revision is compacted; the watcher has ended.
    Compacted {
        /// The compaction revision.
        revision: i64,
    },
}

/// Where deliveries go: a bounded buffer for each watcher or stream.
pub trait Outbox {
    /// Takes a delivery whole, or gives it up: `false` if there is no room.
    fn offer(&mut self, watcher: WatcherId, delivery: Delivery) -> bool;
}

#[derive(Debug)]
struct Watcher {
    spec: WatchSpec,
    /// The first revision that it was not given.
    next: i64,
    is_synced: bool,
    /// Its outbox refused the last delivery.
    is_blocked: bool,
}

/// All watchers of a member.
#[derive(Debug)]
pub struct Hub {
    watchers: HashMap<u64, Watcher>,
    synced: Group,
    /// By next revision, those that are not blocked.
    unsynced: BTreeSet<(i64, u64)>,
    slow: usize,
    revision: i64,
    last_id: u64,
}

impl Hub {
    /// Without watchers, at the store's revision.
    pub fn new(revision: i64) -> Hub {
        Hub {
            watchers: HashMap::new(),
            synced: Group::default(),
            unsynced: BTreeSet::new(),
            slow: 0,
            revision,
            last_id: 0,
        }
    }

    /// The last revision that was published.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Number of watchers.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Number of unsynced watchers.
    pub fn slow(&self) -> usize {
        self.slow
    }

    /// Begins a watch.
    pub fn watch(&mut self, spec: WatchSpec) -> WatcherId {
        self.last_id += 1;
        let id = self.last_id;
        let start = if spec.start_revision <= 0 { self.revision + 1 } else { spec.start_revision };
        let is_synced = start > self.revision;
        self.watchers.insert(id, Watcher { spec, next: start, is_synced, is_blocked: false });
        self.enlist(id);
        WatcherId(id)
    }

    /// Ends a watch; whether there was one.
    pub fn cancel(&mut self, id: WatcherId) -> bool {
        self.delist(id.0);
        self.watchers.remove(&id.0).is_some()
    }

    /// Whether a watcher was given all up to [`Hub::revision`], and its start has come.
    pub fn is_level(&self, id: WatcherId) -> bool {
        let level =
            |watcher: &Watcher| watcher.is_synced && watcher.spec.start_revision <= self.revision;
        self.watchers.get(&id.0).is_some_and(level)
    }

    /// Gives the events of a revision to the synced watchers of their keys.
    ///
    /// # Panics
    /// If revisions do not ascend.
    pub fn publish(&mut self, revision: i64, events: &[Event], outbox: &mut impl Outbox) {
        assert!(revision > self.revision, "revision {revision} after {}", self.revision);
        self.revision = revision;
        // Of each watcher, which of the events; by watcher, so that what goes to one lies together.
        let mut wanted: Vec<(u64, usize)> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let Some(kv) = &event.kv else { continue };
            self.synced.of_key(&kv.key, |id| {
                let watcher = self.watchers.get(&id);
                let wants = |w: &&Watcher| w.next <= revision && w.spec.filters.pass(event);
                if watcher.filter(wants).is_some() {
                    wanted.push((id, place));
                }
            });
        }
        wanted.sort_unstable();
        let mut selections = Selections::of(events);
        for of_watcher in wanted.chunk_by(|one, next| one.0 == next.0) {
            let id = of_watcher[0].0;
            let events = selections.take(of_watcher.iter().map(|(_, place)| *place).collect());
            if outbox.offer(WatcherId(id), Delivery::Events { revision, events }) {
                self.advance(id, revision + 1);
            } else {
                self.fall_behind(id, revision);
            }
        }
    }

    /// A watcher's outbox has room again.
    pub fn has_room(&mut self, id: WatcherId) {
        if self.watchers.get(&id.0).is_some_and(|watcher| watcher.is_blocked) {
            self.change(id.0, |watcher| watcher.is_blocked = false);
        }
    }

    /// The store was replaced (by a leader's snapshot) and is at this revision now: all watchers
    /// read the history for what they missed.
    pub fn replaced(&mut self, revision: i64) {
        let ids: Vec<u64> = self.watchers.keys().copied().collect();
        for id in ids {
            let before = self.revision;
            self.change(id, |watcher| {
                if watcher.is_synced {
                    watcher.next = watcher.next.max(before + 1);
                }
                watcher.is_synced = watcher.next > revision;
            });
        }
        self.revision = revision;
    }

    /// A watcher was given all before `next`.
    fn advance(&mut self, id: u64, next: i64) {
        let revision = self.revision;
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        if watcher.is_synced {
            watcher.next = next;
            return;
        }
        self.change(id, |watcher| {
            watcher.next = next;
            watcher.is_synced = next > revision;
        });
    }

    /// A synced watcher did not take the events of a revision.
    fn fall_behind(&mut self, id: u64, revision: i64) {
        self.change(id, |watcher| {
            watcher.next = revision;
            watcher.is_synced = false;
            watcher.is_blocked = true;
        });
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Watcher)) {
        self.delist(id);
        if let Some(watcher) = self.watchers.get_mut(&id) {
            change(watcher);
        }
        self.enlist(id);
    }

    fn enlist(&mut self, id: u64) {
        let Some(watcher) = self.watchers.get(&id) else { return };
        if watcher.is_synced {
            self.synced.insert(&watcher.spec.range, id);
            return;
        }
        self.slow += 1;
        if !watcher.is_blocked {
            self.unsynced.insert((watcher.next, id));
        }
    }

    fn delist(&mut self, id: u64) {
        let Some(watcher) = self.watchers.get(&id) else { return };
        if watcher.is_synced {
            self.synced.remove(&watcher.spec.range, id);
            return;
        }
        self.slow -= 1;
        self.unsynced.remove(&(watcher.next, id));
    }
}
