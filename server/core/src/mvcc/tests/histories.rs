//! Random histories: every answer, event and old revision, across compactions and restarts.

use super::model::Model;
use crate::backend::{Backend, MemoryBase};
use crate::compaction::ScanError;
use crate::hashkv::{HashScope, RecordSource, hashkv};
use crate::mvcc::{
    CompactionProgress, HistoryLimits, KvHash, MvccError, RangeStream, Store, check_txn,
};
use crate::record::Record;
use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use holdfast_api::mvccpb::Event;
use proptest::prelude::*;
use std::ops::ControlFlow;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    /// At a share of the revisions.
    Compact(u8),
    /// A batch of so many records.
    Batch(usize),
    Commit,
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-f]".prop_map(String::into_bytes),
        "[a-c][a-c]".prop_map(String::into_bytes),
        Just(b"a\xff".to_vec()),
    ]
}

fn end() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![0]), 3 => key()]
}

fn put() -> impl Strategy<Value = PutRequest> {
    let flags = (any::<bool>(), 0u8..8);
    (key(), "[x-z]{0,4}", 0i64..100, flags).prop_map(|(key, value, lease, (prev_kv, keeps))| {
        let (ignore_value, ignore_lease) = (keeps == 0 || keeps == 2, keeps == 1 || keeps == 2);
        let value = if ignore_value { Vec::new() } else { value.into_bytes() };
        let lease = if ignore_lease || lease < 60 { 0 } else { lease };
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    })
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

pub(crate) fn range() -> impl Strategy<Value = RangeRequest> {
    let order = (0i32..3, 0i32..5);
    let bounds = proptest::option::weighted(0.2, (0i64..12, 0i64..12, 0i64..12, 0i64..12));
    let shape = (-1i64..5, -2i64..40, any::<bool>(), 0u8..5);
    (key(), end(), shape, order, bounds).prop_map(|(key, range_end, shape, order, bounds)| {
        let (limit, revision, keys_only, count) = shape;
        let bounds = bounds.unwrap_or_default();
        RangeRequest {
            key,
            range_end,
            limit,
            revision: if revision > 25 { 0 } else { revision },
            sort_order: order.0,
            sort_target: order.1,
            keys_only,
            count_only: count == 0,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
            ..RangeRequest::default()
        }
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let operand = (0i32..5, 0i64..4, "[x-z]{0,2}");
    (key(), end(), 0i32..4, operand).prop_map(|(key, range_end, result, operand)| {
        let (target, number, value) = operand;
        let union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(value.into_bytes()),
            _ => TargetUnion::Lease(number * 30),
        };
        Compare { result, target, key, range_end, target_union: Some(union) }
    })
}

fn step(depth: u32) -> BoxedStrategy<RequestOp> {
    let request = |request| RequestOp { request: Some(request) };
    let leaf = prop_oneof![
        2 => range().prop_map(Request::RequestRange),
        3 => put().prop_map(Request::RequestPut),
        2 => delete().prop_map(Request::RequestDeleteRange),
    ];
    if depth == 0 {
        return leaf.prop_map(request).boxed();
    }
    prop_oneof![4 => leaf, 1 => txn(depth - 1).prop_map(Request::RequestTxn)]
        .prop_map(request)
        .boxed()
}

fn txn(depth: u32) -> BoxedStrategy<TxnRequest> {
    let steps = move || proptest::collection::vec(step(depth), 0..4);
    (proptest::collection::vec(compare(), 0..3), steps(), steps())
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
        .boxed()
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => put().prop_map(Op::Put),
        2 => delete().prop_map(Op::Delete),
        4 => txn(2).prop_map(Op::Txn),
        1 => any::<u8>().prop_map(Op::Compact),
        2 => (1usize..8).prop_map(Op::Batch),
        1 => Just(Op::Commit),
        1 => Just(Op::Reopen),
    ]
}

fn text<T>(result: Result<T, MvccError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn named<T>(result: Result<T, &'static str>) -> Result<T, String> {
    result.map_err(str::to_owned)
}

/// A store and its model, led through the same operations.
pub(crate) struct Both {
    base: MemoryBase,
    pub(crate) store: Store,
    pub(crate) model: Model,
}

impl Both {
    pub(crate) fn new() -> Both {
        let base = MemoryBase::new();
        Both { store: open(&base), base, model: Model::new() }
    }

    /// A store that stands elsewhere; it must not be reopened.
    pub(crate) fn of(store: Store, model: Model) -> Both {
        Both { store, base: MemoryBase::new(), model }
    }

    /// Applies an operation to both and compares; the events of it.
    pub(crate) fn apply(&mut self, op: &Op) -> Vec<Event> {
        let exists = |lease: i64| lease <= 90;
        let (revision, events) = match op {
            Op::Put(put) => {
                let got = text(self.store.put(put, &exists));
                let want = named(self.model.put(put));
                // A lease is looked up before anything else.
                if put.lease > 90 {
                    assert_eq!(got.unwrap_err(), "etcdserver: requested lease not found");
                    return self.model.end();
                }
                assert_eq!(got.as_ref().map(|done| &done.response), want.as_ref());
                got.map_or((0, Vec::new()), |done| (done.revision, done.events))
            }
            Op::Delete(delete) => {
                let done = self.store.delete_range(delete).unwrap();
                assert_eq!(done.response, self.model.delete(delete));
                (done.revision, done.events)
            }
            Op::Txn(txn) => {
                if check_txn(txn, 128).is_err() {
                    return Vec::new();
                }
                let got = text(self.store.txn(txn, &exists));
                let want = named(self.model.txn(txn));
                assert_eq!(got.as_ref().map(|done| &done.response), want.as_ref());
                got.map_or((0, Vec::new()), |done| (done.revision, done.events))
            }
            Op::Compact(share) => {
                self.compact(*share);
                (0, Vec::new())
            }
            Op::Batch(limit) => {
                self.store.compact_batch(*limit).unwrap();
                (0, Vec::new())
            }
            Op::Commit => {
                self.store.backend().commit().unwrap();
                (0, Vec::new())
            }
            Op::Reopen => {
                self.store.backend().commit().unwrap();
                self.store = open(&self.base);
                (0, Vec::new())
            }
        };
        let want = self.model.end();
        assert_eq!(events, want);
        assert!(revision == 0 || revision == self.model.revision());
        assert_eq!(self.store.revision(), self.model.revision());
        assert_eq!(self.store.compacted(), self.model.compacted);
        events
    }

    /// Whether some transaction changed a key twice: of that a compaction at its revision keeps the
    /// second change only.
    pub(crate) fn twice_in_one_revision(&self) -> bool {
        self.model.events.iter().any(|events| {
            let mut keys: Vec<_> =
                events.iter().map(|event| event.kv.as_ref().unwrap().key.clone()).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
        })
    }

    fn compact(&mut self, share: u8) {
        let at = self.model.revision() * i64::from(share) / 250;
        let want = if at <= self.model.compacted {
            Err("etcdserver: mvcc: required revision has been compacted".to_owned())
        } else if at > self.model.revision() {
            Err("etcdserver: mvcc: required revision is a future revision".to_owned())
        } else {
            self.model.compacted = at;
            Ok(())
        };
        assert_eq!(text(self.store.schedule_compaction(at)), want);
    }

    /// The history from the compaction on, in batches.
    fn check_history(&self, limits: HistoryLimits) {
        let reader = self.store.handle().reader();
        let mut next = self.model.compacted.max(0);
        let mut got: Vec<Event> = Vec::new();
        while next <= reader.revision() {
            let batch = reader.history(next, limits, |key| key[0] != b'b').unwrap();
            assert!(batch.next > next);
            let main = |event: &Event| event.kv.as_ref().unwrap().mod_revision;
            assert!(batch.events.iter().all(|event| (next..batch.next).contains(&main(event))));
            got.extend(batch.events);
            next = batch.next;
        }
        let all =
            self.model.events.iter().skip(usize::try_from(self.model.compacted.max(0)).unwrap());
        let wanted = |event: &&Event| event.kv.as_ref().unwrap().key[0] != b'b';
        let want: Vec<Event> = all.flatten().filter(wanted).cloned().collect();
        // At the compaction revision itself a key's older record of the same revision may be gone.
        let above = |events: &[Event]| -> Vec<Event> {
            let later =
                |event: &&Event| event.kv.as_ref().unwrap().mod_revision > self.model.compacted;
            events.iter().filter(later).cloned().collect()
        };
        assert_eq!(above(&got), above(&want));
        assert!(reader.history(self.model.compacted - 1, limits, |_| true).is_err());
    }

    /// HashKV by the offline rule over the records that are there.
    fn check_hash(&self, revision: i64) {
        let handle = self.store.handle();
        let reader = handle.reader();
        let got = reader.hashkv(revision).unwrap();
        let compact_revision = self.model.compacted;
        let asked = if revision == 0 { self.model.revision() } else { revision };
        let want =
            hashkv(&Records::of(&self.store), HashScope { revision: asked, compact_revision });
        assert_eq!(got, KvHash { hash: want.unwrap(), revision: asked, compact_revision });
    }
}

impl Both {
    /// Everything that can be asked for, and what a compaction to its end leaves.
    pub(crate) fn check_all(&mut self) {
        let all = |revision| RangeRequest {
            key: b"\0".to_vec(),
            range_end: vec![0],
            revision,
            ..RangeRequest::default()
        };
        for revision in self.model.compacted.max(0)..=self.model.revision() {
            check_ranges(self, &[all(revision)]);
            self.check_hash(revision);
        }
        self.check_history(HistoryLimits { revisions: 3, bytes: 1 << 20 });
        self.check_history(HistoryLimits { revisions: 100, bytes: 1 });
        while let Some(progress) = self.store.compact_batch(2).unwrap() {
            assert_ne!(progress, CompactionProgress::Stale);
        }
        self.check_hash(0);
        let compacted = self.model.compacted;
        if compacted < 1 {
            return;
        }
        // Of what is compacted the live keys are left, and tombstones at the revision itself.
        let alive = self.model.range(&all(compacted)).unwrap().count;
        let records = Records::of(&self.store);
        let old = records.0.iter().filter(|(key, value)| {
            let at = Record::parse(key, value).unwrap().at;
            let main = at.revision.main;
            main < compacted || (main == compacted && !at.tombstone)
        });
        assert_eq!(i64::try_from(old.count()).unwrap(), alive);
    }
}

fn open(base: &MemoryBase) -> Store {
    Store::open(Backend::new(Box::new(base.clone())).unwrap()).unwrap().0
}

struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn of(store: &Store) -> Records {
        let mut records = Vec::new();
        let view = store.backend().view();
        view.scan(b"key", &[], None, &mut |key, value| {
            records.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        Records(records)
    }
}

impl RecordSource for Records {
    type Error = ScanError;

    fn scan(
        &self,
        visit: &mut dyn FnMut(Record<'_>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.0.iter().try_for_each(|(key, value)| visit(Record::parse(key, value)?))
    }
}

fn check_ranges(both: &Both, ranges: &[RangeRequest]) {
    let handle = both.store.handle();
    for request in ranges {
        let want = named(both.model.range(request));
        assert_eq!(text(handle.range(request)), want, "{request:?}");
        let plain = RangeRequest { sort_order: 0, sort_target: 0, ..request.clone() };
        let plain = RangeRequest {
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
            limit: plain.limit.max(0),
            ..plain
        };
        let Ok(want) = both.model.range(&plain) else { continue };
        let stream = RangeStream::new(handle.reader(), plain, 40);
        let pieces: Vec<_> = stream.map(Result::unwrap).collect();
        let kvs: Vec<_> = pieces.iter().flat_map(|piece| piece.kvs.clone()).collect();
        assert_eq!(kvs, want.kvs);
        let (last, others) = pieces.split_last().unwrap();
        assert_eq!((&last.header, last.more, last.count), (&want.header, want.more, want.count));
        assert!(others.iter().all(|piece| piece.header.is_none() && piece.count == 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_store_answers_as_its_model(
        ops in proptest::collection::vec((op(), proptest::collection::vec(range(), 0..3)), 0..60),
    ) {
        let mut both = Both::new();
        for (op, ranges) in &ops {
            both.apply(op);
            check_ranges(&both, ranges);
        }
        both.check_all();
        both.store.backend().commit().unwrap();
        let index = both.store.handle().index_keys();
        let reopened = open(&both.base);
        prop_assert_eq!(reopened.handle().index_keys(), index);
        prop_assert_eq!(reopened.revision(), both.model.revision());
    }
}
