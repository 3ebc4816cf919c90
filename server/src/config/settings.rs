//! The configuration as the member uses it: typed, checked, older names resolved.

use super::flags;
use super::gates::Gates;
use super::member_url::MemberUrl;
use super::values::Values;
use crate::log::{Format, Level, OpenError, Output, Rotation};
use holdfast_core::duration::GoDuration;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the history that automatic compaction keeps ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// There is none.
    Off,
    /// What is older than that.
    Periodic(Duration),
    /// What is further back than that many revisions.
    Revisions(i64),
}

/// The TLS versions that upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

/// TLS of a kind of listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// PEM with the certificate and those below its authority; empty without TLS.
    pub cert_file: String,
    /// PEM with its key.
    pub key_file: String,
    /// PEM with the authorities of the other side; empty means the system's.
    pub trusted_ca_file: String,
    /// Ask the other side for a certificate.
    pub client_cert_auth: bool,
    /// Revoked certificates.
    pub crl_file: String,
    /// Common names of which one must be the other side's.
    pub allowed_cns: Vec<String>,
    /// Names of which the other side's certificate must hold one.
    pub allowed_hostnames: Vec<String>,
    /// Make a certificate when none is given.
    pub auto: bool,
    /// Names of cipher suites as Go has them.
    pub cipher_suites: Vec<String>,
    /// Oldest version.
    pub min_version: Option<TlsVersion>,
    /// Newest version.
    pub max_version: Option<TlsVersion>,
    /// Years that a certificate made here is valid.
    pub self_signed_years: u32,
}

impl TlsConfig {
    /// Whether there is no certificate.
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_empty() && self.key_file.is_empty()
    }

    /// As upstream's log line shows it.
    pub fn summary(&self) -> String {
        format!(
            "cert = {}, key = {}, client-cert=, client-key=, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
            self.cert_file,
            self.key_file,
            self.trusted_ca_file,
            self.client_cert_auth,
            self.crl_file
        )
    }
}

/// Pings on client connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Shortest time between two pings of a client.
    pub min_time: Duration,
    /// Idle time after which a client is pinged; zero never.
    pub interval: Duration,
    /// Time for its answer; zero waits for ever.
    pub timeout: Duration,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// From which level on.
    pub level: Level,
    /// How a line is written.
    pub format: Format,
    /// Where to.
    pub outputs: Vec<String>,
    pub(super) rotation: Option<Rotation>,
}

impl LogConfig {
    /// Opens the outputs.
    ///
    /// # Errors
    /// A file or the journal cannot be opened.
    pub fn open(&self) -> Result<Vec<Output>, OpenError> {
        let open = |target: &String| match target.as_str() {
            "default" | "stderr" => Ok(Output::stderr()),
            "stdout" => Ok(Output::stdout()),
            "systemd/journal" => Output::journal(),
            path => Output::file(Path::new(path), self.rotation),
        };
        self.outputs.iter().map(open).collect()
    }

    /// Whether old log files were to be compressed, which is not done.
    pub(crate) fn wants_compression(&self) -> bool {
        self.rotation.is_some_and(|rotation| rotation.compress)
    }
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the flag of that name, see --help")]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    /// Nobody named a data directory.
    pub is_default_data_dir: bool,
    pub wal_dir: Option<PathBuf>,
    pub snapshot_count: u64,
    pub snapshot_catchup_entries: u64,
    pub heartbeat: Duration,
    pub election: Duration,
    pub initial_election_tick_advance: bool,
    pub listen_peer_urls: Vec<MemberUrl>,
    pub listen_client_urls: Vec<MemberUrl>,
    pub listen_client_http_urls: Vec<MemberUrl>,
    pub listen_metrics_urls: Vec<MemberUrl>,
    pub advertise_peer_urls: Vec<MemberUrl>,
    pub advertise_client_urls: Vec<MemberUrl>,
    pub initial_cluster: String,
    /// Nobody named the members.
    pub is_default_initial_cluster: bool,
    pub is_new_cluster: bool,
    pub initial_cluster_token: String,
    pub max_snapshots: u64,
    pub max_wals: u64,
    pub quota_backend_bytes: i64,
    pub backend_batch_interval: Duration,
    pub backend_batch_limit: usize,
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
    pub max_concurrent_streams: u32,
    pub keep_alive: KeepAlive,
    pub socket_reuse_port: bool,
    pub socket_reuse_address: bool,
    pub enable_grpc_gateway: bool,
    pub raft_read_timeout: Duration,
    pub raft_write_timeout: Duration,
    pub gates: Gates,
    pub strict_reconfig_check: bool,
    pub pre_vote: bool,
    pub auto_compaction: Compaction,
    pub v2_deprecation: String,
    pub client_tls: TlsConfig,
    pub peer_tls: TlsConfig,
    pub peer_client_cert_file: String,
    pub peer_client_key_file: String,
    pub peer_skip_client_san_verification: bool,
    pub cors: Vec<String>,
    pub host_whitelist: Vec<String>,
    pub auth_token: String,
    pub bcrypt_cost: u32,
    pub auth_token_ttl: Duration,
    pub extensive_metrics: bool,
    pub log_level: Level,
    pub warning_unary_request: Duration,
    pub warning_apply: Duration,
    pub corrupt_check_time: Duration,
    pub compact_hash_check_time: Duration,
    pub compaction_batch_limit: usize,
    pub compaction_sleep_interval: Duration,
    pub watch_progress_notify_interval: Duration,
    pub bootstrap_defrag_threshold_megabytes: u64,
    pub max_learners: usize,
    pub downgrade_check_time: Duration,
    pub force_new_cluster: bool,
    pub unsafe_no_fsync: bool,
}

impl Config {
    /// Time that a request may take: 5 s and two elections.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// Largest message that is received: the largest request and 512 KiB around it.
    pub fn max_receive_bytes(&self) -> usize {
        self.max_request_bytes.saturating_add(512 * 1024)
    }

    /// What `--initial-cluster` is when only the name is given.
    pub fn initial_cluster_from_name(&self) -> String {
        let name = if self.name.is_empty() { super::check::DEFAULT_NAME } else { &self.name };
        let pairs: Vec<String> =
            self.advertise_peer_urls.iter().map(|url| format!("{name}={url}")).collect();
        pairs.join(",")
    }
}

/// Nanoseconds until a batch is committed when nobody said.
const BATCH_INTERVAL: GoDuration = GoDuration(100_000_000);

/// The configuration of checked values.
#[expect(clippy::too_many_lines, reason = "one line a flag")]
pub(super) fn config(values: &Values, unary: GoDuration) -> Config {
    let name = values.text("name");
    let data_dir = values.text("data-dir");
    let or = |name: &str, default: GoDuration| match values.duration(name) {
        GoDuration(0) => default.to_std(),
        given => given.to_std(),
    };
    let time = |name: &str| values.duration(name).to_std();
    let millis = |name: &str| Duration::from_millis(values.number(name, u64::MAX));
    let default_cluster = flags::find("initial-cluster").map_or("", |flag| flag.default);
    let initial_cluster = values.text("initial-cluster");
    Config {
        is_default_data_dir: data_dir.is_empty(),
        data_dir: if data_dir.is_empty() { format!("{name}.etcd") } else { data_dir }.into(),
        wal_dir: Some(values.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from),
        snapshot_count: values.number("snapshot-count", u64::MAX),
        snapshot_catchup_entries: match values.is_set("snapshot-catchup-entries")
            || values.is_set("experimental-snapshot-catchup-entries")
        {
            true => values.number("snapshot-catchup-entries", u64::MAX),
            false => 5_000,
        },
        heartbeat: millis("heartbeat-interval"),
        election: millis("election-timeout"),
        initial_election_tick_advance: values.is_on("initial-election-tick-advance"),
        listen_peer_urls: values.urls("listen-peer-urls"),
        listen_client_urls: values.urls("listen-client-urls"),
        listen_client_http_urls: values.urls("listen-client-http-urls"),
        listen_metrics_urls: values.urls("listen-metrics-urls"),
        advertise_peer_urls: values.urls("initial-advertise-peer-urls"),
        advertise_client_urls: values.urls("advertise-client-urls"),
        is_default_initial_cluster: initial_cluster == default_cluster,
        initial_cluster,
        is_new_cluster: values.text("initial-cluster-state") == "new",
        initial_cluster_token: values.text("initial-cluster-token"),
        max_snapshots: values.number("max-snapshots", u64::MAX),
        max_wals: values.number("max-wals", u64::MAX),
        quota_backend_bytes: values.number("quota-backend-bytes", i64::MAX),
        backend_batch_interval: or("backend-batch-interval", BATCH_INTERVAL),
        backend_batch_limit: match values.number("backend-batch-limit", usize::MAX) {
            0 | usize::MAX => 10_000,
            limit => limit,
        },
        max_txn_ops: values.number("max-txn-ops", usize::MAX),
        max_request_bytes: values.number("max-request-bytes", usize::MAX),
        max_concurrent_streams: values.number("max-concurrent-streams", u32::MAX),
        keep_alive: KeepAlive {
            min_time: time("grpc-keepalive-min-time"),
            interval: time("grpc-keepalive-interval"),
            timeout: time("grpc-keepalive-timeout"),
        },
        socket_reuse_port: values.is_on("socket-reuse-port"),
        socket_reuse_address: values.is_on("socket-reuse-address"),
        enable_grpc_gateway: !values.is_set("enable-grpc-gateway")
            || values.is_on("enable-grpc-gateway"),
        raft_read_timeout: time("raft-read-timeout"),
        raft_write_timeout: time("raft-write-timeout"),
        gates: values.gates(),
        strict_reconfig_check: values.is_on("strict-reconfig-check"),
        pre_vote: values.is_on("pre-vote"),
        auto_compaction: Compaction::Off,
        v2_deprecation: match values.text("v2-deprecation").as_str() {
            kept @ "write-only-skip-check" => kept.to_owned(),
            _ => "write-only".to_owned(),
        },
        client_tls: tls(values, ""),
        peer_tls: tls(values, "peer-"),
        peer_client_cert_file: values.text("peer-client-cert-file"),
        peer_client_key_file: values.text("peer-client-key-file"),
        peer_skip_client_san_verification: values.is_on("peer-skip-client-san-verification"),
        cors: values.texts("cors"),
        host_whitelist: values.texts("host-whitelist"),
        auth_token: values.text("auth-token"),
        bcrypt_cost: values.number("bcrypt-cost", u32::MAX),
        auth_token_ttl: Duration::from_secs(values.number("auth-token-ttl", u64::MAX)),
        extensive_metrics: values.text("metrics") == "extensive",
        log_level: Level::parse(&values.text("log-level")).unwrap_or(Level::Info),
        warning_unary_request: unary.to_std(),
        warning_apply: time("warning-apply-duration"),
        corrupt_check_time: time("corrupt-check-time"),
        compact_hash_check_time: time("compact-hash-check-time"),
        compaction_batch_limit: match values.number("compaction-batch-limit", usize::MAX) {
            0 => 1_000,
            limit => limit,
        },
        compaction_sleep_interval: or("compaction-sleep-interval", GoDuration(10_000_000)),
        watch_progress_notify_interval: time("watch-progress-notify-interval"),
        bootstrap_defrag_threshold_megabytes: values
            .number("bootstrap-defrag-threshold-megabytes", u64::MAX),
        max_learners: values.number("max-learners", usize::MAX),
        downgrade_check_time: or("downgrade-check-time", GoDuration(5_000_000_000)),
        force_new_cluster: values.is_on("force-new-cluster"),
        unsafe_no_fsync: values.is_on("unsafe-no-fsync"),
        name,
    }
}

fn tls(values: &Values, prefix: &str) -> TlsConfig {
    let text = |name: &str| values.text(&format!("{prefix}{name}"));
    let texts = |name: &str| values.texts(&format!("{prefix}{name}"));
    let is_on = |name: &str| values.is_on(&format!("{prefix}{name}"));
    let version = |name: &str| match values.text(name).as_str() {
        "TLS1.2" => Some(TlsVersion::V12),
        "TLS1.3" => Some(TlsVersion::V13),
        _ => None,
    };
    let of_peers = !prefix.is_empty();
    let hostnames = if of_peers { "cert-allowed-hostname" } else { "client-cert-allowed-hostname" };
    TlsConfig {
        cert_file: text("cert-file"),
        key_file: text("key-file"),
        trusted_ca_file: text("trusted-ca-file"),
        client_cert_auth: is_on("client-cert-auth"),
        crl_file: if of_peers { text("crl-file") } else { text("client-crl-file") },
        allowed_cns: if of_peers { texts("cert-allowed-cn") } else { Vec::new() },
        allowed_hostnames: texts(hostnames),
        auto: is_on("auto-tls"),
        cipher_suites: values.texts("cipher-suites"),
        min_version: version("tls-min-version"),
        max_version: version("tls-max-version"),
        self_signed_years: values.number("self-signed-cert-validity", u32::MAX),
    }
}

/// The retention of automatic compaction: a whole number is hours or revisions, else a duration.
///
/// # Errors
/// It is neither, in upstream's words.
pub(super) fn compaction(values: &Values) -> Result<Compaction, super::ConfigError> {
    let text = values.text("auto-compaction-retention");
    let text = if text.is_empty() { "0" } else { &text };
    let by_revision = values.text("auto-compaction-mode") == "revision";
    let found = match text.parse::<i64>() {
        Ok(number) if number >= 0 && by_revision => Compaction::Revisions(number),
        Ok(number) if number >= 0 => {
            Compaction::Periodic(Duration::from_secs(number.unsigned_abs().saturating_mul(3600)))
        }
        _ => match GoDuration::parse(text) {
            Ok(GoDuration(nanos)) if by_revision => Compaction::Revisions(nanos),
            Ok(time) => Compaction::Periodic(time.to_std()),
            Err(_) => {
                let why =
                    format!("error parsing CompactionRetention: time: invalid duration {text:?}");
                return Err(super::ConfigError::Invalid(why));
            }
        },
    };
    Ok(match found {
        Compaction::Periodic(time) if time.is_zero() => Compaction::Off,
        Compaction::Revisions(..=0) => Compaction::Off,
        other => other,
    })
}
