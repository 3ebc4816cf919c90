//! Flags of logs, metrics, limits of single operations, and the unsafe ones.

use super::{Flag, Kind, flag};

/// Why tracing changes nothing.
const TRACING: &str = "traces are not sent anywhere";

/// Everything else of a running member.
pub(super) const OPERATION: &[Flag] = &[
    flag("enable-pprof", Kind::Bool, "false", "Serve Go's profiles under /debug/pprof.")
        .accepted("this is no Go program"),
    flag("metrics", Kind::Text, "basic", "'extensive' adds histograms of RPCs."),
    flag(
        "listen-metrics-urls",
        Kind::Urls,
        "",
        "URLs that serve /metrics and the health pages only.",
    ),
    flag("logger", Kind::Text, "zap", "Only 'zap'."),
    flag(
        "log-outputs",
        Kind::Set,
        "default",
        "stdout, stderr, default, systemd/journal, or files.",
    ),
    flag("log-level", Kind::Text, "info", "debug, info, warn, error, panic or fatal."),
    flag("log-format", Kind::Text, "json", "json or console."),
    flag("enable-log-rotation", Kind::Bool, "false", "Rotate the one log file."),
    flag("log-rotation-config-json", Kind::Text, ROTATION, "How to rotate it."),
    flag(
        "warning-unary-request-duration",
        Kind::Duration,
        "300ms",
        "Requests that take longer are logged.",
    ),
    flag("enable-distributed-tracing", Kind::Bool, "false", "Send traces.").accepted(TRACING),
    flag("distributed-tracing-address", Kind::Text, "localhost:4317", "Where traces go.")
        .accepted(TRACING),
    flag("distributed-tracing-service-name", Kind::Text, "etcd", "Name in traces.")
        .accepted(TRACING),
    flag("distributed-tracing-instance-id", Kind::Text, "", "Id in traces.").accepted(TRACING),
    flag("distributed-tracing-sampling-rate", Kind::Signed, "0", "Traces per million.")
        .accepted(TRACING),
    flag(
        "corrupt-check-time",
        Kind::Duration,
        "0s",
        "Time between checks that members hold the same; 0 never.",
    ),
    flag(
        "compact-hash-check-time",
        Kind::Duration,
        "1m",
        "Time between comparisons of hashes at compactions.",
    ),
    flag(
        "compaction-batch-limit",
        Kind::Signed,
        "1000",
        "Revisions that one batch of a compaction deletes.",
    ),
    flag(
        "compaction-sleep-interval",
        Kind::Duration,
        "",
        "Pause between these batches; 10 ms when empty.",
    ),
    flag(
        "peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        "Do not compare a peer's address with its certificate.",
    ),
    flag(
        "watch-progress-notify-interval",
        Kind::Duration,
        "10m",
        "Time between progress notifications of a watch.",
    ),
    flag(
        "warning-apply-duration",
        Kind::Duration,
        "100ms",
        "Requests whose application takes longer are logged.",
    ),
    flag(
        "bootstrap-defrag-threshold-megabytes",
        Kind::Unsigned,
        "",
        "Defragment at start when that many megabytes would be freed; 0 never.",
    ),
    flag("max-learners", Kind::Signed, "1", "Most learners in the cluster."),
    flag(
        "downgrade-check-time",
        Kind::Duration,
        "",
        "Time between looks at a downgrade; 5 s when empty.",
    ),
    flag(
        "snapshot-catchup-entries",
        Kind::Unsigned,
        "",
        "Entries kept for slow followers after a snapshot; 5,000 when empty.",
    ),
    flag("force-new-cluster", Kind::Bool, "false", "Make a new cluster of this member alone."),
    flag("unsafe-no-fsync", Kind::Bool, "false", "Do not wait for the disk. A crash loses data."),
];

/// The default rotation.
const ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
