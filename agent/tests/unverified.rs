//! What was stored and not read back is read back by a later round, also of another process.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use holdfast_agent::cycle::Job;
use holdfast_agent::run::{AgentError, once};
use holdfast_agent::state::AgentState;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::fake::{Fake, Fault};
use support::{Site, database, eventually, files, parts};
use tokio::sync::mpsc;

fn state(site: &Site) -> AgentState {
    AgentState::load(&site.path("state")).unwrap()
}

/// One round of a process of its own.
async fn round(site: &Site, url: &str) -> Result<(), AgentError> {
    let (_terminate, signals) = mpsc::channel(1);
    once(site.config(url, ""), parts(), signals).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_notes_before_it_stores_what_is_to_be_read_back() {
    let site = Site::new().await;
    let next = site.open().await.head().number + 1;
    let (fake, url) = Fake::start(database(), Fault::Stall).await;
    let mut config = site.config(&url, "");
    config.etcd.stall_timeout = Duration::from_secs(600);
    let (terminate, signals) = mpsc::channel(1);
    let running = once(config, parts(), signals);
    let watching = async {
        eventually("the stream", || fake.streams.load(Ordering::SeqCst) > 0).await;
        assert_eq!(state(&site).unverified_from, Some(next));
        terminate.send(()).await.unwrap();
    };
    let (left, ()) = tokio::join!(running, watching);
    let left = left.unwrap_err();
    assert!(matches!(left, AgentError::Interrupted(Job::Round)), "{left}");
    assert_eq!(state(&site).unverified_from, Some(next));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_read_back_is_read_back_by_the_next_round() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    round(&site, &url).await.unwrap();
    let first = state(&site);
    assert_eq!(first.unverified_from, None);
    let number = first.snapshot.as_ref().unwrap().number;

    // As after SIGKILL between the commit and the reading back, of a store that did not keep it.
    AgentState { unverified_from: Some(number), ..first }.save(&site.path("state")).unwrap();
    let segments = files(&site.path("vault"));
    let is_segment = |path: &&std::path::PathBuf| path.to_string_lossy().contains("/seg/");
    let segment = segments.iter().find(is_segment).unwrap();
    let mut bytes = std::fs::read(segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(segment, bytes).unwrap();

    let error = round(&site, &url).await.unwrap_err().to_string();
    assert!(error.contains("other bytes in the store"), "{error}");
    let after = state(&site);
    assert_eq!(after.damaged.len(), 1, "{after:?}");
    assert_eq!(after.unverified_from, Some(number + 1), "the damage is known, the rest is not");

    // Stored again and read back.
    round(&site, &url).await.unwrap();
    let after = state(&site);
    assert_eq!(after.unverified_from, None, "{after:?}");
    assert!(after.damaged.iter().all(|one| one.repaired), "{after:?}");
}
