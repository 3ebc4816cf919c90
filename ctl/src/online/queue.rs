//! Waiting in line for a name: a key below the name for each that waits, held by a lease, and the
//! oldest key has its turn. Locks and elections are the same line with other values; the keys are
//! those of upstream's client, so that both can wait in one line.

use super::lease::Renewal;
use super::session::Session;
use super::watching::Watching;
use crate::failure::Failure;
use crate::keys;
use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    RangeResponse, TxnRequest, WatchCreateRequest,
};
use holdfast_api::mvccpb::{Event, KeyValue};
use holdfast_api::txn::{created_at, step};
use std::time::Duration;
use tokio::sync::watch as signal;

/// A lease that is kept alive in the background until dropped or lost.
pub(super) struct Hold {
    pub(super) id: i64,
    lost: signal::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Hold {
    /// Takes a lease of so many seconds.
    pub(super) async fn take(session: &Session, ttl: i64) -> Result<Hold, Failure> {
        let request = LeaseGrantRequest { ttl, id: 0 };
        let lease = session.check(session.client.lease().lease_grant(request).await)?;
        let mut renewal = Renewal::begin(session, lease.id, seconds(lease.ttl));
        let (tell, lost) = signal::channel(false);
        let task = tokio::spawn(async move {
            loop {
                match renewal.renew().await {
                    Ok(renewed) if renewed.ttl > 0 => {
                        tokio::time::sleep(seconds(renewed.ttl) / 3).await;
                    }
                    _ => break,
                }
            }
            let _ = tell.send(true);
        });
        Ok(Hold { id: lease.id, lost, task })
    }

    /// Returns when the lease is gone.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.clone();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Gives the lease back, and with it the keys it holds.
    pub(super) async fn give_back(self, session: &Session) {
        self.task.abort();
        let request = LeaseRevokeRequest { id: self.id };
        // If this fails, the lease ends by itself.
        let _ = session.client.lease().lease_revoke(request).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(1).max(1))
}

/// A place in the line.
pub(super) struct Place {
    /// Our key.
    pub(super) key: Vec<u8>,
    /// The revision that made it.
    pub(super) created: i64,
    prefix: Vec<u8>,
}

/// Gets in line below `name` with a value.
pub(super) async fn enter(
    session: &Session,
    name: &str,
    value: &[u8],
    hold: &Hold,
) -> Result<Place, Failure> {
    let prefix = format!("{name}/").into_bytes();
    let key = [&prefix[..], format!("{:x}", hold.id).as_bytes()].concat();
    let put = PutRequest {
        key: key.clone(),
        value: value.to_vec(),
        lease: hold.id,
        ..PutRequest::default()
    };
    let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![created_at(&key, 0)],
        success: vec![step(Request::RequestPut(put))],
        failure: vec![step(Request::RequestRange(get))],
    };
    let answer = session.check(session.client.kv().txn(request).await)?;
    let there = answer.responses.first().and_then(|first| match &first.response {
        Some(Response::ResponseRange(range)) => range.kvs.first().map(|kv| kv.create_revision),
        _ => None,
    });
    let created = there.or_else(|| answer.header.map(|header| header.revision)).unwrap_or(0);
    Ok(Place { key, created, prefix })
}

impl Place {
    /// Waits until nobody stands before us.
    pub(super) async fn turn(&self, session: &Session) -> Result<(), Failure> {
        loop {
            let request = RangeRequest {
                key: self.prefix.clone(),
                range_end: keys::prefix_end(&self.prefix),
                max_create_revision: self.created.saturating_sub(1),
                sort_order: SortOrder::Descend as i32,
                sort_target: SortTarget::Create as i32,
                limit: 1,
                ..RangeRequest::default()
            };
            let before = session.check(session.client.kv().range(request).await)?;
            let Some(next) = before.kvs.first() else { return Ok(()) };
            let revision = before.header.map_or(0, |header| header.revision);
            gone(session, &next.key, revision).await?;
        }
    }

    /// Our key as it stands now.
    pub(super) async fn read(&self, session: &Session) -> Result<RangeResponse, Failure> {
        let request = RangeRequest { key: self.key.clone(), ..RangeRequest::default() };
        session.check(session.client.kv().range(request).await)
    }

    /// Leaves the line, if the key is still ours.
    pub(super) async fn leave(&self, session: &Session) -> Result<(), Failure> {
        let delete = DeleteRangeRequest { key: self.key.clone(), ..DeleteRangeRequest::default() };
        let request = TxnRequest {
            compare: vec![created_at(&self.key, self.created)],
            success: vec![step(Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        session.check(session.client.kv().txn(request).await).map(|_| ())
    }
}

/// The key that has its turn below `name`, and the store's revision.
pub(super) async fn first(
    session: &Session,
    name: &str,
) -> Result<(Option<KeyValue>, RangeResponse), Failure> {
    let prefix = format!("{name}/").into_bytes();
    let request = RangeRequest {
        range_end: keys::prefix_end(&prefix),
        key: prefix,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        limit: 1,
        ..RangeRequest::default()
    };
    let answer = session.check(session.client.kv().range(request).await)?;
    Ok((answer.kvs.first().cloned(), answer))
}

/// Waits until a key is deleted after a revision.
async fn gone(session: &Session, key: &[u8], revision: i64) -> Result<(), Failure> {
    let request = WatchCreateRequest {
        key: key.to_vec(),
        start_revision: revision.saturating_add(1),
        ..WatchCreateRequest::default()
    };
    let mut watching = Watching::begin(&session.client);
    watching.add(request).await;
    loop {
        let response = watching.next().await?;
        if response.canceled {
            return Err(Failure::error("etcdserver: mvcc: required revision has been compacted"));
        }
        if response.events.iter().any(Event::is_delete) {
            return Ok(());
        }
    }
}

/// Returns when the process is asked to end.
pub(super) async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
