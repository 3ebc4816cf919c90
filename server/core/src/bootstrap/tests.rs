//! Decisions as a table, and what carrying them out leaves on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_bolt::{BuildOptions, Builder, FileDisk};

use super::*;
use crate::buckets::{CLUSTER, META, SmallBuckets};
use crate::disk::FileSystem;
use crate::membership::Member;
use crate::meta::{CONSISTENT_INDEX, ConfState, STORAGE_VERSION, TERM};
use crate::raftpb::SnapshotMetadata;
use crate::raftpb::{ConfChange, ConfChangeKind, EntryKind, HardState, RaftSnapshot};
use crate::snap::SnapFiles;
use crate::v2store::{self, V2Membership};
use crate::versions::{V3_6, V3_7};
use crate::wal::{LogEntry, SnapshotRecord, WalOptions};

const OPTIONS: WalOptions = WalOptions { segment_bytes: 64 << 10, no_sync: false };

fn flags() -> Flags {
    Flags {
        name: "a".to_owned(),
        initial_cluster: "a=http://a:1".to_owned(),
        advertise_peer_urls: vec!["http://a:1".to_owned()],
        initial_state: InitialState::New,
        token: "tok".to_owned(),
        force_new_cluster: false,
        server_version: V3_6,
    }
}

fn dirs(root: &Path) -> MemberDirs {
    MemberDirs::new(&root.join("some/where/data"), None)
}

fn plan(flags: &Flags, dirs: &MemberDirs) -> Result<Plan, BootstrapError> {
    decide(flags, &survey(&FileSystem, dirs).unwrap(), dirs)
}

fn start(flags: &Flags, dirs: &MemberDirs) -> Started<FileSystem> {
    match plan(flags, dirs).unwrap().action {
        Action::Found(founding) => {
            found(FileSystem, dirs, &founding, OPTIONS, Box::new(())).unwrap()
        }
        Action::Restart(plan) => restart(FileSystem, dirs, plan, OPTIONS, Box::new(())).unwrap(),
        Action::Join { .. } => panic!("joins"),
    }
}

/// A database that was applied up to `index`.
fn write_db(path: &Path, index: u64, storage: Option<&str>) {
    let mut small = SmallBuckets::empty();
    small.put(META, CONSISTENT_INDEX, index.to_be_bytes());
    small.put(META, TERM, 1u64.to_be_bytes());
    if let Some(version) = storage {
        small.put(META, STORAGE_VERSION, version);
        small.put(CLUSTER, b"clusterVersion", version);
    }
    let disk = FileDisk::create_new(path).unwrap();
    let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
    for (name, entries) in small.iter() {
        builder.begin_bucket(name).unwrap();
        for (key, value) in entries {
            builder.push(key, value).unwrap();
        }
        builder.end_bucket().unwrap();
    }
    builder.finish().unwrap();
}

/// Puts up to `last`, and a snapshot at `snapshot` that is noted.
fn fill(dirs: &MemberDirs, started: &mut Started<FileSystem>, snapshot: u64, last: u64) {
    let first = started.wal.last_index() + 1;
    for index in first..=last {
        let data = bytes::Bytes::from(vec![1; 50]);
        let entry = LogEntry { kind: EntryKind::Normal, term: 1, index, data };
        let state = HardState { term: 1, vote: 0, commit: index };
        started.wal.append([entry.borrow()], Some(state), true).unwrap();
    }
    let conf_state = ConfState::of_voters(vec![started.wal.metadata().node_id]);
    let data = v2store::encode_membership(&V2Membership::default());
    let metadata = SnapshotMetadata { conf_state: conf_state.clone(), index: snapshot, term: 1 };
    let files = SnapFiles::new(FileSystem, &dirs.snap());
    files.save(&RaftSnapshot { data: &data, metadata }).unwrap();
    let note = SnapshotRecord { index: snapshot, term: 1, conf_state: Some(conf_state) };
    started.wal.save_snapshot(&note).unwrap();
}

#[test]
fn a_new_member_is_founded_and_goes_on_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let fresh = plan(&flags(), &dirs).unwrap();
    assert!(matches!(fresh.action, Action::Found(_)), "{fresh:?}");
    assert!(fresh.reasons[0].contains("founding cluster"), "{fresh:?}");
    let first = start(&flags(), &dirs);
    let (metadata, entries, state) = (first.wal.metadata(), first.entries, first.hard_state);
    assert_eq!((entries.len(), state), (1, HardState { term: 1, vote: 0, commit: 1 }));
    for dir in [dirs.data(), &dirs.member(), &dirs.snap(), dirs.wal()] {
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{dir:?}");
    }
    drop(first.wal);
    fs::write(dirs.snap().join("db.tmp.123"), b"x").unwrap();
    fs::write(dirs.data().join("notes.txt"), b"x").unwrap();
    // The flags of the first start are given again; they are not looked at.
    let other = Flags { initial_cluster: "z=http://z:1".to_owned(), ..flags() };
    let again = plan(&other, &dirs).unwrap();
    assert!(again.reasons[0].ends_with("notes.txt"), "{again:?}");
    let again = start(&other, &dirs);
    assert_eq!((again.wal.metadata(), again.entries, again.hard_state), (metadata, entries, state));
    assert_eq!((again.cleaned, again.replayed), (vec!["db.tmp.123".to_owned()], None));
}

#[test]
fn an_empty_directory_is_as_good_as_none_and_an_unused_database_too() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    fs::create_dir_all(dirs.snap()).unwrap();
    fs::create_dir_all(dirs.wal()).unwrap();
    assert!(matches!(plan(&flags(), &dirs).unwrap().action, Action::Found(_)));
    write_db(&dirs.db(), 0, None);
    assert!(matches!(plan(&flags(), &dirs).unwrap().action, Action::Found(_)));
    fs::remove_file(dirs.db()).unwrap();
    write_db(&dirs.db(), 17, None);
    let error = plan(&flags(), &dirs).unwrap_err().to_string();
    assert!(error.contains("was in use up to entry 17, but there is no WAL in"), "{error}");
}

#[test]
fn flags_that_do_not_fit_are_refused_in_upstreams_words() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let says = |change: &dyn Fn(&mut Flags), want: &str| {
        let mut flags = flags();
        change(&mut flags);
        let error = plan(&flags, &dirs).unwrap_err().to_string();
        assert_eq!(error, want);
    };
    says(
        &|flags| flags.name = "b".to_owned(),
        "couldn't find local name \"b\" in the initial cluster configuration",
    );
    let list = "a=http://a:1,b=http://a:1";
    says(
        &|flags| flags.initial_cluster = list.to_owned(),
        "initial cluster a=http://a:1,b=http://a:1 has duplicate url",
    );
    says(
        &|flags| flags.advertise_peer_urls = vec!["http://x:1".to_owned()],
        "--initial-cluster has a=http://a:1 but missing from --initial-advertise-peer-urls=http://x:1",
    );
    says(
        &|flags| flags.advertise_peer_urls.push("http://x:1".to_owned()),
        "--initial-advertise-peer-urls has http://x:1 but missing from --initial-cluster=a=http://a:1",
    );
}

#[test]
fn versions_above_the_servers_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    drop(start(&flags(), &dirs));
    write_db(&dirs.db(), 1, Some("3.7.0"));
    let error = plan(&flags(), &dirs).unwrap_err().to_string();
    assert!(error.starts_with("version \"3.7.0\" is not supported"), "{error}");
    let newer = Flags { server_version: V3_7, ..flags() };
    assert!(plan(&newer, &dirs).is_ok());
}

#[test]
fn the_database_must_stand_at_or_after_the_snapshot() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let mut started = start(&flags(), &dirs);
    fill(&dirs, &mut started, 10, 20);
    drop(started);
    let database = |plan: Result<Plan, BootstrapError>| match plan.unwrap().action {
        Action::Restart(RestartPlan { database, snapshot, .. }) => {
            (database, snapshot.unwrap().metadata.index)
        }
        other => panic!("{other:?}"),
    };
    write_db(&dirs.db(), 9, None);
    let error = plan(&flags(), &dirs).unwrap_err();
    let want = BootstrapError::NoReceivedDatabase { snapshot: 10, database: 9 };
    assert_eq!(error, want);
    let text = "failed to find database snapshot file (snap: snapshot file doesn't exist)";
    assert!(error.to_string().starts_with(text), "{error}");

    let received = dirs.snap().join(crate::snap::db_name(10));
    write_db(&received, 11, None);
    let wrong = plan(&flags(), &dirs);
    assert_eq!(database(wrong), (DatabaseStep::TakeReceived(received.clone()), 10));
    let Action::Restart(wrong) = plan(&flags(), &dirs).unwrap().action else { panic!() };
    let error = restart(FileSystem, &dirs, wrong, OPTIONS, Box::new(())).unwrap_err();
    assert!(matches!(error, CarryOutError::OtherDatabase { found: 11, index: 10, .. }), "{error}");
    fs::remove_file(&received).unwrap();
    write_db(&received, 10, None);
    let started = start(&flags(), &dirs);
    assert_eq!(started.snapshot.index, 10);
    assert_eq!(
        started.entries.iter().map(|it| it.index).collect::<Vec<_>>(),
        Vec::from_iter(11..21)
    );
    assert!(!received.exists());
    assert_eq!(read_cluster_buckets(&dirs.db()).unwrap().consistent_index, 10);
    drop(started);
    assert_eq!(database(plan(&flags(), &dirs)), (DatabaseStep::Keep, 10));
}

#[test]
fn a_log_that_ends_before_the_database_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let mut started = start(&flags(), &dirs);
    fill(&dirs, &mut started, 10, 20);
    drop(started);
    write_db(&dirs.db(), 21, None);
    let Action::Restart(plan) = plan(&flags(), &dirs).unwrap().action else { panic!() };
    let error = restart(FileSystem, &dirs, plan, OPTIONS, Box::new(())).unwrap_err();
    assert!(matches!(error, CarryOutError::LogBehind { applied: 21, last: 20 }), "{error}");
}

#[test]
fn a_snapshot_that_was_still_being_received_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let mut started = start(&flags(), &dirs);
    fill(&dirs, &mut started, 10, 20);
    fill(&dirs, &mut started, 30, 20); // noted, but the hard state commits 20 only
    drop(started);
    write_db(&dirs.db(), 15, None);
    let started = start(&flags(), &dirs);
    assert_eq!((started.snapshot.index, started.entries.len()), (10, 10));
}

#[test]
fn a_broken_snapshot_is_set_aside_and_the_one_before_taken() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let mut started = start(&flags(), &dirs);
    fill(&dirs, &mut started, 5, 10);
    fill(&dirs, &mut started, 10, 20);
    drop(started);
    write_db(&dirs.db(), 12, None);
    let newest = dirs.snap().join(crate::snap::file_name(1, 10));
    let mut bytes = fs::read(&newest).unwrap();
    bytes[20] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let planned = plan(&flags(), &dirs).unwrap();
    assert!(planned.reasons[0].contains("it is set aside"), "{planned:?}");
    assert!(newest.exists(), "a plan changes nothing");
    let started = start(&flags(), &dirs);
    assert_eq!((started.snapshot.index, started.entries.len()), (5, 15));
    assert!(!newest.exists() && newest.with_extension("snap.broken").exists());
}

#[test]
fn a_member_that_is_forced_throws_the_others_out() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let three =
        Flags { initial_cluster: "a=http://a:1,b=http://b:1,c=http://c:1".to_owned(), ..flags() };
    let Action::Found(founding) = plan(&three, &dirs).unwrap().action else { panic!() };
    let mut started = found(FileSystem, &dirs, &founding, OPTIONS, Box::new(())).unwrap();
    let entry = |index| {
        let data = bytes::Bytes::from_static(b"x");
        LogEntry { kind: EntryKind::Normal, term: 1, index, data }
    };
    // 4 is applied although the hard state does not say so, 5 is not committed.
    for index in 4..6 {
        started.wal.append([entry(index).borrow()], None, true).unwrap();
    }
    drop(started);
    write_db(&dirs.db(), 4, None);
    let forced = Flags { force_new_cluster: true, ..three };
    let started = start(&forced, &dirs);
    let (entries, state) = (started.entries, started.hard_state);
    assert_eq!((entries.len(), state.commit), (6, 6));
    let removed = entries[4..].iter().map(|entry| ConfChange::decode(&entry.data).unwrap());
    let (kinds, mut ids): (Vec<_>, Vec<_>) = removed.map(|it| (it.kind, it.node_id)).unzip();
    assert_eq!(kinds, [ConfChangeKind::RemoveNode; 2]);
    ids.push(founding.local().id);
    ids.sort_unstable();
    assert_eq!(ids, founding.member_ids());
    drop(started.wal);
    let again = start(&Flags { force_new_cluster: false, ..forced }, &dirs);
    assert_eq!((again.entries, again.hard_state), (entries, state), "and it is durable");
}

#[test]
fn who_joins_takes_the_id_that_the_cluster_gave() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let joining = Flags {
        initial_state: InitialState::Existing,
        initial_cluster: "a=http://a:1,b=http://b:1".to_owned(),
        ..flags()
    };
    let Action::Join { wanted, ask } = plan(&joining, &dirs).unwrap().action else { panic!() };
    assert_eq!(ask, ["http://b:1"]);
    let member = |id, url: &str| Member {
        id,
        peer_urls: vec![url.to_owned()],
        client_urls: vec!["http://c:1".to_owned()],
        ..Member::default()
    };
    let existing = [member(7, "http://a:1"), member(8, "http://b:1")];
    assert_eq!(match_existing(&wanted, &existing), Ok(7));
    let says = |existing: &[Member], want: &str| {
        let error = match_existing(&wanted, existing).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    says(&existing[..1], "member count is unequal");
    says(&[member(7, "http://a:1"), member(8, "http://x:1")], "existing member (8, [http://x:1])");
    let started = [member(wanted.local().id, "http://a:1")];
    assert!(is_bootstrapped(&wanted, &existing).is_ok());
    let error = is_bootstrapped(&wanted, &started).unwrap_err().to_string();
    assert!(error.ends_with("has already been bootstrapped"), "{error}");
}
