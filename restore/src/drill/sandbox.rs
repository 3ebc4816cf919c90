//! A private directory for one drill, gone afterwards whatever happens.
//!
//! ```text
//! <parent>/holdfast-drill-<16 hex digits>/   mode 0700
//!     lock                                  locked while the drill lives
//!     server.pid                            "<process id>" of the server that runs on it
//!     data/                                 the member
//!     server.log
//!     client.sock, peer.sock                the server's, while it runs
//! ```
//!
//! Holds: it is removed when dropped; one that a killed drill left behind is removed by the next
//! drill with the same parent, after its server, if that still runs, was ended by its id and only
//! if its command line names this very directory. A living drill's directory is locked and never
//! touched. Nothing but such directories of our own user is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holdfast_vault::format::hex;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

const PREFIX: &str = "holdfast-drill-";
/// A directory without a lock file that is younger than this may be one that is just being made.
const UNLOCKED_AGE: Duration = Duration::from_secs(600);
/// How long an ended server may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The directory of one drill.
#[derive(Debug)]
pub(super) struct Sandbox {
    path: PathBuf,
    _lock: File,
}

impl Sandbox {
    /// Removes left-overs in `parent` and makes a new directory there.
    pub(super) fn create(parent: &Path) -> io::Result<Sandbox> {
        sweep(parent)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = fs::canonicalize(parent)?.join(format!("{PREFIX}{}", hex(&random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        // Locked under another name first, so that `lock` is never seen unlocked.
        let new = path.join("lock.new");
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&new, path.join("lock"))?;
        Ok(Sandbox { path, _lock: lock })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The member's data directory.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Notes the server's id for the next drill, should this one be killed.
    pub(super) fn note_server(&self, id: u32) -> io::Result<()> {
        fs::write(self.path.join("server.pid"), id.to_string())
    }

    /// Removes it now, and says so if that fails.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Gone already after `remove`; what else fails, the next drill finds.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what killed drills left in `parent`.
fn sweep(parent: &Path) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let path = entry.path();
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let meta = fs::symlink_metadata(&path);
        let is_ours = meta.is_ok_and(|meta| meta.is_dir() && meta.uid() == ours);
        if !named || !is_ours || !is_abandoned(&path) {
            continue;
        }
        end_server(&path);
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), "removed what a killed drill left behind");
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "a killed drill's sandbox cannot be removed");
            }
        }
    }
    Ok(())
}

fn is_abandoned(path: &Path) -> bool {
    match File::open(path.join("lock")) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => {
            let age = fs::metadata(path).and_then(|meta| meta.modified());
            let age = age.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            age.is_some_and(|age| age > UNLOCKED_AGE)
        }
    }
}

/// Ends the server of an abandoned sandbox, if it still runs and is surely that one.
fn end_server(sandbox: &Path) {
    let noted = fs::read_to_string(sandbox.join("server.pid")).unwrap_or_default();
    let Some(pid) = noted.trim().parse().ok().and_then(Pid::from_raw) else { return };
    let runs = || {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let data_dir = sandbox.join("data");
        line.split(|byte| *byte == 0).any(|word| word == data_dir.as_os_str().as_encoded_bytes())
    };
    if !runs() {
        return;
    }
    tracing::warn!(pid = pid.as_raw_nonzero(), "ending the server that a killed drill left behind");
    let _ = kill_process(pid, Signal::KILL);
    let end = std::time::Instant::now() + GONE_WITHIN;
    while runs() && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_overs_go_and_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = Sandbox::create(parent.path()).unwrap();
        let mode = fs::metadata(&living.path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        let killed = Sandbox::create(parent.path()).unwrap();
        fs::create_dir_all(killed.data_dir().join("member")).unwrap();
        let left = killed.path.clone();
        // As after SIGKILL: the directory stays, and nobody holds its lock.
        std::mem::forget(killed);
        fs::remove_file(left.join("lock")).unwrap();
        fs::write(left.join("lock"), b"").unwrap();
        fs::create_dir(parent.path().join("holdfast-drill-of-somebody")).unwrap();
        fs::write(parent.path().join("holdfast-drill-file"), b"").unwrap();
        let next = Sandbox::create(parent.path()).unwrap();
        assert!(!left.exists() && living.path.exists() && next.path.exists());
        assert!(parent.path().join("holdfast-drill-of-somebody").exists(), "too young to judge");
        let path = living.path.clone();
        drop(living);
        assert!(!path.exists());
        next.remove().unwrap();
    }

    #[test]
    fn a_server_left_behind_is_ended_by_its_id() {
        let parent = tempfile::tempdir().unwrap();
        let left = fs::canonicalize(parent.path()).unwrap().join("holdfast-drill-0123456789abcdef");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("lock"), b"").unwrap();
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read word", "etcd", "--data-dir"])
            .arg(left.join("data"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(left.join("server.pid"), child.id().to_string()).unwrap();
        // A stranger's id in another left-over: its command line does not fit, so it lives.
        let other = left.with_file_name("holdfast-drill-fedcba9876543210");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("lock"), b"").unwrap();
        fs::write(other.join("server.pid"), std::process::id().to_string()).unwrap();
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        drop(Sandbox::create(parent.path()).unwrap());
        assert!(!waiter.join().unwrap().success());
        assert!(!left.exists() && !other.exists());
    }
}
