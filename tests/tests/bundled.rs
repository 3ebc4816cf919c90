//! The bundled server beside upstream's: the same calls give the same store, data directories
//! change hands in both directions after a clean stop and after SIGKILL, and what was acknowledged
//! is kept.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "matrix/judge.rs"]
#[allow(dead_code, reason = "the matrix needs more of it")]
mod judge;
#[path = "bundled/services.rs"]
mod services;

use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::StatusRequest;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
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
async fn what_was_acknowledged_survives_sigkill() {
    let mut etcd = Etcd::start_with(Options::new(BUNDLED)).await;
    let mut expected = 0u64;
    for round in 0..5u64 {
        let client = etcd.client();
        let writing = tokio::spawn(async move {
            let mut acknowledged = 0u64;
            for at in 0..10_000 {
                let put = contents::put(&client, std::iter::once(object(round, at, 1)), 1).await;
                if put.is_err() {
                    break;
                }
                acknowledged += 1;
            }
            acknowledged
        });
        // Not at a chosen moment: after so many writes as the round says.
        let least = i64::try_from(expected + 50 * (round + 1)).unwrap();
        let reader = etcd.client();
        while contents::revision(&reader).await.unwrap() < least {
            tokio::task::yield_now().await;
        }
        etcd.kill().await;
        let acknowledged = writing.await.unwrap();
        etcd.boot().await;
        let now = contents::read(&etcd.client()).await.unwrap();
        let kept = now.records.len() as u64;
        expected += acknowledged;
        // At most the one write that was under way is there without its answer.
        assert!((expected..=expected + 1).contains(&kept), "{expected} acknowledged, {kept} kept");
        expected = kept;
    }
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
