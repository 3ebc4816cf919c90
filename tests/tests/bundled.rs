//! The bundled server beside upstream's: the same calls give the same store, data directories
//! change hands in both directions after a clean stop and after SIGKILL.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "bundled/deadlines.rs"]
mod deadlines;
#[path = "matrix/judge.rs"]
#[allow(dead_code, reason = "the matrix needs more of it")]
mod judge;
#[path = "bundled/random/mod.rs"]
mod random;
#[path = "bundled/raw.rs"]
mod raw;
#[path = "bundled/services.rs"]
mod services;
#[path = "bundled/sizes.rs"]
mod sizes;
#[path = "bundled/slow.rs"]
mod slow;
#[path = "bundled/watching.rs"]
mod watching;
#[path = "bundled/wire.rs"]
mod wire;

use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::{PutRequest, StatusRequest};
use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::objects::object;
use holdfast_tests::site::{Login, Site};
use holdfast_tests::{contents, seed};
use judge::State;
use std::time::{Duration, Instant};

/// Records, leases, users, roles and HashKV after the calls of the hard cases.
async fn filled(version: &str) -> (Etcd, State) {
    let etcd = Etcd::start(version).await;
    seed::records(&etcd.client()).await.unwrap();
    seed::authentication(&etcd.client()).await.unwrap();
    let state = State::read(&judge::client_of(&etcd, true)).await.unwrap();
    (etcd, state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_calls_give_the_same_store() {
    let ((mut ours, state), (_theirs, expected)) = tokio::join!(filled(BUNDLED), filled("3.6"));
    expected.assert_same(&state, "ours against etcd 3.6");
    ours.stop().await;
    judge::bbolt_agrees(&ours.database());
}

/// Ends the member and boots another version on its directory, which must serve the same; then
/// both sides of what follows have new records.
async fn hand_over(etcd: &mut Etcd, state: State, version: &str, killed: bool) -> State {
    if killed {
        etcd.kill().await;
    } else {
        etcd.stop().await;
    }
    etcd.boot_as(version).await;
    let client = judge::client_of(etcd, true);
    let now = State::read(&client).await.unwrap();
    state.assert_same(&now, &format!("{version} takes over, killed before: {killed}"));
    let seed = u64::try_from(now.contents.revision).unwrap();
    contents::put(&client, (0..20).map(|at| object(seed, at, 1)), 4).await.unwrap();
    State::read(&client).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directories_change_hands() {
    let (mut etcd, mut state) = filled(BUNDLED).await;
    for killed in [false, true] {
        state = hand_over(&mut etcd, state, "3.6", killed).await;
        state = hand_over(&mut etcd, state, BUNDLED, killed).await;
    }
    // Once 3.7 has marked it as its own, 3.6 would refuse it.
    hand_over(&mut etcd, state, "3.7", true).await;
}

/// Whether the member's schema is marked as 3.7's.
async fn is_marked_as_3_7(client: &Client) -> bool {
    let status = client.check("Status", client.maintenance().status(StatusRequest {}).await);
    status.unwrap().storage_version == "3.7.0"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_takes_over_from_3_7_and_gives_back() {
    let (mut etcd, mut state) = filled("3.7").await;
    // It marks its directory some seconds after the start.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_marked_as_3_7(&judge::client_of(&etcd, true)).await {
        assert!(Instant::now() < deadline, "3.7 never marks its directory");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for killed in [false, true] {
        state = hand_over(&mut etcd, state, BUNDLED, killed).await;
        assert!(is_marked_as_3_7(&judge::client_of(&etcd, true)).await, "the mark stays");
        state = hand_over(&mut etcd, state, "3.7", killed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_takes_over_from_3_5() {
    let (mut etcd, state) = filled("3.5").await;
    etcd.kill().await;
    etcd.boot_as(BUNDLED).await;
    let now = State::read(&judge::client_of(&etcd, true)).await.unwrap();
    state.assert_same(&now, "from 3.5, killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_backs_it_up_and_it_boots_what_is_restored() {
    let (source, state) = filled(BUNDLED).await;
    let site = Site::on_disk();
    site.watch(&source, Login { user: Some(seed::ROOT), ..Login::default() });
    site.init().await;
    site.back_up().await;
    let data_dir = site.restore("restored", "3.6", &["--bump", "none"]).await;
    let restored = judge::boot(&data_dir, BUNDLED, true).await;
    state.assert_same(&restored, "backed up from ours, booted on ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_boots_it_where_no_other_server_is_named() {
    for version in ["3.5", "3.7", BUNDLED] {
        let (source, _) = filled(version).await;
        let site = Site::on_disk();
        site.watch(&source, Login { user: Some(seed::ROOT), ..Login::default() });
        site.init().await;
        site.back_up().await;
        // No program is to be found by name.
        let mut command = site.command(&site.on_vault(&["drill", "-o", "json"]));
        let output = command.env("PATH", "/nowhere").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "a backup of {version}: {said}");
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["level"], "L6", "{said}");
        assert!(report["server"].as_str().unwrap().ends_with("(bundled)"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_above_the_limit_is_refused_with_upstreams_words() {
    let (ours, theirs) = tokio::join!(Etcd::start(BUNDLED), Etcd::start("3.6"));
    let mut words = Vec::new();
    for etcd in [&ours, &theirs] {
        let put = |bytes: usize| PutRequest {
            key: b"large".to_vec(),
            value: vec![b'x'; bytes],
            ..PutRequest::default()
        };
        let mut kv = etcd.client().kv();
        // Above what a request may have, and above what is taken in at all.
        for bytes in [1_700_000, 3_000_000] {
            let refused = kv.put(put(bytes)).await.unwrap_err();
            words.push((refused.code(), refused.message().to_owned()));
        }
        kv.put(put(1_000_000)).await.unwrap();
    }
    assert_eq!(words[..2], words[2..]);
    assert_ne!(words[0], words[1]);
}
