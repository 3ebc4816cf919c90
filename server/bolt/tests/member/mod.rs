//! A running etcd of one member, killed when dropped.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers;

/// Until a member is healthy: a disk that still writes what was built may hold it up for long.
const PATIENCE: Duration = Duration::from_secs(120);

/// An etcd of a version.
pub(crate) struct Member {
    process: Child,
    version: &'static str,
    client: String,
    file: PathBuf,
}

impl Member {
    /// Starts one on a data directory, and waits until it is healthy.
    pub(crate) fn start(version: &'static str, data: &Path) -> Member {
        let [client, peer] =
            holdfast_peers::free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let log = data.with_file_name(format!("etcd-{version}.log"));
        let process = Command::new(peers::path(&format!("etcd-{version}")))
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut member = Member { process, version, client, file: data.join("member/snap/db") };
        let deadline = Instant::now() + PATIENCE;
        while !member.run(&["endpoint", "health"]).0 {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(member.process.try_wait().unwrap(), None, "etcd {version}: {}", said());
            assert!(Instant::now() < deadline, "etcd {version} is not healthy: {}", said());
        }
        member
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let etcdctl = format!("etcdctl-{}", self.version);
        let output = peers::run(&etcdctl, &[&["--endpoints", &self.client], args].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs etcdctl, which must succeed.
    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        let (done, said) = self.run(args);
        assert!(done, "{args:?}: {said}");
        said
    }

    /// HashKV of the present revision.
    pub(crate) fn hash(&self) -> String {
        let said = self.ctl(&["endpoint", "hashkv", "-w", "simple"]);
        said.split(',').nth(1).unwrap().trim().to_owned()
    }

    /// Its database.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Kills it; its database.
    pub(crate) fn kill(self) -> PathBuf {
        self.file.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
