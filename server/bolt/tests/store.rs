//! Changing a store against nested BTreeMaps: many transactions, readers held across them, opened
//! anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod tree;

use std::ops::Bound;

use change::{Change, apply, changes, model};
use holdfast_bolt::fault::{MemoryDisk, SharedDisk};
use holdfast_bolt::{
    Db, EntryError, Freelist, PageSource, ReadTx, Report, Store, StoreDisk, StoreError,
    StoreOptions, StorePages, check,
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
    // A tree whose branches have two children or more has fewer of them than leaves.
    assert!(report.leaf_pages > report.branch_pages, "{report:?}");
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
        12 => (changes(), prop::bool::weighted(0.85))
            .prop_map(|(changes, kept)| Step::Transaction(changes, kept)),
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
    assert!(matches!(
        tx.create_bucket_if_missing(b""),
        Err(StoreError::Entry(EntryError::EmptyKey))
    ));
    assert!(tx.bucket(b"none").unwrap().is_none());
    assert!(!tx.delete_bucket(b"none").unwrap());
    let mut bucket = tx.create_bucket_if_missing(b"b").unwrap();
    let long = vec![b'k'; 32_769];
    assert!(matches!(bucket.put(b"", b""), Err(StoreError::Entry(EntryError::EmptyKey))));
    assert!(matches!(
        bucket.put(&long, b""),
        Err(StoreError::Entry(EntryError::KeyTooLarge { bytes: 32_769 }))
    ));
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

#[test]
fn a_bucket_is_deleted_with_what_was_changed_in_it_before() {
    let store = Store::open(memory(), StoreOptions::default()).unwrap();
    let mut tx = store.write().unwrap();
    let mut outer = tx.create_bucket_if_missing(b"outer").unwrap();
    let mut middle = outer.create_bucket_if_missing(b"middle").unwrap();
    for name in [&b"one"[..], b"two"] {
        let mut inner = middle.create_bucket_if_missing(name).unwrap();
        for key in 0..300_u32 {
            inner.put(&key.to_be_bytes(), &[1; 200]).unwrap();
        }
    }
    tx.commit().unwrap();
    sound(&store.read());

    // With what was changed at one level, and with what was changed two levels below.
    for deepest in [false, true] {
        let mut tx = store.write().unwrap();
        let mut outer = tx.bucket(b"outer").unwrap().unwrap();
        let mut middle = outer.bucket(b"middle").unwrap().unwrap();
        assert!(middle.delete_bucket(b"one").unwrap());
        let mut two = middle.bucket(b"two").unwrap().unwrap();
        assert!(two.delete(&7_u32.to_be_bytes()).unwrap());
        if !deepest {
            assert!(outer.delete_bucket(b"middle").unwrap());
        }
        assert!(tx.delete_bucket(b"outer").unwrap());
        if deepest {
            tx.commit().unwrap();
        }
    }
    assert_eq!(tree::read(&store.read()), Tree::default());
    let report = sound(&store.read());
    assert_eq!(report.leaf_pages, 1, "all but the root is free: {report:?}");
}

#[test]
fn no_branch_is_left_with_one_child() {
    let options = StoreOptions { page_size: 1024, ..StoreOptions::default() };
    let store = Store::open(memory(), options).unwrap();
    // Such keys alone make a branch larger than what is joined with a neighbour.
    let key = |number: u8| [&[number][..], &[b'.'; 900]].concat();
    let mut tx = store.write().unwrap();
    let mut bucket = tx.create_bucket_if_missing(b"b").unwrap();
    for number in 0..100 {
        bucket.put(&key(number), &[1; 900]).unwrap();
    }
    tx.commit().unwrap();
    for number in 0..99_u8 {
        let mut tx = store.write().unwrap();
        // From both ends and the middle.
        let number = if number % 2 == 0 { number / 2 } else { 98 - number / 2 };
        assert!(tx.bucket(b"b").unwrap().unwrap().delete(&key(number)).unwrap());
        tx.commit().unwrap();
        sound(&store.read());
    }
}

#[test]
fn a_long_reader_costs_only_what_it_sees() {
    let store = Store::open(memory(), StoreOptions::default()).unwrap();
    let put = |number: u32| {
        let mut tx = store.write().unwrap();
        let mut bucket = tx.create_bucket_if_missing(b"b").unwrap();
        for key in 0..100_u32 {
            bucket.put(&key.to_be_bytes(), &number.to_be_bytes().repeat(50)).unwrap();
        }
        tx.commit().unwrap();
    };
    put(0);
    let reader = store.read();
    let seen = tree::read(&reader);
    put(1);
    put(2);
    put(3);
    let settled = store.stats().size_bytes;
    for number in 4..60 {
        put(number);
    }
    assert_eq!(store.stats().size_bytes, settled, "pages born and dead after it come again");
    assert_eq!(tree::read(&reader), seen);
    let stats = store.stats();
    assert!(stats.pending_pages > 0);
    let unused = stats.free_pages + stats.pending_pages;
    assert_eq!(stats.in_use_bytes(), stats.size_bytes - 4096 * unused, "readers do not count");
    drop(reader);
    put(60);
    put(61);
    assert_eq!(store.stats().size_bytes, settled);
}

#[test]
fn readers_and_a_writer_in_threads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    // A map that is outgrown again and again: old readers keep theirs.
    let options = StoreOptions { growth_step_bytes: 1 << 16, no_sync: true, ..Default::default() };
    let store = Store::open_path(&path, options).unwrap();
    let mut tx = store.write().unwrap();
    tx.create_bucket_if_missing(b"b").unwrap().put(b"round", &0_u64.to_be_bytes()).unwrap();
    tx.commit().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let (mut last, mut kept) = (0, Vec::new());
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let state = store.read();
                let round = round_of(&state);
                assert!(round >= last, "states come in order");
                last = round;
                if kept.len() < 5 {
                    kept.push((state, round));
                }
            }
            for (state, round) in kept {
                assert_eq!(round_of(&state), round);
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for round in 1..150_u64 {
            let mut tx = store.write().unwrap();
            let mut bucket = tx.bucket(b"b").unwrap().unwrap();
            bucket.put(b"round", &round.to_be_bytes()).unwrap();
            for key in 0..40 + round * 8 {
                let mut value = round.to_be_bytes().to_vec();
                value.resize(300, 0);
                bucket.put(&(1000 + key).to_be_bytes(), &value).unwrap();
            }
            tx.commit().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    let reader = store.read();
    drop(store);
    assert_eq!(round_of(&reader), 149, "a reader outlives its store");
    assert!(Store::open_path(&path, options).is_err(), "and keeps the lock");
    drop(reader);
    sound(&Store::open_path(&path, options).unwrap().read());
}

/// The round that a state is of; all its values say the same.
fn round_of<P: StorePages>(state: &ReadTx<P>) -> u64 {
    let bucket = state.bucket(b"b").unwrap().unwrap();
    let round = bucket.get(b"round").unwrap().unwrap().into_owned();
    let mut cursor = bucket.cursor();
    while let Some(entry) = cursor.next().unwrap() {
        assert_eq!(entry.value[..8], round[..]);
    }
    u64::from_be_bytes(round.try_into().unwrap())
}
