//! The bundled server beside upstream's: the same calls give the same store, data directories
//! change hands in both directions after a clean stop and after SIGKILL, and what was acknowledged
//! is kept.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "matrix/judge.rs"]
#[allow(dead_code, reason = "the matrix needs more of it")]
mod judge;

use holdfast_api::etcdserverpb::PutRequest;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::objects::object;
use holdfast_tests::site::{Login, Site};
use holdfast_tests::{contents, seed};
use judge::State;

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
    // What 3.7 has taken over it has marked as its own.
    hand_over(&mut etcd, state, "3.7", true).await;
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
