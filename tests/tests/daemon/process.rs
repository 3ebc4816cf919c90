//! As a process: signals, systemd, the port, the state directory, its limits.

use super::running::{Agent, QUICK, cluster, configure};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const DONE: &str = "holdfast_jobs_completed_total{job=\"round\"}";
const RUNNING: &str = "holdfast_job_running{job=\"round\"}";

#[tokio::test]
async fn sigterm_in_a_round_abandons_it_and_nothing_half_is_seen() {
    let (_etcd, site) = cluster(400).await;
    site.init().await;
    // So slow that the round cannot end within its grace.
    configure(&site, &format!("{QUICK}shutdownGrace: 1s\n"), "  uploadLimit: 64KiB\n");
    let mut agent = Agent::start(&site, &[]);
    let begun = |agent: &Agent<'_>| {
        std::fs::read_dir(site.path("vault/c")).is_ok_and(|mut list| {
            list.next().is_some_and(|entry| entry.unwrap().path().join("seg").exists())
        }) || agent.said().contains("the stream is whole")
    };
    agent.wait("no round began", begun).await;
    agent.signal("TERM");
    let status = agent.ended().await;
    assert_eq!(status.code(), Some(0), "{status}\n{}", agent.tail());
    assert!(agent.said().contains("leaving it"), "{}", agent.tail());
    drop(agent);
    assert_eq!(site.snapshots().await.len(), 0, "nothing half is seen");
    site.succeed(&site.on_vault(&["vault", "check", "--level", "2"])).await;
    let text = std::fs::read_to_string(site.path("agent.yaml")).unwrap();
    std::fs::write(site.path("agent.yaml"), text.replace("64KiB", "1GiB")).unwrap();
    site.back_up().await;
    assert_eq!(site.snapshots().await.len(), 1);
}

#[tokio::test]
async fn sigterm_in_a_round_lets_it_finish_within_the_grace() {
    let (_etcd, site) = cluster(100).await;
    site.init().await;
    configure(&site, &format!("{QUICK}shutdownGrace: 30s\n"), "");
    let mut agent = Agent::start(&site, &[]);
    agent.wait("no round began", |agent| agent.said().contains("starting")).await;
    agent.signal("TERM");
    let status = agent.ended().await;
    assert_eq!(status.code(), Some(0), "{status}\n{}", agent.tail());
    drop(agent);
    assert_eq!(site.snapshots().await.len(), 1);
}

#[tokio::test]
async fn systemd_and_the_port_are_told() {
    let (_etcd, site) = cluster(20).await;
    site.init().await;
    configure(&site, QUICK, "");
    let socket = site.path("notify");
    let systemd = Systemd::listen(&socket);
    let path = socket.display().to_string();
    let mut agent = Agent::start(&site, &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "900000")]);
    agent.until(DONE, |done| done >= 1.0).await;
    let count = |told: &[String], word: &str| told.iter().filter(|line| *line == word).count();
    let is_next = |told: &[String]| told.iter().any(|it| it.starts_with("STATUS=next round at"));
    agent.wait("no signs of life", |_| count(&systemd.told(), "WATCHDOG=1") >= 5).await;
    agent.wait("no next round is told", |_| is_next(&systemd.told())).await;
    let told = systemd.told();
    assert_eq!((count(&told, "READY=1"), count(&told, "STOPPING=1")), (1, 0), "{told:?}");

    let (status, reason) = agent.page("/healthz").unwrap();
    assert_eq!(status, 200, "{reason}");
    assert!(reason.contains("the last completed round began"), "{reason}");
    assert_eq!(agent.page("/livez").unwrap().0, 200);
    assert_eq!(agent.page("/secrets").unwrap().0, 404);
    let (status, page) = agent.page("/metrics").unwrap();
    assert!(status == 200 && page.ends_with("# EOF\n"), "{page}");
    for (name, value) in
        [("holdfast_snapshot_number", 2.0), ("holdfast_store_reachable", 1.0), (RUNNING, 0.0)]
    {
        assert_eq!(agent.metric(name), Some(value), "{name}");
    }

    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0));
    let told = systemd.end(&socket);
    assert_eq!(count(&told, "STOPPING=1"), 1, "{told:?}");
}

/// What systemd is told, line by line. A socket holds ten messages and lets the agent wait with the
/// next one, so somebody has to take them all the time.
struct Systemd {
    told: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

/// What the test itself says at the end.
const THE_END: &[u8] = b"the test's last word";

impl Systemd {
    fn listen(socket: &Path) -> Systemd {
        let (socket, told) = (UnixDatagram::bind(socket).unwrap(), Arc::default());
        let heard: Arc<Mutex<Vec<String>>> = Arc::clone(&told);
        let listening = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if &buffer[..length] == THE_END {
                    break;
                }
                let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
                heard.lock().unwrap().extend(said.lines().map(str::to_owned));
            }
        });
        Systemd { told, listening }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// All that was said before.
    fn end(self, socket: &Path) -> Vec<String> {
        UnixDatagram::unbound().unwrap().send_to(THE_END, socket).unwrap();
        self.listening.join().unwrap();
        self.told.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn its_memory_is_nobodys_and_a_second_agent_is_told_who_is_there() {
    let (_etcd, site) = cluster(20).await;
    site.init().await;
    configure(&site, QUICK, "");
    let mut agent = Agent::start(&site, &[]);
    agent.until(DONE, |done| done >= 1.0).await;
    let proc = format!("/proc/{}", agent.id());
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    // The files of a process that is not dumpable belong to root; as root, the test sees locked
    // pages: one for each seed.
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: u64 = locked.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(locked >= 8, "an index seed and a data seed are locked: {locked} kB");

    // The same directory, another port.
    let text = std::fs::read_to_string(site.path("agent.yaml")).unwrap();
    let second = text.lines().filter(|line| !line.starts_with("listen:")).collect::<Vec<_>>();
    std::fs::write(site.path("second.yaml"), second.join("\n")).unwrap();
    let config = site.path("second.yaml").display().to_string();
    for once in [&["agent", "--config", &config][..], &["agent", "--once", "--config", &config]] {
        let message = site.refuse(once).await;
        assert!(message.contains(&format!("process {}", agent.id())), "{message}");
        assert!(message.contains("stateDirectory"), "{message}");
    }
    assert_eq!(agent.metric(DONE), Some(1.0), "the first goes on");
}

#[tokio::test]
async fn a_reader_that_stops_is_no_crash() {
    let (_etcd, site) = cluster(5).await;
    site.init().await;
    site.back_up().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = site.command(&site.on_vault(&["snapshots"]));
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(output.status.code(), Some(141), "as if SIGPIPE had ended it");
}
