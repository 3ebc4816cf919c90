//! Measures a store on a bolt file: puts with commits beside them, reads, compaction; in a second
//! run on the same directory opening, and the memory that the index takes.
//! `cargo run --release --example mvcc -- DIRECTORY KEYS`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use holdfast_api::etcdserverpb::{PutRequest, RangeRequest};
use holdfast_bolt::{Store as Bolt, StoreOptions};
use holdfast_core::backend::{Backend, BoltBase};
use holdfast_core::mvcc::{KeyRange, Store};

const VALUE_BYTES: usize = 256;
const CHANGES_PER_COMMIT: usize = 10_000;
const READS: usize = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: mvcc DIRECTORY KEYS")?;
    let keys: usize = arguments.next().ok_or("usage: mvcc DIRECTORY KEYS")?.parse()?;
    let path = Path::new(&directory).join("mvcc.db");
    if path.exists() {
        return reopen(&path);
    }
    let mut store = open(&path)?;
    let mut rounds = timed("puts of new keys", keys, || put_all(&mut store, keys))?;
    rounds += timed("puts of known keys", keys, || put_all(&mut store, keys))?;
    println!("commits beside them: {rounds}");
    store.backend().commit()?;
    let handle = store.handle();
    timed("gets", READS, || {
        for number in 0..READS {
            let key = key(number.wrapping_mul(7919) % keys);
            handle.range(&RangeRequest { key, ..RangeRequest::default() })?;
        }
        Ok(0)
    })?;
    timed("counts of all keys", 1, || {
        handle.reader().count(KeyRange::From(b"\0"), 0)?;
        Ok(0)
    })?;
    timed("ranges of 1,000 keys", 100, || {
        for number in 0..100 {
            let key = key(number * keys / 200);
            let limit = 1_000;
            let request =
                RangeRequest { key, range_end: vec![0], limit, ..RangeRequest::default() };
            handle.range(&request)?;
        }
        Ok(0)
    })?;
    timed("hash", 1, || Ok(handle.hashkv(0)?.hash as usize))?;
    store.schedule_compaction(store.revision())?;
    timed("compaction", keys, || {
        while store.compact_batch(1_000)?.is_some() {
            if store.backend().pending_changes() >= CHANGES_PER_COMMIT {
                store.backend().commit()?;
            }
        }
        Ok(0)
    })?;
    store.backend().commit()?;
    Ok(())
}

fn reopen(path: &Path) -> Result<(), Box<dyn Error>> {
    let before = resident_kib();
    let start = Instant::now();
    let store = open(path)?;
    let seconds = start.elapsed().as_secs_f64();
    let keys = store.handle().index_keys();
    let kib = resident_kib().saturating_sub(before);
    println!("opened {keys} keys in {seconds:.2} s; {} bytes of memory a key", kib * 1024 / keys);
    Ok(())
}

fn open(path: &Path) -> Result<Store, Box<dyn Error>> {
    let options = StoreOptions { no_sync: true, ..StoreOptions::default() };
    let bolt = Arc::new(Bolt::open_path(path, options)?);
    Ok(Store::open(Backend::new(Box::new(BoltBase::new(bolt)))?)?.0)
}

fn key(number: usize) -> Vec<u8> {
    format!("/registry/pods/default/{:016x}", number.wrapping_mul(0x9e37_79b9)).into_bytes()
}

/// Puts every key once; commits run on another thread, as in a member.
fn put_all(store: &mut Store, keys: usize) -> Result<usize, Box<dyn Error>> {
    let mut commits = 0;
    std::thread::scope(|scope| {
        for number in 0..keys {
            let request =
                PutRequest { key: key(number), value: vec![7; VALUE_BYTES], ..Default::default() };
            store.put(&request, &|_| false)?;
            if store.backend().pending_changes() >= CHANGES_PER_COMMIT
                && let Some(commit) = store.backend().freeze()?
            {
                commits += 1;
                scope.spawn(move || commit.run());
            }
        }
        Ok(commits)
    })
}

fn timed(
    what: &str,
    count: usize,
    run: impl FnOnce() -> Result<usize, Box<dyn Error>>,
) -> Result<usize, Box<dyn Error>> {
    let start = Instant::now();
    let result = run()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {count} in {seconds:.2} s, {:.2} us each", seconds * 1e6 / count as f64);
    Ok(result)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = anonymous.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
