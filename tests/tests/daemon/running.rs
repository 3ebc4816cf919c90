//! A running agent, its log, its port.

use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, free_ports};
use holdfast_tests::objects::object;
use holdfast_tests::site::{Login, Site};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Fields of the configuration beside the usual ones. A round is due at the start and after a
/// failure; the schedule adds none, whenever the test runs.
pub(crate) const QUICK: &str =
    "schedule:\n  rounds: \"@yearly\"\n  jitter: 0s\n  retryAfter: 1s\n  longestRetry: 1s\n";

/// An agent that runs. Killed when dropped.
pub(crate) struct Agent<'a> {
    site: &'a Site,
    child: Child,
    port: u16,
    log: String,
}

/// A cluster with some objects, and a vault for it that was not made yet.
pub(crate) async fn cluster(objects: u64) -> (Etcd, Site) {
    let etcd = Etcd::start("3.6").await;
    let objects = (0..objects).map(|index| object(31, index, 1));
    contents::put(&etcd.client(), objects, 4).await.unwrap();
    let site = Site::on_disk();
    site.watch(&etcd, Login::default());
    (etcd, site)
}

/// Adds fields to the configuration: whole ones at its end, and those of `vault:`.
pub(crate) fn configure(site: &Site, more: &str, vault: &str) {
    let path = site.path("agent.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("encryptionConfig: keys.yaml\n", &format!("encryptionConfig: keys.yaml\n{vault}"));
    std::fs::write(path, format!("{text}{more}")).unwrap();
}

impl<'a> Agent<'a> {
    /// Starts it; `environment` is set besides.
    pub(crate) fn start(site: &'a Site, environment: &[(&str, &str)]) -> Agent<'a> {
        let port = free_ports().client;
        let config = site.path("agent.yaml");
        let text = std::fs::read_to_string(&config).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("listen:")).collect();
        let text = format!("{}\nlisten: 127.0.0.1:{port}\n", kept.join("\n"));
        std::fs::write(&config, text).unwrap();
        let log = format!("agent-{port}.log");
        let file = std::fs::File::create(site.path(&log)).unwrap();
        let args = ["agent", "--config", &config.display().to_string()];
        let mut command = site.command(&args);
        command.envs(environment.iter().copied()).env("HOLDFAST_LOG", "debug");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Agent { site, child: child.unwrap(), port, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.site.path(&self.log)).unwrap_or_default()
    }

    /// A page: status and body; `None`: the port does not answer.
    pub(crate) fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// A metric's value, by its name with labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.page("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// Waits until a metric satisfies a condition.
    pub(crate) async fn until(&mut self, name: &str, holds: impl Fn(f64) -> bool) {
        let what = format!("{name} was {:?}", self.metric(name));
        self.wait(&what, |agent| agent.metric(name).is_some_and(&holds)).await;
    }

    /// Waits for a condition; the agent must not end meanwhile.
    pub(crate) async fn wait(&mut self, what: &str, holds: impl Fn(&Agent<'_>) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the agent ended with {ended:?}\n{}", self.tail());
            let page = || self.page("/metrics").map(|page| page.1).unwrap_or_default();
            assert!(Instant::now() < end, "{what}\n{}\n{}", page(), self.tail());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// A signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the agent does not end\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let said = self.said();
        self.site.remember(&said);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
