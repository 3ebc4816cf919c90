//! Flags whose name begins with `experimental-`: older names of flags and feature gates, which
//! etcd 3.6 still takes with a warning and 3.7 does not. And those that mean nothing any more.

use super::{Flag, Kind, flag};

/// Upstream's warning about an older name. Some say 3.6 and 3.7 with a v, some quote the flag.
macro_rules! gone {
    ($old:literal, $v:literal, $new:literal) => {
        concat!(
            "--",
            $old,
            " is deprecated in ",
            $v,
            "3.6 and will be decommissioned in ",
            $v,
            "3.7. Use ",
            $new,
            " instead."
        )
    };
}

/// An older name of a flag or of a feature gate.
const HELP: &str = "Older name; see the warning at start.";

/// The older names.
pub(super) const EXPERIMENTAL: &[Flag] = &[
    flag("experimental-enable-distributed-tracing", Kind::Bool, "false", HELP)
        .alias_of("enable-distributed-tracing")
        .deprecated(gone!(
            "experimental-enable-distributed-tracing",
            "",
            "--enable-distributed-tracing"
        )),
    flag("experimental-distributed-tracing-address", Kind::Text, "localhost:4317", HELP)
        .alias_of("distributed-tracing-address")
        .deprecated(gone!(
            "experimental-distributed-tracing-address",
            "",
            "--distributed-tracing-address"
        )),
    flag("experimental-distributed-tracing-service-name", Kind::Text, "etcd", HELP)
        .alias_of("distributed-tracing-service-name")
        .deprecated(gone!(
            "experimental-distributed-tracing-service-name",
            "",
            "--distributed-tracing-service-name"
        )),
    flag("experimental-distributed-tracing-instance-id", Kind::Text, "", HELP)
        .alias_of("distributed-tracing-instance-id")
        .deprecated(gone!(
            "experimental-distributed-tracing-instance-id",
            "",
            "--distributed-tracing-instance-id"
        )),
    flag("experimental-distributed-tracing-sampling-rate", Kind::Signed, "0", HELP)
        .alias_of("distributed-tracing-sampling-rate")
        .deprecated(gone!(
            "experimental-distributed-tracing-sampling-rate",
            "",
            "--distributed-tracing-sampling-rate"
        )),
    flag("experimental-initial-corrupt-check", Kind::Bool, "false", HELP)
        .gate("InitialCorruptCheck"),
    flag("experimental-corrupt-check-time", Kind::Duration, "0s", HELP)
        .alias_of("corrupt-check-time")
        .deprecated(gone!("experimental-corrupt-check-time", "v", "'--corrupt-check-time'")),
    flag("experimental-compact-hash-check-enabled", Kind::Bool, "false", HELP)
        .gate("CompactHashCheck")
        .deprecated(gone!(
            "experimental-compact-hash-check-enabled",
            "",
            "'--feature-gates=CompactHashCheck=true'"
        )),
    flag("experimental-compact-hash-check-time", Kind::Duration, "1m", HELP)
        .alias_of("compact-hash-check-time")
        .deprecated(gone!(
            "experimental-compact-hash-check-time",
            "",
            "'--compact-hash-check-time'"
        )),
    flag("experimental-enable-lease-checkpoint", Kind::Bool, "false", HELP).gate("LeaseCheckpoint"),
    flag("experimental-compaction-batch-limit", Kind::Signed, "1000", HELP)
        .alias_of("compaction-batch-limit")
        .deprecated(gone!(
            "experimental-compaction-batch-limit",
            "v",
            "'--compaction-batch-limit'"
        )),
    flag("experimental-peer-skip-client-san-verification", Kind::Bool, "false", HELP)
        .alias_of("peer-skip-client-san-verification"),
    flag("experimental-watch-progress-notify-interval", Kind::Duration, "10m", HELP)
        .alias_of("watch-progress-notify-interval")
        .deprecated(gone!(
            "experimental-watch-progress-notify-interval",
            "v",
            "'--watch-progress-notify-interval'"
        )),
    flag("experimental-warning-apply-duration", Kind::Duration, "100ms", HELP)
        .alias_of("warning-apply-duration")
        .deprecated(gone!(
            "experimental-warning-apply-duration",
            "v",
            "'--warning-apply-duration'"
        )),
    flag("experimental-txn-mode-write-with-shared-buffer", Kind::Bool, "true", HELP)
        .gate("TxnModeWriteWithSharedBuffer")
        .deprecated(gone!(
            "experimental-txn-mode-write-with-shared-buffer",
            "v",
            "'--feature-gates=TxnModeWriteWithSharedBuffer=true'"
        )),
    flag("experimental-bootstrap-defrag-threshold-megabytes", Kind::Unsigned, "", HELP)
        .alias_of("bootstrap-defrag-threshold-megabytes")
        .deprecated(gone!(
            "experimental-bootstrap-defrag-threshold-megabytes",
            "v",
            "'--bootstrap-defrag-threshold-megabytes'"
        )),
    flag("experimental-warning-unary-request-duration", Kind::Duration, "300ms", HELP)
        .deprecated(UNARY),
    flag("experimental-compaction-sleep-interval", Kind::Duration, "", HELP)
        .alias_of("compaction-sleep-interval")
        .deprecated(gone!(
            "experimental-compaction-sleep-interval",
            "v",
            "'compaction-sleep-interval'"
        )),
    flag("experimental-downgrade-check-time", Kind::Duration, "", HELP)
        .alias_of("downgrade-check-time")
        .deprecated(gone!("experimental-downgrade-check-time", "v", "'--downgrade-check-time'")),
    flag("experimental-enable-lease-checkpoint-persist", Kind::Bool, "false", HELP)
        .gate("LeaseCheckpointPersist"),
    flag("experimental-memory-mlock", Kind::Bool, "", HELP)
        .alias_of("memory-mlock")
        .deprecated(gone!("experimental-memory-mlock", "v", "'--memory-mlock'")),
    flag("experimental-snapshot-catchup-entries", Kind::Unsigned, "", HELP)
        .alias_of("snapshot-catchup-entries")
        .deprecated(gone!(
            "experimental-snapshot-catchup-entries",
            "v",
            "'--snapshot-catchup-entries'"
        )),
    flag("experimental-stop-grpc-service-on-defrag", Kind::Bool, "", HELP)
        .gate("StopGRPCServiceOnDefrag"),
];

/// Another wording than of the others.
const UNARY: &str = "--experimental-warning-unary-request-duration is deprecated, and will be \
    decommissioned in v3.7. Use --warning-unary-request-duration instead.";

/// Why.
const LONG_GONE: &str = "it has had no meaning since etcd 2";

const fn ignored(name: &'static str) -> Flag {
    flag(name, Kind::Nothing, "", "").accepted(LONG_GONE)
}

/// Flags of etcd's first versions, still taken.
pub(super) const IGNORED: &[Flag] = &[
    ignored("cluster-active-size"),
    ignored("cluster-remove-delay"),
    ignored("cluster-sync-interval"),
    ignored("config"),
    ignored("force"),
    ignored("max-result-buffer"),
    ignored("max-retry-attempts"),
    ignored("peer-heartbeat-interval"),
    ignored("peer-election-timeout"),
    ignored("retry-interval"),
    ignored("snapshot"),
    ignored("v"),
    ignored("vv"),
];
