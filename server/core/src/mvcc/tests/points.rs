//! Single behaviours: opening, marks, the bumped record, hashes, readers beside compactions.

use crate::backend::{Backend, MemoryBase};
use crate::mvcc::{
    Code, CompactionProgress, KeyRange, MvccError, OpenError, Store, is_read_only, is_serializable,
};
use bytes::Bytes;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

const NO_LEASES: &dyn Fn(i64) -> bool = &|_| false;

fn backend(base: &MemoryBase) -> Backend {
    Backend::new(Box::new(base.clone())).unwrap()
}

fn open(base: &MemoryBase) -> Store {
    Store::open(backend(base)).unwrap().0
}

fn put(store: &mut Store, key: &str, value: &str) -> i64 {
    let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    store.put(&request, NO_LEASES).unwrap().revision
}

fn get(store: &Store, key: &str, at: i64) -> Option<String> {
    let kv = store.handle().reader().get(key.as_bytes(), at).unwrap();
    kv.map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

#[test]
fn an_empty_store_is_at_revision_one() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    assert_eq!((store.revision(), store.compacted()), (1, -1));
    store.backend().commit().unwrap();
    assert_eq!(base.names(), [b"key".to_vec(), b"meta".to_vec()]);
    assert_eq!(store.delete_keys(vec![b"a".to_vec()]).unwrap().revision, 1, "nothing changed");
    assert_eq!(put(&mut store, "a", "1"), 2);
    assert!(matches!(store.schedule_compaction(3), Err(MvccError::FutureRevision)));
    assert!(matches!(store.schedule_compaction(-1), Err(MvccError::Compacted)));
}

#[test]
fn the_bytes_are_upstreams() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    put(&mut store, "a", "xyz");
    let request = DeleteRangeRequest { key: b"a".to_vec(), ..DeleteRangeRequest::default() };
    store.delete_range(&request).unwrap();
    let got = store.backend().view().entries(b"key").unwrap();
    let want: [(&[u8], &[u8]); 2] = [
        (b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x03xyz"),
        (b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\0t", b"\x0a\x01a"),
    ];
    assert_eq!(got, want.map(|(key, value)| (key.to_vec(), value.to_vec())));
}

#[test]
fn a_bumped_restore_is_compacted_at_boot() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    // As `etcdutl snapshot restore --bump-revision 1000 --mark-compacted` leaves it.
    let bump = crate::revision::Revision::new(1003, 0).encode().to_vec();
    store.backend().put(b"key", &bump, Bytes::new());
    store.backend().put(b"meta", b"scheduledCompactRev", bump.into());
    store.backend().commit().unwrap();
    let (mut store, restored) = Store::open(backend(&base)).unwrap();
    assert_eq!((store.revision(), store.compacted()), (1003, 1003));
    assert_eq!(restored.resumes_compaction, Some(1003));
    let old = RangeRequest { key: b"a".to_vec(), revision: 3, ..RangeRequest::default() };
    assert!(matches!(store.handle().range(&old), Err(MvccError::Compacted)));
    let done = store.compact_batch(1000).unwrap();
    assert_eq!(done, Some(CompactionProgress::Finished { revision: 1003, deleted: 1 }));
    assert_eq!(get(&store, "a", 0).as_deref(), Some("2"));
    let all = store.handle().reader().count(KeyRange::From(b"\0"), 0).unwrap();
    assert_eq!(all, 1, "the empty record is no key");
    assert_eq!(store.backend().view().entries(b"key").unwrap().len(), 2, "and it stays");
    assert_eq!(put(&mut store, "a", "3"), 1004);
    assert!(store.handle().compaction_hashes().is_empty(), "it was interrupted");
}

#[test]
fn leases_of_live_keys_are_reported() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    for (key, lease) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("b", 0), ("d", 5)] {
        let request = PutRequest { key: key.into(), lease, ..PutRequest::default() };
        store.put(&request, &|_| true).unwrap();
    }
    assert_eq!(store.delete_keys(vec!["c"]).unwrap().response, 1);
    store.backend().commit().unwrap();
    let (_, restored) = Store::open(backend(&base)).unwrap();
    let leased: Vec<_> = restored.leased.iter().map(|(key, lease)| (&key[..], *lease)).collect();
    assert_eq!(leased, [(&b"a"[..], 1), (b"d", 5)]);
    assert_eq!(restored.records, 7);
    let unknown = PutRequest { key: b"x".to_vec(), lease: 9, ..PutRequest::default() };
    let error = open(&base).put(&unknown, NO_LEASES).unwrap_err();
    assert_eq!((error.code(), error.is_fatal()), (Code::NotFound, false));
}

#[test]
fn a_value_put_after_its_deletion_in_one_revision_outlives_the_compaction() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    put(&mut store, "b", "1");
    let steps = [
        Request::RequestDeleteRange(DeleteRangeRequest {
            key: b"a".to_vec(),
            range_end: vec![0],
            prev_kv: false,
        }),
        Request::RequestPut(PutRequest {
            key: b"b".to_vec(),
            value: b"2".to_vec(),
            ..PutRequest::default()
        }),
    ];
    let success = steps.map(|step| RequestOp { request: Some(step) }).to_vec();
    let txn = TxnRequest { success, ..TxnRequest::default() };
    assert_eq!(store.txn(&txn, NO_LEASES).unwrap().revision, 3);
    store.schedule_compaction(3).unwrap();
    store.compact_batch(10).unwrap();
    assert_eq!(get(&store, "b", 0).as_deref(), Some("2"));
    store.backend().commit().unwrap();
    assert_eq!(get(&open(&base), "b", 0).as_deref(), Some("2"));
}

#[test]
fn hashes_of_compactions_name_the_one_before() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    let handle = store.handle();
    for step in 0..40 {
        put(&mut store, ["a", "b", "c"][step % 3], &step.to_string());
    }
    let fresh = handle.hashkv(20).unwrap();
    store.schedule_compaction(20).unwrap();
    while !matches!(store.compact_batch(3).unwrap(), Some(CompactionProgress::Finished { .. })) {}
    assert_eq!(handle.hashkv(20).unwrap(), fresh, "all records since the start");
    let at_thirty = handle.hashkv(30).unwrap();
    assert_eq!(at_thirty.compact_revision, 20);
    // The second one comes while the first still runs: its hash is not kept.
    store.schedule_compaction(30).unwrap();
    store.schedule_compaction(33).unwrap();
    assert_eq!(store.compactions_running(), 2);
    while store.compact_batch(3).unwrap().is_some() {}
    assert_eq!(handle.hashkv(30).unwrap(), at_thirty);
    let at_end = handle.hashkv(33).unwrap();
    assert_eq!(at_end.compact_revision, 33);
    assert_eq!(handle.compaction_hashes().len(), 2);
    assert!(matches!(handle.hashkv(31), Err(MvccError::Compacted)));
    assert!(matches!(handle.hashkv(99), Err(MvccError::FutureRevision)));
}

#[test]
fn a_reader_keeps_its_point_while_others_write_and_compact() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    let (old, handle) = (store.handle().reader(), store.handle());
    let scan_before = {
        put(&mut store, "a", "3");
        store.schedule_compaction(2).unwrap();
        store.compaction_scan().unwrap()
    };
    assert_eq!(old.get(b"a", 0).unwrap().unwrap().value, "2");
    assert_eq!(old.get(b"a", 2).unwrap().unwrap().value, "1");
    assert!(!old.is_overtaken());
    while store.compact_batch(10).unwrap().is_some() {}
    let stale = scan_before.run(10).unwrap();
    assert_eq!(store.apply_compaction(stale), CompactionProgress::Stale);
    store.schedule_compaction(4).unwrap();
    while store.compact_batch(10).unwrap().is_some() {}
    assert!(old.is_overtaken());
    assert!(matches!(old.get(b"a", 0), Err(MvccError::Compacted)));
    // Who asks for the current revision never sees that.
    let request = RangeRequest { key: b"a".to_vec(), ..RangeRequest::default() };
    assert_eq!(handle.range(&request).unwrap().kvs[0].value, "3");
}

#[test]
fn a_batch_is_applied_once_and_to_its_own_compaction() {
    let mut store = open(&MemoryBase::new());
    (0..9).for_each(|value| {
        put(&mut store, "a", &value.to_string());
    });
    store.schedule_compaction(5).unwrap();
    let scan = |store: &Store| store.compaction_scan().unwrap().run(3).unwrap();
    let (first, twin) = (scan(&store), scan(&store));
    assert_eq!(store.apply_compaction(first), CompactionProgress::Running { deleted: 3 });
    assert_eq!(store.apply_compaction(twin), CompactionProgress::Stale);
    let (second, late) = (scan(&store), scan(&store));
    let end = CompactionProgress::Finished { revision: 5, deleted: 0 };
    assert_eq!(store.apply_compaction(second), end);
    // The one after it begins at the first record as well.
    store.schedule_compaction(9).unwrap();
    assert_eq!(store.apply_compaction(late), CompactionProgress::Stale);
    let third = scan(&store);
    assert_eq!(store.apply_compaction(third), CompactionProgress::Running { deleted: 3 });
    assert_eq!(get(&store, "a", 0).as_deref(), Some("8"));
}

#[test]
fn damage_is_an_error() {
    let open_with = |key: &[u8], value: &'static [u8]| {
        let base = MemoryBase::new();
        let backend = backend(&base);
        let at = |main| crate::revision::Revision::new(main, 0).encode();
        backend.put(b"key", &at(5), Bytes::from_static(b"\x0a\x01a"));
        backend.put(b"key", key, Bytes::from_static(value));
        Store::open(backend).map(|_| ()).unwrap_err()
    };
    let tombstone = [&crate::revision::Revision::new(5, 0).encode()[..], b"t"].concat();
    assert!(matches!(open_with(&tombstone, b"\x0a\x01a"), OpenError::OutOfOrder { .. }));
    assert!(matches!(open_with(b"short", b""), OpenError::Record(_)));
    let far = crate::revision::Revision::new(7, 1 << 31).encode();
    assert!(matches!(open_with(&far, b"\x0a\x01a"), OpenError::Exhausted { .. }));
    let last = crate::revision::Revision::new(i64::MAX, 0).encode();
    assert!(matches!(open_with(&last, b"\x0a\x01a"), OpenError::Exhausted { .. }));
    let at = crate::revision::Revision::new(8, 0).encode();
    assert!(matches!(open_with(&at, b"\x0a"), OpenError::Record(_)));
}

#[test]
fn a_transaction_that_does_not_end_breaks_the_store() {
    let base = MemoryBase::new();
    let mut store = open(&base);
    let mut txn = store.write().unwrap();
    txn.put(b"a", b"1", 0).unwrap();
    drop(txn);
    assert_eq!(get(&store, "a", 0), None, "nobody sees it");
    assert!(store.write().unwrap_err().is_fatal());
}

#[test]
fn reads_are_told_from_writes() {
    let read = |serializable| {
        let range = RangeRequest { key: b"a".to_vec(), serializable, ..RangeRequest::default() };
        RequestOp { request: Some(Request::RequestRange(range)) }
    };
    let nested = Request::RequestTxn(TxnRequest::default());
    let of = |success| TxnRequest { success, ..TxnRequest::default() };
    assert!(is_read_only(&of(vec![read(true)])) && is_serializable(&of(vec![read(true)])));
    assert!(is_read_only(&of(vec![read(false)])) && !is_serializable(&of(vec![read(false)])));
    let nested = of(vec![RequestOp { request: Some(nested) }]);
    assert!(!is_read_only(&nested), "as upstream has it");
    let store = open(&MemoryBase::new());
    assert!(store.handle().read_txn(&of(vec![read(true)])).unwrap().succeeded);
}

#[test]
fn a_database_of_the_leaders_takes_the_place_of_ours() {
    let (ours, theirs) = (MemoryBase::new(), MemoryBase::new());
    let (mut store, mut leader) = (open(&ours), open(&theirs));
    for store in [&mut store, &mut leader] {
        put(store, "a", "1");
    }
    for value in 2..10 {
        put(&mut leader, "a", &value.to_string());
    }
    leader.schedule_compaction(5).unwrap();
    leader.backend().commit().unwrap();
    let (handle, old) = (store.handle(), store.handle().reader());
    put(&mut store, "a", "2");
    store.backend().replace_base(Box::new(theirs.fork())).unwrap();
    let restored = store.reload().unwrap();
    assert_eq!(restored.resumes_compaction, Some(5));
    assert_eq!((handle.revision(), handle.compacted()), (10, 5));
    assert_eq!(get(&store, "a", 0).as_deref(), Some("9"));
    assert!(matches!(old.get(b"a", 0), Err(MvccError::Compacted)), "a new reader is to be taken");
    assert_eq!(put(&mut store, "a", "mine"), 11);
    assert_eq!(get(&leader, "a", 0).as_deref(), Some("9"));
}
