//! What operators see of the member: its figures under upstream's names.

use std::time::Instant;

use holdfast_core::wal::SyncObserver;

use super::handle::Handle;
use crate::member::Member;
use crate::metrics::{Histogram, Metrics};

const FSYNC_SECONDS: &str = "etcd_disk_wal_fsync_duration_seconds";

/// Measures the WAL's syncs.
pub(crate) struct Fsyncs {
    took: Histogram,
    begun: Option<Instant>,
}

impl Fsyncs {
    /// Into these metrics.
    pub(crate) fn new(metrics: &Metrics) -> Fsyncs {
        Fsyncs { took: metrics.histogram(FSYNC_SECONDS), begun: None }
    }
}

impl SyncObserver for Fsyncs {
    fn begins(&mut self) {
        self.begun = Some(Instant::now());
    }

    fn ended(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.took.observe(begun.elapsed().as_secs_f64());
        }
    }
}

/// Sets the member's gauges whenever the page is asked for.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point numbers")]
pub(crate) fn measure(handle: &Handle, metrics: &Metrics) {
    let figures = handle.clone();
    let gauge = |name: &str| metrics.gauge(name);
    let has_leader = gauge("etcd_server_has_leader");
    let is_leader = gauge("etcd_server_is_leader");
    let applied = gauge("etcd_server_proposals_applied_total");
    let committed = gauge("etcd_server_proposals_committed_total");
    let quota = gauge("etcd_server_quota_backend_bytes");
    let size = gauge("etcd_mvcc_db_total_size_in_bytes");
    let in_use = gauge("etcd_mvcc_db_total_size_in_use_in_bytes");
    let revision = gauge("etcd_debugging_mvcc_current_revision");
    let compacted = gauge("etcd_debugging_mvcc_compact_revision");
    let watchers = gauge("etcd_debugging_mvcc_watcher_total");
    let slow = gauge("etcd_debugging_mvcc_slow_watcher_total");
    let changes = metrics.counter("etcd_server_leader_changes_seen_total");
    let id = format!("{:x}", handle.inner.member_id);
    metrics.gauge_with("etcd_server_id", &[&id]).set(1.0);
    // The member knows itself, and asks nothing of the old store: the lines are there for boards.
    metrics.gauge_with("etcd_network_known_peers", &[&id, &id]).set(1.0);
    metrics.counter_with("etcd_debugging_store_writes_total", &["set"]).add(0);
    metrics.counter_with("etcd_debugging_store_reads_total", &["getRecursive"]).add(0);
    let (pages, versions) = (metrics.clone(), "etcd_cluster_version");
    metrics.refresh(Box::new(move || {
        let inner = &figures.inner;
        let flag = |on: bool| f64::from(u8::from(on));
        if let Some(version) = figures.cluster_version() {
            // As upstream shows it: without the patch.
            let minor = version.rsplit_once('.').map_or(&*version, |(minor, _)| minor);
            pages.clear(versions);
            pages.gauge_with(versions, &[minor]).set(1.0);
        }
        has_leader.set(flag(inner.view.leader() != holdfast_core::raft::NOBODY));
        changes.add(inner.view.leader_changes().saturating_sub(changes.get()));
        is_leader.set(flag(inner.view.leads()));
        applied.set(inner.applied.index() as f64);
        committed.set(inner.view.committed() as f64);
        quota.set(inner.limits.quota_bytes as f64);
        let stats = inner.database.stats();
        size.set(stats.size_bytes as f64);
        in_use.set(stats.in_use_bytes() as f64);
        revision.set(inner.store.revision() as f64);
        compacted.set(inner.store.compacted() as f64);
        let (all, behind) = inner.watching.counts();
        watchers.set(all as f64);
        slow.set(behind as f64);
    }));
}
