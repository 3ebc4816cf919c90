//! An etcd as a child process on this machine: for drills, demonstrations and tests.
//!
//! Any etcd binary serves; nothing but its flags and its API is relied on. Holds: it listens where
//! [`Listens`] says, on sockets of ours or on 127.0.0.1, and nowhere else; it never outlives us (a
//! tether ends it when our process dies, however that happens); it is ended by its own process
//! group's id, SIGTERM first and SIGKILL after a grace; its log goes to a private file whose tail
//! stands in every error. Settings from our environment (`ETCD_…`) do not reach it.

mod listens;
mod program;
mod tether;

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use holdfast_core::versions::EtcdVersion;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

pub use listens::{Listens, Ports, Sockets, UNREACHABLE_URL};
pub use program::ServerProgram;
use tether::Tether;

/// Bytes of the log that an error shows.
const TAIL_BYTES: u64 = 4096;
/// How long `--version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// What is started.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// The etcd.
    pub program: ServerProgram,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The member's name.
    pub name: String,
    /// Where it listens.
    pub listens: Listens,
    /// `--initial-cluster`; empty: this member alone.
    pub initial_cluster: String,
    /// `--initial-cluster-state` existing, for a member that joins.
    pub joins: bool,
    /// `--initial-cluster-token`.
    pub token: String,
    /// Where its log goes; a new file.
    pub log: PathBuf,
    /// More flags, for example for TLS.
    pub extra: Vec<String>,
    /// Whether the URLs are https.
    pub tls: bool,
}

/// A running etcd. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    group: Pid,
    tether: Tether,
    spec: ServerSpec,
    started: Instant,
}

/// A server that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The binary cannot be started.
    #[error(
        "cannot start {program}: {source}; name an etcd binary with --server FILE, the agent's with \
         drill.serverBinary in its configuration (a name without a slash is looked up in PATH)"
    )]
    Start {
        /// The binary.
        program: ServerProgram,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say what version it is.
    #[error("{program} does not tell its version as etcd does: {detail}")]
    Version {
        /// The binary.
        program: ServerProgram,
        /// What it said.
        detail: String,
    },
    /// It ended.
    #[error("{program} ended with {status}; its log ends:\n{tail}")]
    Ended {
        /// The binary.
        program: ServerProgram,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// It does not serve in time.
    #[error(
        "{program} does not answer a linearizable read within {seconds} s ({reason}); its log \
         ends:\n{tail}"
    )]
    NotReady {
        /// The binary.
        program: ServerProgram,
        /// The deadline.
        seconds: u64,
        /// The last answer.
        reason: String,
        /// The end of its log.
        tail: String,
    },
    /// Files of ours.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a binary says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// Major and minor.
    pub version: EtcdVersion,
    /// As it says, with the patch; of the bundled server it says that, too.
    pub text: String,
}

impl ServerSpec {
    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        self.listens.client_url(self.tls)
    }

    /// What it is told of its peer address.
    pub fn peer_url(&self) -> String {
        self.listens.peer_url(self.tls)
    }

    fn arguments(&self) -> Vec<String> {
        let alone = format!("{}={}", self.name, self.peer_url());
        let cluster = if self.initial_cluster.is_empty() { &alone } else { &self.initial_cluster };
        let addresses = self.listens.flags(self.tls);
        let others = [
            ("--name", self.name.as_str()),
            ("--data-dir", &self.data_dir.to_string_lossy()),
            ("--initial-cluster", cluster),
            ("--initial-cluster-state", if self.joins { "existing" } else { "new" }),
            ("--initial-cluster-token", &self.token),
            ("--log-level", "warn"),
            ("--log-outputs", "stderr"),
        ]
        .map(|(flag, value)| (flag, value.to_owned()));
        let pairs = others.into_iter().chain(addresses);
        let words = pairs.flat_map(|(flag, value)| [flag.to_owned(), value]);
        words.chain(self.extra.iter().cloned()).collect()
    }
}

impl Server {
    /// Starts the process; it does not serve yet: see [`Server::wait_ready`].
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(mut spec: ServerSpec) -> Result<Server, ServerError> {
        spec.data_dir = absolute(&spec.data_dir)?;
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).mode(0o600).open(&spec.log);
        let log = log.map_err(|source| ServerError::File { path: spec.log.clone(), source })?;
        let start = |source| ServerError::Start { program: spec.program.clone(), source };
        let mut command = Command::new(program_path(spec.program.file())?);
        clean_environment(&mut command);
        if let Listens::Sockets(sockets) = &spec.listens {
            command.current_dir(sockets.directory());
        }
        command
            .args(spec.program.verb())
            .args(spec.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.process_group(0).kill_on_drop(true).spawn().map_err(start)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.expect("a child that was not waited for has an id");
        let tether = Tether::tie(group);
        Ok(Server { child, group, tether, spec, started: Instant::now() })
    }

    /// What was started.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Its process id, which is also its group's.
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Asks `probe` until it succeeds; how long that took since the start. `probe` is a
    /// linearizable read, so the server then has a leader and has applied all it had.
    ///
    /// # Errors
    /// The server ended, or the deadline passed.
    pub async fn wait_ready<F, E>(
        &mut self,
        deadline: Duration,
        mut probe: impl FnMut() -> F,
    ) -> Result<Duration, ServerError>
    where
        F: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        let end = self.started + deadline;
        let mut pause = Duration::from_millis(10);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let reason = match timeout(left.max(Duration::from_millis(1)), probe()).await {
                Ok(Ok(())) => return Ok(self.started.elapsed()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            self.check_running()?;
            if Instant::now() >= end {
                let (program, seconds) = (self.spec.program.clone(), deadline.as_secs());
                return Err(ServerError::NotReady {
                    program,
                    seconds,
                    reason,
                    tail: self.log_tail(),
                });
            }
            // A server that ends meanwhile is noticed at once.
            if timeout(pause, self.child.wait()).await.is_err() {
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// [`ServerError::Ended`].
    pub fn check_running(&mut self) -> Result<(), ServerError> {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                let program = self.spec.program.clone();
                Err(ServerError::Ended { program, status, tail: self.log_tail() })
            }
            Ok(None) => Ok(()),
            Err(source) => Err(ServerError::Start { program: self.spec.program.clone(), source }),
        }
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log)
    }

    /// Ends it: SIGTERM, and SIGKILL when it is still there after `grace`. True if the first was
    /// enough.
    pub async fn stop(mut self, grace: Duration) -> bool {
        // Neither signal can fail but for a process that is gone.
        let _ = kill_process_group(self.group, Signal::TERM);
        let graceful = timeout(grace, self.child.wait()).await.is_ok();
        if !graceful {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait().await;
        }
        self.tether.release();
        graceful
    }

    /// SIGKILL at once, and waits for its end.
    pub async fn kill(mut self) {
        // It cannot fail but for a process that is gone.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait().await;
        self.tether.release();
    }
}

/// Asks a binary for its version.
///
/// # Errors
/// A binary that cannot be started, or is no etcd.
pub async fn version_of(program: &ServerProgram) -> Result<ServerVersion, ServerError> {
    let mut command = Command::new(program.file());
    clean_environment(&mut command);
    command.args(program.verb()).arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let bad = |detail: String| ServerError::Version { program: program.clone(), detail };
    let output = match timeout(VERSION_TIMEOUT, command.output()).await {
        Ok(output) => {
            output.map_err(|source| ServerError::Start { program: program.clone(), source })?
        }
        Err(_) => return Err(bad("it says nothing".to_owned())),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let text = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    let Some(text) = text.map(str::trim) else {
        return Err(bad(said.chars().take(200).collect()));
    };
    let version = text.parse().map_err(|_| bad(text.to_owned()))?;
    let kind = program.verb().map_or("", |_| " (bundled)");
    Ok(ServerVersion { version, text: format!("{text}{kind}") })
}

/// The binary from any working directory; a name without a slash is looked up in PATH.
fn program_path(program: &Path) -> Result<PathBuf, ServerError> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        absolute(program)
    } else {
        Ok(program.to_owned())
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ServerError> {
    std::path::absolute(path).map_err(|source| ServerError::File { path: path.to_owned(), source })
}

/// Without settings that would mix with the flags.
fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCD_") && text != "ETCD_UNSUPPORTED_ARCH" {
            command.env_remove(&name);
        }
    }
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_binary_that_cannot_be_started_is_named_with_the_option_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain-file");
        fs::write(&plain, "no program").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
        for program in [Path::new("no-such-etcd"), &folder.path().join("absent"), &plain] {
            let text = version_of(&ServerProgram::from(program)).await.unwrap_err().to_string();
            let name = program.display().to_string();
            for part in [&*name, "--server FILE", "drill.serverBinary", "PATH"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}
