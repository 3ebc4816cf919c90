//! Go's bbolt and etcd read, check and change what our store wrote, and we what they wrote.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod member;
mod peers;
mod tree;

use std::ops::Bound;
use std::path::Path;

use change::{apply, changes, model};
use holdfast_bolt::{Freelist, MappedFile, Report, Store, StoreOptions, check};
use member::Member;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tree::Tree;

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn options(freelist: Freelist) -> StoreOptions {
    StoreOptions { freelist, ..StoreOptions::default() }
}

/// Our check finds nothing; neither does Go's, and both count the same pages.
fn both_accept(path: &Path) -> Report {
    let db = holdfast_bolt::Db::open(MappedFile::open(path).unwrap()).unwrap();
    let report = check(&db).unwrap();
    assert_eq!(report.faults, vec![]);
    assert_eq!(peers::print("bbolt", &["check", text(path)]).trim(), "OK");
    let (mut pages, mut free, mut freelists) = (0, 0, 0);
    for line in peers::print("bbolt", &["pages", text(path)]).lines().skip(2) {
        // Number, type, items, overflow; free pages have no more than two columns.
        let columns: Vec<&str> = line.split_whitespace().collect();
        let run = 1 + columns.get(3).map_or(0, |overflow| overflow.parse().unwrap());
        pages += run;
        // Go ends its process when it is to merge a node of a branch that has no other.
        let children = columns.get(2).map_or(0, |items| items.parse().unwrap());
        assert!(columns[1] != "branch" || children > 1, "{line}");
        free += u64::from(columns[1] == "free");
        freelists += if columns[1] == "freelist" { run } else { 0 };
    }
    let counted = (report.pages, report.free_pages, report.freelist_pages);
    assert_eq!((pages, free, freelists), counted, "pages that Go lists");
    report
}

fn read(path: &Path) -> Tree {
    tree::read(&holdfast_bolt::Db::open(MappedFile::open(path).unwrap()).unwrap())
}

#[test]
fn go_checks_copies_and_changes_what_the_store_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let rng_seed = RngSeed::Fixed(0x0067_6f00);
    let mut runner = TestRunner::new(Config { rng_seed, ..Config::default() });
    for case in 0..8 {
        let path = directory.path().join(format!("{case}.db"));
        let freelists = [Freelist::NotStored, Freelist::Stored];
        for round in 0..4 {
            // The way of keeping the freelist changes over the file's life, too.
            let freelist = freelists[(case / 4 + round / 2) % 2];
            let store = Store::open_path(&path, options(freelist)).unwrap();
            let mut expected = tree::read(&store.read());
            for _ in 0..6 {
                let mut tx = store.write().unwrap();
                for change in changes().new_tree(&mut runner).unwrap().current() {
                    model(&mut expected, &change);
                    apply(&mut tx, &change);
                }
                tx.commit().unwrap();
            }
            drop(store);
            assert_eq!(read(&path), expected);
            let report = both_accept(&path);
            assert_eq!(report.freelist_pages > 0, freelist == Freelist::Stored);
            let copy = directory.path().join(format!("{case}-{round}.copy"));
            peers::print("bbolt", &["compact", "-o", text(&copy), text(&path)]);
            assert_eq!(read(&copy), expected, "what Go reads of it");

            let kept = if round % 2 == 0 { "stored" } else { "derived" };
            let seed = (case * 10 + round).to_string();
            let said = peers::print("bolt-peer", &["churn", text(&path), &seed, "6", kept]);
            assert_eq!(said.trim(), "OK");
            both_accept(&path);
        }
    }
}

#[test]
fn files_grow_as_those_of_go() {
    let directory = tempfile::tempdir().unwrap();
    for (count, map_bytes) in [(10_u64, 10 << 30), (30_000, 10 << 30)] {
        let [ours, go] = ["ours", "go"].map(|name| directory.path().join(format!("{name}{count}")));
        let args = ["bench", text(&go), &count.to_string(), "1000", "256", "90", "rising"];
        peers::print("bolt-peer", &args);
        let options = StoreOptions { initial_map_bytes: map_bytes, ..StoreOptions::default() };
        let store = Store::open_path(&ours, options).unwrap();
        let mut tx = store.write().unwrap();
        tx.create_bucket_if_missing(b"key").unwrap();
        tx.commit().unwrap();
        let value: Vec<u8> = (0..=255).collect();
        for first in (1..=count).step_by(1000) {
            let mut tx = store.write().unwrap();
            let mut bucket = tx.bucket(b"key").unwrap().unwrap();
            bucket.set_fill_percent(90);
            for place in first..(first + 1000).min(count + 1) {
                let mut key = [0; 17];
                key[..8].copy_from_slice(&place.to_be_bytes());
                key[8] = b'_';
                bucket.put(&key, &value).unwrap();
            }
            tx.commit().unwrap();
        }
        let stats = store.stats();
        drop(store);
        let len = |path| std::fs::metadata(path).unwrap().len();
        assert_eq!(len(&ours), stats.file_bytes);
        let pages = |path| both_accept(path).pages;
        println!(
            "{count}: {} and {} bytes, {} and {} pages",
            len(&ours),
            len(&go),
            pages(&ours),
            pages(&go)
        );
        assert!(len(&ours) <= len(&go) && len(&ours) * 100 >= len(&go) * 95);
    }
}

#[test]
fn etcd_boots_on_a_file_that_the_store_rewrote() {
    let directory = tempfile::tempdir().unwrap();
    for version in holdfast_peers::VERSIONS {
        let data = directory.path().join(version);
        let member = Member::start(version, &data);
        for n in 0..40 {
            let key = format!("key-{}", n % 10);
            member.ctl(&["put", &key, &"v".repeat(n * 100)]);
        }
        member.ctl(&["compact", "20", "--physical"]);
        let hash = member.hash();
        let file = member.kill();

        let before = read(&file);
        let etcd = StoreOptions { initial_map_bytes: 10 << 30, ..StoreOptions::default() };
        let store = Store::open_path(&file, etcd).unwrap();
        rewrite(&store);
        drop(store);
        both_accept(&file);
        assert_eq!(read(&file), before);

        let member = Member::start(version, &data);
        assert_eq!(member.hash(), hash, "{version}");
        for n in 0..40 {
            member.ctl(&["put", &format!("key-{}", n % 7), "later"]);
        }
        member.ctl(&["compact", "70", "--physical"]);
        let file = member.kill();
        both_accept(&file);
        let store = Store::open_path(&file, etcd).unwrap();
        rewrite(&store);
        drop(store);
        both_accept(&file);
    }
}

/// Takes every record out of the bucket of records and puts it back, in several transactions.
fn rewrite(store: &Store) {
    let mut tx = store.write().unwrap();
    let mut bucket = tx.bucket(b"key").unwrap().unwrap();
    let mut items = Vec::new();
    while let Some(item) = bucket.seek(Bound::Unbounded).unwrap() {
        assert!(bucket.delete(&item.key).unwrap());
        items.push(item);
    }
    assert!(items.len() > 10);
    tx.commit().unwrap();
    for part in items.chunks(9) {
        let mut tx = store.write().unwrap();
        let mut bucket = tx.bucket(b"key").unwrap().unwrap();
        bucket.set_fill_percent(90);
        for item in part {
            bucket.put(&item.key, &item.value).unwrap();
        }
        tx.commit().unwrap();
    }
}
