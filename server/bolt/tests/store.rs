//! Changing a store against nested BTreeMaps: many transactions, readers held across them, reopened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod tree;

use std::ops::Bound;

use change::{Change, apply, changes, model};
use holdfast_bolt::fault::{MemoryDisk, SharedDisk};
use holdfast_bolt::{
    Db, Freelist, PageSource, Report, Store, StoreDisk, StoreError, StoreOptions, check,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tree::Tree;

fn seeded(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x0073_746f_7265);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn memory() -> SharedDisk<MemoryDisk> {
    SharedDisk::new(MemoryDisk::new())
}

/// Checks a whole state, pages counted.
fn sound<S: PageSource>(db: &Db<S>) -> Report {
    let report = check(db).unwrap();
    assert_eq!(report.faults, vec![]);
    let counted = 2
        + report.branch_pages
        + report.leaf_pages
        + report.overflow_pages
        + report.freelist_pages
        + report.free_pages;
    assert_eq!(counted, report.pages, "every page is accounted for: {report:?}");
    report
}

/// The stored freelist has exactly the pages that are free or wait for readers.
fn freelist_is_right<D: StoreDisk>(store: &Store<D>, options: &StoreOptions) {
    let report = sound(&store.read());
    let stats = store.stats();
    assert_eq!(report.free_pages, stats.free_pages + stats.pending_pages, "{stats:?}");
    assert_eq!(report.freelist_pages > 0, options.freelist == Freelist::Stored);
    assert_eq!(stats.size_bytes, report.pages * u64::from(report.page_size));
    assert!(stats.file_bytes >= stats.size_bytes);
}

fn options() -> impl Strategy<Value = StoreOptions> {
    let sizes = prop::sample::select(vec![1024, 4096, 4096, 16_384]);
    let freelists = prop::sample::select(vec![Freelist::NotStored, Freelist::Stored]);
    (sizes, freelists).prop_map(|(page_size, freelist)| StoreOptions {
        page_size,
        freelist,
        growth_step_bytes: 1 << 20,
        ..StoreOptions::default()
    })
}

#[derive(Debug, Clone)]
enum Step {
    /// Changes, and whether they are committed.
    Transaction(Vec<Change>, bool),
    /// Begin a reader and keep it.
    Hold,
    /// Drop the oldest reader kept, or another.
    Drop(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (changes(), prop::bool::weighted(0.85)).prop_map(|(c, kept)| Step::Transaction(c, kept)),
        3 => Just(Step::Hold),
        3 => (0_usize..4).prop_map(Step::Drop),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(seeded(60))]

    #[test]
    fn transactions_follow_the_model(
        options in options(),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let disk = memory();
        let mut store = Store::open(disk.clone(), options).unwrap();
        let mut expected = Tree::default();
        let mut held = Vec::new();
        let mut committed = false;
        for step in steps {
            match step {
                Step::Transaction(changes, kept) => {
                    let mut tx = store.write().unwrap();
                    let mut after = expected.clone();
                    for change in &changes {
                        model(&mut after, change);
                        apply(&mut tx, change);
                    }
                    if kept {
                        tx.commit().unwrap();
                        expected = after;
                        committed = true;
                    }
                    let state = store.read();
                    prop_assert_eq!(&tree::read(&state), &expected);
                    drop(state);
                    if committed {
                        freelist_is_right(&store, &options);
                    }
                }
                Step::Hold => held.push((store.read(), expected.clone())),
                Step::Drop(at) => {
                    if at < held.len() {
                        held.remove(at);
                    }
                }
                Step::Reopen => {
                    held.clear();
                    drop(store);
                    store = Store::open(disk.clone(), options).unwrap();
                }
            }
            for (reader, seen) in &held {
                prop_assert_eq!(&tree::read(reader), seen, "a reader's state does not change");
            }
        }
    }
}

#[test]
fn an_empty_disk_becomes_an_empty_store() {
    let disk = memory();
    let store = Store::open(disk.clone(), StoreOptions::default()).unwrap();
    assert_eq!(store.stats().size_bytes, 4 * 4096);
    assert_eq!(tree::read(&store.read()), Tree::default());
    sound(&store.read());
    store.write().unwrap().commit().unwrap();
    sound(&store.read());
    assert_eq!(store.read().txid(), 2);
    let names = store.write().unwrap().bucket_names().unwrap();
    assert!(names.is_empty());
}

#[test]
fn arguments_are_refused_and_the_transaction_goes_on() {
    let store = Store::open(memory(), StoreOptions::default()).unwrap();
    let mut tx = store.write().unwrap();
    assert!(matches!(tx.create_bucket_if_missing(b""), Err(StoreError::EmptyKey)));
    assert!(tx.bucket(b"none").unwrap().is_none());
    assert!(!tx.delete_bucket(b"none").unwrap());
    let mut bucket = tx.create_bucket_if_missing(b"b").unwrap();
    let long = vec![b'k'; 32_769];
    assert!(matches!(bucket.put(b"", b""), Err(StoreError::EmptyKey)));
    assert!(matches!(bucket.put(&long, b""), Err(StoreError::KeyTooLarge { bytes: 32_769 })));
    bucket.put(&long[1..], b"v").unwrap();
    bucket.create_bucket_if_missing(b"in").unwrap();
    assert!(matches!(bucket.put(b"in", b""), Err(StoreError::IsABucket { .. })));
    assert!(matches!(bucket.delete(b"in"), Err(StoreError::IsABucket { .. })));
    assert!(matches!(bucket.bucket(&long[1..]), Err(StoreError::NotABucket { .. })));
    assert!(matches!(bucket.delete_bucket(&long[1..]), Err(StoreError::NotABucket { .. })));
    assert!(bucket.get(b"in").unwrap().is_none());
    assert_eq!(bucket.last().unwrap().unwrap().key, &long[1..]);
    let first = bucket.seek(Bound::Unbounded).unwrap().unwrap();
    assert!(first.is_bucket && first.key == b"in");
    tx.commit().unwrap();
    sound(&store.read());
}
