//! The hub: watchers, synced and unsynced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use holdfast_api::mvccpb::Event;
use holdfast_api::mvccpb::event::EventType;

use super::group::Group;
use super::shared::SharedEvents;
use super::stream::WatchError;
use crate::mvcc::{HistoryLimits, MvccError, Reader};

/// Most watchers that catch up in one run.
const MOST_IN_CATCH_UP: usize = 512;

/// A watcher, for as long as the hub lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(u64);

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchRange {
    /// One key.
    One(Box<[u8]>),
    /// From the first to before the second.
    Between(Box<[u8]>, Box<[u8]>),
    /// From a key on.
    From(Box<[u8]>),
}

/// Events that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filters {
    /// Puts.
    pub no_put: bool,
    /// Deletions.
    pub no_delete: bool,
}

/// A watch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSpec {
    /// Its keys.
    pub range: WatchRange,
    /// The first revision; 0 for what comes from now on. One to come is waited for.
    pub start_revision: i64,
    /// What is left out.
    pub filters: Filters,
}

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

impl WatchRange {
    /// Of a request: an empty key means the lowest one, an empty end one key, a zero byte no end.
    ///
    /// # Errors
    /// [`WatchError::EmptyRange`] if nothing can lie in it.
    pub fn of_request(key: &[u8], range_end: &[u8]) -> Result<WatchRange, WatchError> {
        let key: &[u8] = if key.is_empty() { &[0] } else { key };
        match range_end {
            [] => Ok(WatchRange::One(key.into())),
            [0] => Ok(WatchRange::From(key.into())),
            end if key >= end => Err(WatchError::EmptyRange),
            end => Ok(WatchRange::Between(key.into(), end.into())),
        }
    }
}

impl Filters {
    fn pass(self, event: &Event) -> bool {
        match event.r#type() {
            EventType::Put => !self.no_put,
            EventType::Delete => !self.no_delete,
        }
    }
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

/// The choices of a revision's events that watchers made: who chose alike shares them.
struct Selections<'a> {
    events: &'a [Event],
    made: HashMap<Vec<usize>, Arc<SharedEvents>>,
}

impl<'a> Selections<'a> {
    fn of(events: &'a [Event]) -> Selections<'a> {
        Selections { events, made: HashMap::new() }
    }

    /// The events at these places.
    fn take(&mut self, places: Vec<usize>) -> Arc<SharedEvents> {
        let events = self.events;
        let make = |places: &Vec<usize>| {
            SharedEvents::new(places.iter().map(|place| events[*place].clone()).collect())
        };
        Arc::clone(self.made.entry(places).or_insert_with_key(make))
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
