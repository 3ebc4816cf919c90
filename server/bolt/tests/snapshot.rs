//! The snapshot of a real cluster, read and compacted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use holdfast_bolt::fault::MemoryDisk;
use holdfast_bolt::{BuildOptions, Db, check, compact};

#[test]
fn a_real_snapshot_reads_checks_and_compacts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/k8s/k8s.db.zst");
    let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let db = Db::open(bytes).unwrap();
    let report = check(&db).unwrap();
    println!("{:?} {report:?}", db.meta());
    assert!(report.is_ok());
    for bucket in db.buckets() {
        let (name, bucket) = bucket.unwrap();
        let mut cursor = bucket.cursor();
        let mut n = 0;
        while let Some(_entry) = cursor.next().unwrap() {
            n += 1;
        }
        println!("{} {n} {bucket:?}", name.escape_ascii());
    }
    let (disk, summary) = compact(&db, MemoryDisk::new(), BuildOptions::default()).unwrap();
    println!("{summary:?}");
    let copy = Db::open(disk.into_bytes()).unwrap();
    let report = check(&copy).unwrap();
    println!("{report:?}");
    assert!(report.is_ok());
}
