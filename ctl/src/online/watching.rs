//! One watch stream with any number of watches: opened at the first member that answers, opened
//! again where it broke off.
//!
//! Must hold: no event is lost or given twice over a broken stream; each watch goes on at the
//! revision behind the last one it has seen.

use crate::failure::Failure;
use futures::stream;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

/// Between two tries to open a stream.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests that may wait to be sent.
const MOST_WAITING: usize = 64;

/// A stream of watches.
pub(super) struct Watching {
    client: Client,
    at: usize,
    /// What goes on by its id, each from the next revision it needs.
    watches: BTreeMap<i64, WatchCreateRequest>,
    last_id: i64,
    open: Option<Open>,
    /// Progress was asked for behind this watch while no stream was open.
    asks_behind: Option<i64>,
}

struct Open {
    asks: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watching {
    /// A stream without watches; it opens with the first.
    pub(super) fn begin(client: &Client) -> Watching {
        let watches = BTreeMap::new();
        let (client, open) = (client.clone(), None);
        Watching { client, at: 0, watches, last_id: 0, open, asks_behind: None }
    }

    /// Adds a watch; its id.
    pub(super) async fn add(&mut self, request: WatchCreateRequest) -> i64 {
        self.last_id += 1;
        let request = WatchCreateRequest { watch_id: self.last_id, ..request };
        self.watches.insert(self.last_id, request.clone());
        self.ask(RequestUnion::CreateRequest(request)).await;
        self.last_id
    }

    /// Asks for a progress notification: at once, or when the stream opens.
    pub(super) async fn ask_progress(&mut self) {
        if self.open.is_none() && !self.watches.is_empty() {
            self.asks_behind = Some(self.last_id);
        }
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    }

    /// A stream that broke is asked again when it is opened again.
    async fn ask(&mut self, union: RequestUnion) {
        if let Some(open) = &self.open {
            let _ = open.asks.send(WatchRequest { request_union: Some(union) }).await;
        }
    }

    /// The next answer. Safe to drop and call again.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        loop {
            let heard = match &mut self.open {
                None => match self.open().await {
                    Ok(open) => {
                        self.open = Some(open);
                        self.asks_behind = None;
                        continue;
                    }
                    Err(status) => Err(status),
                },
                Some(open) => open.answers.message().await,
            };
            match heard {
                Ok(Some(response)) => {
                    self.note(&response);
                    return Ok(response);
                }
                Err(status) if !is_passing(&status) => return Err(status.into()),
                Ok(None) | Err(_) => {
                    self.open = None;
                    self.at += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Remembers where a watch would have to go on.
    fn note(&mut self, response: &WatchResponse) {
        if response.canceled {
            self.watches.remove(&response.watch_id);
            return;
        }
        let Some(watch) = self.watches.get_mut(&response.watch_id) else { return };
        let seen = response.events.last().and_then(|event| event.kv.as_ref());
        let revision = response.header.map_or(0, |header| header.revision);
        if let Some(seen) = seen {
            watch.start_revision = seen.mod_revision.saturating_add(1);
        } else if watch.start_revision == 0 && response.created {
            watch.start_revision = revision.saturating_add(1);
        }
    }

    async fn open(&self) -> Result<Open, Status> {
        let (asks, asked) = mpsc::channel(MOST_WAITING.max(self.watches.len() + 1));
        let create = |watch: &WatchCreateRequest| RequestUnion::CreateRequest(watch.clone());
        let asked_behind = self.asks_behind.unwrap_or(i64::MAX);
        let before = self.watches.range(..=asked_behind).map(|(_, watch)| create(watch));
        let progress = self.asks_behind.map(|_| RequestUnion::ProgressRequest(Default::default()));
        let behind = self.watches.iter().filter(|(id, _)| **id > asked_behind);
        let behind = behind.map(|(_, watch)| create(watch));
        for union in before.chain(progress).chain(behind) {
            let _ = asks.send(WatchRequest { request_union: Some(union) }).await;
        }
        let requests = stream::unfold(asked, |mut asked| async {
            asked.recv().await.map(|request| (request, asked))
        });
        let mut request = Request::new(requests);
        // A member without a leader must say so instead of falling silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let members = self.client.members();
        let mut stub = members[self.at % members.len()].watch();
        let answers = stub.watch(request).await?.into_inner();
        Ok(Open { asks, answers })
    }
}

/// A stream that broke or has no leader can be opened again, here or elsewhere.
fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}
