//! Damaged files: opening, checking, scanning, seeking and copying end, with an error or without,
//! and never crash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tree;

use std::cell::Cell;

use holdfast_bolt::fault::MemoryDisk;
use holdfast_bolt::{
    BuildOptions, CompactError, Damage, Db, FaultKind, Freelist, PageSource, ReadError, Report,
    check, compact,
};
use tree::{Item, Tree};

/// A small file with every kind of page: branches on two levels, overflow pages, inline and nested
/// buckets, a stored freelist.
fn sample() -> Vec<u8> {
    let mut large = Tree::numbered(1, b"x");
    large.items.insert(b"big".to_vec(), Item::Value(vec![7; 3000]));
    let root = Tree::default()
        .with(b"inline", Tree::numbered(3, b"abc"))
        .with(b"large", large)
        .with(b"nested", Tree::numbered(2, b"y").with(b"in", Tree::numbered(12, &[5; 20])))
        .with(b"wide", Tree::numbered(44, &[3; 150]));
    let options = BuildOptions { page_size: 1024, fill_percent: 30, freelist: Freelist::Stored };
    tree::build(&root, options).0
}

/// Everything a reader can do; the result of the check if the file opens.
fn exercise(bytes: &[u8]) -> Option<Report> {
    let db = Db::open(bytes).ok()?;
    let report = check(&db).expect("a slice can be read");
    let copied = compact(&db, MemoryDisk::new(), BuildOptions::default());
    if report.is_ok() {
        let error = copied.map(|_| ()).err();
        assert!(error.is_none(), "what the check finds sound can be copied: {error:?}");
    }
    let _ = db.freelist().map(|list| list.map(|list| list.iter().count()));
    for bucket in db.buckets() {
        let Ok((_, bucket)) = bucket else { break };
        let _ = bucket.cursor().last();
        for key in [&b""[..], &30_u64.to_be_bytes(), b"big", &[255; 9]] {
            let _ = bucket.get(key);
            let _ = bucket.bucket(key);
            let _ = bucket.cursor().seek(key).map(|entry| entry.map(|e| e.key.len()));
        }
        for inner in bucket.buckets() {
            let Ok((_, inner)) = inner else { break };
            let _ = inner.get(&7_u64.to_be_bytes());
        }
    }
    Some(report)
}

#[test]
fn the_sample_has_every_kind_of_page() {
    let report = exercise(&sample()).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    assert!(report.branch_pages > 3 && report.overflow_pages > 1 && report.inline_buckets > 0);
    assert_eq!(report.freelist_pages, 1);
    assert!(report.pages < 50, "{} pages", report.pages);
}

#[test]
fn any_flipped_byte() {
    let good = sample();
    let mut must_find = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= [0x01, 0x80, 0xff][at % 3];
        let found = exercise(&bad).is_none_or(|report| !report.is_ok());
        // A node's own number and type can never be wrong unnoticed. (Overflow pages have no
        // header; of a damaged meta the other one takes the place; values are not ours to judge.)
        let (page, within) = (at / 1024, at % 1024);
        let id = u64::from_le_bytes(good[1024 * page..1024 * page + 8].try_into().unwrap());
        if page >= 2 && id == page as u64 && within < 10 {
            must_find += 1;
            assert!(found, "byte {within} of page {page}");
        }
    }
    assert!(must_find > 100, "{must_find}");
}

#[test]
fn any_length() {
    let good = sample();
    for len in 0..good.len() {
        assert!(exercise(&good[..len]).is_none(), "cut to {len} of {} bytes", good.len());
    }
    let mut longer = good.clone();
    longer.extend_from_slice(&[0xaa; 5000]);
    assert!(exercise(&longer).unwrap().is_ok(), "what follows the pages does not matter");
}

/// A generator for damage: xorshift64*.
struct Chance(Cell<u64>);

impl Chance {
    fn below(&self, limit: usize) -> usize {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        usize::try_from(x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }
}

#[test]
fn absurd_fields_in_headers_and_elements() {
    let good = sample();
    let pages = good.len() / 1024;
    let chance = Chance(Cell::new(42));
    for _ in 0..12_000 {
        let mut bad = good.clone();
        for _ in 0..=chance.below(3) {
            // Counts, offsets, sizes and page numbers stand at even places of the first bytes.
            let page = (2 + chance.below(pages - 2)) * 1024;
            let at = page + 4 * chance.below(24);
            let value = match chance.below(6) {
                0 => 0,
                1 => u32::MAX,
                2 => 1 << chance.below(32),
                3 => u32::try_from(chance.below(pages)).unwrap(),
                4 => u32::from_le_bytes(bad[at..at + 4].try_into().unwrap()).wrapping_add(1),
                _ => u32::try_from(chance.below(2048)).unwrap(),
            };
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        exercise(&bad);
    }
}

#[test]
fn pages_of_garbage_and_pages_in_the_wrong_place() {
    let good = sample();
    let pages = good.len() / 1024;
    let chance = Chance(Cell::new(7));
    for round in 0..4000 {
        let mut bad = good.clone();
        let (to, from) = (chance.below(pages) * 1024, chance.below(pages) * 1024);
        if round % 2 == 0 {
            for byte in &mut bad[to..to + 1024] {
                *byte = u8::try_from(chance.below(256)).unwrap();
            }
            // With a valid header, so that the garbage is looked at.
            bad[to..to + 8].copy_from_slice(&(to as u64 / 1024).to_le_bytes());
            bad[to + 8] = if round % 4 == 0 { 1 } else { 2 };
            bad[to + 9] = 0;
            bad[to + 10] = u8::try_from(chance.below(40)).unwrap();
            bad[to + 11..to + 16].fill(0);
        } else {
            bad.copy_within(from..from + 1024, to);
            bad[to..to + 8].copy_from_slice(&(to as u64 / 1024).to_le_bytes());
        }
        exercise(&bad);
    }
}

/// Writes a branch page whose children are the given pages, all with keys that sort.
fn put_branch(file: &mut [u8], page: u64, children: &[u64]) {
    let start = usize::try_from(page).unwrap() * 1024;
    let count = u16::try_from(children.len()).unwrap();
    file[start..start + 8].copy_from_slice(&page.to_le_bytes());
    file[start + 8..start + 10].copy_from_slice(&1_u16.to_le_bytes());
    file[start + 10..start + 12].copy_from_slice(&count.to_le_bytes());
    file[start + 12..start + 16].fill(0);
    let table = children.len() * 16;
    for (index, child) in children.iter().enumerate() {
        let at = start + 16 + 16 * index;
        let pos = u32::try_from(table - 16 * index + index).unwrap();
        file[at..at + 4].copy_from_slice(&pos.to_le_bytes());
        file[at + 4..at + 8].copy_from_slice(&1_u32.to_le_bytes());
        file[at + 8..at + 16].copy_from_slice(&child.to_le_bytes());
        file[start + 16 + table + index] = u8::try_from(index + 1).unwrap();
    }
}

fn root_of(bytes: &[u8], bucket: &[u8]) -> u64 {
    let db = Db::open(bytes).unwrap();
    let text = format!("{:?}", db.bucket(bucket).unwrap().unwrap());
    text.split("root: ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

fn damage_of(error: &ReadError) -> Damage {
    match error {
        ReadError::Damaged { damage, .. } => *damage,
        other => panic!("{other}"),
    }
}

#[test]
fn a_branch_that_points_at_itself_is_named() {
    let mut bytes = sample();
    let page = root_of(&bytes, b"wide");
    put_branch(&mut bytes, page, &[page, page]);
    let db = Db::open(bytes.as_slice()).unwrap();
    let bucket = db.bucket(b"wide").unwrap().unwrap();
    let mut cursor = bucket.cursor();
    let error = cursor.next().unwrap_err();
    assert!(matches!(error, ReadError::Damaged { page: at, damage: Damage::Cycle } if at == page));
    assert!(matches!(cursor.next(), Err(ReadError::CursorFailed { .. })), "no end of data");
    assert!(matches!(cursor.current(), Err(ReadError::CursorFailed { .. })));
    let report = check(&db).unwrap();
    assert!(report.faults.iter().any(|f| f.page == page && f.kind == FaultKind::Shared));
}

#[test]
fn a_ladder_of_shared_branches_ends() {
    // Each level points twice at the next: 2^19 paths over 20 pages.
    let mut bytes = tree::build(
        &Tree::default().with(b"wide", Tree::numbered(140, &[3; 150])),
        BuildOptions { page_size: 1024, fill_percent: 100, freelist: Freelist::NotStored },
    )
    .0;
    let root = root_of(&bytes, b"wide");
    put_branch(&mut bytes, root, &[2, 2]);
    for page in 2..20 {
        put_branch(&mut bytes, page, &[page + 1, page + 1]);
    }
    let db = Db::open(bytes.as_slice()).unwrap();
    let bucket = db.bucket(b"wide").unwrap().unwrap();
    let mut cursor = bucket.cursor();
    let error = loop {
        match cursor.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the scan looks complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(damage_of(&error), Damage::Shared);
    assert!(!check(&db).unwrap().is_ok());
    assert!(compact(&db, MemoryDisk::new(), BuildOptions::default()).is_err());
}

#[test]
fn a_bucket_that_holds_itself_ends() {
    let mut bytes = sample();
    let root = Db::open(bytes.as_slice()).unwrap().meta().root.root;
    // The inner bucket of `nested` becomes the root bucket: its header follows its name in a leaf.
    let page = root_of(&bytes, b"nested");
    let leaf = usize::try_from(page).unwrap() * 1024;
    let name = bytes[leaf..leaf + 1024].windows(2).rposition(|w| w == b"in").unwrap();
    bytes[leaf + name + 2..leaf + name + 10].copy_from_slice(&root.to_le_bytes());
    let db = Db::open(bytes.as_slice()).unwrap();
    let inner = db.bucket(b"nested").unwrap().unwrap().bucket(b"in").unwrap().unwrap();
    assert!(inner.bucket(b"wide").unwrap().is_some(), "the damage is in place");
    let report = check(&db).unwrap();
    assert!(report.faults.iter().any(|f| f.page == root && f.kind == FaultKind::Shared));
    let copied = compact(&db, MemoryDisk::new(), BuildOptions::default());
    assert!(matches!(copied, Err(CompactError::Build(_) | CompactError::Read(_))));
}

#[test]
fn elements_that_lie_over_one_another_are_refused() {
    // All elements of a leaf show the same large value: a small file must not yield endless data.
    let mut bytes = sample();
    let db = Db::open(bytes.as_slice()).unwrap();
    let page = {
        let key = b"big";
        let value = db.bucket(b"large").unwrap().unwrap().get(key).unwrap().unwrap();
        assert_eq!(value.len(), 3000);
        root_of(&bytes, b"large")
    };
    let leaf = usize::try_from(page).unwrap() * 1024;
    bytes[leaf + 16 + 12..leaf + 16 + 16].copy_from_slice(&2000_u32.to_le_bytes());
    let db = Db::open(bytes.as_slice()).unwrap();
    let got = db.bucket(b"large").unwrap().unwrap().get(b"big").map(|value| value.is_some());
    let error = got.unwrap_err();
    assert!(matches!(damage_of(&error), Damage::Element { .. }));
}

/// Changes the freelist of the sample: its ids, the count in its header.
fn with_freelist(ids: &[u64], count: u16) -> Vec<u8> {
    let mut bytes = sample();
    let db = Db::open(bytes.as_slice()).unwrap();
    let at = usize::try_from(db.meta().freelist).unwrap() * 1024;
    bytes[at + 10..at + 12].copy_from_slice(&count.to_le_bytes());
    for (index, id) in ids.iter().enumerate() {
        bytes[at + 16 + 8 * index..at + 24 + 8 * index].copy_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn faults(bytes: &[u8]) -> Vec<FaultKind> {
    exercise(bytes).unwrap().faults.iter().map(|fault| fault.kind).collect()
}

#[test]
fn wrong_freelists_are_named() {
    let pages = sample().len() as u64 / 1024;
    assert_eq!(faults(&with_freelist(&[5], 1)), [FaultKind::FreeAndInUse]);
    assert_eq!(faults(&with_freelist(&[pages], 1)), [FaultKind::FreeOutOfBounds]);
    assert_eq!(faults(&with_freelist(&[1], 1)), [FaultKind::FreeOutOfBounds]);
    let freed_twice = faults(&with_freelist(&[5, 5], 2));
    assert!(freed_twice.contains(&FaultKind::FreedTwice));
    // The large form: the count stands in the body.
    assert_eq!(faults(&with_freelist(&[0], 0xFFFF)), []);
    assert_eq!(faults(&with_freelist(&[1, 6], 0xFFFF)), [FaultKind::FreeAndInUse]);
    for count in [127, 1 << 61, u64::MAX] {
        let damage = Damage::Count { count };
        assert_eq!(faults(&with_freelist(&[count], 0xFFFF)), [FaultKind::Damaged(damage)]);
    }
    let damage = Damage::Count { count: 127 };
    assert_eq!(faults(&with_freelist(&[], 127)), [FaultKind::Damaged(damage)]);
}

#[test]
fn a_leak_is_found_where_a_freelist_is_stored() {
    let mut bytes = sample();
    // One more page after the last, counted by both metas, used by nobody.
    let page = bytes.len() as u64 / 1024;
    bytes.resize(bytes.len() + 1024, 0);
    let mut meta = *Db::open(bytes.as_slice()).unwrap().meta();
    meta.high_water += 1;
    bytes[..80].copy_from_slice(&meta.encode_page(0));
    let report = exercise(&bytes).unwrap();
    assert_eq!((report.faults.len(), report.faults[0].page), (1, page));
    assert_eq!(report.faults[0].kind, FaultKind::Leaked);
    meta.freelist = u64::MAX;
    bytes[..80].copy_from_slice(&meta.encode_page(0));
    let report = exercise(&bytes).unwrap();
    assert!(report.is_ok(), "without a freelist it is free, and so is the freelist's old page");
    assert_eq!(report.free_pages, 2);
}

#[test]
fn the_newer_meta_counts_and_a_lost_one_is_replaced() {
    for page_size in [1024, 4096, 65_536, 1 << 20] {
        let options = BuildOptions { page_size, ..Default::default() };
        let (good, _) = tree::build(&Tree::default().with(b"b", Tree::numbered(9, b"v")), options);
        let second = page_size as usize;
        assert_eq!(Db::open(good.as_slice()).unwrap().meta().txid, 2);
        let mut bad = good.clone();
        bad[20] ^= 1;
        let db = Db::open(bad.as_slice()).unwrap();
        assert_eq!((db.meta().txid, db.page_size()), (1, page_size), "meta 1 is found");
        assert!(check(&db).unwrap().is_ok());
        bad[second + 70] ^= 1;
        assert!(matches!(Db::open(bad.as_slice()), Err(ReadError::NoMeta { .. })));
        let mut bad = good.clone();
        bad[second + 70] ^= 1;
        assert_eq!(Db::open(bad.as_slice()).unwrap().meta().txid, 2);
        let mut newer = good.clone();
        let mut meta = *Db::open(good.as_slice()).unwrap().meta();
        meta.txid = 3;
        newer[second..second + 80].copy_from_slice(&meta.encode_page(1));
        assert_eq!(Db::open(newer.as_slice()).unwrap().meta().txid, 3);
    }
    let cut = Db::open(&sample()[..5000]).unwrap_err();
    assert!(matches!(cut, ReadError::Truncated { actual_bytes: 5000, .. }), "{cut}");
    assert!(matches!(Db::open(vec![0; 9000]), Err(ReadError::NoMeta { .. })));
    assert!(matches!(Db::open(Vec::new()), Err(ReadError::NoMeta { .. })));
}

#[test]
fn an_error_of_the_source_is_not_damage() {
    struct Failing<'b>(&'b [u8]);
    impl PageSource for Failing<'_> {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, len: usize) -> std::io::Result<std::borrow::Cow<'_, [u8]>> {
            if offset > 8192 {
                return Err(std::io::Error::other("the disk is gone"));
            }
            self.0.read_at(offset, len)
        }
    }
    let bytes = sample();
    let db = Db::open(Failing(&bytes)).unwrap();
    assert!(matches!(check(&db), Err(ReadError::Io { .. })));
    assert!(matches!(db.bucket(b"wide"), Err(ReadError::Io { .. })));
}
