//! Defragmentation of a member that runs: the way out of a full database, and readers, writers and
//! a snapshot stream beside it.

use crate::judge::{self, State};
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::{DefragmentRequest, SnapshotRequest, StatusRequest};
use holdfast_tests::contents;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::holdfast;
use holdfast_tests::objects::{Object, object};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sizes as the status tells them: of the file's pages, and of those in use.
async fn sizes(client: &Client) -> (i64, i64) {
    let status = client.check("Status", client.maintenance().status(StatusRequest {}).await);
    let status = status.unwrap();
    (status.db_size, status.db_size_in_use)
}

async fn defragment(client: &Client) {
    let done = client.maintenance().defragment(DefragmentRequest {}).await;
    client.check("Defragment", done).unwrap();
}

/// Puts new values on 20 keys until the server has no more room; how many it took.
async fn fill(client: &Client) -> u64 {
    for at in 0..10_000u64 {
        let full = Object { key: format!("k{}", at % 20), value: vec![b'x'; 32 << 10] };
        if let Err(refused) = contents::put(client, std::iter::once(full), 1).await {
            assert!(refused.to_string().contains("database space exceeded"), "{refused}");
            return at;
        }
    }
    panic!("the quota does not hold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_is_compacted_defragmented_and_written_to_again() {
    let options = Options::new(BUNDLED).with_flags(&["--quota-backend-bytes=8388608"]);
    let mut etcd = Etcd::start_with(options).await;
    let client = etcd.client();
    for round in 0..2 {
        assert!(fill(&client).await > 100);
        assert!(etcd.ctl(&["alarm", "list"]).contains("alarm:NOSPACE"));
        let refused = etcd.ctl_refused(&["put", "k", "v"]).await;
        assert!(refused.contains("etcdserver: mvcc: database space exceeded"), "{refused}");
        let (full, _) = sizes(&client).await;
        let revision = contents::revision(&client).await.unwrap();
        etcd.ctl(&["compaction", "--physical", &revision.to_string()]);
        let before = State::read(&client).await.unwrap();
        // Compaction alone gives no room: the pages are free, and the file is as large.
        let (size, in_use) = sizes(&client).await;
        assert!(size >= full && in_use < size / 2, "{size} of {full}, {in_use} in use");
        if round == 0 {
            etcd.ctl(&["defrag"]);
        } else {
            let endpoint = etcd.endpoint();
            let said = holdfast::succeed(&["ctl", "--endpoints", &endpoint, "defrag"]);
            assert!(said.starts_with("Finished defragmenting etcd member"), "{said}");
        }
        let (smaller, in_use) = sizes(&client).await;
        assert!(smaller < size / 2 && in_use <= smaller, "{smaller} of {size}, {in_use} in use");
        assert_eq!(smaller, i64::try_from(etcd.database().metadata().unwrap().len()).unwrap());
        etcd.ctl(&["alarm", "disarm"]);
        let now = State::read(&client).await.unwrap();
        before.assert_same(&now, "defragmented");
        etcd.ctl(&["put", "k", "v"]);
    }
    let before = State::read(&client).await.unwrap();
    etcd.kill().await;
    etcd.boot().await;
    before.assert_same(&State::read(&etcd.client()).await.unwrap(), "killed afterwards");
    etcd.stop().await;
    judge::bbolt_agrees(&etcd.database());
    etcd.boot_as("3.6").await;
    before.assert_same(&State::read(&etcd.client()).await.unwrap(), "taken over by etcd 3.6");
}

/// Puts until told to stop; how many were acknowledged.
fn keep_writing(client: Client, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut at = 0;
        while !stop.load(Ordering::Relaxed) {
            contents::put(&client, std::iter::once(object(9, at, 1)), 1).await.unwrap();
            at += 1;
        }
        at
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_defragments_beside_writers_and_streams() {
    let mut etcd = Etcd::start(BUNDLED).await;
    let client = etcd.client();
    contents::put(&client, (0..6_000).map(|at| object(1, at, 1)), 20).await.unwrap();
    let snapshot = client.maintenance().snapshot(SnapshotRequest {}).await;
    let mut snapshot = client.check("Snapshot", snapshot).unwrap();
    let mut streamed = snapshot.message().await.unwrap().unwrap().blob.to_vec();
    let old = contents::revision(&client).await.unwrap();
    contents::compact(&client, old).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = keep_writing(client.clone(), Arc::clone(&stop));
    for _ in 0..3 {
        defragment(&client).await;
    }
    // The stream began before, on a file that has no name any more.
    while let Some(piece) = snapshot.message().await.unwrap() {
        streamed.extend_from_slice(&piece.blob);
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert!(written > 0, "writers are served meanwhile");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("streamed.db");
    std::fs::write(&file, &streamed).unwrap();
    let utl = holdfast_tests::peers::peer("etcdutl-3.6");
    let mut status = std::process::Command::new(utl);
    let status = holdfast_tests::etcd::run(status.args(["snapshot", "status"]).arg(&file));
    assert!(status.contains(&format!(", {old}, ")), "{status}");
    let before = State::read(&client).await.unwrap();
    let mine = before.contents.records.len() as u64;
    assert_eq!(mine, distinct(&[(1, 6_000), (9, written)]));
    etcd.kill().await;
    // What a defragmentation that was cut off leaves is removed.
    let left = etcd.database().with_file_name("db.tmp.4711");
    std::fs::write(&left, b"half a database").unwrap();
    etcd.boot().await;
    assert!(!left.exists());
    before.assert_same(&State::read(&etcd.client()).await.unwrap(), "killed afterwards");
    etcd.stop().await;
    judge::bbolt_agrees(&etcd.database());
}

/// Number of different keys among the first objects of some seeds.
fn distinct(parts: &[(u64, u64)]) -> u64 {
    let keys =
        parts.iter().flat_map(|(seed, count)| (0..*count).map(|at| object(*seed, at, 1).key));
    keys.collect::<std::collections::BTreeSet<_>>().len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_defragments_when_enough_would_be_freed() {
    let threshold = ["--experimental-bootstrap-defrag-threshold-megabytes=1"];
    let mut etcd = Etcd::start_with(Options::new(BUNDLED).with_flags(&threshold)).await;
    let client = etcd.client();
    contents::put(&client, (0..2_000).map(|at| object(1, at % 50, at)), 20).await.unwrap();
    // A snapshot is taken from the file, so all of it is there now.
    let folder = tempfile::TempDir::new().unwrap();
    etcd.save_snapshot(&client, &folder.path().join("snapshot.db")).await.unwrap();
    let revision = contents::revision(&client).await.unwrap();
    contents::compact(&client, revision).await.unwrap();
    let before = State::read(&client).await.unwrap();
    let (size, in_use) = sizes(&client).await;
    assert!(size - in_use > 1 << 20, "{size}, {in_use} in use");
    etcd.stop().await;
    etcd.boot().await;
    let client = etcd.client();
    let (smaller, _) = sizes(&client).await;
    assert!(smaller < size / 2, "{smaller} of {size}");
    before.assert_same(&State::read(&client).await.unwrap(), "defragmented at the start");
}
