//! Many clients of one member: streams of watchers and connections that then do nothing, and what
//! the member holds in memory for them.

use crate::contents;
use futures::StreamExt;
use futures::stream::BoxStream;
use holdfast_api::client::{Client, ClientConfig, ClientError};
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;

/// Streams that share a connection.
const STREAMS_PER_CONNECTION: usize = 10;

/// A stream of watches; they end when it is dropped.
pub struct Watches {
    /// Takes more requests.
    pub asks: mpsc::Sender<WatchRequest>,
    /// What the member says after all that were asked for were created; ends with the stream.
    pub answers: BoxStream<'static, WatchResponse>,
}

/// Opens a stream with a watch for each request; all are created when this returns.
///
/// # Errors
/// The member cannot be reached, or refuses.
///
/// # Panics
/// The stream ends before all are created.
pub async fn watch(
    client: &Client,
    creates: Vec<WatchCreateRequest>,
) -> Result<Watches, ClientError> {
    let wanted = creates.len();
    let (asks, asked) = mpsc::channel(wanted.max(1));
    for create in creates {
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        asks.try_send(request).expect("the channel is as long as the list");
    }
    let requests = futures::stream::unfold(asked, |mut asked| async {
        asked.recv().await.map(|request| (request, asked))
    });
    let answers = client.check("Watch", client.watch().watch(requests).await)?;
    let mut answers = futures::stream::unfold(answers, |mut answers| async {
        let answer = answers.message().await.ok().flatten();
        answer.map(|answer| (answer, answers))
    })
    .boxed();
    let mut created = 0;
    while created < wanted {
        let answer = answers.next().await.expect("a stream of watches goes on");
        created += usize::from(answer.created);
    }
    Ok(Watches { asks, answers })
}

/// Opens so many streams with so many watchers each, all of different keys.
///
/// # Errors
/// The member cannot be reached, or refuses.
pub async fn idle_watchers(
    config: &ClientConfig,
    streams: usize,
    per_stream: usize,
) -> Result<Vec<Watches>, ClientError> {
    let mut all = Vec::with_capacity(streams);
    let mut client = Client::lazy(config.clone())?;
    for number in 0..streams {
        if number % STREAMS_PER_CONNECTION == 0 {
            client = Client::lazy(config.clone())?;
        }
        let creates = (0..per_stream).map(|watcher| {
            let key = format!("/watched/{number}/{watcher}").into_bytes();
            WatchCreateRequest { key, ..WatchCreateRequest::default() }
        });
        all.push(watch(&client, creates.collect()).await?);
    }
    Ok(all)
}

/// Opens so many connections, each of which reads once.
///
/// # Errors
/// The member cannot be reached.
pub async fn idle_connections(
    config: &ClientConfig,
    count: usize,
) -> Result<Vec<Client>, ClientError> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let client = Client::lazy(config.clone())?;
        contents::revision(&client).await?;
        clients.push(client);
    }
    Ok(clients)
}

/// Anonymous memory of a process that runs (`RssAnon`, proc(5)), in bytes: what lies outside of
/// files' mappings.
///
/// # Errors
/// There is no such process.
pub fn anonymous_bytes(process: u32) -> std::io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(number.unwrap_or(0) * 1024)
}
