//! The same random history on our store and on etcd 3.6: every answer, every error, HashKV at old
//! revisions and after compactions, and the events of a watch.

use crate::json;
use crate::peers::{Etcd, Ports};
use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use holdfast_core::backend::{Backend, MemoryBase};
use holdfast_core::mvcc::{
    HistoryLimits, MvccError, Store, check_delete_range, check_put, check_range, check_txn,
    is_read_only,
};
use serde_json::Value;

const LEASE: i64 = 77;
const STEPS: usize = 1_500;

/// A small generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }

    fn number(&mut self, limit: u64) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }

    fn size(&mut self, limit: u64) -> usize {
        usize::try_from(self.below(limit)).unwrap()
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// One of ten keys, now and then none: with so few upstream sorts equal ones stably.
    fn key(&mut self) -> Vec<u8> {
        let keys = ["a", "b", "ba", "bb", "c", "ca", "d", "e", "f", "f0"];
        if self.one_in(60) { Vec::new() } else { keys[self.size(10)].into() }
    }

    fn end(&mut self) -> Vec<u8> {
        match self.below(6) {
            0 => vec![0],
            1..3 => self.key(),
            _ => Vec::new(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        vec![b'v'; self.size(4)]
    }

    fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.one_in(8), self.one_in(8));
        let lease = if self.one_in(5) { LEASE + i64::from(self.one_in(8)) } else { 0 };
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(6) { Vec::new() } else { self.value() },
            lease: if ignore_lease && !self.one_in(6) { 0 } else { lease },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let range_end = if self.one_in(2) { self.end() } else { Vec::new() };
        DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.one_in(2) }
    }

    fn range(&mut self, revision: i64) -> RangeRequest {
        let at = if self.one_in(2) { 0 } else { self.number(revision.unsigned_abs() + 3) - 1 };
        let bounded = self.one_in(4);
        let mut bound = || if bounded && self.one_in(2) { self.number(40) } else { 0 };
        let bounds = [bound(), bound(), bound(), bound()];
        let count_only = self.one_in(6);
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: self.number(5) - 1,
            revision: at,
            sort_order: i32::try_from(self.below(3)).unwrap(),
            sort_target: i32::try_from(self.below(5)).unwrap(),
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only,
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        }
    }

    fn compare(&mut self) -> Compare {
        let target = i32::try_from(self.below(5)).unwrap();
        let number = self.number(4);
        let union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number * 10),
            2 => TargetUnion::ModRevision(number * 10),
            3 => TargetUnion::Value(self.value()),
            _ => TargetUnion::Lease(number * 30),
        };
        Compare {
            result: i32::try_from(self.below(4)).unwrap(),
            target,
            key: self.key(),
            range_end: self.end(),
            target_union: Some(union),
        }
    }

    fn txn(&mut self, revision: i64, depth: u32) -> TxnRequest {
        let compare = (0..self.below(3)).map(|_| self.compare()).collect();
        let [success, failure] = [(); 2]
            .map(|()| (0..self.below(4)).map(|_| self.step(revision, depth)).collect::<Vec<_>>());
        TxnRequest { compare, success, failure }
    }

    fn step(&mut self, revision: i64, depth: u32) -> RequestOp {
        let request = match self.below(10) {
            0..3 => Request::RequestRange(self.range(revision)),
            3..7 => Request::RequestPut(self.put()),
            7 => {
                let mut delete = self.delete();
                // From a key on and a put in one transaction: upstream then stops for ever, see
                // mvcc/compact.rs.
                delete.range_end.retain(|byte| *byte != 0);
                Request::RequestDeleteRange(delete)
            }
            _ if depth > 0 => Request::RequestTxn(self.txn(revision, depth - 1)),
            _ => Request::RequestPut(self.put()),
        };
        RequestOp { request: Some(request) }
    }
}

/// Upstream's answer without what is its own.
fn plain(mut answer: Value) -> Value {
    if let Some(header) = answer.get_mut("header").and_then(Value::as_object_mut) {
        header.retain(|name, _| name == "revision");
    }
    answer.as_object_mut().unwrap().remove("details");
    answer
}

fn ours<T>(answer: Result<T, MvccError>, to_json: impl FnOnce(&T) -> Value) -> Value {
    match answer {
        Ok(answer) => to_json(&answer),
        Err(error) => serde_json::json!({"code": error.code() as u8, "message": error.to_string()}),
    }
}

struct Pair {
    etcd: Etcd,
    store: Store,
    dice: Dice,
    refused: usize,
}

impl Pair {
    fn compare(&mut self, path: &str, request: &Value, ours: &Value) {
        let theirs = plain(self.etcd.answer(path, request));
        assert_eq!(*ours, theirs, "{path} {request}");
        self.refused += usize::from(theirs["code"].is_number());
    }

    fn step(&mut self) {
        let exists = |lease: i64| lease == LEASE;
        let revision = self.store.revision();
        match self.dice.below(20) {
            0..6 => {
                let put = self.dice.put();
                let got = check_put(&put).and_then(|()| self.store.put(&put, &exists));
                let got = ours(got, |done| json::put_answer(&done.response));
                self.compare("/v3/kv/put", &json::put(&put), &got);
            }
            6 => {
                let delete = self.dice.delete();
                let got = check_delete_range(&delete);
                let got = got.and_then(|()| self.store.delete_range(&delete));
                let got = ours(got, |done| json::delete_answer(&done.response));
                self.compare("/v3/kv/deleterange", &json::delete(&delete), &got);
            }
            7..12 => {
                let txn = self.dice.txn(revision, 2);
                let got = check_txn(&txn, 128).and_then(|()| {
                    if is_read_only(&txn) {
                        return self.store.handle().read_txn(&txn);
                    }
                    self.store.txn(&txn, &exists).map(|done| done.response)
                });
                self.compare("/v3/kv/txn", &json::txn(&txn), &ours(got, json::txn_answer));
            }
            _ => {
                let range = self.dice.range(revision);
                let got = check_range(&range).and_then(|()| self.store.handle().range(&range));
                self.compare("/v3/kv/range", &json::range(&range), &ours(got, json::range_answer));
            }
        }
    }

    fn compact(&mut self, revision: i64) {
        let got = self.store.schedule_compaction(revision);
        let current = self.store.revision().to_string();
        let got = ours(got, |()| serde_json::json!({"header": {"revision": current}}));
        let request = serde_json::json!({"revision": revision.to_string(), "physical": true});
        self.compare("/v3/kv/compaction", &request, &got);
        while self.store.compact_batch(7).unwrap().is_some() {}
    }

    fn compare_hashes(&mut self) {
        let handle = self.store.handle();
        let (compacted, current) = (handle.compacted().max(1), handle.revision());
        let asked = [0, current, current + 1, compacted, compacted - 1, (compacted + current) / 2];
        for revision in asked {
            let request = serde_json::json!({"revision": revision.to_string()});
            let got = ours(handle.hashkv(revision), |hash| {
                serde_json::json!({
                    "header": {"revision": current.to_string()}, "hash": hash.hash,
                    "compact_revision": hash.compact_revision.to_string(),
                    "hash_revision": hash.revision.to_string(),
                })
            });
            self.compare("/v3/maintenance/hashkv", &request, &got);
        }
    }
}

#[test]
fn our_store_answers_as_etcd_does() {
    let root = tempfile::tempdir().unwrap();
    let etcd = Etcd::start("3.6", &root.path().join("source"), Ports::free(), &[]);
    etcd.grant(LEASE, 100_000);
    let backend = Backend::new(Box::new(MemoryBase::new())).unwrap();
    let store = Store::open(backend).unwrap().0;
    let mut pair = Pair { etcd, store, dice: Dice(0x6d76_6363), refused: 0 };
    for step in 1..=STEPS {
        pair.step();
        if step % 100 == 0 {
            let revision = pair.store.revision();
            pair.compare_hashes();
            pair.compact(revision - 20);
            pair.compare_hashes();
            pair.compact(revision + 1);
        }
    }
    assert!(pair.store.revision() > 200, "{}", pair.store.revision());
    assert!(pair.refused > 50, "{} of the requests were refused", pair.refused);
    let (reader, last) = (pair.store.handle().reader(), pair.store.revision());
    let limits = HistoryLimits { revisions: 1_000_000, bytes: usize::MAX };
    let history = reader.history(reader.compacted(), limits, |_| true).unwrap();
    let events: Vec<Value> = history.events.iter().map(json::event).collect();
    assert_eq!(events, pair.etcd.events(reader.compacted(), last));
    let everything = DeleteRangeRequest { key: vec![0], range_end: vec![0], prev_kv: false };
    pair.store.delete_range(&everything).unwrap();
    pair.etcd.call("/v3/kv/deleterange", &json::delete(&everything));
    pair.compare_hashes();
    pair.compact(pair.store.revision());
    pair.compare_hashes();
}
