//! The families that upstream's page has: name, kind, labels in their order on the page, help.
//!
//! Must hold: a test compares the names and kinds with a running etcd 3.6's page. Families of the
//! process, of Go's runtime and of RPCs write themselves (process.rs, grpc/observe.rs). Where a
//! family has labels, the help is followed by them.

use super::FamilyKind::{self, Counter, Gauge, Histogram};

/// One family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: FamilyKind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

const fn row(name: &'static str, kind: FamilyKind, help: &'static str) -> Row {
    Row { name, kind, labels: &[], help }
}

const fn labelled(
    name: &'static str,
    kind: FamilyKind,
    help: &'static str,
    labels: &'static [&'static str],
) -> Row {
    Row { name, kind, labels, help }
}

/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_A: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_B: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
    16384.0, 32768.0, 65536.0, 131072.0, 262144.0, 524288.0, 1048576.0, 2097152.0, 4194304.0,
    8388608.0,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_C: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_D: &[f64] = &[
    100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0, 25600.0, 51200.0, 102400.0,
    204800.0, 409600.0, 819200.0,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_E: &[f64] =
    &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_F: &[f64] =
    &[0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_G: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_H: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_I: &[f64] = &[
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768,
];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_J: &[f64] = &[0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2];
/// Upper bounds of a histogram, as upstream has them.
const BOUNDS_K: &[f64] = &[
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288,
];

/// All of them.
pub(crate) const FAMILIES: &[Row] = &[
    labelled(
        "etcd_cluster_version",
        Gauge,
        "The version that all members agree on.",
        &["cluster_version"],
    ),
    row("etcd_debugging_auth_revision", Gauge, "Revision of users and roles."),
    row(
        "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
        Histogram(BOUNDS_A),
        "Rebalancing of pages in a commit.",
    ),
    row(
        "etcd_debugging_disk_backend_commit_spill_duration_seconds",
        Histogram(BOUNDS_A),
        "Laying out of pages in a commit.",
    ),
    row(
        "etcd_debugging_disk_backend_commit_write_duration_seconds",
        Histogram(BOUNDS_A),
        "Writing of pages in a commit.",
    ),
    row("etcd_debugging_lease_granted_total", Counter, "Leases granted."),
    row("etcd_debugging_lease_renewed_total", Counter, "Leases renewed, by the leader."),
    row("etcd_debugging_lease_revoked_total", Counter, "Leases revoked."),
    row(
        "etcd_debugging_lease_ttl_total",
        Histogram(BOUNDS_B),
        "Times to live of granted leases, in seconds.",
    ),
    row("etcd_debugging_mvcc_compact_revision", Gauge, "Revision of the last compaction."),
    row("etcd_debugging_mvcc_current_revision", Gauge, "Current revision."),
    row(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        Counter,
        "Records that compactions removed.",
    ),
    row("etcd_debugging_mvcc_db_compaction_last", Gauge, "Unix time of the last compaction."),
    row(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        Histogram(BOUNDS_C),
        "Pauses that compactions of the database caused.",
    ),
    row(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        Histogram(BOUNDS_D),
        "Whole compactions of the database.",
    ),
    row("etcd_debugging_mvcc_events_total", Counter, "Events sent."),
    row(
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        Histogram(BOUNDS_E),
        "Pauses that compactions of the index caused.",
    ),
    row("etcd_debugging_mvcc_keys_total", Gauge, "Keys alive."),
    row("etcd_debugging_mvcc_pending_events_total", Gauge, "Events waiting to be sent."),
    row("etcd_debugging_mvcc_slow_watcher_total", Gauge, "Watchers that are behind."),
    row("etcd_debugging_mvcc_total_put_size_in_bytes", Gauge, "Bytes of keys and values put."),
    row("etcd_debugging_mvcc_watch_stream_total", Gauge, "Watch streams."),
    row("etcd_debugging_mvcc_watcher_total", Gauge, "Watchers."),
    labelled("etcd_debugging_server_alarms", Gauge, "Alarms raised.", &["alarm_type", "server_id"]),
    row("etcd_debugging_server_lease_expired_total", Counter, "Leases that ran out."),
    row(
        "etcd_debugging_snap_save_marshalling_duration_seconds",
        Histogram(BOUNDS_A),
        "Encoding of snapshots being saved.",
    ),
    row(
        "etcd_debugging_snap_save_total_duration_seconds",
        Histogram(BOUNDS_A),
        "Saving of snapshots.",
    ),
    row("etcd_debugging_store_expires_total", Counter, "Keys of the old store that ran out."),
    labelled("etcd_debugging_store_reads_total", Counter, "Reads of the old store.", &["action"]),
    row("etcd_debugging_store_watch_requests_total", Counter, "Watches of the old store."),
    row("etcd_debugging_store_watchers", Gauge, "Watchers of the old store."),
    labelled(
        "etcd_debugging_store_writes_total",
        Counter,
        "Writes of the old store, where members are kept too.",
        &["action"],
    ),
    row(
        "etcd_disk_backend_commit_duration_seconds",
        Histogram(BOUNDS_A),
        "Commits of the database.",
    ),
    row("etcd_disk_backend_defrag_duration_seconds", Histogram(BOUNDS_F), "Defragmentations."),
    row(
        "etcd_disk_backend_snapshot_duration_seconds",
        Histogram(BOUNDS_G),
        "Snapshots of the database taken.",
    ),
    row("etcd_disk_defrag_inflight", Gauge, "Whether a defragmentation runs."),
    row(
        "etcd_disk_wal_fsync_duration_seconds",
        Histogram(BOUNDS_A),
        "fsync of the write-ahead log.",
    ),
    row("etcd_disk_wal_write_bytes_total", Gauge, "Bytes written to the log."),
    row("etcd_disk_wal_write_duration_seconds", Histogram(BOUNDS_A), "Writes to the log."),
    row(
        "etcd_grpc_proxy_cache_hits_total",
        Gauge,
        "Hits in a proxy's cache; there is no proxy here.",
    ),
    row("etcd_grpc_proxy_cache_keys_total", Gauge, "Keys in a proxy's cache."),
    row("etcd_grpc_proxy_cache_misses_total", Gauge, "Misses in a proxy's cache."),
    row("etcd_grpc_proxy_events_coalescing_total", Counter, "Events that a proxy shared."),
    row("etcd_grpc_proxy_watchers_coalescing_total", Gauge, "Watchers that a proxy shared."),
    row("etcd_mvcc_db_open_read_transactions", Gauge, "Read transactions open."),
    row("etcd_mvcc_db_total_size_in_bytes", Gauge, "Size of the database file."),
    row("etcd_mvcc_db_total_size_in_use_in_bytes", Gauge, "Bytes of it in use."),
    row("etcd_mvcc_delete_total", Counter, "Deletes."),
    row("etcd_mvcc_hash_duration_seconds", Histogram(BOUNDS_H), "Hashes of the whole database."),
    row("etcd_mvcc_hash_rev_duration_seconds", Histogram(BOUNDS_H), "Hashes at a revision."),
    row("etcd_mvcc_put_total", Counter, "Puts."),
    row("etcd_mvcc_range_total", Counter, "Ranges."),
    row("etcd_mvcc_txn_total", Counter, "Transactions."),
    labelled("etcd_network_active_peers", Gauge, "Peers with a connection.", &["Local", "Remote"]),
    row("etcd_network_client_grpc_received_bytes_total", Counter, "Bytes received from clients."),
    row("etcd_network_client_grpc_sent_bytes_total", Counter, "Bytes sent to clients."),
    labelled("etcd_network_disconnected_peers_total", Counter, "Peers lost.", &["Local", "Remote"]),
    labelled("etcd_network_known_peers", Gauge, "Peers known.", &["Local", "Remote"]),
    labelled(
        "etcd_network_peer_received_bytes_total",
        Counter,
        "Bytes received from peers.",
        &["From"],
    ),
    labelled(
        "etcd_network_peer_received_failures_total",
        Counter,
        "Messages from peers that failed.",
        &["From"],
    ),
    labelled(
        "etcd_network_peer_round_trip_time_seconds",
        Histogram(BOUNDS_I),
        "Round trips to peers.",
        &["To"],
    ),
    labelled("etcd_network_peer_sent_bytes_total", Counter, "Bytes sent to peers.", &["To"]),
    labelled(
        "etcd_network_peer_sent_failures_total",
        Counter,
        "Messages to peers that failed.",
        &["To"],
    ),
    labelled(
        "etcd_network_snapshot_receive_failures",
        Counter,
        "Snapshots not received from peers.",
        &["From"],
    ),
    labelled(
        "etcd_network_snapshot_receive_inflights_total",
        Gauge,
        "Snapshots being received from peers.",
        &["From"],
    ),
    labelled(
        "etcd_network_snapshot_receive_success",
        Counter,
        "Snapshots received from peers.",
        &["From"],
    ),
    labelled(
        "etcd_network_snapshot_receive_total_duration_seconds",
        Histogram(BOUNDS_J),
        "Receiving of snapshots.",
        &["From"],
    ),
    labelled(
        "etcd_network_snapshot_send_failures",
        Counter,
        "Snapshots not sent to peers.",
        &["To"],
    ),
    labelled(
        "etcd_network_snapshot_send_inflights_total",
        Gauge,
        "Snapshots being sent to peers.",
        &["To"],
    ),
    labelled("etcd_network_snapshot_send_success", Counter, "Snapshots sent to peers.", &["To"]),
    labelled(
        "etcd_network_snapshot_send_total_duration_seconds",
        Histogram(BOUNDS_J),
        "Sending of snapshots.",
        &["To"],
    ),
    labelled(
        "etcd_server_apply_duration_seconds",
        Histogram(BOUNDS_K),
        "Applications of requests.",
        &["op", "success", "version"],
    ),
    labelled(
        "etcd_server_client_requests_total",
        Counter,
        "Requests by the client's API version.",
        &["client_api_version", "type"],
    ),
    labelled(
        "etcd_server_feature_enabled",
        Gauge,
        "Feature gates that are on.",
        &["name", "stage"],
    ),
    labelled("etcd_server_go_version", Gauge, "What the server runs on.", &["server_go_version"]),
    row("etcd_server_has_leader", Gauge, "Whether there is a leader."),
    row("etcd_server_health_failures", Counter, "Health pages that said no."),
    row("etcd_server_health_success", Counter, "Health pages that said yes."),
    labelled("etcd_server_healthcheck", Gauge, "Outcome of each health check.", &["name", "type"]),
    labelled(
        "etcd_server_healthchecks_total",
        Counter,
        "Health checks by outcome.",
        &["name", "status", "type"],
    ),
    row("etcd_server_heartbeat_send_failures_total", Counter, "Heartbeats sent late."),
    labelled("etcd_server_id", Gauge, "This member.", &["server_id"]),
    row("etcd_server_is_leader", Gauge, "Whether this member leads."),
    row("etcd_server_is_learner", Gauge, "Whether this member has no vote."),
    row("etcd_server_leader_changes_seen_total", Counter, "Changes of the leader."),
    labelled(
        "etcd_server_learner_promote_failures",
        Counter,
        "Learners not promoted.",
        &["Reason"],
    ),
    row(
        "etcd_server_learner_promote_successes",
        Counter,
        "Learners promoted while this member led.",
    ),
    row("etcd_server_proposals_applied_total", Gauge, "Index of the last applied entry."),
    row("etcd_server_proposals_committed_total", Gauge, "Index of the last committed entry."),
    row("etcd_server_proposals_failed_total", Counter, "Proposals that failed."),
    row("etcd_server_proposals_pending", Gauge, "Proposals waiting."),
    row("etcd_server_quota_backend_bytes", Gauge, "Quota of the database."),
    labelled(
        "etcd_server_range_duration_seconds",
        Histogram(BOUNDS_K),
        "Ranges by success.",
        &["success"],
    ),
    row("etcd_server_read_indexes_failed_total", Counter, "Read indexes that failed."),
    row("etcd_server_slow_apply_total", Counter, "Applications that took long."),
    row("etcd_server_slow_read_indexes_total", Counter, "Read indexes that took long."),
    row("etcd_server_snapshot_apply_in_progress_total", Gauge, "Snapshots being applied."),
    labelled("etcd_server_version", Gauge, "Version of this server.", &["server_version"]),
    row("etcd_snap_db_fsync_duration_seconds", Histogram(BOUNDS_A), "fsync of received databases."),
    row(
        "etcd_snap_db_save_total_duration_seconds",
        Histogram(BOUNDS_J),
        "Saving of received databases.",
    ),
    row("etcd_snap_fsync_duration_seconds", Histogram(BOUNDS_A), "fsync of snapshot files."),
    row("promhttp_metric_handler_requests_in_flight", Gauge, "Metrics pages being written."),
    labelled(
        "promhttp_metric_handler_requests_total",
        Counter,
        "Metrics pages by HTTP status.",
        &["code"],
    ),
];
