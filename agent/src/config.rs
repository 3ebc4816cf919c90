//! The agent's configuration file, agent.yaml.
//!
//! What must hold: unknown fields, wrong values and contradictions are errors that name the file,
//! and line and column where the text shows them; relative paths are resolved against the file's
//! directory (but a program's bare name is left to PATH); no secret stands in the file: passwords
//! and keys are read from files of their own; `etc/` holds an example of every
//! field, parsed by a test.

mod check;
mod sections;
mod size;
mod values;

pub use sections::{
    DrillConfig, EtcdConfig, LogConfig, LogFormat, PruneConfig, ScheduleConfig, Sealing,
    SpoolConfig, VaultConfig,
};
pub use size::Size;
pub use values::{Crontab, RecoveryRecipient};

use crate::cycle;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_policies::schedule::Schedule;
use sections::defaults;
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
}

/// serde_yaml's words without the place, which stands in front already.
fn without_place(words: &str) -> String {
    let end = words.rfind(" at line ").unwrap_or(words.len());
    words[..end].to_owned()
}

#[cfg(test)]
mod tests;
