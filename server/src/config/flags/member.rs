//! Flags of the member itself and of how it finds its cluster.

use super::{Flag, Kind, flag};

/// Why a flag of the Go storage engine changes nothing.
const FREELIST: &str = "free pages are always kept as a map";
/// Why discovery is refused.
const DISCOVERY: &str =
    "bootstrap by a discovery service is not built; name the members with --initial-cluster";

/// The member.
pub(super) const MEMBER: &[Flag] = &[
    flag("name", Kind::Text, "default", "Name of this member, for people."),
    flag("data-dir", Kind::Text, "", "Data directory; NAME.etcd when empty."),
    flag(
        "wal-dir",
        Kind::Text,
        "",
        "Directory of the write-ahead log, when not in the data directory.",
    ),
    flag(
        "snapshot-count",
        Kind::Unsigned,
        "10000",
        "Applied entries after which a snapshot is written.",
    ),
    flag("heartbeat-interval", Kind::Unsigned, "100", "Milliseconds between heartbeats."),
    flag(
        "election-timeout",
        Kind::Unsigned,
        "1000",
        "Milliseconds without a leader until an election.",
    ),
    flag(
        "initial-election-tick-advance",
        Kind::Bool,
        "true",
        "Shorten the first election timeout at start.",
    ),
    flag("listen-peer-urls", Kind::Urls, "http://localhost:2380", "URLs to listen on for peers."),
    flag(
        "listen-client-urls",
        Kind::Urls,
        "http://localhost:2379",
        "URLs to listen on for clients, gRPC and pages.",
    ),
    flag(
        "listen-client-http-urls",
        Kind::Urls,
        "",
        "URLs for pages only; the client URLs then serve gRPC only.",
    ),
    flag("max-snapshots", Kind::Unsigned, "5", "Snapshot files to keep; 0 keeps all.")
        .deprecated("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    flag("max-wals", Kind::Unsigned, "5", "Log files to keep; 0 keeps all."),
    flag("memory-mlock", Kind::Bool, "", "Keep the database's pages in memory.")
        .accepted("the system's cache of the file is relied on"),
    flag(
        "quota-backend-bytes",
        Kind::Signed,
        "0",
        "Size of the database at which writes are refused; 0 means 2 GiB, less than 0 no limit.",
    ),
    flag("backend-bbolt-freelist-type", Kind::Text, "map", "How free pages are kept in memory.")
        .accepted(FREELIST),
    flag(
        "backend-batch-interval",
        Kind::Duration,
        "",
        "Longest time until a batch is committed to the file; 100 ms when empty.",
    ),
    flag("backend-batch-limit", Kind::Signed, "0", "Most changes in a batch; 0 means 10,000."),
    flag("max-txn-ops", Kind::Unsigned, "128", "Most operations in a transaction."),
    flag("max-request-bytes", Kind::Unsigned, "1572864", "Largest request of a client, in bytes."),
    flag(
        "max-concurrent-streams",
        Kind::Unsigned32,
        "4294967295",
        "Most streams that a connection may have open.",
    ),
    flag(
        "grpc-keepalive-min-time",
        Kind::Duration,
        "5s",
        "Shortest time between two pings of a client.",
    ),
    flag(
        "grpc-keepalive-interval",
        Kind::Duration,
        "2h",
        "Idle time after which a client is pinged; 0 never.",
    ),
    flag(
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "Time for the answer to a ping; 0 waits for ever.",
    ),
    flag("socket-reuse-port", Kind::Bool, "false", "Set SO_REUSEPORT on listeners."),
    flag("socket-reuse-address", Kind::Bool, "false", "Set SO_REUSEADDR on listeners."),
    flag("enable-grpc-gateway", Kind::Bool, "", "Serve the JSON gateway under /v3."),
    flag(
        "raft-read-timeout",
        Kind::Duration,
        "5s",
        "Read timeout of connections between peers, at least 5 s.",
    ),
    flag(
        "raft-write-timeout",
        Kind::Duration,
        "5s",
        "Write timeout of connections between peers, at least 5 s.",
    ),
    flag("feature-gates", Kind::Gates, "", "Features to switch: Name=true,Name=false."),
    flag(
        "config-file",
        Kind::Text,
        "",
        "Read the configuration from this YAML file; all other flags and variables are then ignored.",
    ),
    flag("version", Kind::Bool, "false", "Print the version and end."),
];

/// Stages of the old store's end.
const STAGES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// The cluster.
pub(super) const CLUSTERING: &[Flag] = &[
    flag("initial-advertise-peer-urls", Kind::Urls, "http://localhost:2380", "Peer URLs of this member that the others use."),
    flag("initial-cluster", Kind::Text, "default=http://localhost:2380", "Members of a new cluster: NAME=URL,…"),
    flag("initial-cluster-state", Kind::OneOf(&["new", "existing"]), "new", "Whether the cluster is new or exists and this member joins it."),
    flag("initial-cluster-token", Kind::Text, "etcd-cluster", "Tells clusters with equal URLs apart."),
    flag("advertise-client-urls", Kind::Urls, "http://localhost:2379", "Client URLs of this member that clients are told of."),
    flag("discovery", Kind::Text, "", "URL of the old discovery service.").refused(DISCOVERY),
    flag("discovery-token", Kind::Text, "", "Discovery: the cluster's token.").refused(DISCOVERY),
    flag("discovery-endpoints", Kind::Set, "", "Discovery: endpoints of the service.").refused(DISCOVERY),
    flag("discovery-dial-timeout", Kind::Duration, "2s", "Discovery: time to connect.").refused(DISCOVERY),
    flag("discovery-request-timeout", Kind::Duration, "5s", "Discovery: time of a request.").refused(DISCOVERY),
    flag("discovery-keepalive-time", Kind::Duration, "2s", "Discovery: time between pings.").refused(DISCOVERY),
    flag("discovery-keepalive-timeout", Kind::Duration, "6s", "Discovery: time for a ping's answer.").refused(DISCOVERY),
    flag("discovery-insecure-transport", Kind::Bool, "true", "Discovery: no TLS.").refused(DISCOVERY),
    flag("discovery-insecure-skip-tls-verify", Kind::Bool, "false", "Discovery: any server certificate.").refused(DISCOVERY),
    flag("discovery-cert", Kind::Text, "", "Discovery: client certificate.").refused(DISCOVERY),
    flag("discovery-key", Kind::Text, "", "Discovery: the certificate's key.").refused(DISCOVERY),
    flag("discovery-cacert", Kind::Text, "", "Discovery: authorities to trust.").refused(DISCOVERY),
    flag("discovery-user", Kind::Text, "", "Discovery: user.").refused(DISCOVERY),
    flag("discovery-password", Kind::Text, "", "Discovery: password.").refused(DISCOVERY),
    flag("discovery-fallback", Kind::OneOf(&["exit", "proxy"]), "exit", "What to do when discovery fails.")
        .accepted("there is no discovery that could fail"),
    flag("discovery-proxy", Kind::Text, "", "Proxy to the old discovery service.").refused(DISCOVERY),
    flag("discovery-srv", Kind::Text, "", "DNS domain whose SRV records name the members.").refused(DISCOVERY),
    flag("discovery-srv-name", Kind::Text, "", "Suffix of the SRV records' name.").refused(DISCOVERY),
    flag("strict-reconfig-check", Kind::Bool, "true", "Refuse changes of members that would lose the quorum."),
    flag("pre-vote", Kind::Bool, "true", "Ask before an election whether it could be won."),
    flag("auto-compaction-retention", Kind::Text, "0", "History that automatic compaction keeps; 0 switches it off."),
    flag("auto-compaction-mode", Kind::Text, "periodic", "What the retention counts: 'periodic' hours or a duration, 'revision' revisions."),
    flag("v2-deprecation", Kind::SomeOf(STAGES), "write-only", "Stage of the old store's end; only write-only-skip-check changes anything.")
        .deprecated("--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input."),
];
