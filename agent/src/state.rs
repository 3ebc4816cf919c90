//! What the agent remembers on its own disk: the chain's witness, and how the last jobs ended.
//!
//! What must hold: the file is replaced as a whole and is on disk before `save` returns; a file
//! that cannot be read is an error, never "no memory", since the witness is what notices a store
//! that was rolled back; one agent at a time uses a state directory ([`Lock`]).

use crate::cycle::Memory;
use crate::damage::DamagedObject;
use holdfast_vault::chain::Witness;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const STATE_FILE: &str = "agent.json";
const LOCK_FILE: &str = "agent.lock";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another agent uses it.
    #[error("{}: in use by another agent (process {holder}); stop that one, or give each its own \
        stateDirectory", directory.display())]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// Its process id, as it wrote it.
        holder: String,
    },
    /// The system refused something.
    #[error("{}: {source}; check that stateDirectory exists and is writable", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not what we wrote.
    #[error("{}: not an agent's state ({reason}); restore it, or remove it to trust what the \
        store says", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// serde's words.
        reason: String,
    },
}

/// What the agent remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentState {
    /// The newest head that was seen; a store behind it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// When the last completed round began, milliseconds since 1970; 0: never.
    #[serde(default)]
    pub last_round_ms: i64,
    /// When the last attempt ended.
    #[serde(default)]
    pub last_attempt_ms: i64,
    /// When the last completed round began that read all of a member's database; 0: never.
    #[serde(default)]
    pub last_whole_ms: i64,
    /// Attempts that failed since the last completed round.
    #[serde(default)]
    pub failures: u32,
    /// Why the last attempt failed; empty after a success.
    #[serde(default)]
    pub last_error: String,
    /// When the last drill began.
    #[serde(default)]
    pub last_drill_ms: i64,
    /// When orphans were looked for.
    #[serde(default)]
    pub last_orphans_ms: i64,
    /// The longest recovery that a drill measured: a prune's grace is at least twice that.
    #[serde(default)]
    pub longest_restore_ms: i64,
    /// The newest snapshot that this agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotMark>,
    /// What the members said of contested records; undecided ones are asked again.
    #[serde(default)]
    pub verdicts: Vec<RecordVerdict>,
    /// Objects that were found lost or rotten, until the chain knows them no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedObject>,
    /// What somebody must look at, until a later round finds it well.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// The last drill, if it failed: the next one may be a week away, and so may a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_failure: Option<DrillFailure>,
    /// The first commit whose snapshot was not read back yet; `None`: all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified_from: Option<u64>,
}

/// A drill that failed, until one passes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillFailure {
    /// The snapshot that failed; 0: the drill could not be done.
    #[serde(default)]
    pub snapshot: u64,
    /// The level that failed, `L0` to `L7`; empty: the drill could not be done.
    #[serde(default)]
    pub level: String,
    /// Why.
    pub reason: String,
    /// When the drill ended, milliseconds since 1970.
    #[serde(default)]
    pub at_ms: i64,
}

impl std::fmt::Display for DrillFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.level.as_str() {
            "" => write!(f, "it could not be done: {}", self.reason),
            level => write!(f, "snapshot {} at {level}: {}", self.snapshot, self.reason),
        }
    }
}

/// What is decided of a contested record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordVerdict {
    /// Main revision.
    pub main: i64,
    /// Sub revision.
    pub sub: i64,
    /// Who said what.
    pub text: String,
}

/// Verdicts that are remembered; the newest stay.
const MOST_VERDICTS: usize = 1000;

/// A snapshot in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotMark {
    /// Its number.
    pub number: u64,
    /// Its revision.
    pub revision: i64,
    /// When its stream began, milliseconds since 1970: the recovery point.
    pub taken_ms: i64,
}

/// Holds the state directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the directory (0700) if needed, and locks it.
    ///
    /// # Errors
    /// [`StateError::Locked`] if another agent holds it; [`StateError::Io`].
    pub fn take(directory: &Path) -> Result<Lock, StateError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| StateError::Io { path, source }
        };
        let create = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        create.map_err(io(directory))?;
        let path = directory.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io(&path))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(io(&path)(error.into()));
            }
            let mut holder = String::new();
            let read = (&mut file).take(32).read_to_string(&mut holder);
            let holder = match read {
                Ok(1..) => holder.trim().to_owned(),
                _ => "unknown".to_owned(),
            };
            return Err(StateError::Locked { directory: directory.to_owned(), holder });
        }
        let write = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        write.map_err(io(&path))?;
        Ok(Lock { _file: file })
    }
}

impl AgentState {
    /// Reads the state; a fresh one if there is no file.
    ///
    /// # Errors
    /// [`StateError::Io`] and [`StateError::Unreadable`].
    pub fn load(directory: &Path) -> Result<AgentState, StateError> {
        let path = directory.join(STATE_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(AgentState::default());
            }
            Err(source) => return Err(StateError::Io { path, source }),
        };
        // serde would take a list for a struct, and an empty one for a fresh state.
        let object: serde_json::Result<serde_json::Map<_, _>> = serde_json::from_slice(&text);
        object
            .and_then(|object| serde_json::from_value(serde_json::Value::Object(object)))
            .map_err(|error| StateError::Unreadable { path, reason: error.to_string() })
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save(&self, directory: &Path) -> Result<(), StateError> {
        let path = directory.join(STATE_FILE);
        self.replace(directory, &path).map_err(|source| StateError::Io { path, source })
    }

    fn replace(&self, directory: &Path, path: &Path) -> io::Result<()> {
        let fresh = directory.join(format!("{STATE_FILE}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(directory)?.sync_all()
    }

    /// Remembers what was decided of contested records.
    pub fn decide(&mut self, verdicts: impl Iterator<Item = RecordVerdict>) {
        self.verdicts.extend(verdicts);
        let excess = self.verdicts.len().saturating_sub(MOST_VERDICTS);
        self.verdicts.drain(..excess);
    }

    /// The part that the cycle works with.
    pub fn memory(&self) -> Memory {
        let moment = |ms: i64| (ms > 0).then(|| Timestamp::from_millisecond(ms).ok()).flatten();
        Memory {
            last_round: moment(self.last_round_ms),
            last_attempt: moment(self.last_attempt_ms),
            failures: self.failures,
            last_drill: moment(self.last_drill_ms),
        }
    }

    /// Takes over what the cycle remembers.
    pub fn remember(&mut self, memory: &Memory) {
        let ms = |moment: Option<Timestamp>| moment.map_or(0, Timestamp::as_millisecond);
        self.last_round_ms = ms(memory.last_round);
        self.last_attempt_ms = ms(memory.last_attempt);
        self.failures = memory.failures;
        self.last_drill_ms = ms(memory.last_drill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(AgentState::load(directory.path()).unwrap(), AgentState::default());
        let mut state = AgentState {
            witness: Some(Witness::new("ab".into(), 0, 7, &[3; 32], 99)),
            snapshot: Some(SnapshotMark { number: 7, revision: 99, taken_ms: 5 }),
            ..AgentState::default()
        };
        let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let memory = Memory { last_round: Some(now), failures: 2, ..Memory::default() };
        state.remember(&memory);
        state.save(directory.path()).unwrap();
        let read = AgentState::load(directory.path()).unwrap();
        assert_eq!((read.memory(), read), (memory, state));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn garbage_is_an_error_and_not_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        for garbage in ["", "{", "[]", "{\"lastRoundMs\": \"x\"}"] {
            std::fs::write(directory.path().join(STATE_FILE), garbage).unwrap();
            let error = AgentState::load(directory.path()).unwrap_err();
            assert!(matches!(error, StateError::Unreadable { .. }), "{garbage}: {error}");
        }
    }

    #[test]
    fn a_second_agent_is_told_who_holds_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("state");
        let lock = Lock::take(&inner).unwrap();
        let error = Lock::take(&inner).unwrap_err();
        let StateError::Locked { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(*holder, std::process::id().to_string());
        drop(lock);
        Lock::take(&inner).unwrap();
    }
}
