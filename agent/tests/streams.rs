//! Whole rounds against a member whose stream goes wrong: nothing is stored, and each fault has its
//! name.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use holdfast_agent::run::{AgentError, once};
use holdfast_agent::state::AgentState;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::fake::{Fake, Fault, Telling};
use support::{Site, database, parts};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_the_stream_is_ever_stored() {
    let (site, database) = (Site::new().await, database());
    for (fault, says) in [
        (Fault::Cut, "cut after"),
        (Fault::Fail, "disk gone"),
        (Fault::Stall, "stalled"),
        (Fault::Empty, "stalled"),
        (Fault::Flip, "SHA-256"),
        (Fault::NoDigest, "no whole pages"),
    ] {
        let (fake, url) = Fake::start(database.clone(), fault).await;
        let (_terminate, signals) = mpsc::channel(1);
        let mut config = site.config(&url, "");
        if says == "stalled" {
            config.etcd.stall_timeout = STALL;
        }
        let error = once(config, parts(), signals).await.unwrap_err();
        let AgentError::Job { reason, .. } = &error else { panic!("{fault:?}: {error}") };
        assert!(reason.contains(says), "{fault:?}: {reason}");
        assert_eq!(fake.streams.load(Ordering::SeqCst), 1);
        let vault = site.open().await;
        assert_eq!((vault.snapshots().len(), vault.head().number), (0, 1), "{fault:?}");
    }
    let state = AgentState::load(&site.path("state")).unwrap();
    assert_eq!((state.failures, state.last_round_ms), (6, 0));
    assert!(state.last_error.contains("no whole pages"));
}

/// For what falls silent; all else may take its time on a busy machine.
const STALL: Duration = Duration::from_secs(1);

/// A member that tells changes: the round before was read whole, so it is asked for them.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_the_changes_is_ever_stored() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::None).await;
    let round = async |stall, whole| {
        let (_terminate, signals) = mpsc::channel(1);
        let mut config = site.config(&url, "prune: {enabled: false}\n");
        (config.etcd.stall_timeout, config.etcd.snapshot_timeout) = (stall, whole);
        once(config, parts(), signals).await
    };
    let long = Duration::from_secs(600);
    let mut rounds = 0;
    for (telling, stall, whole, says) in [
        (Telling::Silence, STALL, long, "stalled: nothing for 1 s after 0 bytes"),
        (Telling::Stall, STALL, long, "stalled: nothing for 1 s after"),
        (Telling::Trickle, long, Duration::from_secs(2), "took more than 2 s"),
        (Telling::Cut, long, long, "cut after"),
        (Telling::Fail, long, long, "disk gone"),
        (Telling::Flip, long, long, "SHA-256"),
    ] {
        // A failure is followed by a round that asks for no changes.
        fake.tell(Telling::Stall);
        round(long, long).await.unwrap();
        rounds += 1;
        assert_eq!(fake.streams.load(Ordering::SeqCst), rounds, "{telling:?}");
        assert_eq!(fake.asked.load(Ordering::SeqCst), rounds - 1, "{telling:?}");
        fake.tell(telling);
        let before = support::files(&site.path("vault"));
        let error = round(stall, whole).await.unwrap_err();
        let AgentError::Job { reason, .. } = &error else { panic!("{telling:?}: {error}") };
        assert!(reason.contains("stream of changes") && reason.contains(says), "{reason}");
        assert_eq!(fake.asked.load(Ordering::SeqCst), rounds, "{telling:?}");
        assert_eq!(fake.streams.load(Ordering::SeqCst), rounds, "{telling:?}: not in this round");
        assert_eq!(support::files(&site.path("vault")), before, "{telling:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_does_not_tell_now_is_read_in_the_same_round() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::None).await;
    for (rounds, telling) in
        [Telling::Unknown, Telling::Unknown, Telling::Busy, Telling::Overtaken].iter().enumerate()
    {
        fake.tell(*telling);
        let (_terminate, signals) = mpsc::channel(1);
        let config = site.config(&url, "prune: {enabled: false}\n");
        once(config, parts(), signals).await.unwrap();
        assert_eq!(fake.asked.load(Ordering::SeqCst), rounds, "the first has nothing to name");
        assert_eq!(fake.streams.load(Ordering::SeqCst), rounds + 1, "{telling:?}");
        assert_eq!(site.open().await.snapshots().len(), rounds + 1, "{telling:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_differs_is_an_alarm_and_the_snapshot_is_kept() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    let (_terminate, signals) = mpsc::channel(1);
    once(site.config(&url, ""), parts(), signals).await.unwrap();
    let mut vault = site.open().await;
    let entry = vault.snapshots().pop().unwrap();
    let facts = vault.reader(entry.number).await.unwrap().facts();
    assert_eq!(facts.hash_kv.unwrap().hash, 0xdead_beef);
    assert_ne!(facts.restored_hash_kv.unwrap().hash, 0xdead_beef);
    assert!(facts.kubernetes && facts.encryption_key_ids.contains(&"aescbc:v1:key1".to_owned()));
    let state = AgentState::load(&site.path("state")).unwrap();
    assert!(state.alarms[0].contains("deadbeef"), "{:?}", state.alarms);
    assert_eq!(state.witness, Some(vault.witness()));
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_left_alone_while_the_store_is_away() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::None).await;
    std::fs::rename(site.path("vault"), site.path("elsewhere")).unwrap();
    let (_terminate, signals) = mpsc::channel(1);
    once(site.config(&url, ""), parts(), signals).await.unwrap_err();
    assert_eq!(fake.streams.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_rolled_back_is_never_written_to() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    let config = || site.config(&url, "prune: {enabled: false}\n");
    let (_terminate, signals) = mpsc::channel(1);
    once(config(), parts(), signals).await.unwrap();
    let number = site.open().await.head().number;
    for path in support::files(&site.path("vault")) {
        if path.ends_with(format!("commit/0/{number:020}")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let before = support::files(&site.path("vault"));
    let (_terminate, signals) = mpsc::channel(1);
    let error = once(config(), parts(), signals).await.unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    assert_eq!(support::files(&site.path("vault")), before, "not a byte was added");
    let state = AgentState::load(&site.path("state")).unwrap();
    assert_eq!(state.witness.unwrap().number, number);
    assert!(!state.alarms.is_empty());
}
