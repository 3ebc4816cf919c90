//! An etcd that runs for a test, and ends with it.

use holdfast_peers::{free_ports, peer};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A running member.
pub(crate) struct Member {
    process: Child,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) folder: tempfile::TempDir,
}

impl Member {
    /// Starts a new member of a version.
    pub(crate) fn start(version: &str) -> Member {
        Member::start_on(version, tempfile::tempdir().unwrap(), &[])
    }

    /// Starts a member with its data in `folder/data`.
    pub(crate) fn start_on(version: &str, folder: tempfile::TempDir, more: &[&str]) -> Member {
        let [client_port, peer_port] = free_ports();
        Member::start_at(version, folder, more, [client_port, peer_port])
    }

    /// The same on given ports; with `--auto-tls` its clients speak TLS.
    pub(crate) fn start_at(
        version: &str,
        folder: tempfile::TempDir,
        more: &[&str],
        [client_port, peer_port]: [u16; 2],
    ) -> Member {
        let scheme = if more.contains(&"--auto-tls") { "https" } else { "http" };
        let (client, peers) = (
            format!("{scheme}://127.0.0.1:{client_port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let log = std::fs::File::create(folder.path().join("etcd.log")).unwrap();
        let process = Command::new(peer(&format!("etcd-{version}")))
            .args(["--heartbeat-interval", "10", "--election-timeout", "100"])
            .args(["--name", "m", "--unsafe-no-fsync", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("m={peers}")])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut member = Member { process, client_port, peer_port, folder };
        member.wait(scheme);
        member
    }

    /// Until it answers a linearizable read: it listens before that, and a tool waits seconds only.
    fn wait(&mut self, scheme: &str) {
        let deadline = Instant::now() + PATIENCE;
        let endpoint = format!("--endpoints={scheme}://{}", self.endpoint());
        let is_healthy = || {
            let mut asked = Command::new(peer("etcdctl-3.6"));
            asked.args([&endpoint, "--insecure-skip-tls-verify", "endpoint", "health"]);
            asked.output().unwrap().status.success()
        };
        while !is_healthy() {
            assert!(self.process.try_wait().unwrap().is_none(), "{}", self.log());
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("etcd.log")).unwrap_or_default()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops it in order; its folder.
    pub(crate) fn stop(mut self) -> tempfile::TempDir {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Copies a folder with all in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
