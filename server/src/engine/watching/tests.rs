//! Watches beside a store in memory: what is queued, in which order, and how much.

use super::*;
use futures::FutureExt;
use holdfast_api::etcdserverpb::PutRequest;
use holdfast_core::backend::{Backend, MemoryBase};
use holdfast_core::mvcc::Store;
use holdfast_core::watch::{Filters, WatchRange};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A store and its watches; the thread ends with the test's process.
struct Watched {
    store: Store,
    watching: Watching,
    queue: Arc<Queue>,
}

impl Watched {
    fn new() -> Watched {
        let backend = Backend::new(Box::new(MemoryBase::new())).unwrap();
        let store = Store::open(backend).unwrap().0;
        let watching = Watching::start(store.handle(), |error| panic!("{error}")).unwrap().0;
        Watched { store, watching, queue: Arc::default() }
    }

    fn put(&mut self, bytes: usize) {
        let put = PutRequest { key: b"k".to_vec(), value: vec![7; bytes], ..Default::default() };
        let applied = self.store.put(&put, &|_| false).unwrap();
        self.watching.publish(applied.revision, &applied.events);
    }

    fn begin(&self, start_revision: i64) -> WatcherId {
        let range = WatchRange::of_request(b"k", b"").unwrap();
        let spec = WatchSpec { range, start_revision, filters: Filters::default() };
        self.watching.begin(1, spec, &self.queue, |revision| said("created", revision))
    }

    /// What comes next, as a word and the revision; a wish for room is granted.
    async fn next(&self, watcher: WatcherId) -> (String, i64) {
        let next = tokio::time::timeout(PATIENCE, self.queue.next()).await;
        let (item, has_room) = next.expect("something comes").expect("it goes on");
        if has_room {
            self.watching.has_room(std::iter::once(watcher));
        }
        match item {
            Item::Response(said) => (said.cancel_reason, said.compact_revision),
            Item::Delivery(_, _, Delivery::Events { events, .. }) => {
                let last = events.events().last().unwrap().kv.as_ref().unwrap();
                (format!("{} events", events.events().len()), last.mod_revision)
            }
            Item::Delivery(_, _, Delivery::Compacted { revision }) => {
                ("compacted".into(), revision)
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.queue.next().now_or_never().is_none()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.stop();
    }
}

/// An answer that carries a word and a number.
fn said(word: &str, revision: i64) -> WatchResponse {
    let cancel_reason = word.to_owned();
    WatchResponse { cancel_reason, compact_revision: revision, ..WatchResponse::default() }
}

#[tokio::test]
async fn a_watch_begins_with_created_and_ends_after_its_events() {
    let mut watched = Watched::new();
    (0..3).for_each(|_| watched.put(1));
    let watcher = watched.begin(2);
    assert_eq!(watched.next(watcher).await, ("created".to_owned(), 4));
    assert_eq!(watched.next(watcher).await, ("3 events".to_owned(), 4));
    watched.put(1);
    watched.watching.end(watcher, Some((&watched.queue, said("canceled", 9))));
    watched.put(1);
    assert_eq!(watched.next(watcher).await, ("1 events".to_owned(), 5));
    assert_eq!(watched.next(watcher).await, ("canceled".to_owned(), 9));
    assert!(watched.is_silent());
    assert_eq!(watched.watching.counts(), (0, 0));
}

#[tokio::test]
async fn progress_is_told_of_who_is_level_only() {
    let mut watched = Watched::new();
    watched.put(1);
    let to_come = watched.begin(9);
    assert_eq!(watched.next(to_come).await.0, "created");
    let tell = |watched: &Watched| {
        watched.watching.progress_of(to_come, &watched.queue, |now| said("progress", now));
    };
    tell(&watched);
    assert!(watched.is_silent(), "its start has not come");
    (0..8).for_each(|_| watched.put(1));
    assert_eq!(watched.next(to_come).await, ("1 events".to_owned(), 9));
    assert_eq!(watched.next(to_come).await, ("1 events".to_owned(), 10));
    tell(&watched);
    assert_eq!(watched.next(to_come).await, ("progress".to_owned(), 10));
}

#[tokio::test]
async fn a_queue_holds_so_much_and_who_found_it_full_misses_nothing() {
    const VALUE_BYTES: usize = 1 << 20;
    const PUTS: i64 = 24;
    let mut watched = Watched::new();
    let watcher = watched.begin(0);
    assert_eq!(watched.next(watcher).await.0, "created");
    (0..PUTS).for_each(|_| watched.put(VALUE_BYTES));
    let held = watched.queue.lock().bytes;
    assert!(held < QUEUE_BYTES + 2 * VALUE_BYTES, "{held} bytes wait");
    let (mut events, mut last) = (0, 1);
    while last < 1 + PUTS {
        let (said, revision) = watched.next(watcher).await;
        let count: i64 = said.strip_suffix(" events").unwrap().parse().unwrap();
        assert_eq!(revision, last + count, "none is left out or comes twice");
        (events, last) = (events + count, revision);
        let held = watched.queue.lock().bytes;
        assert!(held < 2 * QUEUE_BYTES + 2 * VALUE_BYTES, "{held} bytes wait");
    }
    assert_eq!(events, PUTS);
}
