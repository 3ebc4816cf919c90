//! A bolt file: open, check, walk everything, change it, and read it as an etcd database.

use holdfast_bolt::fault::{MemoryDisk, SharedDisk};
use holdfast_bolt::{
    Bucket, BuildOptions, Db, ReadError, Store, StoreError, StoreOptions, check, compact,
};
use holdfast_core::compaction::{LivenessBuilder, TombstoneRule};
use holdfast_core::database::{DatabaseFacts, DatabaseRecords, read_small};
use holdfast_core::hashkv::RecordSource;
use holdfast_core::record::KeyValue;
use holdfast_core::schema::check_schema;
use std::ops::Bound;

/// Buckets within buckets that are walked into.
const DEPTH: usize = 20;
/// Buckets that are walked into at all. A cursor bounds what it reads; that buckets may share their
/// pages, so that there are more than anybody could visit, is for whoever goes down into them.
const BUCKETS: u32 = 2000;

/// The file is the input, with its meta pages' checksums put right.
pub fn run(data: &[u8]) {
    let mut file = data.to_vec();
    mend(&mut file);
    let _ = change(file.clone());
    let Ok(db) = Db::open(file) else { return };
    let _ = check(&db);
    let _ = db.freelist();
    let _ = walk(&db.root(), DEPTH, &mut { BUCKETS });
    let _ = compact(&db, MemoryDisk::new(), BuildOptions::default());
    let _ = read_small(&db);
    let _ = DatabaseFacts::read(&db);
    let _ = check_schema(&db);
    let mut builder = LivenessBuilder::new(3, TombstoneRule::KeepAtCompaction);
    let _ = DatabaseRecords::new(&db).scan(&mut |record| {
        let _ = KeyValue::decode(record.raw_value);
        builder.observe(&record)
    });
    let _ = builder.finish();
}

/// Changes the first keys of each bucket, deletes every second bucket, twice. What was sound before
/// a commit is so after it.
fn change(file: Vec<u8>) -> Result<(), StoreError> {
    let disk = SharedDisk::new(MemoryDisk::holding(file));
    let store = Store::open(disk, StoreOptions::default())?;
    for round in 0..2 {
        let was_sound = check(&*store.read())?.is_ok();
        let mut tx = store.write()?;
        for (number, name) in tx.bucket_names()?.into_iter().take(50).enumerate() {
            if number % 2 == round {
                tx.delete_bucket(&name)?;
                continue;
            }
            let Some(mut bucket) = tx.bucket(&name)? else { continue };
            let mut from = Bound::Unbounded;
            let mut key;
            for number in 0..50 {
                let Some(item) = bucket.seek(from)? else { break };
                if !item.is_bucket && number % 3 == 0 {
                    bucket.put(&item.key, &[7; 300])?;
                } else if !item.is_bucket {
                    bucket.delete(&item.key)?;
                }
                key = item.key;
                from = Bound::Excluded(&key);
            }
        }
        tx.commit()?;
        assert!(!was_sound || check(&*store.read())?.is_ok(), "a sound file stays sound");
    }
    Ok(())
}

fn walk(bucket: &Bucket<'_, Vec<u8>>, depth: usize, left: &mut u32) -> Result<(), ReadError> {
    let mut cursor = bucket.cursor();
    let mut last = None;
    while let Some(entry) = cursor.next()? {
        let (key, is_bucket) = (entry.key.to_vec(), entry.is_bucket);
        if is_bucket && depth > 0 && *left > 0 {
            *left -= 1;
            let inner = cursor.bucket_here()?;
            let _ = walk(&inner, depth - 1, left);
        }
        last = Some(key);
    }
    if let Some(key) = last {
        let _ = bucket.get(&key);
        let _ = bucket.cursor().seek(&key);
        let _ = bucket.cursor().last();
    }
    Ok(())
}

/// Both metas' FNV-1a 64 over their first 56 bytes; the second lies where the first says.
fn mend(file: &mut [u8]) {
    let size = file.get(24..28).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let second = size.map_or(4096, |size| size as usize).saturating_add(16);
    for at in [16, second] {
        let Some(meta) = at.checked_add(64).and_then(|end| file.get_mut(at..end)) else { continue };
        let sum = meta[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        meta[56..].copy_from_slice(&sum.to_le_bytes());
    }
}
