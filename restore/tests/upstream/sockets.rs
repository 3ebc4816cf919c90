//! What a drill serves is nobody else's to read: its server listens on sockets in the sandbox only.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_api::client::{Client, ClientConfig};
use holdfast_peers::holdfast;
use holdfast_restore::drill::{DrillRequest, drill};
use holdfast_restore::server::ServerProgram;

use crate::peers::{Running, free_ports, peer};
use crate::sources::{FileSource, store, vault};

/// What a process listens on: `tcp` and an address, or a socket's path as it was bound.
fn listens(pid: u32) -> BTreeSet<String> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let fds = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    let fds = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
    let sockets: BTreeSet<String> = fds
        .filter_map(|fd| Some(fd.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').into()))
        .collect();
    // Columns: see proc(5). 0A is LISTEN; flag 00010000 is a unix socket that accepts.
    let mut out = BTreeSet::new();
    for table in ["tcp", "tcp6", "unix"] {
        let text = fs::read_to_string(folder.join("net").join(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (inode, listening, name) = match table {
                "unix" => (words[6], words[3] == "00010000", words.get(7).unwrap_or(&"unnamed")),
                _ => (words[9], words[3] == "0A", &words[1]),
            };
            if listening && sockets.contains(inode) {
                out.insert(if table == "unix" {
                    (*name).to_owned()
                } else {
                    format!("tcp {name}")
                });
            }
        }
    }
    out
}

/// All that a drill's server in `parent` listens on, until it is told that the drill is over; the
/// sandbox's mode and the server's words are judged meanwhile.
fn watch(parent: &Path, over: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !over.load(Ordering::Relaxed) {
        for sandbox in fs::read_dir(parent).unwrap().flatten() {
            let Ok(id) = fs::read_to_string(sandbox.path().join("server.pid")) else { continue };
            let Ok(id) = id.parse() else { continue };
            seen.append(&mut listens(id));
            if let Ok(meta) = sandbox.metadata() {
                assert_eq!(meta.permissions().mode() & 0o777, 0o700);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drills_server_listens_on_sockets_of_its_sandbox_alone() {
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("{:04X}", own.local_addr().unwrap().port());
    let seen = listens(std::process::id());
    assert!(seen.iter().any(|one| one.starts_with("tcp ") && one.ends_with(&port)), "{seen:?}");

    let root = tempfile::tempdir().unwrap();
    let running = Running::start("3.6", &root.path().join("m"), free_ports()).await;
    running.fill().await;
    let hash = running.hash().await;
    let file = root.path().join("snap.db");
    running.save(&file, None);
    // Over the same client: what is not there is passed over, a write too.
    let nowhere = format!("unix://{}/nobody.sock", root.path().display());
    let endpoints = [nowhere, running.server.spec().client_url()];
    let client = Client::lazy(ClientConfig::new(endpoints)).unwrap();
    let put = holdfast_api::etcdserverpb::PutRequest { key: b"k".into(), ..Default::default() };
    client.check("Put", client.kv().put(put).await).unwrap();
    running.stop().await;

    let mut vault = vault(&root.path().join("vault")).await;
    let number = store(&mut vault, &FileSource::open(&file, Some(hash))).await;
    // The last one's path is too long for a socket's address.
    let etcd = |version: &str| ServerProgram::from(peer(&format!("etcd-{version}")));
    for (folder, server) in [
        ("3.5", etcd("3.5")),
        ("3.6", etcd("3.6")),
        ("bundled", ServerProgram::in_holdfast(holdfast())),
        (&*"d".repeat(120), etcd("3.7")),
    ] {
        let parent = root.path().join(folder);
        fs::create_dir(&parent).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (parent, over) = (parent.clone(), over.clone());
            std::thread::spawn(move || watch(&parent, &over))
        };
        let report = drill(&mut vault, &DrillRequest::new(number, server, &parent)).await;
        over.store(true, Ordering::Relaxed);
        let report = report.unwrap();
        assert!(report.passed(), "{folder}: {report}");
        let seen = watcher.join().unwrap();
        let sockets = ["client.sock", "peer.sock"].map(str::to_owned);
        assert_eq!(seen, sockets.into(), "{folder}");
    }
}
