//! A store that is away: at the start, and later.

use super::running::{Agent, QUICK, cluster, configure};

const DONE: &str = "holdfast_jobs_completed_total{job=\"round\"}";
const FAILED: &str = "holdfast_jobs_failed_total{job=\"round\",kind=\"store\"}";
const REACHED: &str = "holdfast_store_reachable";

/// Streams that etcd was asked for.
fn streams(log: &str) -> usize {
    log.matches("the stream is whole").count()
}

#[tokio::test]
async fn an_unreachable_store_is_tried_again_and_etcd_is_left_alone() {
    let (_etcd, site) = cluster(20).await;
    site.init().await;
    configure(&site, QUICK, "");
    // At the start: not mounted.
    std::fs::rename(site.path("vault"), site.path("away")).unwrap();
    let mut agent = Agent::start(&site, &[]);
    agent.until(FAILED, |failed| failed >= 2.0).await;
    assert_eq!(agent.metric(REACHED), Some(0.0));
    assert!(agent.metric("holdfast_failures_in_a_row").unwrap() >= 2.0);
    assert_eq!(streams(&agent.said()), 0, "etcd was asked\n{}", agent.tail());
    let (_, reason) = agent.page("/healthz").unwrap();
    assert!(reason.contains("attempts failed") && reason.contains("vault"), "{reason}");
    std::fs::rename(site.path("away"), site.path("vault")).unwrap();
    agent.until(DONE, |done| done >= 1.0).await;
    assert_eq!(agent.metric(REACHED), Some(1.0));
    assert_eq!(agent.metric("holdfast_failures_in_a_row"), Some(0.0));
    // Asked to end, so that its state is on the disk.
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0));
    drop(agent);

    // Later: a round that is due meets it.
    let state = site.path("state/agent.json");
    let text = std::fs::read_to_string(&state).unwrap();
    let mut state_json: serde_json::Value = serde_json::from_str(&text).unwrap();
    state_json["lastRoundMs"] = 1.into();
    std::fs::write(&state, state_json.to_string()).unwrap();
    std::fs::rename(site.path("vault"), site.path("away")).unwrap();
    let mut agent = Agent::start(&site, &[]);
    agent.until(FAILED, |failed| failed >= 1.0).await;
    let before = agent.metric("holdfast_recovery_point_timestamp_seconds").unwrap();
    assert!(before > 1e9, "the last snapshot is still told of: {before}");
    assert_eq!(streams(&agent.said()), 0, "etcd was asked\n{}", agent.tail());
    std::fs::rename(site.path("away"), site.path("vault")).unwrap();
    agent.until(DONE, |done| done >= 1.0).await;
    drop(agent);
    assert_eq!(site.snapshots().await.len(), 2);
}
