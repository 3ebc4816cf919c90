//! The sections of the file, each with its defaults.

use super::{Crontab, RecoveryRecipient, Size};
use holdfast_policies::zone::Zone;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdConfig {
    /// Client URLs; between equals the first is asked first.
    pub endpoints: Vec<String>,
    /// Authority of the servers' certificates, PEM. Needed for https.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The name to expect in the servers' certificates, if not the endpoint's host.
    #[serde(default)]
    pub server_name: Option<String>,
    /// User with the role root, where authentication is on.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password; a newline at its end is not part of it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// For an ordinary call.
    #[serde(default = "defaults::request", with = "holdfast_policies::duration")]
    pub request_timeout: Duration,
    /// For the whole snapshot stream.
    #[serde(default = "defaults::snapshot", with = "holdfast_policies::duration")]
    pub snapshot_timeout: Duration,
    /// Without a single new byte of it.
    #[serde(default = "defaults::stall", with = "holdfast_policies::duration")]
    pub stall_timeout: Duration,
    /// A member of our own server tells what changed; after so long all of its database is read
    /// again all the same. 0s: always.
    #[serde(default = "defaults::whole_reading", with = "holdfast_policies::duration")]
    pub whole_reading: Duration,
    /// For HashKV, which walks the member's database.
    #[serde(default = "defaults::hash", with = "holdfast_policies::duration")]
    pub hash_timeout: Duration,
}

/// The vault.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultConfig {
    /// `file:///srv/vault`, `s3://bucket/prefix`.
    pub url: String,
    /// The cluster in the vault, by name or id; not needed while the vault holds one cluster
    /// only.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// A Kubernetes EncryptionConfiguration: the first provider wraps, all are known on read.
    #[serde(default)]
    pub encryption_config: Option<PathBuf>,
    /// The public half of the recovery key, `HFPUB-…`, as `holdfast vault recovery-key` prints it:
    /// while the key service is away, seeds are wrapped for it alone.
    #[serde(default)]
    pub recovery_recipient: Option<RecoveryRecipient>,
    /// `none`: this vault was created without sealing.
    #[serde(default)]
    pub sealing: Sealing,
    /// Keys under these are neither compressed nor put beside others, nor are values that
    /// Kubernetes encrypted.
    #[serde(default = "defaults::sensitive")]
    pub sensitive_prefixes: Vec<String>,
    /// Uploads per second at most; left out: no limit.
    #[serde(default)]
    pub upload_limit: Option<Size>,
    /// zstd level, 1 to 19.
    #[serde(default = "defaults::level")]
    pub compression_level: i32,
}

/// Whether a vault is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sealing {
    /// As vaults are.
    #[default]
    Sealed,
    /// Created with the provider `identity` and `sealing: none`, and used so.
    None,
}

/// When to run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Crontab line.
    #[serde(default = "defaults::hourly")]
    pub rounds: Crontab,
    /// IANA name, for this and the drill's line.
    #[serde(default)]
    pub time_zone: Zone,
    /// Every tick is shifted by a fixed part of this, so that clusters do not upload at once.
    #[serde(default = "defaults::jitter", with = "holdfast_policies::duration")]
    pub jitter: Duration,
    /// Pause after the first failed round; it doubles with each.
    #[serde(default = "defaults::first_pause", with = "holdfast_policies::duration")]
    pub retry_after: Duration,
    /// And never gets longer than this.
    #[serde(default = "defaults::longest_pause", with = "holdfast_policies::duration")]
    pub longest_retry: Duration,
}

/// How to delete.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruneConfig {
    /// False: this agent never deletes; somebody runs `holdfast vault prune`.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
    /// From condemning an object to deleting it: at least twice the longest restore.
    #[serde(default = "defaults::prune_grace", with = "holdfast_policies::duration")]
    pub grace: Duration,
}

/// Proving snapshots.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillConfig {
    /// Crontab line.
    pub schedule: Crontab,
    /// The etcd to boot; a name without a slash is looked up in PATH. Left out: the bundled server.
    #[serde(default)]
    pub server_binary: Option<PathBuf>,
    /// Where the sandbox is made, 0700; it needs the store's size.
    pub directory: PathBuf,
    /// A drill that takes longer has failed.
    #[serde(default = "defaults::drill", with = "holdfast_policies::duration")]
    pub timeout: Duration,
}

/// Where a snapshot waits.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpoolConfig {
    /// Any disk with room for the database; what lies there is encrypted under a key in memory.
    /// Left out: the state directory.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// A larger snapshot is refused.
    #[serde(default = "defaults::spool")]
    pub size_limit: Size,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfig {
    /// `json` or `text`.
    #[serde(default)]
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `holdfast_vault=debug,info`.
    #[serde(default = "defaults::log_level")]
    pub level: String,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig {
            rounds: defaults::hourly(),
            time_zone: Zone::utc(),
            jitter: defaults::jitter(),
            retry_after: defaults::first_pause(),
            longest_retry: defaults::longest_pause(),
        }
    }
}

impl Default for PruneConfig {
    fn default() -> Self {
        PruneConfig { enabled: true, grace: defaults::prune_grace() }
    }
}

impl Default for SpoolConfig {
    fn default() -> Self {
        SpoolConfig { directory: None, size_limit: defaults::spool() }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { format: LogFormat::Text, level: defaults::log_level() }
    }
}

pub(super) mod defaults {
    use super::{Crontab, Duration, Size};

    pub(in crate::config) fn grace() -> Duration {
        Duration::from_secs(30)
    }
    pub(in crate::config) fn request() -> Duration {
        Duration::from_secs(10)
    }
    pub(in crate::config) fn snapshot() -> Duration {
        Duration::from_secs(3600)
    }
    pub(in crate::config) fn stall() -> Duration {
        Duration::from_secs(60)
    }
    pub(in crate::config) fn whole_reading() -> Duration {
        Duration::from_secs(24 * 3600)
    }
    pub(in crate::config) fn hash() -> Duration {
        Duration::from_secs(600)
    }
    pub(in crate::config) fn sensitive() -> Vec<String> {
        vec!["/registry/secrets/".to_owned()]
    }
    pub(in crate::config) fn level() -> i32 {
        3
    }
    pub(in crate::config) fn hourly() -> Crontab {
        "@hourly".to_owned().try_into().expect("@hourly is a crontab line")
    }
    pub(in crate::config) fn jitter() -> Duration {
        Duration::from_secs(600)
    }
    pub(in crate::config) fn first_pause() -> Duration {
        Duration::from_secs(30)
    }
    pub(in crate::config) fn longest_pause() -> Duration {
        Duration::from_secs(900)
    }
    pub(in crate::config) fn yes() -> bool {
        true
    }
    pub(in crate::config) fn prune_grace() -> Duration {
        Duration::from_secs(72 * 3600)
    }
    pub(in crate::config) fn drill() -> Duration {
        Duration::from_secs(3600)
    }
    pub(in crate::config) fn spool() -> Size {
        Size::from_bytes(16 << 30)
    }
    pub(in crate::config) fn log_level() -> String {
        "info".to_owned()
    }
}
