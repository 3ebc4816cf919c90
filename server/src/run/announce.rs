//! What the start tells: the data directory, the whole configuration, the figures that stand still.

use crate::config::{Compaction, Config, MemberUrl};
use crate::log::{Logger, messages};
use crate::member::Member;
use crate::metrics::Metrics;
use crate::version;
use holdfast_core::duration::GoDuration;
use serde_json::{Value, json};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

/// The default quota, in bytes.
const DEFAULT_QUOTA: i64 = 2 * 1024 * 1024 * 1024;

/// Fills in what hangs on the machine, and says which directory is used.
pub(super) fn prepare(config: &mut Config, logger: &Logger) {
    if let Some(host) = advertise_default_host(config) {
        logger.info("detected default host for advertise", &[("host", json!(host))]);
    }
    if config.name != "default" && config.is_default_initial_cluster {
        config.initial_cluster = config.initial_cluster_from_name();
    }
    let dir = json!(config.data_dir.display().to_string());
    if config.is_default_data_dir {
        logger.warn("'data-dir' was empty; using default", &[("data-dir", dir.clone())]);
    }
    let mut is_member = false;
    for entry in std::fs::read_dir(&config.data_dir).into_iter().flatten().flatten() {
        if entry.file_name() == "member" {
            is_member = true;
        } else {
            let name = json!(entry.file_name().to_string_lossy());
            let fields = [("filename", name), ("data-dir", dir.clone())];
            logger.warn("found invalid file under data directory", &fields);
        }
    }
    let (text, kind) = if is_member {
        ("server has already been initialized", "member")
    } else {
        ("Initialize and start etcd server", "empty")
    };
    logger.info(text, &[("data-dir", dir), ("dir-type", json!(kind))]);
}

/// Listening everywhere and advertising `localhost` helps nobody: the machine's own address is
/// advertised then.
fn advertise_default_host(config: &mut Config) -> Option<String> {
    let everywhere =
        |urls: &[MemberUrl]| urls.first().is_some_and(|url| url.host_name() == "0.0.0.0");
    let is_default = |urls: &[MemberUrl], port: &str| matches!(urls, [url] if url.to_string() == format!("http://localhost:{port}"));
    let peers =
        everywhere(&config.listen_peer_urls) && is_default(&config.advertise_peer_urls, "2380");
    let clients =
        everywhere(&config.listen_client_urls) && is_default(&config.advertise_client_urls, "2379");
    if !peers && !clients {
        return None;
    }
    let host = own_address()?;
    let advertised = |listens: &[MemberUrl], urls: &mut Vec<MemberUrl>| {
        let port = listens.first().map_or("", |url| url.port());
        let replaced = urls.first().map(|url| url.with_host(format!("{host}:{port}")));
        *urls = replaced.into_iter().collect();
    };
    if peers {
        advertised(&config.listen_peer_urls.clone(), &mut config.advertise_peer_urls);
    }
    if clients {
        advertised(&config.listen_client_urls.clone(), &mut config.advertise_client_urls);
    }
    Some(host.to_string())
}

/// The address that packets to the world would have. Nothing is sent: the socket only learns its
/// route (the address is one of those kept for documentation).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

fn texts(urls: &[MemberUrl]) -> Value {
    json!(urls.iter().map(ToString::to_string).collect::<Vec<String>>())
}

fn time(time: Duration) -> Value {
    json!(GoDuration::from(time).to_string())
}

/// The line with the whole configuration.
pub(super) fn starting(config: &Config, logger: &Logger) {
    let member_dir = config.data_dir.join("member");
    let wal_dir = config.wal_dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default();
    let quota = match config.quota_backend_bytes {
        0 => DEFAULT_QUOTA,
        quota => quota,
    };
    let (mode, retention) = match config.auto_compaction {
        Compaction::Off => ("periodic", time(Duration::ZERO)),
        Compaction::Periodic(kept) => ("periodic", time(kept)),
        Compaction::Revisions(kept) => ("revision", json!(kept)),
    };
    let fields = [
        ("etcd-version", json!(version::VERSION)),
        ("git-sha", json!(version::BUILD)),
        ("go-version", json!(version::RUNTIME)),
        ("go-os", json!(version::os())),
        ("go-arch", json!(version::arch())),
        ("member-initialized", json!(member_dir.join("wal").exists())),
        ("name", json!(config.name)),
        ("data-dir", json!(config.data_dir.display().to_string())),
        ("wal-dir", json!(wal_dir)),
        ("member-dir", json!(member_dir.display().to_string())),
        ("force-new-cluster", json!(config.force_new_cluster)),
        ("heartbeat-interval", time(config.heartbeat)),
        ("election-timeout", time(config.election)),
        ("initial-election-tick-advance", json!(config.initial_election_tick_advance)),
        ("snapshot-count", json!(config.snapshot_count)),
        ("max-wals", json!(config.max_wals)),
        ("max-snapshots", json!(config.max_snapshots)),
        ("snapshot-catchup-entries", json!(config.snapshot_catchup_entries)),
        ("initial-advertise-peer-urls", texts(&config.advertise_peer_urls)),
        ("listen-peer-urls", texts(&config.listen_peer_urls)),
        ("advertise-client-urls", texts(&config.advertise_client_urls)),
        ("listen-client-urls", texts(&config.listen_client_urls)),
        ("listen-metrics-urls", texts(&config.listen_metrics_urls)),
        ("cors", json!(config.cors)),
        ("host-whitelist", json!(config.host_whitelist)),
        ("initial-cluster", json!(config.initial_cluster)),
        ("initial-cluster-state", json!(if config.is_new_cluster { "new" } else { "existing" })),
        ("initial-cluster-token", json!(config.initial_cluster_token)),
        ("quota-backend-bytes", json!(quota)),
        ("max-request-bytes", json!(config.max_request_bytes)),
        ("max-concurrent-streams", json!(config.max_concurrent_streams)),
        ("pre-vote", json!(config.pre_vote)),
        ("feature-gates", json!(config.gates.to_string())),
        ("initial-corrupt-check", json!(config.gates.enabled("InitialCorruptCheck"))),
        ("corrupt-check-time-interval", time(config.corrupt_check_time)),
        ("compact-check-time-interval", time(config.compact_hash_check_time)),
        ("auto-compaction-mode", json!(mode)),
        ("auto-compaction-retention", retention),
        ("downgrade-check-interval", time(config.downgrade_check_time)),
        ("max-learners", json!(config.max_learners)),
        ("v2-deprecation", json!(config.v2_deprecation)),
    ];
    logger.info(messages::STARTING, &fields);
}

/// Figures that stand still while the process runs.
#[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
pub(super) fn measure(config: &Config, metrics: &Metrics) {
    metrics.gauge_with("etcd_server_version", &[version::VERSION]).set(1.0);
    metrics.gauge_with("etcd_server_go_version", &[version::RUNTIME]).set(1.0);
    let quota = match config.quota_backend_bytes {
        0 => DEFAULT_QUOTA,
        quota => quota,
    };
    metrics.gauge("etcd_server_quota_backend_bytes").set(quota as f64);
    for (name, stage) in crate::config::Gates::known() {
        let value = if config.gates.enabled(name) { 1.0 } else { 0.0 };
        metrics.gauge_with("etcd_server_feature_enabled", &[name, stage]).set(value);
    }
}

/// The line that the ports are about to serve.
pub(super) fn serving(config: &Config, member: &dyn Member, logger: &Logger) {
    let fields = [
        ("local-member-id", json!(format!("{:x}", member.position().member_id))),
        ("initial-advertise-peer-urls", texts(&config.advertise_peer_urls)),
        ("listen-peer-urls", texts(&config.listen_peer_urls)),
        ("advertise-client-urls", texts(&config.advertise_client_urls)),
        ("listen-client-urls", texts(&config.listen_client_urls)),
        ("listen-metrics-urls", texts(&config.listen_metrics_urls)),
    ];
    logger.info("now serving peer/client/metrics", &fields);
}
