//! Catching up: unsynced watchers are planned for, read for on any thread, and given what was read.
//!
//! What must hold: a run borrows nothing of the hub, is bounded, and never ends within a revision;
//! who moved meanwhile gets nothing of it.

use std::collections::{BTreeMap, HashMap};

use holdfast_api::mvccpb::Event;

use super::super::group::Group;
use super::super::shared::SharedEvents;
use super::{Delivery, Hub, Outbox, WatcherId};
use crate::mvcc::{HistoryLimits, MvccError, Reader};

/// Most watchers that catch up in one run.
const MOST_IN_CATCH_UP: usize = 512;

/// A run of the history to read for some watchers. It borrows nothing of the hub.
#[derive(Debug)]
pub struct CatchUp {
    reader: Reader,
    from: i64,
    last: i64,
    watchers: HashMap<u64, i64>,
    group: Group,
}

/// What they get.
#[derive(Debug)]
pub struct CaughtUp {
    /// Of each watcher: the revision it stood at, and its events.
    events: BTreeMap<u64, (i64, Vec<Event>)>,
    next: i64,
}

impl Hub {
    /// What is to be read next for unsynced watchers that have room, the furthest behind first;
    /// `None` if nobody is. Those whose next revision is compacted are told so.
    pub fn plan(
        &mut self,
        reader: Reader,
        limits: HistoryLimits,
        outbox: &mut impl Outbox,
    ) -> Option<CatchUp> {
        self.end_compacted(reader.compacted(), outbox);
        let (from, _) = *self.unsynced.first()?;
        // What is published later is given by `publish`; so nobody hears of a revision before its
        // turn.
        let last = reader.revision().min(self.revision);
        let last = last.min(from.saturating_add(limits.revisions.max(1) - 1));
        let mut plan =
            CatchUp { reader, from, last, watchers: HashMap::new(), group: Group::default() };
        for (next, id) in self.unsynced.range(..=(last, u64::MAX)).take(MOST_IN_CATCH_UP) {
            if let Some(watcher) = self.watchers.get(id) {
                plan.watchers.insert(*id, *next);
                plan.group.insert(&watcher.spec.range, *id);
            }
        }
        (!plan.watchers.is_empty()).then_some(plan)
    }

    /// Gives the watchers what was read for them, if they still stand where they stood. Whoever is
    /// level then becomes synced.
    pub fn caught_up(&mut self, read: CaughtUp, outbox: &mut impl Outbox) {
        let CaughtUp { events, next } = read;
        for (id, (stood, mut events)) in events {
            let Some(watcher) = self.watchers.get(&id) else { continue };
            if watcher.is_synced || watcher.is_blocked || watcher.next != stood {
                continue;
            }
            let filters = watcher.spec.filters;
            events.retain(|event| filters.pass(event));
            let revision = self.revision;
            let mut offer = |events| {
                let events = SharedEvents::new(events);
                outbox.offer(WatcherId(id), Delivery::Events { revision, events })
            };
            if events.is_empty() || offer(events) {
                self.advance(id, next.max(stood));
            } else {
                self.change(id, |watcher| watcher.is_blocked = true);
            }
        }
    }

    fn end_compacted(&mut self, compacted: i64, outbox: &mut impl Outbox) {
        while let Some((next, id)) = self.unsynced.first().copied().filter(|(n, _)| *n < compacted)
        {
            assert!(self.watchers.contains_key(&id), "who is listed at {next} is there");
            if outbox.offer(WatcherId(id), Delivery::Compacted { revision: compacted }) {
                self.cancel(WatcherId(id));
            } else {
                self.change(id, |watcher| watcher.is_blocked = true);
            }
        }
    }
}

impl CatchUp {
    /// Reads the history and gives each watcher its events.
    ///
    /// # Errors
    /// The database fails or is damaged.
    pub fn run(self, limits: HistoryLimits) -> Result<CaughtUp, MvccError> {
        let CatchUp { reader, from, last, watchers, group } = self;
        let limits = HistoryLimits { revisions: last.saturating_sub(from) + 1, ..limits };
        let batch = reader.history(from, limits, |key| group.watches(key))?;
        let stood = watchers.iter().map(|(id, next)| (*id, (*next, Vec::new())));
        let mut events: BTreeMap<u64, (i64, Vec<Event>)> = stood.collect();
        for event in batch.events {
            let Some(kv) = &event.kv else { continue };
            group.of_key(&kv.key, |id| {
                let Some((next, of_watcher)) = events.get_mut(&id) else { return };
                if *next <= kv.mod_revision {
                    of_watcher.push(event.clone());
                }
            });
        }
        Ok(CaughtUp { events, next: batch.next })
    }
}
