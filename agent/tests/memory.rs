//! What an agent knows outlives its process: a drill that failed, damage that it was told of.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use holdfast_agent::config::DrillConfig;
use holdfast_agent::cycle::Job;
use holdfast_agent::damage::{self, DamagedObject};
use holdfast_agent::drill::Drill;
use holdfast_agent::jobs::{Shared, Tools, Worker};
use holdfast_agent::metrics::Metrics;
use holdfast_agent::run::{AgentError, Parts, daemon, once};
use holdfast_agent::state::{AgentState, DrillFailure};
use holdfast_restore::drill::{DrillReport, Failure, Level, Recorded};
use holdfast_vault::format::ObjectId;
use holdfast_vault::vault::Vault;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::fake::{Fake, Fault};
use support::{Site, database, eventually, free_port, page, parts};
use tokio::sync::mpsc;

const DRILL: &str = "drill: {schedule: '@weekly', serverBinary: etcd, directory: drills}\n";

/// A drill that gives what it is told.
#[derive(Default)]
struct Told(AtomicBool);

#[async_trait::async_trait(?Send)]
impl Drill for Told {
    async fn prove(
        &self,
        _: &mut Vault,
        snapshot: u64,
        _: &DrillConfig,
    ) -> Result<DrillReport, String> {
        let passes = self.0.load(Ordering::Relaxed);
        let failure = Failure { level: Level::L5, reason: "HashKV differs".to_owned() };
        Ok(DrillReport {
            id: String::new(),
            snapshot,
            started_ms: 1,
            finished_ms: 2,
            level: passes.then_some(Level::L6),
            failure: (!passes).then_some(failure),
            steps: Vec::new(),
            recovery_ms: None,
            server: String::new(),
            records: 0,
            size_bytes: 0,
            sampled: 0,
            host: String::new(),
            opened_by: Vec::new(),
            notes: Vec::new(),
            recorded: Recorded::No,
        })
    }
}

/// The page, as soon as somebody listens.
async fn served(address: SocketAddr, path: &str) -> String {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let page = page(address, path).await;
        if !page.is_empty() {
            return page;
        }
        assert!(Instant::now() < end, "nobody listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn worker(site: &Site, url: &str, drill: Arc<Told>) -> (Worker, Arc<Shared>) {
    let config = Arc::new(site.config(url, DRILL));
    let state = AgentState::load(&config.state_directory).unwrap();
    let shared = Arc::new(Shared::new(state, Timestamp::now()));
    let tools = Tools {
        config,
        machine: "cp-1".into(),
        connect: parts().connect_kms,
        drill,
        metrics: Metrics::new().0,
        shared: shared.clone(),
    };
    (Worker::new(tools), shared)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_drill_is_remembered_until_one_passes() {
    let (site, drill) = (Site::new().await, Arc::new(Told::default()));
    let (_, url) = Fake::start(database(), Fault::None).await;
    std::fs::create_dir(site.path("state")).unwrap();
    let (mut first, shared) = worker(&site, &url, drill.clone());
    for job in [Job::Round, Job::Drill] {
        first.run(job).await;
    }
    let now = Timestamp::now();
    let mut memory = shared.lock().state.memory();
    (memory.last_round, memory.last_drill) = (Some(now), Some(now));
    shared.lock().state.remember(&memory);
    shared.lock().save(&site.path("state")).unwrap();

    // Another process, and its next drill is a week away.
    let address = free_port();
    let (terminate, signals) = mpsc::channel(1);
    let config = site.config(&url, &format!("listen: {address}\n{DRILL}"));
    let parts = Parts { drill: drill.clone(), ..parts() };
    let running = tokio::spawn(daemon(config, parts, signals));
    let metrics = served(address, "/metrics").await;
    assert!(metrics.contains("holdfast_drill_passed 0\n"), "{metrics}");
    terminate.send(()).await.unwrap();
    running.await.unwrap().unwrap();
    let (mut second, shared) = worker(&site, &url, drill.clone());
    let failure = shared.lock().health.drill_failure.clone().unwrap();
    assert_eq!(failure, "snapshot 2 at L5: HashKV differs");
    let known = shared.lock().state.drill_failure.clone().unwrap();
    assert!(known.at_ms >= now.as_millisecond() - 60_000, "{known:?}");
    assert_eq!((known.snapshot, known.level.as_str()), (2, "L5"));

    drill.0.store(true, Ordering::Relaxed);
    second.run(Job::Drill).await;
    assert_eq!(shared.lock().state.drill_failure, None::<DrillFailure>);
    assert_eq!(shared.lock().health.drill_failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_drill_is_forgotten_with_the_last_drill_that_is_configured() {
    let site = Site::new().await;
    let (_, url) = Fake::start(database(), Fault::None).await;
    let failure = DrillFailure { reason: "no etcd".to_owned(), ..DrillFailure::default() };
    assert_eq!(failure.to_string(), "it could not be done: no etcd");
    let state = AgentState { drill_failure: Some(failure), ..AgentState::default() };
    std::fs::create_dir(site.path("state")).unwrap();
    for (more, stays) in [(DRILL, true), ("", false)] {
        state.save(&site.path("state")).unwrap();
        let (_terminate, signals) = mpsc::channel(1);
        once(site.config(&url, more), parts(), signals).await.unwrap();
        let after = AgentState::load(&site.path("state")).unwrap();
        assert_eq!(after.drill_failure.is_some(), stays);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_told_outlives_a_round_that_was_left() {
    let site = Site::new().await;
    let (fake, url) = Fake::start(database(), Fault::Stall).await;
    let told = DamagedObject::new(ObjectId::from_bytes(&[7; 16]).unwrap(), "it is rotten");
    std::fs::create_dir(site.path("state")).unwrap();
    damage::leave_note(&site.path("state"), std::slice::from_ref(&told)).unwrap();
    let mut config = site.config(&url, "");
    config.etcd.stall_timeout = Duration::from_secs(600);
    let (terminate, signals) = mpsc::channel(1);
    let watched = async {
        eventually("the stream", || fake.streams.load(Ordering::SeqCst) > 0).await;
        // As after SIGKILL: it is on the disk in one form or the other.
        let state = AgentState::load(&site.path("state")).unwrap();
        assert_eq!(state.damaged, std::slice::from_ref(&told));
        assert_eq!((state.last_round_ms, state.failures), (0, 0), "nothing else was remembered");
        terminate.send(()).await.unwrap();
    };
    let (left, ()) = tokio::join!(once(config, parts(), signals), watched);
    let left = left.unwrap_err();
    assert!(matches!(left, AgentError::Interrupted(Job::Round)), "{left}");
    assert_eq!(AgentState::load(&site.path("state")).unwrap().damaged, [told]);
    let files = support::files(&site.path("state"));
    assert!(!files.iter().any(|path| path.to_string_lossy().contains("damaged")), "{files:?}");
}
