//! Members that we found are upstream's, and those that upstream ran are ours.

use std::path::Path;

use holdfast_core::bootstrap::{self, Action, Flags, InitialState, MemberDirs, Started};
use holdfast_core::change::BucketChange;
use holdfast_core::disk::FileSystem;
use holdfast_core::membership::{Cluster, ClusterConfig, MAX_LEARNERS, Scope};
use holdfast_core::raftpb::{ConfChange, EntryKind, RaftSnapshot, SnapshotMetadata};
use holdfast_core::request::{EntryRequest, Payload};
use holdfast_core::snap::SnapFiles;
use holdfast_core::v2store;
use holdfast_core::versions::EtcdVersion;
use holdfast_core::wal::{SnapshotRecord, WalOptions};

use crate::peers::{Etcd, Ports, VERSIONS, fill};

fn flags(version: &str, ports: &[Ports]) -> Flags {
    let names = ["n", "o", "p"];
    let list = names.iter().zip(ports).map(|(name, ports)| format!("{name}={}", ports.peer_url()));
    Flags {
        name: "n".to_owned(),
        initial_cluster: list.collect::<Vec<_>>().join(","),
        advertise_peer_urls: vec![ports[0].peer_url()],
        initial_state: InitialState::New,
        token: "source".to_owned(),
        force_new_cluster: false,
        server_version: version.parse().unwrap(),
    }
}

fn start(flags: &Flags, dir: &Path) -> Started<FileSystem> {
    let dirs = MemberDirs::new(dir, None);
    let facts = bootstrap::survey(&FileSystem, &dirs).unwrap();
    let (options, observer) = (WalOptions::default(), Box::new(()));
    match bootstrap::decide(flags, &facts, &dirs).unwrap().action {
        Action::Found(founding) => {
            bootstrap::found(FileSystem, &dirs, &founding, options, observer).unwrap()
        }
        Action::Restart(plan) => {
            bootstrap::restart(FileSystem, &dirs, plan, options, observer).unwrap()
        }
        Action::Join { .. } => panic!("joins"),
    }
}

/// The start of the first segment, as far as it is written.
fn log_bytes(dir: &Path) -> Vec<u8> {
    let name = "member/wal/0000000000000000-0000000000000000.wal";
    let mut bytes = std::fs::read(dir.join(name)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(used);
    bytes
}

#[test]
fn upstream_goes_on_where_we_founded() {
    for version in VERSIONS {
        let root = tempfile::tempdir().unwrap();
        let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
        let ports = Ports::free();
        let started = start(&flags(version, &[ports]), &ours);
        started.wal.close().unwrap();
        let founded = log_bytes(&ours);

        let etcd = Etcd::start(version, &ours, ports, &[]);
        etcd.put("a", "b", 0);
        let id = format!("{:x}", start_id(&founded));
        let members = etcd.ctl(&["member", "list"]);
        assert!(members.starts_with(&format!("{id}, started, n, ")), "{version}: {members}");
        etcd.stop();

        let etcd = Etcd::start(version, &theirs, ports, &[]);
        etcd.stop();
        let theirs = log_bytes(&theirs);
        if version == "3.7" {
            assert_eq!(start_id(&theirs), start_id(&founded), "3.7 leaves zeros out");
        } else {
            let same = founded.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            assert_eq!(same, founded.len(), "{version}: {founded:02x?} {theirs:02x?}");
        }
    }
}

/// The node id in a log's metadata.
fn start_id(log: &[u8]) -> u64 {
    let mut reader = holdfast_core::wal::SegmentReader::new(log, None, true);
    while let Some(record) = reader.next_record().unwrap() {
        if let holdfast_core::wal::Record::Metadata(metadata) = record {
            return metadata.node_id;
        }
    }
    panic!("no metadata");
}

/// Applies what the log holds about members, as the apply thread would. How many entries each scope
/// had.
fn replay(cluster: &mut Cluster, started: &Started<FileSystem>, applied: u64) -> [usize; 2] {
    let mut scopes = [0; 2];
    for entry in &started.entries {
        if entry.index > started.hard_state.commit {
            break;
        }
        let scope = if entry.index > applied { Scope::Both } else { Scope::Replayed };
        scopes[usize::from(scope == Scope::Both)] += 1;
        let changes: Vec<BucketChange> = match entry.kind {
            EntryKind::Normal => match Payload::decode(&entry.data).unwrap() {
                Payload::Empty => continue,
                Payload::Request(request) => apply(cluster, &request, scope),
            },
            _ => {
                let change = ConfChange::decode(&entry.data).unwrap();
                let outcome = cluster.apply_conf_change(&change, scope).unwrap();
                assert!(outcome.result.is_ok(), "{outcome:?}");
                outcome.changes
            }
        };
        assert!(scope == Scope::Both || changes.is_empty());
    }
    scopes
}

fn apply(cluster: &mut Cluster, request: &EntryRequest, scope: Scope) -> Vec<BucketChange> {
    let id = request.id;
    let request = &request.request;
    assert_ne!(id, 0);
    if let Some(set) = &request.cluster_member_attr_set {
        let attributes = set.member_attributes.clone().unwrap();
        let urls = &attributes.client_urls;
        return cluster.set_attributes(set.member_id, &attributes.name, urls, scope).unwrap();
    }
    if let Some(set) = &request.cluster_version_set {
        return cluster.set_version(set.ver.parse().unwrap(), scope).unwrap().changes;
    }
    Vec::new()
}

/// Loads the cluster of a directory that upstream ran, and brings it up to the log's end.
fn load(version: &str, dir: &Path, started: &Started<FileSystem>) -> (Cluster, u64) {
    let database = bootstrap::read_cluster_buckets(&MemberDirs::new(dir, None).db()).unwrap();
    let metadata = started.wal.metadata();
    let config = ClusterConfig {
        local_id: metadata.node_id,
        cluster_id: metadata.cluster_id,
        server_version: version.parse().unwrap(),
        max_learners: MAX_LEARNERS,
    };
    let (mut cluster, healed) =
        Cluster::load(config, &database.buckets, started.replayed.as_ref()).unwrap();
    assert_eq!(healed, []);
    let scopes = replay(&mut cluster, started, database.consistent_index);
    assert!(scopes[0] + scopes[1] > 10, "{version}: {scopes:?}");
    (cluster, database.consistent_index)
}

#[test]
fn we_go_on_where_upstream_was_killed_and_upstream_on_our_snapshot() {
    let members = VERSIONS.map(|version| std::thread::spawn(move || take_over(version)));
    for member in members {
        member.join().unwrap();
    }
}

/// Puts until the member has saved one more snapshot, and some behind it: how many entries it has
/// written by itself is a matter of time, and where a history ends between two snapshots, too.
fn go_on_behind_a_snapshot(etcd: &Etcd, dir: &Path) {
    let newest = || {
        let all = std::fs::read_dir(MemberDirs::new(dir, None).snap()).unwrap();
        let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".snap")).max()
    };
    let before = newest();
    for at in 0..1_000 {
        etcd.put(&format!("more-{at}"), "x", 0);
        if newest() != before {
            (0..15).for_each(|at| etcd.put(&format!("behind-{at}"), "x", 0));
            return;
        }
    }
    panic!("no snapshot in a thousand puts");
}

fn take_over(version: &'static str) {
    for snapshot_count in ["40", "10000"] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("source");
        let ports = Ports::free();
        let etcd = Etcd::start(version, &dir, ports, &["--snapshot-count", snapshot_count]);
        etcd.wait_for_version();
        fill(&etcd, 3);
        if snapshot_count == "40" {
            go_on_behind_a_snapshot(&etcd, &dir);
        }
        drop(etcd); // killed

        let started = start(&flags(version, &[ports]), &dir);
        assert_eq!(started.snapshot.index > 0, snapshot_count == "40", "{version}");
        let (cluster, _) = load(version, &dir, &started);
        let local = cluster.member(cluster.local_id()).unwrap();
        assert_eq!((&*local.name, local.client_urls.len()), ("n", 1), "{version}");
        assert_eq!(cluster.version(), Some(version.parse::<EtcdVersion>().unwrap()));
        assert_eq!(cluster.conf_state().voters, [cluster.local_id()]);
        started.wal.close().unwrap();

        // Cleanly ended, the database is level with the log: our snapshot may stand at its end. It
        // saves none of its own, behind which nearly nothing would be left to replay.
        Etcd::start(version, &dir, ports, &["--snapshot-count", "10000"]).stop();
        let mut started = start(&flags(version, &[ports]), &dir);
        let (cluster, applied) = load(version, &dir, &started);
        let last = started.entries.iter().rfind(|entry| entry.index <= applied).unwrap();
        let (conf_state, index, term) = (cluster.conf_state(), last.index, last.term);
        let metadata = SnapshotMetadata { conf_state: conf_state.clone(), index, term };
        let data = v2store::encode_membership(&cluster.to_v2());
        let files = SnapFiles::new(FileSystem, &MemberDirs::new(&dir, None).snap());
        let saved = files.save(&RaftSnapshot { data: &data, metadata }).unwrap();
        let note = SnapshotRecord { index, term, conf_state: Some(conf_state) };
        started.wal.save_snapshot(&note).unwrap();
        started.wal.close().unwrap();

        let etcd = Etcd::start(version, &dir, ports, &["--log-level", "info"]);
        let at = format!("\"snapshot-index\":{index}");
        assert!(etcd.log().contains(&at), "{version}: {} {}", saved.display(), etcd.log());
        let members = etcd.ctl(&["member", "list"]);
        assert!(members.contains(", started, n, "), "{version}: {members}");
        etcd.put("after our snapshot", "x", 0);
        etcd.stop();
    }
}

#[test]
fn a_forced_member_is_alone_for_upstream_too() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("source");
    let ports = [Ports::free(), Ports::free(), Ports::free()];
    let flags = flags("3.6", &ports);
    start(&flags, &dir).wal.close().unwrap();
    let forced = Flags { force_new_cluster: true, ..flags };
    start(&forced, &dir).wal.close().unwrap();
    let etcd = Etcd::start("3.6", &dir, ports[0], &[]);
    etcd.put("alone", "x", 0);
    let members = etcd.ctl(&["member", "list"]);
    assert_eq!(members.lines().count(), 1, "{members}");
    etcd.stop();
}
