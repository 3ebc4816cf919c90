//! The agent's configuration file, agent.yaml.
//!
//! What must hold: unknown fields, wrong values and contradictions are errors that name the file,
//! and line and column where the text shows them; relative paths are resolved against the file's
//! directory (but a program's bare name is left to PATH); no secret stands in the file: passwords
//! and keys are read from files of their own; `etc/` holds an example of every
//! field, parsed by a test.

mod size;
mod values;

pub use size::Size;
pub use values::{Crontab, RecoveryRecipient};

use crate::cycle;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_policies::schedule::Schedule;
use holdfast_policies::zone::Zone;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest configuration file that is read.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The text is wrong at a place.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1; 0 if unknown.
        line: usize,
        /// From 1; 0 if unknown.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// Fields contradict each other.
    #[error("{}: {field}: {reason}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The whole file. Durations are texts such as `90s`, `15m`, `36h`; sizes such as `512MiB`,
/// `16GiB`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The cluster to protect.
    pub etcd: EtcdConfig,
    /// Where snapshots go, and how they are sealed.
    pub vault: VaultConfig,
    /// When to run.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// What to keep; left out: 24 hourly, 7 daily, 5 weekly, 12 monthly.
    #[serde(default)]
    pub retention: RetentionPolicy,
    /// How to delete.
    #[serde(default)]
    pub prune: PruneConfig,
    /// Proving snapshots by restoring them; left out: never.
    #[serde(default)]
    pub drill: Option<DrillConfig>,
    /// Where a snapshot waits while it is taken in.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// Where the agent remembers the newest commit it saw. Not on the store.
    pub state_directory: PathBuf,
    /// For /metrics and /healthz; left out: none.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Logs on standard error.
    #[serde(default)]
    pub log: LogConfig,
    /// How long a round may go on after SIGTERM; keep it below systemd's TimeoutStopSec.
    #[serde(default = "defaults::grace", with = "holdfast_policies::duration")]
    pub shutdown_grace: Duration,
}

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
    /// The etcd to boot; a name without a slash is looked up in PATH.
    pub server_binary: PathBuf,
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

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let size_bytes = std::fs::metadata(path).map_err(read)?.len();
        if size_bytes > FILE_LIMIT_BYTES {
            return Err(read(std::io::Error::other("larger than 1 MiB")));
        }
        Config::parse(&std::fs::read_to_string(path).map_err(read)?, path)
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let mut config: Config = serde_yaml::from_str(text).map_err(|error| {
            let (line, column) =
                error.location().map_or((0, 0), |place| (place.line(), place.column()));
            let reason = without_place(&error.to_string());
            ConfigError::Syntax { path: path.to_owned(), line, column, reason }
        })?;
        config.check().map_err(|(field, reason)| {
            let path = path.to_owned();
            ConfigError::Contradiction { path, field, reason }
        })?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    /// Where the spool lies.
    pub fn spool_directory(&self) -> &Path {
        self.spool.directory.as_deref().unwrap_or(&self.state_directory)
    }

    /// The schedule of rounds on `machine`. The jitter comes from the vault's address, the
    /// cluster's endpoints and the machine's name: a fleet of agents that all ask 127.0.0.1 spreads
    /// out too.
    pub fn rounds(&self, machine: &str) -> Schedule {
        let seed = format!("{}\n{}\n{machine}", self.vault.url, self.etcd.endpoints.join("\n"));
        let schedule = self.schedule.rounds.schedule(&self.schedule.time_zone);
        schedule
            .with_jitter(seed.as_bytes(), self.schedule.jitter)
            .expect("the jitter was checked when the file was read")
    }

    /// What the state machine works with on `machine`.
    pub fn cycle(&self, machine: &str) -> cycle::Settings {
        let signed = |duration: Duration| {
            jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
        };
        cycle::Settings {
            rounds: self.rounds(machine),
            drills: self
                .drill
                .as_ref()
                .map(|drill| drill.schedule.schedule(&self.schedule.time_zone)),
            prune: self.prune.enabled,
            backoff: cycle::Backoff {
                first: signed(self.schedule.retry_after),
                longest: signed(self.schedule.longest_retry),
            },
            grace: signed(self.shutdown_grace),
        }
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, reason: &str| Err((field, reason.to_owned()));
        let etcd = &self.etcd;
        if etcd.endpoints.is_empty() {
            return wrong("etcd.endpoints", "give at least one client URL");
        }
        let https = etcd.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        if https && etcd.ca_file.is_none() {
            return wrong(
                "etcd.caFile",
                "https endpoints need it (kubeadm: /etc/kubernetes/pki/etcd/ca.crt)",
            );
        }
        if etcd.cert_file.is_some() != etcd.key_file.is_some() {
            return wrong("etcd.certFile", "certFile and keyFile come together");
        }
        if etcd.user.is_some() != etcd.password_file.is_some() {
            return wrong("etcd.user", "user and passwordFile come together");
        }
        if self.vault.sealing == Sealing::Sealed && self.vault.encryption_config.is_none() {
            return wrong(
                "vault.encryptionConfig",
                "name the file with the providers, or set `sealing: none` if the vault was \
                 created so",
            );
        }
        if !(1..=19).contains(&self.vault.compression_level) {
            return wrong("vault.compressionLevel", "1 to 19");
        }
        if self.vault.sensitive_prefixes.iter().any(String::is_empty) {
            return wrong(
                "vault.sensitivePrefixes",
                "an empty prefix would leave nothing to compress",
            );
        }
        if self.vault.upload_limit.is_some_and(|limit| limit.bytes() < 64 << 10) {
            return wrong("vault.uploadLimit", "at least 64KiB per second");
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("etcd.requestTimeout", self.etcd.request_timeout),
            ("etcd.snapshotTimeout", self.etcd.snapshot_timeout),
            ("etcd.stallTimeout", self.etcd.stall_timeout),
            ("etcd.hashTimeout", self.etcd.hash_timeout),
            ("schedule.retryAfter", self.schedule.retry_after),
            ("drill.timeout", self.drill.as_ref().map_or(Duration::MAX, |drill| drill.timeout)),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, time)| *time < Duration::from_secs(1)) {
            return Err((field, "at least 1s".to_owned()));
        }
        if self.schedule.jitter > holdfast_policies::schedule::LONGEST_JITTER {
            return Err(("schedule.jitter", "at most 1d".to_owned()));
        }
        if self.schedule.longest_retry < self.schedule.retry_after {
            return Err(("schedule.longestRetry", "not below retryAfter".to_owned()));
        }
        // A round is given up after six hours: docs/FORMAT.md.
        if self.etcd.snapshot_timeout > Duration::from_secs(4 * 3600) {
            return Err((
                "etcd.snapshotTimeout",
                "at most 4h: a round may take 6h in all".to_owned(),
            ));
        }
        if self.prune.grace < Duration::from_secs(3600) {
            let reason = "at least 1h: a restore may be reading what is condemned".to_owned();
            return Err(("prune.grace", reason));
        }
        Ok(())
    }

    fn resolve(&mut self, directory: &Path) {
        let etcd = &mut self.etcd;
        let optional = [
            &mut etcd.ca_file,
            &mut etcd.cert_file,
            &mut etcd.key_file,
            &mut etcd.password_file,
            &mut self.vault.encryption_config,
            &mut self.spool.directory,
        ];
        let mut paths: Vec<&mut PathBuf> = optional.into_iter().flatten().collect();
        paths.push(&mut self.state_directory);
        if let Some(drill) = &mut self.drill {
            paths.push(&mut drill.directory);
            // A bare name is looked up in PATH, as `--server` is.
            if drill.server_binary.components().count() > 1 {
                paths.push(&mut drill.server_binary);
            }
        }
        for path in paths {
            *path = directory.join(&*path);
        }
    }
}

/// serde_yaml's words without the place, which stands in front already.
fn without_place(words: &str) -> String {
    let end = words.rfind(" at line ").unwrap_or(words.len());
    words[..end].to_owned()
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

mod defaults {
    use super::{Crontab, Duration, Size};

    pub(super) fn grace() -> Duration {
        Duration::from_secs(30)
    }
    pub(super) fn request() -> Duration {
        Duration::from_secs(10)
    }
    pub(super) fn snapshot() -> Duration {
        Duration::from_secs(3600)
    }
    pub(super) fn stall() -> Duration {
        Duration::from_secs(60)
    }
    pub(super) fn hash() -> Duration {
        Duration::from_secs(600)
    }
    pub(super) fn sensitive() -> Vec<String> {
        vec!["/registry/secrets/".to_owned()]
    }
    pub(super) fn level() -> i32 {
        3
    }
    pub(super) fn hourly() -> Crontab {
        "@hourly".to_owned().try_into().expect("@hourly is a crontab line")
    }
    pub(super) fn jitter() -> Duration {
        Duration::from_secs(600)
    }
    pub(super) fn first_pause() -> Duration {
        Duration::from_secs(30)
    }
    pub(super) fn longest_pause() -> Duration {
        Duration::from_secs(900)
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn prune_grace() -> Duration {
        Duration::from_secs(72 * 3600)
    }
    pub(super) fn drill() -> Duration {
        Duration::from_secs(3600)
    }
    pub(super) fn spool() -> Size {
        Size::from_bytes(16 << 30)
    }
    pub(super) fn log_level() -> String {
        "info".to_owned()
    }
}

#[cfg(test)]
mod tests;
