//! Our ctl's verbs that go on by themselves, on our server and on upstream's: the checks under
//! load, and both sides of an election in one line with upstream's tool.

use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::holdfast;
use holdfast_tests::peers::peer;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SERVERS: [&str; 2] = ["3.6", BUNDLED];
const PATIENCE: Duration = Duration::from_secs(60);

/// A tool that runs until it is ended; its output goes to files.
struct Running {
    process: Child,
    folder: TempDir,
}

impl Running {
    fn start(mut command: Command, etcd: &Etcd, words: &[&str]) -> Running {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).unwrap();
        command.arg("--endpoints").arg(etcd.endpoint()).args(words).stdin(Stdio::null());
        let process = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Running { process, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap()
    }

    /// Asks it to end as Ctrl-C does; its exit code.
    async fn interrupt(&mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.end().await
    }

    /// Waits for its end; its exit code.
    async fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.out());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ours() -> Command {
    holdfast::command(&["ctl"])
}

fn upstreams() -> Command {
    Command::new(peer("etcdctl-3.6"))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn keys(etcd: &Etcd, prefix: &str) -> usize {
    let listed = etcd.ctl(&["get", "--prefix", "--keys-only", prefix]);
    listed.lines().filter(|line| line.starts_with(prefix)).count()
}

/// Such keys are bytes to the server; as text they would be others.
#[test]
fn arguments_that_are_no_utf_8_are_refused_in_words() {
    let mut command = ours();
    command.args(["put"]).arg(OsStr::from_bytes(b"\xff")).args(["value", "--endpoints", "nobody"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(128), "{said}");
    assert!(said.starts_with("Error: the argument \"\\xFF\" is no UTF-8"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_data_scale_fills_measures_and_cleans_up() {
    for version in SERVERS {
        let etcd = Etcd::start(version).await;
        etcd.ctl(&["put", "other", "stays"]);
        let words = ["check", "datascale", "--load", "s", "--auto-compact", "--auto-defrag"];
        let mut check = Running::start(ours(), &etcd, &words);
        let code = check.end().await;
        let said = check.out();
        assert_eq!(code, Some(0), "on {version}: {said}");
        let begins = "Start data scale check for work load [10000 key-value pairs, 1024 bytes per \
                      key-value, 50 concurrent clients].";
        assert!(said.starts_with(begins), "{said}");
        // 10,000 times 1 KiB, and what the database needs around them.
        let megabytes = said.split("database size used : ").nth(1).unwrap();
        let megabytes: f64 = megabytes.split(' ').next().unwrap().parse().unwrap();
        assert!((9.7..60.0).contains(&megabytes), "on {version}: {said}");
        // The first of the puts is revision 3, and the deletion the last one.
        assert!(said.contains("Compacted with revision 10003"), "on {version}: {said}");
        assert!(said.contains("Defragmented \""), "on {version}: {said}");
        assert_eq!(keys(&etcd, "/etcdctl-check-datascale/"), 0, "on {version}");
        assert_eq!(etcd.ctl(&["get", "other", "--print-value-only"]).trim(), "stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_performance_that_is_broken_off_cleans_up() {
    let prefix = "/etcdctl-check-perf/";
    for version in SERVERS {
        let etcd = Etcd::start(version).await;
        let mut check = Running::start(ours(), &etcd, &["check", "perf", "--load", "s"]);
        until("keys come", || keys(&etcd, prefix) > 20).await;
        assert_eq!(check.interrupt().await, Some(5), "on {version}");
        assert_eq!(keys(&etcd, prefix), 0, "on {version}");
        // Keys that somebody else put there are no check's to delete.
        etcd.ctl(&["put", &format!("{prefix}mine"), "x"]);
        let mut refused = Running::start(ours(), &etcd, &["check", "perf"]);
        assert_eq!(refused.end().await, Some(3), "on {version}");
        assert_eq!(keys(&etcd, prefix), 1, "on {version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_of_both_tools_follow_one_another() {
    for version in SERVERS {
        let etcd = Etcd::start(version).await;
        let mut first = Running::start(ours(), &etcd, &["elect", "boss", "one"]);
        until("ours leads", || first.out().ends_with("one\n")).await;
        // Upstream's program prints what ours prints: the key, then the proposal.
        assert!(first.out().starts_with("boss/"), "{}", first.out());
        let mut second = Running::start(upstreams(), &etcd, &["elect", "boss", "two"]);
        until("it stands behind", || keys(&etcd, "boss/") == 2).await;
        let mut third = Running::start(ours(), &etcd, &["elect", "boss", "three"]);
        until("and ours behind that", || keys(&etcd, "boss/") == 3).await;
        let listening = Running::start(ours(), &etcd, &["elect", "boss", "-l"]);
        until("the first is heard of", || listening.out().ends_with("one\n")).await;
        assert_eq!((second.out(), third.out()), (String::new(), String::new()));
        assert_eq!(first.interrupt().await, Some(0), "on {version}");
        until("upstream's leads", || second.out().ends_with("two\n")).await;
        until("that is heard of", || listening.out().ends_with("two\n")).await;
        assert_eq!(third.out(), "", "on {version}");
        assert_eq!(second.interrupt().await, Some(0), "on {version}");
        until("ours leads again", || third.out().ends_with("three\n")).await;
        assert_eq!(third.interrupt().await, Some(0), "on {version}");
        assert_eq!(keys(&etcd, "boss/"), 0, "on {version}: all have left the line");
    }
}
