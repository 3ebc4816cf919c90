//! Idle watchers and connections: what each takes of a member's memory.

use crate::Ground;
use crate::figures::{self, Result, against, mebibytes, ratio};
use crate::member::{Measured, SIDES};
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use holdfast_tests::contents;

/// Streams of watchers, ten to a connection.
const STREAMS: u64 = 100;
const STREAMS_PER_CONNECTION: u64 = 10;
/// Watchers of a stream.
const PER_STREAM: u64 = 100;
/// Connections that read once and then do nothing.
const CONNECTIONS: u64 = 1_000;

/// A stream that is open as long as this is held.
type Stream = Box<dyn std::any::Any>;

/// Opens both on each side, and prints what they took.
pub(crate) async fn compare(ground: &Ground, share: u64) -> Result<()> {
    let mut taken = [[0; 2]; 2];
    let [streams, connections] =
        [STREAMS, CONNECTIONS].map(|full| (full * share / 100).max(STREAMS_PER_CONNECTION));
    for (place, side) in SIDES.into_iter().enumerate() {
        let member = Measured::start(ground, side, "idle").await?;
        let begin = member.memory()?;
        let watchers = watchers(&member, streams).await?;
        let watching = member.memory()?;
        let readers = connections_of(&member, connections).await?;
        let connected = member.memory()?;
        taken[place] = [watching.saturating_sub(begin), connected.saturating_sub(watching)];
        drop((watchers, readers));
        member.remove().await?;
    }
    let line = |what: String, at: usize, count: u64| {
        let [theirs, ours] = [taken[0][at], taken[1][at]];
        let shown = |bytes: u64| format!("{} ({} B each)", mebibytes(bytes), bytes / count.max(1));
        [what, shown(theirs), shown(ours), against(ratio(ours, theirs), Some(0.5))]
    };
    let rows = [
        line(format!("{} idle watchers", streams * PER_STREAM), 0, streams * PER_STREAM),
        line(format!("{connections} idle connections"), 1, connections),
    ];
    figures::print("RssAnon of the server for", ["", "etcd 3.6", "ours", "of it"], &rows);
    Ok(())
}

/// Streams of watchers of different keys, all created when this returns.
async fn watchers(member: &Measured, count: u64) -> Result<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut client = member.client()?;
    for number in 0..count {
        if number % STREAMS_PER_CONNECTION == 0 {
            client = member.client()?;
        }
        streams.push(stream(&client, number).await?);
    }
    Ok(streams)
}

async fn stream(client: &Client, number: u64) -> Result<Stream> {
    let (asks, asked) = tokio::sync::mpsc::channel(usize::try_from(PER_STREAM)?);
    for watcher in 0..PER_STREAM {
        let key = format!("/watched/{number}/{watcher}").into_bytes();
        let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
        asks.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
            .await?;
    }
    let requests = futures::stream::unfold(asked, |mut asked| async {
        asked.recv().await.map(|request| (request, asked))
    });
    let mut answers = client.check("Watch", client.watch().watch(requests).await)?;
    let mut created = 0;
    while created < PER_STREAM {
        let answer = answers.message().await?.ok_or("a watch ended")?;
        created += u64::from(answer.created);
    }
    Ok(Box::new((asks, answers)))
}

async fn connections_of(member: &Measured, count: u64) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let client = member.client()?;
        contents::revision(&client).await?;
        clients.push(client);
    }
    Ok(clients)
}
