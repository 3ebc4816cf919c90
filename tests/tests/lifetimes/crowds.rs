//! Many clients of the bundled server: what they take of its memory, and that those who do not
//! read harm nobody.

use futures::StreamExt;
use holdfast_api::etcdserverpb::{PutRequest, WatchCreateRequest, WatchResponse};
use holdfast_tests::crowd::{self, anonymous_bytes};
use holdfast_tests::etcd::{BUNDLED, Etcd};
use std::time::{Duration, Instant};

/// How long the member may take for anything here.
const PATIENCE: Duration = Duration::from_secs(120);
/// Streams, and watchers of each.
const WATCHERS: (usize, usize) = (100, 100);
/// Bytes for an idle watcher, its part of a stream and of a connection included.
const WATCHER_BYTES: u64 = 1_000;
/// Connections that have read once.
const CONNECTIONS: usize = 1_000;
/// Bytes for one of them.
const CONNECTION_BYTES: u64 = 40 << 10;
/// What may stay when all are gone, beside what was there: rooms of tables, and pages that the
/// allocator keeps for each thread until it is asked for such again.
const REST_BYTES: u64 = 28 << 20;

/// Waits until the member holds at most so many bytes.
async fn falls_to(etcd: &Etcd, most: u64) {
    let begun = Instant::now();
    let client = etcd.client();
    loop {
        // Somebody has to ask for something: who sleeps gives nothing back.
        holdfast_tests::contents::revision(&client).await.unwrap();
        let now = anonymous_bytes(etcd.process()).unwrap();
        if now <= most {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{now} bytes are held, {most} would do");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_watchers_and_connections_take_what_they_may_and_give_it_back() {
    let etcd = Etcd::start(BUNDLED).await;
    let config = etcd.client_config();
    // What a first client brings into being is nobody's share.
    drop(crowd::idle_watchers(&config, 1, 1).await.unwrap());
    let memory = || anonymous_bytes(etcd.process()).unwrap();
    let begin = memory();
    let mut first = None;
    for round in 0..3 {
        let before = memory();
        let watchers = crowd::idle_watchers(&config, WATCHERS.0, WATCHERS.1).await.unwrap();
        let watching = memory();
        let readers = crowd::idle_connections(&config, CONNECTIONS).await.unwrap();
        let all = memory();
        let each = watching.saturating_sub(before) / (WATCHERS.0 * WATCHERS.1) as u64;
        println!("round {round}: {each} bytes a watcher, {all} in all, {begin} at the begin");
        assert!(each <= WATCHER_BYTES, "{each} bytes for each idle watcher");
        let each = all.saturating_sub(watching) / CONNECTIONS as u64;
        println!("round {round}: {each} bytes a connection");
        assert!(each <= CONNECTION_BYTES, "{each} bytes for each idle connection");
        drop((watchers, readers));
        falls_to(&etcd, begin + REST_BYTES).await;
        // What some leave others use: a crowd takes no more than the one before.
        let most = *first.get_or_insert(all) * 5 / 4;
        assert!(all <= most, "{all} bytes in round {round}, {most} are a quarter over the first");
    }
}

/// Puts and their size: together far more than the member may hold.
const PUTS: usize = 1_500;
const VALUE_BYTES: usize = 192 << 10;
/// What the member may hold for the one who does not read, beside what it held: its queue (8 MiB,
/// as events and encoded), the buffers of its connection, and what the allocator keeps of the rest.
const SLOW_BYTES: u64 = 96 << 20;

/// Reads a watch until it has so many events: their revisions.
async fn revisions(watches: &mut crowd::Watches, count: usize) -> Vec<i64> {
    let mut found = Vec::new();
    while found.len() < count {
        let next = tokio::time::timeout(PATIENCE, watches.answers.next()).await;
        let answer: WatchResponse = next.expect("events in time").expect("the watch goes on");
        assert!(!answer.canceled, "{answer:?}");
        let of = answer.events.iter().filter_map(|event| event.kv.as_ref());
        found.extend(of.map(|record| record.mod_revision));
    }
    found
}

/// One after the other, so that not much is applied and not on disk.
async fn write_all(etcd: &Etcd) {
    let client = etcd.client();
    for at in 0..PUTS {
        let (key, value) = (format!("w/{}", at % 50).into_bytes(), vec![b'v'; VALUE_BYTES]);
        let put = PutRequest { key, value, ..PutRequest::default() };
        client.check("Put", client.kv().put(put).await).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_harms_nobody_and_misses_nothing() {
    let etcd = Etcd::start(BUNDLED).await;
    let create = || {
        let (key, range_end) = (b"w/".to_vec(), b"w0".to_vec());
        vec![WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() }]
    };
    let mut slow = crowd::watch(&etcd.client(), create()).await.unwrap();
    let mut quick = Vec::new();
    for _ in 0..3 {
        let mut watches = crowd::watch(&etcd.client(), create()).await.unwrap();
        quick.push(tokio::spawn(async move { revisions(&mut watches, PUTS).await }));
    }
    let begin = anonymous_bytes(etcd.process()).unwrap();
    write_all(&etcd).await;
    let expected: Vec<i64> = (2..).take(PUTS).collect();
    for watcher in quick {
        assert!(watcher.await.unwrap() == expected, "a quick one has all, in order");
    }
    // When all is on disk, only what waits for the slow one is left.
    falls_to(&etcd, begin + SLOW_BYTES).await;
    assert!(revisions(&mut slow, PUTS).await == expected, "and so has the slow one, once");
}
