//! One server's watch streams: what each watch was told, in order.
//!
//! How events are divided into answers is a matter of time on both servers, and so is the order of
//! different watches; what is compared is what each watch was told, and how it began and ended.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use holdfast_api::etcdserverpb::watch_client::WatchClient;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Extensions, Request};

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest that is waited for progress: a server tells none while a watch begins in the future.
const PROGRESS: Duration = Duration::from_secs(1);
/// After so long progress is asked for again: a server does not answer while a watch lags.
const ASK_AGAIN: Duration = Duration::from_millis(120);
/// Where a stream's end stands among its watches.
const THE_STREAM: i64 = i64::MIN;

/// What each watch of each stream was told.
pub type Told = BTreeMap<(usize, i64), Vec<String>>;

#[derive(Default)]
struct Seen {
    told: BTreeMap<i64, Vec<String>>,
    live: BTreeSet<i64>,
    created: usize,
    progress: usize,
    /// It did not tell its progress when it was asked last.
    silent: bool,
    ended: bool,
}

struct Stream {
    requests: UnboundedSender<WatchRequest>,
    seen: Arc<(Mutex<Seen>, Notify)>,
    reader: JoinHandle<()>,
}

pub struct Watches {
    client: WatchClient<Channel>,
    streams: BTreeMap<usize, Stream>,
}

impl Seen {
    fn line(&mut self, id: i64, line: String) {
        self.told.entry(id).or_default().push(line);
    }

    fn take(&mut self, answer: WatchResponse) {
        let id = answer.watch_id;
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.created || answer.canceled {
            self.created += usize::from(answer.created);
            if answer.canceled {
                self.live.remove(&id);
            } else {
                self.live.insert(id);
            }
            self.line(id, format!("{answer:?}"));
        } else if answer.events.is_empty() && id == -1 {
            self.progress += 1;
        } else {
            let plain = answer.compact_revision == 0 && answer.cancel_reason.is_empty();
            if !plain || answer.events.is_empty() || !self.live.contains(&id) {
                self.line(id, format!("odd: {answer:?}"));
            }
            for event in answer.events {
                if event.kv.as_ref().is_none_or(|kv| kv.mod_revision > revision) {
                    self.line(id, "a header behind its events".to_owned());
                }
                self.line(id, format!("{event:?}"));
            }
        }
    }
}

impl Stream {
    fn open(mut client: WatchClient<Channel>, metadata: MetadataMap) -> Stream {
        let (requests, sent) = unbounded();
        let seen: Arc<(Mutex<Seen>, Notify)> = Arc::default();
        let told = Arc::clone(&seen);
        let reader = tokio::spawn(async move {
            let request = Request::from_parts(metadata, Extensions::default(), sent);
            let end = match client.watch(request).await {
                Err(status) => super::side::told(&status),
                Ok(answers) => {
                    let mut answers = answers.into_inner();
                    loop {
                        match answers.message().await {
                            Ok(Some(answer)) => told.0.lock().unwrap().take(answer),
                            Ok(None) => break "the end".to_owned(),
                            Err(status) => break super::side::told(&status),
                        }
                        told.1.notify_one();
                    }
                }
            };
            let mut seen = told.0.lock().unwrap();
            seen.ended = true;
            seen.line(THE_STREAM, end);
            drop(seen);
            told.1.notify_one();
        });
        Stream { requests, seen, reader }
    }

    fn send(&self, request: RequestUnion) {
        // A stream that has ended says so in what it was told.
        let _ = self.requests.unbounded_send(WatchRequest { request_union: Some(request) });
    }

    /// Waits until something is seen, so long at most. Whether it was.
    async fn until(&self, patience: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if holds(&self.seen.0.lock().unwrap()) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || timeout(left, self.seen.1.notified()).await.is_err() {
                return holds(&self.seen.0.lock().unwrap());
            }
        }
    }

    /// Waits until the server says that all watches of the stream are told everything, as far as it
    /// says so.
    async fn catch_up(&self) {
        let (before, was_silent) = {
            let seen = self.seen.0.lock().unwrap();
            (seen.progress, seen.silent)
        };
        let deadline = Instant::now() + if was_silent { ASK_AGAIN } else { PROGRESS };
        let is_told = |seen: &Seen| seen.ended || seen.live.is_empty() || seen.progress > before;
        while Instant::now() < deadline && !is_told(&self.seen.0.lock().unwrap()) {
            self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
            self.until(ASK_AGAIN, is_told).await;
        }
        let mut seen = self.seen.0.lock().unwrap();
        seen.silent = !is_told(&seen);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watches {
    pub fn new(client: WatchClient<Channel>) -> Watches {
        Watches { client, streams: BTreeMap::new() }
    }

    /// Begins a watch on a stream, which is opened if need be, and waits for the answer.
    pub async fn create(&mut self, at: usize, opening: &MetadataMap, create: WatchCreateRequest) {
        let stream = self
            .streams
            .entry(at)
            .or_insert_with(|| Stream::open(self.client.clone(), opening.clone()));
        let before = stream.seen.0.lock().unwrap().created;
        stream.send(RequestUnion::CreateRequest(create));
        stream.until(PATIENCE, |seen| seen.ended || seen.created > before).await;
    }

    /// Ends a watch, and waits for the answer if there is one to come.
    pub async fn cancel(&mut self, at: usize, watch_id: i64) {
        let Some(stream) = self.streams.get(&at) else { return };
        stream.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
        stream.until(PATIENCE, |seen| seen.ended || !seen.live.contains(&watch_id)).await;
    }

    /// Waits until every watch is told everything, as the server says.
    pub async fn catch_up(&self) {
        for stream in self.streams.values() {
            stream.catch_up().await;
        }
    }

    /// What each watch was told so far.
    pub fn told(&self) -> Told {
        let of = |(at, stream): (&usize, &Stream)| {
            let told = stream.seen.0.lock().unwrap().told.clone();
            told.into_iter().map(|(id, lines)| ((*at, id), lines)).collect::<Vec<_>>()
        };
        self.streams.iter().flat_map(of).collect()
    }
}
