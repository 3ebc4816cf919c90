//! The vault's source over made databases and over a real cluster's snapshot.

use super::*;
use crate::spool::{Spool, SpoolWriter};
use holdfast_bolt::{BuildOptions, Builder, FileDisk};
use holdfast_core::buckets::{LEASE, META};
use holdfast_core::database::DatabaseRecords;
use holdfast_core::hashkv::{HashScope, hashkv};
use holdfast_core::meta::{CONSISTENT_INDEX, SCHEDULED_COMPACT_REV};
use holdfast_core::record::KeyValue;
use holdfast_core::revision::{BucketKey, Revision};
use std::path::Path;

type Made = (BucketKey, Vec<u8>);

fn put(main: i64, key: &str, value: &[u8]) -> Made {
    let kv = KeyValue {
        key: key.as_bytes(),
        value,
        mod_revision: main,
        version: 1,
        ..KeyValue::default()
    };
    (BucketKey::put(Revision::new(main, 0)), kv.to_bytes())
}

fn delete(main: i64, key: &str) -> Made {
    let kv = KeyValue { key: key.as_bytes(), ..KeyValue::default() };
    (BucketKey::tombstone(Revision::new(main, 0)), kv.to_bytes())
}

/// A database with these records, compacted (as scheduled) at 6, with two leases.
fn database(records: &[Made]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let disk = FileDisk::create_new(&path).unwrap();
    let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
    builder.begin_bucket(KEY).unwrap();
    for (at, value) in records {
        builder.push(&at.encode(), value).unwrap();
    }
    builder.end_bucket().unwrap();
    builder.begin_bucket(LEASE).unwrap();
    builder.push(&7u64.to_be_bytes(), &[8, 7, 16, 60]).unwrap();
    builder.push(&9u64.to_be_bytes(), &[8, 9, 16, 60]).unwrap();
    builder.set_sequence(4).unwrap();
    builder.end_bucket().unwrap();
    builder.begin_bucket(META).unwrap();
    builder.push(CONSISTENT_INDEX, &77u64.to_be_bytes()).unwrap();
    builder.push(SCHEDULED_COMPACT_REV, &Revision::new(6, 0).encode()).unwrap();
    builder.end_bucket().unwrap();
    builder.begin_bucket(b"odd").unwrap();
    builder.end_bucket().unwrap();
    builder.finish().unwrap();
    std::fs::read(path).unwrap()
}

fn history() -> Vec<Made> {
    vec![
        put(2, "a", b"1"),
        put(3, "b", b"1"),
        put(4, "a", b"2"),
        delete(5, "b"),
        put(6, "/registry/secrets/x", b"k8s:enc:aescbc:v1:key1:zzz"),
        put(7, "a", b"3"),
        put(8, "a", &[b'v'; 300_000]),
        delete(9, "/registry/secrets/x"),
    ]
}

fn spooled(bytes: &[u8], asked: Option<HashKv>) -> SpoolReader<Spool> {
    let mut writer = SpoolWriter::create(&std::env::temp_dir(), 1 << 30).unwrap();
    writer.write(bytes).unwrap();
    let db = Db::open(writer.finish().unwrap()).unwrap();
    let stop = Stop::default();
    let scan = Scan::read(&db, &stop).unwrap();
    let facts = Facts::default();
    let sensitive_prefixes = vec![b"/registry/secrets/".to_vec()];
    let computed = OnceLock::new();
    SpoolReader::new(Arc::new(Spooled {
        db,
        scan,
        facts,
        asked,
        sensitive_prefixes,
        stop,
        computed,
    }))
}

/// Main revision, tombstone, superseded, sensitive.
type Told = (i64, bool, bool, bool);

fn records<S: PageSource + Send + Sync + 'static>(
    reader: &mut SpoolReader<S>,
) -> Result<Vec<Told>, SourceError> {
    let mut told = Vec::new();
    while let Some(record) = reader.next_record()? {
        told.push((record.main, record.tombstone, record.superseded, record.sensitive));
    }
    Ok(told)
}

#[test]
fn canonical_records_with_their_marks() {
    let mut reader = spooled(&database(&history()), None);
    // At C = 6: a@2 and b@3 are superseded at or below it, the tombstone b@5 lies below it.
    let want = [
        (4, false, true, false),
        (6, false, true, true),
        (7, false, true, false),
        (8, false, false, false),
        (9, true, false, true),
    ];
    assert_eq!(records(&mut reader).unwrap(), want);
    assert!(reader.next_record().unwrap().is_none(), "the end stays the end");
    let mut facts = Facts::default();
    reader.finish(&WalkResult::default(), &mut facts).unwrap();
    assert_eq!(facts.encryption_key_ids, ["aescbc:v1:key1"]);
    assert!(facts.kubernetes && facts.hash_kv.is_none());
    reader.rewind().unwrap();
    assert_eq!(records(&mut reader).unwrap(), want);
}

#[test]
fn the_small_buckets_follow() {
    let mut reader = spooled(&database(&history()), None);
    records(&mut reader).unwrap();
    let mut seen = Vec::new();
    while let Some(bucket) = reader.next_bucket().unwrap() {
        let mut entries = 0;
        while let Some((key, value)) = reader.next_entry().unwrap() {
            assert!(!key.is_empty() && !value.is_empty());
            entries += 1;
        }
        seen.push((String::from_utf8(bucket.name).unwrap(), bucket.sequence, entries));
    }
    let want = [("lease", 4, 2), ("meta", 0, 2), ("odd", 0, 0)];
    assert_eq!(seen, want.map(|(name, sequence, entries)| (name.to_owned(), sequence, entries)));
    assert!(reader.next_bucket().unwrap().is_none());
}

#[test]
fn a_hash_that_differs_is_told_beside_what_a_restore_gives() {
    let bytes = database(&history());
    let right = {
        let db = Db::open(bytes.clone()).unwrap();
        hashkv(&DatabaseRecords::new(&db), HashScope { revision: 9, compact_revision: 6 }).unwrap()
    };
    for (hash, equal) in [(right, true), (right ^ 1, false)] {
        let asked = HashKv { revision: 9, compact_revision: 6, hash };
        let mut reader = spooled(&bytes, Some(asked));
        records(&mut reader).unwrap();
        let mut facts = Facts::default();
        reader.finish(&WalkResult::default(), &mut facts).unwrap();
        assert_eq!(facts.hash_kv, Some(asked));
        assert_eq!(facts.restored_hash_kv.is_none(), equal);
        assert_eq!(reader.spooled.computed.get(), Some(&right));
    }
}

#[test]
fn where_nothing_is_alive_the_hash_counts_dead_records_too() {
    let bytes = database(&[put(2, "a", b"1"), put(3, "b", b"1"), delete(4, "a"), delete(5, "b")]);
    let scope = HashScope { revision: 6, compact_revision: 6 };
    let db = Db::open(bytes.clone()).unwrap();
    let hash = hashkv(&DatabaseRecords::new(&db), scope).unwrap();
    assert_ne!(hash, crc32c_of(b"key"), "something was hashed");
    let asked = HashKv { revision: 6, compact_revision: 6, hash };
    let mut reader = spooled(&bytes, Some(asked));
    assert_eq!(records(&mut reader).unwrap(), []);
    let mut facts = Facts::default();
    reader.finish(&WalkResult::default(), &mut facts).unwrap();
    assert_eq!((facts.hash_kv, facts.restored_hash_kv), (Some(asked), None));
}

/// The hash of an empty store.
fn crc32c_of(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn a_source_that_ends_early_is_never_finished() {
    let mut reader = spooled(&database(&history()), None);
    reader.next_record().unwrap();
    assert!(reader.finish(&WalkResult::default(), &mut Facts::default()).is_err());
    let mut reader = spooled(&database(&history()), None);
    reader.spooled.stop.set();
    assert!(records(&mut reader).is_err(), "a stopped pass is not the end of the records");
}

/// A source that gives other bytes from its n-th read on: a disk that lies between the passes.
struct Shifting {
    bytes: Vec<u8>,
    other: Vec<u8>,
    flip: Stop,
}

impl PageSource for Shifting {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<std::borrow::Cow<'_, [u8]>> {
        let bytes = if self.flip.is_set() { &self.other } else { &self.bytes };
        bytes.read_at(offset, len)
    }
}

#[test]
fn a_database_that_changes_between_the_passes_is_an_error() {
    let mut other = history();
    other.remove(5);
    let (bytes, mut other) = (database(&history()), database(&other));
    other.resize(bytes.len(), 0);
    let flip = Stop::default();
    let db = Db::open(Shifting { bytes, other, flip: flip.clone() }).unwrap();
    let stop = Stop::default();
    let scan = Scan::read(&db, &stop).unwrap();
    let (facts, computed) = (Facts::default(), OnceLock::new());
    let sensitive_prefixes = vec![];
    let spooled = Spooled { db, scan, facts, asked: None, sensitive_prefixes, stop, computed };
    let mut reader = SpoolReader::new(Arc::new(spooled));
    flip.set();
    assert!(records(&mut reader).is_err());
}

#[test]
fn any_flipped_byte_is_an_error_or_a_difference_never_a_panic() {
    let bytes = database(&history());
    for at in (0..bytes.len().min(40_000)).step_by(37) {
        let mut bent = bytes.clone();
        bent[at] ^= 0x41;
        let Ok(db) = Db::open(bent) else { continue };
        let Ok(scan) = Scan::read(&db, &Stop::default()) else { continue };
        assert!(scan.liveness.records() <= 16);
    }
}

#[test]
fn a_real_cluster_is_read_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/k8s/k8s.db.zst");
    let mut bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    bytes.truncate(bytes.len() / 512 * 512);
    let db = Db::open(bytes.clone()).unwrap();
    let scan = Scan::read(&db, &Stop::default()).unwrap();
    let scope =
        HashScope { revision: scan.facts.revision, compact_revision: scan.compact_revision() };
    let hash = hashkv(&DatabaseRecords::new(&db), scope).unwrap();
    let asked = HashKv { revision: scope.revision, compact_revision: scope.compact_revision, hash };
    let mut reader = spooled(&bytes, Some(asked));
    let told = records(&mut reader).unwrap();
    assert_eq!(told.len() as u64, scan.liveness.live_records());
    assert!(told.len() > 6_000);
    let secrets = told.iter().filter(|record| record.3).count();
    assert!(secrets >= 150, "{secrets} sensitive records");
    let mut facts = Facts::default();
    reader.finish(&WalkResult::default(), &mut facts).unwrap();
    assert!(facts.kubernetes && facts.restored_hash_kv.is_none());
    assert!(!facts.encryption_key_ids.is_empty(), "its secrets are encrypted");
}
