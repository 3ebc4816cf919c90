//! Watch: many watches on one stream.
//!
//! A task takes the client's requests; what the queue holds is sent when the connection asks for
//! it.
//! What must hold: `created` comes before a watch's events and `canceled` after them; a stream that
//! ends leaves no watch behind; a client that does not read makes its own queue full and nobody
//! else wait.

mod wire;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use holdfast_api::etcdserverpb::watch_create_request::FilterType;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use holdfast_core::auth::Access;
use holdfast_core::watch::{
    Delivery, Filters, SharedEvents, StreamWatches, WatchRange, WatchSpec, WatcherId, fragments,
};
use http::HeaderMap;
use tokio::task::AbortHandle;
use tonic::{Request, Status, Streaming};

use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::engine::machine::status;
use crate::engine::watching::{Item, Queue};
use crate::grpc::metadata::Peer;
use crate::grpc::{Refusal, go_error};
use wire::Outgoing;

pub(crate) use wire::WatchService;

/// The id in answers that speak of no watch, or of all.
const NO_WATCH: i64 = -1;
/// gRPC's own bytes around a message that is as large as a request may be: as upstream.
const OVERHEAD_BYTES: usize = 512 << 10;

/// A client's stream.
struct Stream {
    handle: Handle,
    queue: Arc<Queue>,
    headers: HeaderMap,
    peer: Option<Peer>,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    ids: StreamWatches,
    options: HashMap<i64, Options>,
    /// Why no more of the client's requests can be read.
    failed: Option<Status>,
}

/// What a client wants of one watch.
#[derive(Debug, Clone, Copy)]
struct Options {
    prev_kv: bool,
    fragment: bool,
    /// Whether it wants to hear of progress, and whether it got events since the last time.
    progress_notify: bool,
    was_told: bool,
}

/// What a client is sent; its watches end with it.
pub(crate) struct Answers {
    stream: Arc<Stream>,
    /// Pieces of an answer that was too large for one.
    pieces: VecDeque<WatchResponse>,
    receiving: AbortHandle,
}

impl Handle {
    /// Serves a stream of requests.
    fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Answers {
        let stream = Arc::new(Stream {
            handle: self.clone(),
            queue: Arc::default(),
            headers: request.metadata().clone().into_headers(),
            peer: request.extensions().get::<Peer>().cloned(),
            watches: Mutex::default(),
        });
        let (requests, receiver) = (request.into_inner(), Arc::clone(&stream));
        let receiving = tokio::spawn(async move {
            receiver.receive(requests).await;
            receiver.end();
        });
        Answers { stream, pieces: VecDeque::new(), receiving: receiving.abort_handle() }
    }
}

impl futures::Stream for Answers {
    type Item = Result<Outgoing, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Outgoing, Status>>> {
        loop {
            if let Some(head) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Outgoing { head, events: Bytes::new() })));
            }
            let Some((item, has_room)) = ready!(self.stream.queue.poll_next(context)) else {
                return Poll::Ready(self.stream.lock().failed.take().map(Err));
            };
            if has_room {
                self.stream.has_room();
            }
            match item {
                Item::Response(head) => {
                    let events = Bytes::new();
                    return Poll::Ready(Some(Ok(Outgoing { head: *head, events })));
                }
                Item::Delivery(id, _, Delivery::Events { revision, events }) => {
                    match self.stream.events(id, revision, &events) {
                        Ok(answer) => return Poll::Ready(Some(Ok(answer))),
                        Err(pieces) => self.pieces = pieces.into(),
                    }
                }
                Item::Delivery(id, watcher, Delivery::Compacted { revision }) => {
                    self.stream.compacted(id, watcher, revision);
                }
            }
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.receiving.abort();
        self.stream.end();
    }
}

impl Stream {
    fn lock(&self) -> std::sync::MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the connection fails. A client that only closes its half wants its watches to go on:
    /// the gateway's does so after its one request.
    async fn receive(&self, mut requests: Streaming<WatchRequest>) {
        let mut progress = tokio::time::interval(self.handle.inner.progress_interval);
        progress.tick().await;
        let mut is_open = true;
        loop {
            let request = tokio::select! {
                request = requests.message(), if is_open => request,
                _ = progress.tick() => {
                    self.tell_progress();
                    continue;
                }
            };
            match request {
                Ok(Some(WatchRequest { request_union: Some(request) })) => self.take(request).await,
                Ok(Some(WatchRequest { request_union: None })) => {}
                Ok(None) => is_open = false,
                Err(status) => {
                    self.lock().failed = Some(status);
                    return;
                }
            }
        }
    }

    async fn take(&self, request: RequestUnion) {
        match request {
            RequestUnion::CreateRequest(create) => self.create(create).await,
            RequestUnion::CancelRequest(cancel) => self.cancel(cancel.watch_id),
            RequestUnion::ProgressRequest(_) => {
                let watches = self.lock();
                self.handle.inner.watching.progress(&watches.ids, &self.queue, |revision| {
                    WatchResponse { watch_id: NO_WATCH, ..self.response(revision) }
                });
            }
        }
    }

    fn response(&self, revision: i64) -> WatchResponse {
        WatchResponse { header: Some(self.handle.header_at(revision)), ..WatchResponse::default() }
    }

    async fn create(&self, create: WatchCreateRequest) {
        if create.start_revision < 0 {
            // Before all else, and naming the server, unlike where a compaction overtakes a watch:
            // as upstream.
            return self.refuse(NO_WATCH, Refusal::Compacted.text().to_owned());
        }
        if let Err(refusal) = self.may_watch(&create).await {
            return self.refuse(NO_WATCH, go_error(&refusal));
        }
        let range = match WatchRange::of_request(&create.key, &create.range_end) {
            Ok(range) => range,
            Err(reason) => return self.refuse(NO_WATCH, reason.to_string()),
        };
        let mut watches = self.lock();
        let id = match watches.ids.choose_id(create.watch_id) {
            Ok(id) => id,
            Err(reason) => {
                drop(watches);
                return self.refuse(NO_WATCH, reason.to_string());
            }
        };
        let wants = |filter: FilterType| create.filters.contains(&(filter as i32));
        let filters =
            Filters { no_put: wants(FilterType::Noput), no_delete: wants(FilterType::Nodelete) };
        let spec = WatchSpec { range, start_revision: create.start_revision, filters };
        let options = Options {
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            was_told: false,
        };
        watches.options.insert(id, options);
        let watcher = self.handle.inner.watching.begin(id, spec, &self.queue, |revision| {
            WatchResponse { watch_id: id, created: true, ..self.response(revision) }
        });
        watches.ids.insert(id, watcher);
    }

    async fn may_watch(&self, create: &WatchCreateRequest) -> Result<(), Status> {
        let who = self.handle.identity_of(&self.headers, self.peer.as_ref()).await;
        let who = who.map_err(told)?;
        // An empty key stands for the lowest one.
        let key: &[u8] = if create.key.is_empty() { &[0] } else { &create.key };
        let auth = read(&self.handle.inner.shared.auth);
        auth.check_range(&who, key, &create.range_end, Access::Read)
            .map_err(|refusal| told(status(refusal)))
    }

    /// Upstream answers with one response that says both.
    fn refuse(&self, id: i64, reason: String) {
        let revision = self.handle.inner.store.revision();
        self.queue.push(WatchResponse {
            watch_id: id,
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..self.response(revision)
        });
    }

    /// Ends a watch as its client wants. One that a compaction has ended is told so once more, as
    /// upstream: Go's client cancels it then, and waits for the answer.
    fn cancel(&self, id: i64) {
        let mut watches = self.lock();
        let Some(watcher) = watches.ids.cancel(id) else { return };
        watches.options.remove(&id);
        let revision = self.handle.inner.store.revision();
        let last = WatchResponse { watch_id: id, canceled: true, ..self.response(revision) };
        match watcher {
            Some(watcher) => self.handle.inner.watching.end(watcher, Some((&self.queue, last))),
            None => self.queue.push(last),
        }
    }

    /// Ends a watch since what it was to tell is compacted away. Upstream says neither why in words
    /// nor at which revision; the compaction's tells all.
    fn compacted(&self, id: i64, watcher: WatcherId, compact_revision: i64) {
        let mut watches = self.lock();
        if watches.ids.compact(id, watcher) {
            watches.options.remove(&id);
            let canceled = WatchResponse { watch_id: id, canceled: true, ..self.response(0) };
            let last = WatchResponse { compact_revision, ..canceled };
            self.handle.inner.watching.end(watcher, Some((&self.queue, last)));
        }
    }

    fn tell_progress(&self) {
        let mut watches = self.lock();
        let Watches { ids, options, .. } = &mut *watches;
        for (id, options) in options.iter_mut().filter(|(_, options)| options.progress_notify) {
            if std::mem::take(&mut options.was_told) {
                continue;
            }
            let Some(watcher) = ids.get(*id) else { continue };
            self.handle.inner.watching.progress_of(watcher, &self.queue, |revision| {
                WatchResponse { watch_id: *id, ..self.response(revision) }
            });
        }
    }

    /// The queue has room again for those who found it full.
    fn has_room(&self) {
        let watchers: Vec<WatcherId> = self.lock().ids.iter().map(|(_, watcher)| watcher).collect();
        self.handle.inner.watching.has_room(watchers.into_iter());
    }

    /// The answer that brings events; pieces of it if it is too large for one, none if its watch
    /// has ended.
    fn events(
        &self,
        id: i64,
        revision: i64,
        events: &Arc<SharedEvents>,
    ) -> Result<Outgoing, Vec<WatchResponse>> {
        let options = {
            let mut watches = self.lock();
            // It may have been cancelled while this waited.
            let Some(options) = watches.options.get_mut(&id) else { return Err(Vec::new()) };
            options.was_told = true;
            *options
        };
        let events = if options.prev_kv {
            events.with_previous(|events| {
                // What is compacted meanwhile is left out, as upstream does.
                let _ = self.handle.inner.store.reader().add_previous(events);
            })
        } else {
            events
        };
        let head = WatchResponse { watch_id: id, ..self.response(revision) };
        let most_bytes = self.handle.inner.limits.request_bytes + OVERHEAD_BYTES;
        if options.fragment && events.exceeds(&head, most_bytes) {
            let whole = WatchResponse { events: events.events().to_vec(), ..head };
            return Err(fragments(whole, most_bytes));
        }
        Ok(Outgoing { head, events: events.encoded().clone() })
    }

    fn end(&self) {
        let mut watches = self.lock();
        for (_, watcher) in std::mem::take(&mut watches.ids).iter() {
            self.handle.inner.watching.end(watcher, None);
        }
        self.queue.close();
    }
}

/// What a refused watch is told: who asks is wrong, or else that it may not.
fn told(refusal: Status) -> Status {
    let known = [Refusal::InvalidAuthToken, Refusal::AuthOldRevision, Refusal::UserEmpty];
    if known.iter().any(|known| known.text() == refusal.message()) {
        refusal
    } else {
        Refusal::PermissionDenied.into()
    }
}
