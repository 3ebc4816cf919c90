//! A drill passes on what is sound, and fails at the right level on what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_core::buckets::{LEASE, MEMBERS};
use holdfast_restore::check::{SnapshotCheck, check_snapshot, faults_line};
use holdfast_restore::drill::{DrillReport, DrillRequest, Level, Recorded, drill};
use holdfast_restore::fetch::candidate;
use holdfast_vault::format::SeedId;
use holdfast_vault::proto::{self, ObjectKind, SeedKind};
use holdfast_vault::snapshot::{ReadOptions, SnapshotReader};
use holdfast_vault::vault::Vault;

use crate::peers::{Running, free_ports, peer};
use crate::sources::{FileSource, SECRET, reopen, store, vault};

/// A vault with one sound snapshot of a filled store.
struct Fixture {
    root: tempfile::TempDir,
    vault: Vault,
    source: FileSource,
    number: u64,
}

impl Fixture {
    async fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("source");
        let running = Running::start("3.6", &data_dir, free_ports()).await;
        running.fill().await;
        let hash = running.hash().await;
        running.enable_auth().await;
        let file = root.path().join("snap.db");
        running.save(&file, Some("root:secret"));
        running.stop().await;
        let mut vault = vault(&root.path().join("vault")).await;
        let source = FileSource::open(&file, Some(hash));
        let number = store(&mut vault, &source).await;
        fs::create_dir(root.path().join("sandboxes")).unwrap();
        Fixture { root, vault, source, number }
    }

    /// The same in a vault of its own, from another source.
    async fn of(&self, name: &str, source: &FileSource) -> (Vault, u64) {
        let mut vault = vault(&self.root.path().join(name)).await;
        let number = store(&mut vault, source).await;
        (vault, number)
    }

    fn request(&self, number: u64, server: &Path) -> DrillRequest {
        DrillRequest::new(number, server, &self.root.path().join("sandboxes"))
    }

    async fn drill(&self, vault: &mut Vault, number: u64, server: &Path) -> DrillReport {
        let report = drill(vault, &self.request(number, server)).await.unwrap();
        let left = fs::read_dir(self.root.path().join("sandboxes")).unwrap().count();
        assert_eq!(left, 0, "sandboxes are gone after a drill");
        report
    }

    /// Objects of a kind in the vault.
    fn objects(&self, kind: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, out) } else { out.push(path) }
            }
        }
        let mut out = Vec::new();
        walk(&self.root.path().join("vault"), &mut out);
        out.retain(|path| path.display().to_string().contains(&format!("/{kind}/")));
        out
    }
}

/// Level L3 of a snapshot, without a server.
async fn checked(reader: &SnapshotReader, folder: &Path) -> SnapshotCheck {
    check_snapshot(reader, folder, ReadOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_snapshot_is_proven_on_every_version() {
    let mut fixture = Fixture::new().await;
    let reader = fixture.vault.reader(fixture.number).await.unwrap();
    let check = checked(&reader, fixture.root.path()).await;
    assert!(check.findings.is_sound() && check.hash_equal == Some(true), "{check:?}");
    for version in ["3.5", "3.6", "3.7"] {
        let server = peer(&format!("etcd-{version}"));
        let request = fixture.request(fixture.number, &server);
        let report = drill(&mut fixture.vault, &request).await.unwrap();
        assert!(report.passed(), "{report}");
        assert_eq!(report.level, Some(Level::L6), "{report}");
        assert!(report.sampled > 10 && report.recovery_ms.is_some(), "{report}");
        assert!(matches!(report.recorded, Recorded::InCommit(_)), "{report}");
        assert!(report.to_string().contains("PASSED: proven up to L6"), "{report}");
    }
    fixture.vault.refresh().await.unwrap();
    let entry = fixture.vault.chain().catalogue().get(fixture.number).unwrap();
    assert_eq!(candidate(entry).proven_level, Some(6));
    assert_eq!(fixture.objects("report").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_names_the_key_that_opened_each_seed_and_no_secret() {
    let fixture = Fixture::new().await;
    let mut vault = reopen(&fixture.root.path().join("vault")).await.unwrap();
    let report = fixture.drill(&mut vault, fixture.number, &peer("etcd-3.6")).await;
    assert!(report.passed(), "{report}");
    let reports = vault.chain().state().objects().values();
    let mut reports = reports.filter(|extant| extant.object.kind() == ObjectKind::Report);
    let stored: (proto::Report, _) =
        vault.access().read_message(&reports.next().unwrap().object).await.unwrap();
    assert_eq!(stored.0.opened_by, report.opened_by);

    let text = format!("{report}\n{}", serde_json::to_string(&report).unwrap());
    for kind in [SeedKind::Data, SeedKind::Index] {
        let seeds = vault.head().seeds.iter().filter(|seed| seed.kind() == kind);
        for seed in seeds {
            let id = SeedId::from_bytes(&seed.seed_id).unwrap();
            let wrap = &seed.wraps[0];
            assert_eq!(wrap.provider_name, "test");
            let by = format!("seed {id} by aesgcm \"test\" with key id {:?}", wrap.key_id);
            assert!(report.opened_by.iter().any(|one| one.contains(&by)), "{by}: {text}");
            assert!(report.to_string().contains(&by), "{by}: {text}");
        }
    }
    assert_eq!(report.opened_by.len(), 2, "{text}");
    assert!(!text.contains(SECRET) && !text.contains("0123456789abcdef"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_store_fails_at_l0_and_l1() {
    let mut fixture = Fixture::new().await;
    let server = peer("etcd-3.6");
    let segments = fixture.objects("seg");
    let whole = fs::read(&segments[0]).unwrap();
    let number = fixture.number;

    let mut flipped = whole.clone();
    flipped[400] ^= 1;
    fs::write(&segments[0], flipped).unwrap();
    let request = fixture.request(number, &server);
    let report = drill(&mut fixture.vault, &request).await.unwrap();
    let failure = report.failure.clone().unwrap();
    assert_eq!((failure.level, report.level), (Level::L1, Some(Level::L0)), "{report}");
    assert!(matches!(report.recorded, Recorded::InCommit(_)), "a failure is written too: {report}");

    fs::remove_file(&segments[0]).unwrap();
    let report = drill(&mut fixture.vault, &request).await.unwrap();
    let failure = report.failure.clone().unwrap();
    assert_eq!((failure.level, report.level), (Level::L0, None), "{report}");
    assert!(report.to_string().contains("FAILED: level L0 failed"), "{report}");

    fs::write(&segments[0], whole).unwrap();
    let report = drill(&mut fixture.vault, &request).await.unwrap();
    assert!(report.passed(), "whole again: {report}");
}

/// Every object is there with its digest, and nothing opens it: the data seed's wraps are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_key_opens_fails_at_l2() {
    let fixture = Fixture::new().await;
    let server = peer("etcd-3.6");
    let seeds = fixture.objects("keys");
    let mut refused = 0;
    for wrap in &seeds {
        let sealed = fs::read(wrap).unwrap();
        let copy = PathBuf::from(wrap.to_str().unwrap().replace("/keys/", "/keys2/"));
        assert_eq!(fs::read(&copy).unwrap(), sealed);
        fs::remove_file(wrap).unwrap();
        fs::remove_file(&copy).unwrap();
        // Without the index seed the vault itself does not open.
        if let Ok(mut vault) = reopen(&fixture.root.path().join("vault")).await {
            let request = fixture.request(fixture.number, &server);
            let report = drill(&mut vault, &request).await.unwrap();
            let failure = report.failure.clone().expect("nothing opens it");
            assert_eq!(failure.level, Level::L2, "{report}");
            assert!(failure.reason.contains("seed"), "{report}");
            refused += 1;
        }
        fs::write(wrap, &sealed).unwrap();
        fs::write(copy, sealed).unwrap();
    }
    assert_eq!((refused, seeds.len()), (1, 2), "one seed for data, one for indexes: {seeds:?}");
    let mut vault = reopen(&fixture.root.path().join("vault")).await.unwrap();
    let report = fixture.drill(&mut vault, fixture.number, &server).await;
    assert!(report.passed(), "whole again: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_restore_fails_at_l3_l5_and_l6() {
    let fixture = Fixture::new().await;
    let server = peer("etcd-3.6");
    let level = |report: &DrillReport| report.failure.as_ref().map(|failure| failure.level);

    let mut damaged = fixture.source.clone();
    damaged.small.put(LEASE, &[0, 0, 0, 0, 0, 0, 0, 9], [8, 7]);
    damaged.facts.lease_count += 1;
    let (mut vault, number) = fixture.of("l3", &damaged).await;
    let report = fixture.drill(&mut vault, number, &server).await;
    assert_eq!((level(&report), report.level), (Some(Level::L3), Some(Level::L2)), "{report}");
    let reader = vault.reader(number).await.unwrap();
    let check = checked(&reader, fixture.root.path()).await;
    assert!(faults_line(&check.findings).is_some_and(|faults| faults.contains("lease/")));
    assert_eq!(check.hash_equal, Some(true));

    let mut lied = fixture.source.clone();
    lied.facts.hash_kv.as_mut().unwrap().hash ^= 1;
    let (mut vault, number) = fixture.of("l5", &lied).await;
    let reader = vault.reader(number).await.unwrap();
    let check = checked(&reader, fixture.root.path()).await;
    assert!(check.findings.is_sound() && check.hash_equal == Some(false), "{check:?}");
    let report = fixture.drill(&mut vault, number, &server).await;
    assert_eq!((level(&report), report.level), (Some(Level::L5), Some(Level::L3)), "{report}");

    let mut miscounted = fixture.source.clone();
    miscounted.facts.key_count += 1;
    let (mut vault, number) = fixture.of("count", &miscounted).await;
    let report = fixture.drill(&mut vault, number, &server).await;
    assert_eq!(level(&report), Some(Level::L5), "{report}");
    assert!(report.failure.unwrap().reason.contains("keys are served"));

    let mut silent = fixture.source.clone();
    silent.facts.hash_kv = None;
    silent.small.create(MEMBERS);
    let (mut vault, number) = fixture.of("silent", &silent).await;
    let report = fixture.drill(&mut vault, number, &server).await;
    assert!(report.passed() && report.level == Some(Level::L3), "{report}");
    assert!(report.to_string().contains("(L5) cannot be proven"), "{report}");

    let broken = fixture.root.path().join("broken-etcd");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'etcd Version: 3.6.99' && exit 0\n\
                  echo 'out of luck' >&2\nexit 3\n";
    fs::write(&broken, script).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o700)).unwrap();
    let (mut vault, number) = fixture.of("l6", &fixture.source).await;
    let report = fixture.drill(&mut vault, number, &broken).await;
    assert_eq!(level(&report), Some(Level::L6), "{report}");
    assert!(report.failure.unwrap().reason.contains("out of luck"));
}
