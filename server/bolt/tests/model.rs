//! Build, read, compare: the builder and the reader against nested BTreeMaps.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tree;

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::ops::Bound;

use holdfast_bolt::fault::MemoryDisk;
use holdfast_bolt::{
    BuildError, BuildOptions, Builder, Damage, Db, EntryError, Freelist, PageSource, ReadError,
    check, compact,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tree::{Item, Tree};

/// A source that lends nothing, and remembers what was read.
struct OwnedSource {
    bytes: Vec<u8>,
    limit: u64,
    reads: RefCell<Vec<(u64, usize)>>,
}

impl OwnedSource {
    fn new(bytes: Vec<u8>) -> OwnedSource {
        OwnedSource { bytes, limit: 1 << 30, reads: RefCell::default() }
    }
}

impl PageSource for OwnedSource {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        self.reads.borrow_mut().push((offset, len));
        Ok(Cow::Owned(self.bytes.read_at(offset, len)?.into_owned()))
    }

    fn node_limit_bytes(&self) -> u64 {
        self.limit
    }
}

fn seeded(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x686f_6c64_6661_7374);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded(120))]

    #[test]
    fn what_is_built_is_read_back(root in tree::root(), options in tree::options()) {
        let (bytes, summary) = tree::build(&root, options);
        prop_assert_eq!(bytes.len() as u64, summary.size_bytes);
        let db = Db::open(bytes.as_slice()).unwrap();
        prop_assert_eq!(&tree::read(&db), &root);
        let owned = Db::open(OwnedSource::new(bytes.clone())).unwrap();
        prop_assert_eq!(&tree::read(&owned), &root);

        let report = check(&db).unwrap();
        prop_assert_eq!(&report.faults, &vec![]);
        let counted = 2 + report.branch_pages + report.leaf_pages + report.overflow_pages
            + report.freelist_pages + report.free_pages;
        prop_assert_eq!(counted, report.pages);
        prop_assert_eq!(report.free_pages, 0);
        prop_assert_eq!(report.freelist_pages, u64::from(options.freelist == Freelist::Stored));
        prop_assert_eq!((report.entries, report.buckets), root.totals());
        prop_assert_eq!(
            (report.entries, report.buckets, report.inline_buckets, report.branch_pages),
            (summary.entries, summary.buckets, summary.inline_buckets, summary.branch_pages)
        );
        prop_assert_eq!(
            (report.leaf_pages, report.overflow_pages, report.pages * u64::from(report.page_size)),
            (summary.leaf_pages, summary.overflow_pages, summary.size_bytes)
        );
    }

    #[test]
    fn a_compacted_copy_is_equal(
        root in tree::root(),
        from in tree::options(),
        to in tree::options(),
    ) {
        let (bytes, _) = tree::build(&root, from);
        let source = Db::open(bytes).unwrap();
        let (disk, summary) = compact(&source, MemoryDisk::new(), to).unwrap();
        prop_assert_eq!(summary, tree::build(&root, to).1);
        prop_assert_eq!(tree::read(&Db::open(disk.into_bytes()).unwrap()), root);
    }

    #[test]
    fn seeks_gets_and_ranges_follow_the_model(
        bucket in tree::bucket(),
        options in tree::options(),
        probes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 8),
    ) {
        let (bytes, _) = tree::build(&Tree::default().with(b"b", bucket.clone()), options);
        let db = Db::open(bytes.as_slice()).unwrap();
        let read = db.bucket(b"b").unwrap().unwrap();
        let items = &bucket.items;
        let mut keys: Vec<Vec<u8>> = items.keys().step_by(7).cloned().collect();
        keys.extend(probes);
        let last = read.cursor().last().unwrap().map(|entry| entry.key.to_vec());
        prop_assert_eq!(last.as_ref(), items.keys().next_back());
        for (key, other) in keys.iter().zip(keys.iter().rev()) {
            let value = match items.get(key) {
                Some(Item::Value(value)) => Some(value.as_slice()),
                _ => None,
            };
            let got = read.get(key).unwrap();
            prop_assert!(!matches!(got, Some(Cow::Owned(_))), "a slice lends");
            prop_assert_eq!(got.as_deref(), value);
            let inner = matches!(items.get(key), Some(Item::Bucket(_)));
            prop_assert_eq!(read.bucket(key).unwrap().is_some(), inner);
            let mut cursor = read.cursor();
            let sought = cursor.seek(key).unwrap().map(|entry| entry.key.to_vec());
            prop_assert_eq!(sought.as_ref(), items.range(key.clone()..).next().map(|(k, _)| k));
            let following = cursor.next().unwrap().map(|entry| entry.key.to_vec());
            prop_assert_eq!(following.as_ref(), items.range(key.clone()..).nth(1).map(|(k, _)| k));

            for bounds in [
                (Bound::Included(key), Bound::Excluded(other)),
                (Bound::Excluded(key), Bound::Included(other)),
                (Bound::Unbounded, Bound::Included(other)),
                (Bound::Excluded(key), Bound::Unbounded),
            ] {
                let slices = (bounds.0.map(Vec::as_slice), bounds.1.map(Vec::as_slice));
                let mut range = read.range(slices);
                let mut found = Vec::new();
                while let Some(entry) = range.next().unwrap() {
                    found.push(entry.key.to_vec());
                }
                prop_assert!(range.next().unwrap().is_none());
                let inside = |k: &&Vec<u8>| std::ops::RangeBounds::contains(&bounds, *k);
                let expected: Vec<_> = items.keys().filter(inside).cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn inline_buckets_are_those_that_bbolt_inlines() {
    // Header 16, element 16, key 1: a value of 991 bytes fills a quarter of a page exactly.
    for (len, inline) in [(991, true), (992, false)] {
        let bucket = Tree { sequence: 5, items: [(vec![1], Item::Value(vec![7; len]))].into() };
        let root = Tree::default()
            .with(b"edge", bucket.clone())
            .with(b"empty", Tree::default())
            .with(b"outer", Tree::default().with(b"inner", bucket.clone()));
        let (bytes, summary) = tree::build(&root, BuildOptions::default());
        let db = Db::open(bytes).unwrap();
        assert_eq!(tree::read(&db), root);
        assert_eq!(db.bucket(b"edge").unwrap().unwrap().is_inline(), inline);
        assert!(db.bucket(b"empty").unwrap().unwrap().is_inline());
        let outer = db.bucket(b"outer").unwrap().unwrap();
        assert!(!outer.is_inline(), "a bucket that holds a bucket is never inline");
        assert_eq!(outer.bucket(b"inner").unwrap().unwrap().is_inline(), inline);
        assert_eq!(summary.inline_buckets, if inline { 3 } else { 1 });
        let names: Vec<_> = db.buckets().map(|bucket| bucket.unwrap().0).collect();
        assert_eq!(names, [b"edge".to_vec(), b"empty".to_vec(), b"outer".to_vec()]);
    }
}

#[test]
fn a_node_never_holds_more_elements_than_bbolt_rewrites() {
    // 4 MiB pages have room for 200,000 of these elements.
    let root = Tree::default().with(b"b", Tree::numbered(150_000, b""));
    let options = BuildOptions { page_size: 4 << 20, fill_percent: 100, ..Default::default() };
    let (bytes, summary) = tree::build(&root, options);
    assert_eq!(summary.leaf_pages, 3 + 1, "65,534 + 65,534 + the rest, and the root");
    let db = Db::open(bytes).unwrap();
    assert_eq!(tree::read(&db), root);
    assert!(check(&db).unwrap().is_ok());
}

#[test]
fn a_scan_of_owned_bytes_reads_each_leaf_once_and_in_order() {
    let root = Tree::default().with(b"b", Tree::numbered(50_000, &[1; 100]));
    let (bytes, summary) = tree::build(&root, BuildOptions::default());
    let db = Db::open(OwnedSource::new(bytes)).unwrap();
    let bucket = db.bucket(b"b").unwrap().unwrap();
    db.source().reads.borrow_mut().clear();
    let mut cursor = bucket.cursor();
    let mut entries = 0;
    while cursor.next().unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, 50_000);
    let reads = db.source().reads.borrow();
    assert_eq!(reads.len() as u64, summary.branch_pages + summary.leaf_pages - 1);
    assert!(reads.iter().all(|(_, len)| *len == 4096), "one page at a time");
    // The leaves are in file order; only the branches lie elsewhere.
    let backwards = reads.windows(2).filter(|pair| pair[1].0 < pair[0].0).count() as u64;
    assert!(backwards <= summary.branch_pages, "{backwards} steps back");
}

#[test]
fn a_node_above_the_limit_of_an_owning_source_is_refused() {
    let bucket = Tree { sequence: 0, items: [(vec![1], Item::Value(vec![7; 100_000]))].into() };
    let (bytes, _) = tree::build(&Tree::default().with(b"b", bucket), BuildOptions::default());
    let db = Db::open(OwnedSource { limit: 65_536, ..OwnedSource::new(bytes) }).unwrap();
    let error = db.bucket(b"b").unwrap().unwrap().get(&[1]).unwrap_err();
    let too_large = Damage::TooLarge { bytes: 102_400, limit: 65_536 };
    assert!(matches!(&error, ReadError::Damaged { damage, .. } if *damage == too_large), "{error}");
    assert!(db.source().reads.borrow().iter().all(|(_, len)| *len <= 65_536));
}

#[test]
fn the_builder_refuses_what_bbolt_cannot_hold_and_goes_on() {
    let mut builder = Builder::new(MemoryDisk::new(), BuildOptions::default()).unwrap();
    assert!(matches!(builder.push(b"k", b""), Err(BuildError::NoBucket)));
    assert!(matches!(builder.end_bucket(), Err(BuildError::NoBucket)));
    assert!(matches!(builder.set_sequence(1), Err(BuildError::NoBucket)));
    assert!(matches!(builder.begin_bucket(b""), Err(BuildError::Entry(EntryError::EmptyKey))));
    builder.begin_bucket(b"b").unwrap();
    builder.push(b"m", b"1").unwrap();
    assert!(matches!(builder.push(b"m", b"2"), Err(BuildError::OutOfOrder { .. })));
    assert!(matches!(builder.push(b"a", b"2"), Err(BuildError::OutOfOrder { .. })));
    assert!(matches!(builder.begin_bucket(b"l"), Err(BuildError::OutOfOrder { .. })));
    assert!(matches!(builder.push(b"", b"2"), Err(BuildError::Entry(EntryError::EmptyKey))));
    let long = vec![b'z'; 32_769];
    assert!(matches!(
        builder.push(&long, b""),
        Err(BuildError::Entry(EntryError::KeyTooLarge { bytes: 32_769 }))
    ));
    builder.push(&long[..32_768], b"3").unwrap();
    builder.end_bucket().unwrap();
    assert!(matches!(builder.begin_bucket(b"b"), Err(BuildError::DuplicateBucket { .. })));
    builder.begin_bucket(b"a").unwrap();
    builder.end_bucket().unwrap();
    let (disk, summary) = builder.finish().unwrap();
    assert_eq!((summary.entries, summary.buckets), (2, 2));
    let mut expected = Tree::default();
    expected.items.insert(b"m".to_vec(), Item::Value(b"1".to_vec()));
    expected.items.insert(long[..32_768].to_vec(), Item::Value(b"3".to_vec()));
    let expected = Tree::default().with(b"a", Tree::default()).with(b"b", expected);
    assert_eq!(tree::read(&Db::open(disk.as_slice()).unwrap()), expected);

    let mut builder = Builder::new(MemoryDisk::new(), BuildOptions::default()).unwrap();
    builder.begin_bucket(b"b").unwrap();
    assert!(matches!(builder.finish(), Err(BuildError::BucketsOpen { open: 1 })));
    let again = Builder::new(disk, BuildOptions::default());
    assert!(matches!(again, Err(BuildError::NotEmpty { .. })));
    for options in [
        BuildOptions { page_size: 5000, ..Default::default() },
        BuildOptions { page_size: 512, ..Default::default() },
        BuildOptions { fill_percent: 9, ..Default::default() },
    ] {
        let refused = Builder::new(MemoryDisk::new(), options);
        assert!(matches!(refused, Err(BuildError::Options(_))));
    }
}
