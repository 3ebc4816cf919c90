//! Damaged files: a store that is opened on one, or whose pages rot beneath it, says where and goes
//! no further; it never panics, loops or writes over what is sound.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tree;

use std::ops::Bound;

use holdfast_bolt::fault::{MemoryDisk, SharedDisk};
use holdfast_bolt::layout::{FLAG_BRANCH, PageHeader};
use holdfast_bolt::{
    BuildOptions, Damage, Disk, EntryError, Freelist, PageSource, ReadError, Report, Store,
    StoreError, StoreOptions, WriteBucket, check,
};
use tree::Tree;

fn file(freelist: Freelist) -> Vec<u8> {
    let root = Tree::default()
        .with(b"a", Tree::numbered(300, &[3; 100]))
        .with(b"b", Tree::numbered(3, b"x").with(b"in", Tree::numbered(100, &[5; 40])))
        .with(b"c", Tree::numbered(4, &[1; 9000]).with(b"inline", Tree::numbered(2, b"y")));
    tree::build(&root, BuildOptions { page_size: 1024, fill_percent: 50, freelist }).0
}

/// Changes something everywhere, and takes much away.
fn change(store: &Store<SharedDisk<MemoryDisk>>) -> Result<(), StoreError> {
    let mut tx = store.write()?;
    for name in tx.bucket_names()? {
        let mut bucket = tx.create_bucket_if_missing(&name)?;
        change_bucket(&mut bucket, 0)?;
    }
    tx.delete_bucket(b"b")?;
    tx.commit()
}

fn change_bucket<P: PageSource>(
    bucket: &mut WriteBucket<'_, P>,
    depth: usize,
) -> Result<(), StoreError> {
    let mut last = None::<Vec<u8>>;
    // Keys that are out of order may come again and again.
    for number in 0..1000 {
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some(item) = bucket.seek(from)? else { break };
        if item.is_bucket {
            if depth < 5
                && let Some(mut inner) = bucket.bucket(&item.key)?
            {
                change_bucket(&mut inner, depth + 1)?;
            }
        } else if number % 3 == 0 {
            bucket.put(&item.key, b"changed")?;
        } else {
            bucket.delete(&item.key)?;
        }
        last = Some(item.key);
    }
    bucket.put(b"new", &[7; 3000])
}

/// Whether an error names a page, or says that no state is there.
fn says_where(error: &StoreError) -> bool {
    match error {
        StoreError::Read(error) => !matches!(error, ReadError::Io { .. }),
        StoreError::Failed | StoreError::Entry(EntryError::EmptyKey) => true,
        _ => false,
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_does_no_harm() {
    let (mut refused, mut failed, mut passed) = (0, 0, 0);
    for freelist in [Freelist::NotStored, Freelist::Stored] {
        let good = file(freelist);
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..1000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let chosen = usize::try_from(seed >> 33).unwrap();
            let page = chosen % (good.len() / 1024);
            let at = page * 1024 + (chosen >> 8) % 200;
            let mut bad = good.clone();
            bad[at] ^= 1 << (chosen % 8);
            let options = StoreOptions { freelist, ..StoreOptions::default() };
            let store = match Store::open(SharedDisk::new(MemoryDisk::holding(bad)), options) {
                Ok(store) => store,
                Err(error) => {
                    assert!(says_where(&error), "byte {at}: {error}");
                    refused += 1;
                    continue;
                }
            };
            let before = store.read();
            let seen = check(&before).unwrap();
            match change(&store) {
                Ok(()) => passed += 1,
                Err(error) => {
                    assert!(says_where(&error), "byte {at}: {error}");
                    failed += 1;
                }
            }
            // The pages of a freelist that cannot be read are nobody's.
            let nodes = |report: &Report| {
                (report.entries, report.filled_bytes, report.branch_pages, report.leaf_pages)
            };
            let now = check(&before).unwrap();
            assert_eq!(nodes(&now), nodes(&seen), "what a reader sees was not written over");
        }
    }
    // What is found at open is not met later, but for keys out of order.
    println!("{refused} refused, {failed} failed, {passed} passed");
    assert!(refused > 200 && passed > 300, "{refused} {failed} {passed}");
}

#[test]
fn pages_that_rot_beneath_an_open_store_end_transactions() {
    let good = file(Freelist::NotStored);
    let mut failed = 0;
    for page in 2..good.len() / 1024 {
        for (at, byte) in [(0, 0xff), (8, 0x40), (10, 0xff), (12, 0x03), (20, 0xff), (24, 0x02)] {
            let disk = SharedDisk::new(MemoryDisk::holding(good.clone()));
            let store = Store::open(disk.clone(), StoreOptions::default()).unwrap();
            disk.with(|disk| disk.write_at((page * 1024 + at) as u64, &[byte])).unwrap();
            for _ in 0..2 {
                if let Err(error) = change(&store) {
                    assert!(says_where(&error), "page {page} byte {at}: {error}");
                    failed += 1;
                }
            }
        }
    }
    assert!(failed > 500, "{failed}");
}

#[test]
fn pages_that_two_refer_to_are_refused_at_open() {
    // The first leaf of a bucket stands in its branch twice.
    let good = file(Freelist::NotStored);
    let is_branch = |page: &usize| {
        let header = PageHeader::parse(&good[page * 1024..]);
        header.id == *page as u64 && header.flags == FLAG_BRANCH
    };
    let branch =
        (2..good.len() / 1024).find(is_branch).expect("a bucket of 300 entries has a branch");
    let mut bad = good.clone();
    let child = bad[branch * 1024 + 24..branch * 1024 + 32].to_vec();
    bad[branch * 1024 + 40..branch * 1024 + 48].copy_from_slice(&child);
    let disk = SharedDisk::new(MemoryDisk::holding(bad));
    let error = Store::open(disk, StoreOptions::default()).unwrap_err();
    let shared = u64::from_le_bytes(child.try_into().unwrap());
    assert!(
        matches!(
            error,
            StoreError::Read(ReadError::Damaged { page, damage: Damage::Shared }) if page == shared
        ),
        "{error}"
    );
}
