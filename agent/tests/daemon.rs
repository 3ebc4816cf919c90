//! The daemon's life: rounds by schedule, SIGTERM at different moments, the lock, the pages.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use holdfast_agent::cycle::Job;
use holdfast_agent::jobs::{Shared, Tools, Worker};
use holdfast_agent::metrics::{JobLabel, Metrics};
use holdfast_agent::run::{AgentError, Outcome, daemon};
use holdfast_agent::state::{AgentState, StateError};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::fake::{Fake, Fault};
use support::{Site, database, eventually, free_port, page, parts};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_round_at_start_the_pages_the_lock_and_sigterm() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    let address = free_port();
    let config = site.config(&url, &format!("listen: {address}\n"));
    let (terminate, signals) = mpsc::channel(1);
    let running = tokio::spawn(daemon(config.clone(), parts(), signals));
    let state = site.path("state");
    eventually("the first round", || {
        AgentState::load(&state).is_ok_and(|state| state.last_round_ms > 0)
    })
    .await;
    let metrics = page(address, "/metrics").await;
    assert!(metrics.contains("holdfast_jobs_completed_total{job=\"round\"} 1"), "{metrics}");
    assert!(metrics.contains("holdfast_store_reachable 1"));
    // The fake's hash differs: that is an alarm, and not "ok".
    let health = page(address, "/healthz").await;
    assert!(health.contains("503") && health.contains("HashKV"), "{health}");
    assert!(page(address, "/livez").await.contains("200"));

    let (_second, signals) = mpsc::channel(1);
    let mut other = config;
    other.listen = None;
    let refused = daemon(other, parts(), signals).await.unwrap_err();
    assert!(matches!(refused, AgentError::State(StateError::Locked { .. })), "{refused}");

    terminate.send(()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap(), Outcome::Stopped);
    assert_eq!(site.open().await.snapshots().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_a_stalled_round_leaves_it() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::Stall).await;
    let mut config = site.config(&url, "shutdownGrace: 1s\n");
    config.etcd.stall_timeout = Duration::from_secs(600);
    let (terminate, signals) = mpsc::channel(1);
    let running = tokio::spawn(daemon(config, parts(), signals));
    eventually("the stream", || fake.streams.load(Ordering::SeqCst) > 0).await;
    let asked = Instant::now();
    terminate.send(()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap(), Outcome::Stopped);
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(site.open().await.snapshots().len(), 0);
    let state = AgentState::load(&site.path("state")).unwrap();
    assert_eq!((state.last_round_ms, state.failures), (0, 0), "an abandoned round never was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_tried_again_and_told() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::None).await;
    std::fs::rename(site.path("vault"), site.path("elsewhere")).unwrap();
    let address = free_port();
    let more = format!("listen: {address}\nschedule: {{retryAfter: 1s, longestRetry: 2s}}\n");
    let (terminate, signals) = mpsc::channel(1);
    let running = tokio::spawn(daemon(site.config(&url, &more), parts(), signals));
    let state = site.path("state");
    eventually("two failures", || AgentState::load(&state).is_ok_and(|state| state.failures >= 2))
        .await;
    let metrics = page(address, "/metrics").await;
    assert!(metrics.contains("holdfast_store_reachable 0"), "{metrics}");
    assert!(metrics.contains("holdfast_jobs_failed_total{job=\"round\""), "{metrics}");
    assert_eq!(fake.streams.load(Ordering::SeqCst), 0, "etcd was left alone");
    std::fs::rename(site.path("elsewhere"), site.path("vault")).unwrap();
    eventually("a round", || AgentState::load(&state).is_ok_and(|state| state.failures == 0)).await;
    terminate.send(()).await.unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(site.open().await.snapshots().len(), 1);
}

/// Whoever waits for the count of a round looks at all the rest right after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_counted_when_all_of_it_is_told() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    std::fs::create_dir(site.path("state")).unwrap();
    let tools = Tools {
        config: Arc::new(site.config(&url, "")),
        machine: "cp-1".into(),
        connect: parts().connect_kms,
        drill: parts().drill,
        metrics: Metrics::new().0,
        shared: Arc::new(Shared::new(AgentState::default(), Timestamp::now())),
    };
    let (metrics, shared) = (tools.metrics.clone(), tools.shared.clone());
    let watching = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(90);
        while metrics.completed.get_or_create(&JobLabel { job: "round" }).get() == 0 {
            assert!(Instant::now() < end, "it is never counted");
            std::hint::spin_loop();
        }
        // The fake's hash differs.
        (metrics.alarms.get(), metrics.snapshots.get(), shared.lock().health.alarms.len())
    });
    assert_eq!(Worker::new(tools).run(Job::Round).await.error, None);
    assert_eq!(watching.join().unwrap(), (1, 1, 1));
}
