//! Readers on their own threads beside writes, commits and compactions.

use crate::backend::{Backend, MemoryBase};
use crate::mvcc::{Handle, MvccError, Store};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use std::sync::atomic::{AtomicBool, Ordering};

const ROUNDS: usize = 3_000;

/// Puts one value to three keys in one revision.
fn put_three(store: &mut Store, value: usize) {
    let put = |key: &str| {
        let value = value.to_string().into_bytes();
        let put = PutRequest { key: key.into(), value, ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    };
    let success = ["a", "m", "z"].map(put).to_vec();
    let txn = TxnRequest { success, ..TxnRequest::default() };
    store.txn(&txn, &|_| false).unwrap();
}

/// Reads until told to stop; how often an old revision was still there.
fn read(handle: &Handle, done: &AtomicBool) -> usize {
    let (mut last, mut old_reads) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let all = |revision| RangeRequest {
            key: vec![0],
            range_end: vec![0],
            revision,
            ..RangeRequest::default()
        };
        let now = handle.range(&all(0)).unwrap();
        let revision = now.header.unwrap().revision;
        assert!(revision >= last, "{revision} after {last}");
        last = revision;
        assert!(now.kvs.len() == 3 || revision == 1, "{} keys at {revision}", now.kvs.len());
        let whole = |kvs: &[holdfast_api::mvccpb::KeyValue], at: i64| {
            assert!(kvs.iter().all(|kv| kv.mod_revision == at && kv.value == kvs[0].value));
        };
        whole(&now.kvs, revision);
        match handle.range(&all((revision - 5).max(1))) {
            Ok(old) => {
                whole(&old.kvs, (revision - 5).max(1));
                old_reads += 1;
            }
            Err(error) => assert!(matches!(error, MvccError::Compacted), "{error}"),
        }
    }
    old_reads
}

#[test]
fn readers_see_whole_transactions() {
    let backend = Backend::new(Box::new(MemoryBase::new())).unwrap();
    let mut store = Store::open(backend).unwrap().0;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let handle = store.handle();
                let done = &done;
                scope.spawn(move || read(&handle, done))
            })
            .collect();
        for round in 0..ROUNDS {
            put_three(&mut store, round);
            if round % 7 == 0
                && let Some(commit) = store.backend().freeze().unwrap()
            {
                scope.spawn(move || commit.run().unwrap());
            }
            if round % 50 == 49 {
                store.schedule_compaction(store.revision() - (round % 3) as i64 * 4).unwrap();
            }
            store.compact_batch(20).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let old_reads: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(old_reads > 0, "old revisions were read, too");
    });
    while store.compact_batch(1_000).unwrap().is_some() {}
    assert_eq!(store.handle().index_keys(), 3);
}
