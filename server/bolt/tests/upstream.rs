//! Go's bbolt and etcd as oracles: they accept what the builder wrote, and we read what they wrote.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod member;
mod peers;
mod tree;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use holdfast_bolt::{
    BuildOptions, Db, FileDisk, Freelist, MapError, MappedFile, Meta, PageSource, check, compact,
};
use member::Member;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tree::Tree;

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn snapshot_bytes() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/k8s/k8s.db.zst");
    zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
}

fn map(path: &Path) -> Db<MappedFile> {
    Db::open(MappedFile::open(path).unwrap()).unwrap()
}

/// Go's check finds nothing, and Go's list of pages, counted, gives the high water mark.
fn assert_go_accepts(path: &Path, freelist: Freelist) {
    assert_eq!(peers::print("bbolt", &["check", text(path)]).trim(), "OK");
    let (mut pages, mut free, mut freelists) = (0, 0, 0);
    for line in peers::print("bbolt", &["pages", text(path)]).lines().skip(2) {
        // Number, type, items, overflow; free pages have no more than two columns.
        let columns: Vec<&str> = line.split_whitespace().collect();
        pages += 1 + columns.get(3).map_or(0, |overflow| overflow.parse().unwrap());
        free += u64::from(columns[1] == "free");
        freelists += u64::from(columns[1] == "freelist");
    }
    let db = map(path);
    assert_eq!(pages, db.meta().high_water, "pages that Go lists");
    assert_eq!((free, freelists), (0, u64::from(freelist == Freelist::Stored)));
    let report = check(&db).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    let counted = 2 + report.branch_pages + report.leaf_pages + report.overflow_pages;
    assert_eq!(counted + report.freelist_pages, report.pages);
    assert_eq!(db.source().size_bytes(), report.pages * u64::from(report.page_size));
}

#[test]
fn go_accepts_and_copies_what_is_built() {
    let directory = tempfile::tempdir().unwrap();
    let rng_seed = RngSeed::Fixed(0x0062_6f6c_7400);
    let mut runner = TestRunner::new(Config { rng_seed, ..Config::default() });
    for case in 0..24 {
        let root = tree::root().new_tree(&mut runner).unwrap().current();
        let mut options = tree::options().new_tree(&mut runner).unwrap().current();
        options.freelist = if case % 2 == 0 { Freelist::Stored } else { Freelist::NotStored };
        let path = directory.path().join(format!("{case}.db"));
        let disk = FileDisk::create_new(&path).unwrap();
        drop(tree::build_on(disk, &root, options).unwrap());
        assert_go_accepts(&path, options.freelist);
        // Go reads every byte of ours, we read every byte of Go's.
        let copy = directory.path().join(format!("{case}.copy"));
        peers::print("bbolt", &["compact", "-o", text(&copy), text(&path)]);
        let read = map(&copy);
        assert!(check(&read).unwrap().is_ok());
        assert_eq!(tree::read(&read), root);
    }
}

#[test]
fn the_real_snapshot_reads_as_go_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k8s.db");
    std::fs::write(&path, snapshot_bytes()).unwrap();
    let db = map(&path);
    let mut buckets = String::new();
    for bucket in db.buckets() {
        let (name, bucket) = bucket.unwrap();
        let name = String::from_utf8(name).unwrap();
        writeln!(buckets, "{name}").unwrap();
        let (mut keys, mut values) = (String::new(), 0);
        let mut cursor = bucket.cursor();
        while let Some(entry) = cursor.next().unwrap() {
            for byte in entry.key {
                write!(keys, "{byte:02x}").unwrap();
            }
            keys.push('\n');
            values += 1;
            if values % 701 == 0 || name != "key" {
                let key = keys.lines().next_back().unwrap();
                let args = ["get", "--parse-format=hex", "--format=hex", text(&path), &name, key];
                let hex: String = entry.value.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(peers::print("bbolt", &args).trim(), hex, "{name} {key}");
            }
        }
        let listed = peers::print("bbolt", &["keys", "--format=hex", text(&path), &name]);
        assert!(listed == keys, "the keys of {name}");
        drop(cursor);
    }
    assert_eq!(peers::print("bbolt", &["buckets", text(&path)]), buckets);
    for freelist in [Freelist::NotStored, Freelist::Stored] {
        let copy = directory.path().join(format!("{freelist:?}.db"));
        let options = BuildOptions { freelist, ..Default::default() };
        compact(&db, FileDisk::create_new(&copy).unwrap(), options).unwrap();
        assert_go_accepts(&copy, freelist);
        assert_eq!(tree::read(&map(&copy)), tree::read(&db));
    }
}

/// The page in meta `index` (0 or 1), if it is valid.
fn meta(bytes: &[u8], index: usize) -> Option<Meta> {
    Meta::parse(&bytes[4096 * index..]).ok()
}

#[test]
fn etcdutl_restores_ours_and_we_read_what_it_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let source = Db::open(snapshot_bytes()).unwrap();
    let ours = directory.path().join("ours.db");
    compact(&source, FileDisk::create_new(&ours).unwrap(), BuildOptions::default()).unwrap();
    let keys = |db: &Db<_>| {
        let tree: Tree = tree::read(db);
        tree.items.get(&b"key"[..]).cloned()
    };
    let expected = tree::read(&source).items.get(&b"key"[..]).cloned();
    for version in ["3.5", "3.6", "3.7"] {
        let data = directory.path().join(version);
        let etcdutl = format!("etcdutl-{version}");
        let args = ["snapshot", "restore", text(&ours), "--skip-hash-check", "--data-dir"];
        peers::print(&etcdutl, &[&args[..], &[text(&data)]].concat());
        let file = data.join("member/snap/db");
        let db = map(&file);
        assert!(check(&db).unwrap().is_ok());
        assert!(keys(&db) == expected, "{version}: restored");
        drop(db);
        peers::print(&etcdutl, &["defrag", "--data-dir", text(&data)]);
        let db = map(&file);
        let report = check(&db).unwrap();
        assert!(report.is_ok(), "{version}: {:?}", report.faults);
        assert!(keys(&db) == expected, "{version}: defragmented");
        assert!(meta(db.source().as_slice(), 0).is_some());
        assert!(meta(db.source().as_slice(), 1).is_some());
    }
}

#[test]
fn the_file_of_a_running_etcd_is_refused_and_that_of_a_killed_one_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = Member::start("3.6", &directory.path().join("data"));
    for n in 0..40 {
        let key = format!("key-{}", n % 10);
        etcd.ctl(&["put", &key, &"v".repeat(n * 100)]);
    }
    etcd.ctl(&["compact", "30", "--physical"]);
    etcd.ctl(&["put", "last", "one"]);
    let saved = directory.path().join("saved.db");
    etcd.ctl(&["snapshot", "save", text(&saved)]);
    let refused = MappedFile::open(etcd.file());
    assert!(matches!(refused, Err(MapError::InUse { .. })), "{refused:?}");
    let file = etcd.kill();

    let killed = map(&file);
    let report = check(&killed).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    assert!(report.free_pages > 0, "a compaction leaves free pages");
    let saved = map(&saved);
    assert_eq!(saved.source().size_bytes() % 512, 32, "a digest stands at the end");
    assert!(check(&saved).unwrap().is_ok());
    let bucket = saved.bucket(b"key").unwrap().unwrap();
    let last = bucket.cursor().last().unwrap().map(|entry| entry.key.to_vec()).unwrap();
    assert_eq!(last, b"\0\0\0\0\0\0\0\x2a_\0\0\0\0\0\0\0\0", "40 puts, then one: revision 42");
}

#[test]
fn files_of_go_with_a_stored_freelist_and_free_pages() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.db");
    let args = ["bench", "-path", text(&path), "-work", "-count", "3000", "-batch-size", "100"];
    peers::print("bbolt", &[&args[..], &["-write-mode", "rnd", "-no-sync"]].concat());
    let db = map(&path);
    let report = check(&db).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    let listed = db.freelist().unwrap().unwrap().len() as u64;
    assert!(listed > 0 && report.free_pages == listed);
    assert_eq!(report.entries, 3000);
    let copy = directory.path().join("copy.db");
    compact(&db, FileDisk::create_new(&copy).unwrap(), BuildOptions::default()).unwrap();
    assert_go_accepts(&copy, Freelist::NotStored);
    assert_eq!(tree::read(&map(&copy)), tree::read(&db));
}

/// Go's check of a damaged file, which may crash, or loop and eat memory: both are verdicts, so it
/// gets two seconds of processor time and 4 GB.
fn go_accepts_damaged(path: &Path) -> bool {
    let limited = "ulimit -t 2; ulimit -v 4000000; ulimit -c 0; exec \"$0\" check \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(peers::path("bbolt")).arg(path);
    command.output().expect("sh starts").status.success()
}

#[test]
fn what_go_calls_damaged_so_do_we() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.db");
    let root = Tree::default()
        .with(b"a", Tree::numbered(200, &[3; 100]))
        .with(b"b", Tree::numbered(3, b"x").with(b"in", Tree::numbered(100, &[5; 40])));
    let options = BuildOptions { page_size: 4096, fill_percent: 50, freelist: Freelist::Stored };
    let good = tree::build(&root, options).0;
    std::fs::write(&path, &good).unwrap();
    assert!(go_accepts_damaged(&path), "the limits leave room for a sound file");
    let (mut go, mut both, mut ours) = (0, 0, 0);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let chosen = usize::try_from(seed >> 33).unwrap();
        // Headers, element tables and what follows them, in all pages but the metas.
        let at = 8192 + (chosen % (good.len() / 4096 - 2)) * 4096 + (chosen >> 8) % 160;
        let mut bad = good.clone();
        bad[at] ^= 1 << (chosen % 8);
        std::fs::write(&path, &bad).unwrap();
        let go_objects = !go_accepts_damaged(&path);
        let we_object = match Db::open(bad) {
            Ok(db) => !check(&db).unwrap().is_ok(),
            Err(_) => true,
        };
        assert!(we_object || !go_objects, "Go objects to byte {at}, we do not");
        go += u32::from(go_objects);
        ours += u32::from(we_object);
        both += u32::from(go_objects && we_object);
    }
    assert!(go > 15, "Go objects to {go}, we to {ours}, both to {both} of 60");
}
