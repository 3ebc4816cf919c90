//! What locks and elections share: keys below a prefix, one per lease; the oldest one has it.
//!
//! What must hold: whoever waits holds a key of its own, and gives it up when the client goes away
//! while it waits; one key gone wakes one waiter, not all; each step is asked as the caller, so
//! that users have no more rights here than by KV.

use std::sync::Arc;

use holdfast_api::etcdserverpb::kv_server::Kv;
use holdfast_api::etcdserverpb::lease_server::Lease;
use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::request_op::Request as Step;
use holdfast_api::etcdserverpb::response_op::Response as Done;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, PutRequest, RangeRequest,
    RangeResponse, ResponseHeader, TxnRequest, TxnResponse, WatchResponse,
};
use holdfast_api::mvccpb::{Event, KeyValue};
use holdfast_api::txn::{created_at, step};
use holdfast_core::watch::{Delivery, Filters, WatchRange, WatchSpec, WatcherId};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use crate::engine::handle::Handle;
use crate::engine::watching::{Item, Queue};
use crate::grpc::Refusal;

/// TTL in seconds of a lease that is made for a caller who brings none: as upstream.
const OWN_LEASE_SECONDS: i64 = 60;

/// A caller: the running member, and the metadata and connection that the call came with.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) handle: Handle,
    metadata: MetadataMap,
    extensions: Extensions,
}

/// A key that stands for a place in the queue. Dropped without [`Claim::keep`], it is deleted.
pub(super) struct Claim {
    caller: Caller,
    pub(super) key: Vec<u8>,
    /// Its create revision.
    pub(super) revision: i64,
    /// What the key held already when it was asked for.
    pub(super) found: Option<KeyValue>,
    pub(super) header: Option<ResponseHeader>,
    kept: bool,
}

/// A watch of one's own; it ends when this is dropped.
pub(super) struct Following {
    handle: Handle,
    queue: Arc<Queue>,
    watcher: WatcherId,
}

impl Caller {
    /// The call's message, and who made it.
    pub(super) fn of<T>(handle: &Handle, request: Request<T>) -> (Caller, T) {
        let (metadata, extensions, message) = request.into_parts();
        (Caller { handle: handle.clone(), metadata, extensions }, message)
    }

    fn asks<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        Ok(self.handle.txn(self.asks(request)).await.map_err(uncoded)?.into_inner())
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(self.handle.range(self.asks(request)).await.map_err(uncoded)?.into_inner())
    }

    pub(super) async fn delete(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Status> {
        Ok(self.handle.delete_range(self.asks(request)).await.map_err(uncoded)?.into_inner())
    }

    /// The caller's lease, or a new one.
    pub(super) async fn lease(&self, id: i64) -> Result<i64, Status> {
        if id != 0 {
            return Ok(id);
        }
        let grant = LeaseGrantRequest { id: 0, ttl: OWN_LEASE_SECONDS };
        let granted = self.handle.lease_grant(self.asks(grant)).await.map_err(uncoded)?;
        Ok(granted.into_inner().id)
    }

    /// Takes a place in the queue below `name`, or finds the one that the lease has already.
    pub(super) async fn claim(
        &self,
        name: &[u8],
        lease: i64,
        value: Vec<u8>,
    ) -> Result<Claim, Status> {
        let sign = if lease < 0 { "-" } else { "" };
        let key = [name, format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat();
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let response = self
            .txn(TxnRequest {
                compare: vec![created_at(&key, 0)],
                success: vec![step(Step::RequestPut(put))],
                failure: vec![step(Step::RequestRange(get))],
            })
            .await?;
        let found = match response.responses.into_iter().next().and_then(|done| done.response) {
            Some(Done::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let now = response.header.as_ref().map_or(0, |header| header.revision);
        let revision = found.as_ref().map_or(now, |record| record.create_revision);
        let (caller, header) = (self.clone(), response.header);
        // One that was there before is not ours to take away.
        let kept = found.is_some();
        Ok(Claim { caller, key, revision, found, header, kept })
    }

    /// Waits until no key below `name` is older than `revision`. Whether it had to wait.
    pub(super) async fn wait_for_turn(&self, name: &[u8], revision: i64) -> Result<bool, Status> {
        let mut waited = false;
        loop {
            let before = RangeRequest {
                max_create_revision: revision - 1,
                sort_order: SortOrder::Descend as i32,
                ..oldest(name)
            };
            let response = self.range(before).await?;
            let Some(record) = response.kvs.first() else { return Ok(waited) };
            waited = true;
            let from = response.header.as_ref().map_or(0, |header| header.revision);
            let range = WatchRange::of_request(&record.key, &[]);
            let range = range.map_err(|error| Status::internal(error.to_string()))?;
            let following = self.follow(range, from, true);
            // A compaction may have overtaken it: then the look above decides again.
            following.next().await?;
        }
    }

    /// Watches from revision `from` on.
    pub(super) fn follow(&self, range: WatchRange, from: i64, only_deletes: bool) -> Following {
        let filters = Filters { no_put: only_deletes, no_delete: false };
        let spec = WatchSpec { range, start_revision: from, filters };
        let queue = Arc::new(Queue::default());
        let created = |_| WatchResponse::default();
        let watcher = self.handle.inner.watching.begin(0, spec, &queue, created);
        Following { handle: self.handle.clone(), queue, watcher }
    }
}

/// Upstream's services ask by a client of its own, whose errors keep the text and lose the code.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn uncoded(refused: Status) -> Status {
    Status::unknown(refused.message())
}

impl Following {
    /// The next events and the store's revision with them; no events: those that were wanted are
    /// compacted.
    pub(super) async fn next(&self) -> Result<(i64, Vec<Event>), Status> {
        loop {
            let Some((item, has_room)) = self.queue.next().await else {
                return Err(Refusal::Stopped.into());
            };
            if has_room {
                self.handle.inner.watching.has_room(std::iter::once(self.watcher));
            }
            match item {
                Item::Response(_) => {}
                Item::Delivery(_, _, Delivery::Events { revision, events }) => {
                    return Ok((revision, events.events().to_vec()));
                }
                Item::Delivery(_, _, Delivery::Compacted { revision }) => {
                    return Ok((revision, Vec::new()));
                }
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.handle.inner.watching.end(self.watcher, None);
    }
}

impl Claim {
    /// The place is the caller's from now on.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (caller, give_up) = (self.caller.clone(), delete_if(&self.key, self.revision));
        // Where it fails the lease's end does the same.
        tokio::spawn(async move { caller.txn(give_up).await.map(|_| ()) });
    }
}

/// The oldest key below `name`.
pub(super) fn oldest(name: &[u8]) -> RangeRequest {
    let (key, range_end) = below(name);
    RangeRequest {
        key,
        range_end,
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..RangeRequest::default()
    }
}

/// The range of the keys `name/…`.
pub(super) fn below(name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([name, b"/"].concat(), [name, b"0"].concat())
}

/// Deletes a key if it is still the one of that create revision.
pub(super) fn delete_if(key: &[u8], revision: i64) -> TxnRequest {
    let delete = DeleteRangeRequest { key: key.to_vec(), ..DeleteRangeRequest::default() };
    TxnRequest {
        compare: vec![created_at(key, revision)],
        success: vec![step(Step::RequestDeleteRange(delete))],
        failure: Vec::new(),
    }
}
