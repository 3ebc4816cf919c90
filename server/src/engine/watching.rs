//! Watches of all streams: the hub behind its lock, the queues of the streams, the thread that
//! reads history for those who are behind.
//!
//! What must hold: a stream's queue is bounded in bytes, and whoever finds it full goes back to the
//! history instead of waiting or holding others back; what is put in a queue under the hub's lock
//! keeps the hub's order (a watch's `created` comes before its events).

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use holdfast_api::etcdserverpb::WatchResponse;
use holdfast_api::mvccpb::Event;
use holdfast_core::mvcc::{self, HistoryLimits, MvccError};
use holdfast_core::watch::{Delivery, Hub, Outbox, StreamWatches, WatchSpec, WatcherId};

/// Bytes of deliveries that wait in a stream's queue; one more delivery may come on top.
const QUEUE_BYTES: usize = 8 << 20;
/// What a delivery weighs at least.
const DELIVERY_BYTES: usize = 64;
/// Items that an empty queue keeps room for.
const MOST_IDLE_ITEMS: usize = 16;

/// Something to send on a stream.
#[derive(Debug)]
pub(crate) enum Item {
    /// As it is; its header is filled when it is sent.
    Response(Box<WatchResponse>),
    /// Events, or the end, of a watch: its id on the stream, which others may have had and will.
    Delivery(i64, WatcherId, Delivery),
}

/// What waits to be sent on a stream.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<(usize, Item)>,
    bytes: usize,
    refused: bool,
    closed: bool,
    /// Who waits for the next item.
    waiter: Option<Waker>,
}

/// All watches of a member. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watching {
    inner: Arc<Inner>,
}

struct Inner {
    desk: Mutex<Desk>,
    behind: Condvar,
    store: mvcc::Handle,
}

struct Desk {
    hub: Hub,
    streams: HashMap<WatcherId, (i64, Arc<Queue>)>,
    ended: bool,
}

struct Queues<'a>(&'a mut HashMap<WatcherId, (i64, Arc<Queue>)>);

impl Outbox for Queues<'_> {
    fn offer(&mut self, watcher: WatcherId, delivery: Delivery) -> bool {
        let Some((id, queue)) = self.0.get(&watcher) else { return true };
        queue.offer(*id, watcher, delivery)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for that.
    fn change(&self, change: impl FnOnce(&mut QueueState) -> bool) -> bool {
        let mut state = self.lock();
        let changed = change(&mut state);
        let waiter = if changed { state.waiter.take() } else { None };
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        changed
    }

    /// A control answer: never refused, since the client's own requests bound them.
    pub(crate) fn push(&self, response: WatchResponse) {
        self.change(|state| {
            state.items.push_back((0, Item::Response(Box::new(response))));
            true
        });
    }

    fn offer(&self, id: i64, watcher: WatcherId, delivery: Delivery) -> bool {
        let weight = match &delivery {
            Delivery::Events { events, .. } => events.size_bytes(),
            Delivery::Compacted { .. } => 0,
        };
        let weight = weight.max(DELIVERY_BYTES);
        self.change(|state| {
            let has_room = state.bytes < QUEUE_BYTES;
            if has_room {
                state.bytes += weight;
                state.items.push_back((weight, Item::Delivery(id, watcher, delivery)));
            } else {
                state.refused = true;
            }
            has_room
        })
    }

    /// The next item, and whether somebody was refused and there is room again. `None`: closed.
    /// One asks at a time.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<(Item, bool)>> {
        let mut state = self.lock();
        if let Some((weight, item)) = state.items.pop_front() {
            state.bytes -= weight;
            let room = state.refused && state.bytes < QUEUE_BYTES / 2;
            state.refused &= !room;
            // One that is idle again holds nothing.
            if state.items.is_empty() && state.items.capacity() > MOST_IDLE_ITEMS {
                state.items = VecDeque::new();
            }
            return Poll::Ready(Some((item, room)));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        match &mut state.waiter {
            Some(waiter) => waiter.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// As [`Queue::poll_next`].
    pub(crate) async fn next(&self) -> Option<(Item, bool)> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.change(|state| {
            state.closed = true;
            true
        });
    }
}

impl Watching {
    /// Nobody watches. The thread reads history for those who are behind.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        store: mvcc::Handle,
        failed: impl FnOnce(MvccError) + Send + 'static,
    ) -> std::io::Result<(Watching, JoinHandle<()>)> {
        let hub = Hub::new(store.revision());
        let desk = Mutex::new(Desk { hub, streams: HashMap::new(), ended: false });
        let inner = Arc::new(Inner { desk, behind: Condvar::new(), store });
        let watching = Watching { inner };
        let own = watching.clone();
        let work = move || {
            if let Err(error) = own.serve_those_behind() {
                failed(error);
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(work)?;
        Ok((watching, thread))
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the events of a revision to those who watch their keys.
    pub(crate) fn publish(&self, revision: i64, events: &[Event]) {
        let mut desk = self.lock();
        let Desk { hub, streams, .. } = &mut *desk;
        hub.publish(revision, events, &mut Queues(streams));
        if hub.slow() > 0 {
            self.inner.behind.notify_one();
        }
    }

    /// Begins a watch with the id `id` of a stream: `created` is queued before its events.
    pub(crate) fn begin(
        &self,
        id: i64,
        spec: WatchSpec,
        queue: &Arc<Queue>,
        created: impl FnOnce(i64) -> WatchResponse,
    ) -> WatcherId {
        let mut desk = self.lock();
        queue.push(created(desk.hub.revision()));
        let watcher = desk.hub.watch(spec);
        desk.streams.insert(watcher, (id, Arc::clone(queue)));
        if desk.hub.slow() > 0 {
            self.inner.behind.notify_one();
        }
        watcher
    }

    /// Ends a watch; `last` is queued after all its events.
    pub(crate) fn end(&self, watcher: WatcherId, last: Option<(&Queue, WatchResponse)>) {
        let mut desk = self.lock();
        desk.hub.cancel(watcher);
        desk.streams.remove(&watcher);
        if let Some((queue, response)) = last {
            queue.push(response);
        }
    }

    /// These watchers' queue has room again.
    pub(crate) fn has_room(&self, watchers: impl Iterator<Item = WatcherId>) {
        let mut desk = self.lock();
        watchers.for_each(|watcher| desk.hub.has_room(watcher));
        self.inner.behind.notify_one();
    }

    /// Queues what `say` makes of the revision up to which all of a stream's watches are level.
    pub(crate) fn progress(
        &self,
        watches: &StreamWatches,
        queue: &Queue,
        say: impl FnOnce(i64) -> WatchResponse,
    ) {
        let desk = self.lock();
        if let Some(revision) = watches.progress(&desk.hub) {
            queue.push(say(revision));
        }
    }

    /// Queues what `say` makes of the revision if the watcher is level.
    pub(crate) fn progress_of(
        &self,
        watcher: WatcherId,
        queue: &Queue,
        say: impl FnOnce(i64) -> WatchResponse,
    ) {
        let desk = self.lock();
        if desk.hub.is_level(watcher) {
            queue.push(say(desk.hub.revision()));
        }
    }

    /// Watchers, and those of them that are behind.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let desk = self.lock();
        (desk.hub.len(), desk.hub.slow())
    }

    /// The thread ends.
    pub(crate) fn stop(&self) {
        self.lock().ended = true;
        self.inner.behind.notify_one();
    }

    fn serve_those_behind(&self) -> Result<(), MvccError> {
        let limits = HistoryLimits::default();
        let mut desk = self.lock();
        loop {
            if desk.ended {
                return Ok(());
            }
            let plan = {
                let Desk { hub, streams, .. } = &mut *desk;
                hub.plan(self.inner.store.reader(), limits, &mut Queues(streams))
            };
            let Some(plan) = plan else {
                desk = self.inner.behind.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(desk);
            let read = match plan.run(limits) {
                // A compaction overtook the reading: the next plan ends those below it.
                Err(MvccError::Compacted) => None,
                other => Some(other?),
            };
            desk = self.lock();
            if let Some(read) = read {
                let Desk { hub, streams, .. } = &mut *desk;
                hub.caught_up(read, &mut Queues(streams));
            }
        }
    }
}

#[cfg(test)]
mod tests;
