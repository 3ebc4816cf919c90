//! The model: a copy of all keys for each revision, and requests answered from those by the book.

use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use holdfast_api::mvccpb::{Event, KeyValue};
use std::collections::BTreeMap;

pub(crate) type Keys = BTreeMap<Vec<u8>, KeyValue>;

/// A store that forgets nothing; what is compacted it refuses.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// State at each revision, from 1.
    states: Vec<Keys>,
    /// Events of each revision, from 1.
    pub(crate) events: Vec<Vec<Event>>,
    pub(crate) compacted: i64,
    /// Of the transaction that runs.
    now: Keys,
    changes: Vec<Event>,
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            states: vec![Keys::new(); 2],
            events: vec![Vec::new(); 2],
            compacted: -1,
            now: Keys::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        i64::try_from(self.states.len()).unwrap() - 1
    }

    /// Ends the transaction: a revision is taken if anything changed.
    pub(crate) fn end(&mut self) -> Vec<Event> {
        let changes = std::mem::take(&mut self.changes);
        if !changes.is_empty() {
            self.states.push(self.now.clone());
            self.events.push(changes.clone());
        }
        changes
    }

    fn current(&self) -> i64 {
        self.revision() + i64::from(!self.changes.is_empty())
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, &'static str> {
        if request.revision > self.current() {
            return Err("etcdserver: mvcc: required revision is a future revision");
        }
        let at = if request.revision <= 0 { self.current() } else { request.revision };
        if at < self.compacted {
            return Err("etcdserver: mvcc: required revision has been compacted");
        }
        let state = self.states.get(usize::try_from(at).unwrap()).unwrap_or(&self.now);
        let state = if at == self.current() { &self.now } else { state };
        let all: Vec<&KeyValue> =
            state.values().filter(|kv| within(&kv.key, &request.key, &request.range_end)).collect();
        let count = i64::try_from(all.len()).unwrap();
        let mut response =
            RangeResponse { header: header(self.current()), count, ..RangeResponse::default() };
        if request.count_only {
            return Ok(response);
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let bounds = [
            (request.min_mod_revision, request.max_mod_revision),
            (request.min_create_revision, request.max_create_revision),
        ];
        let mut kvs: Vec<KeyValue> = all.into_iter().cloned().collect();
        if let Some(limit) = limit
            && request.sort_order == 0
            && bounds == [(0, 0); 2]
        {
            kvs.truncate(limit + 1);
        }
        let inside =
            |value: i64, (min, max): (i64, i64)| value >= min && (max == 0 || value <= max);
        kvs.retain(|kv| {
            inside(kv.mod_revision, bounds[0]) && inside(kv.create_revision, bounds[1])
        });
        let by = |kv: &KeyValue| match request.sort_target {
            0 => (0, kv.key.to_vec()),
            1 => (kv.version, vec![]),
            2 => (kv.create_revision, vec![]),
            3 => (kv.mod_revision, vec![]),
            _ => (0, kv.value.to_vec()),
        };
        if request.sort_order == 2 {
            kvs.sort_by_key(|kv| std::cmp::Reverse(by(kv)));
        } else if request.sort_order == 1 || request.sort_target != 0 {
            kvs.sort_by_key(by);
        }
        if let Some(limit) = limit {
            response.more = kvs.len() > limit;
            kvs.truncate(limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        response.kvs = kvs;
        Ok(response)
    }

    pub(crate) fn put(&mut self, request: &PutRequest) -> Result<PutResponse, &'static str> {
        let previous = self.now.get(&request.key).cloned();
        if (request.ignore_value || request.ignore_lease) && previous.is_none() {
            return Err("etcdserver: key not found");
        }
        if request.lease > 90 {
            return Err("etcdserver: requested lease not found");
        }
        let main = self.revision() + 1;
        let mut kv = KeyValue {
            key: request.key.clone().into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: request.value.clone().into(),
            lease: request.lease,
        };
        if let Some(previous) = &previous {
            kv.create_revision = previous.create_revision;
            kv.version = previous.version + 1;
            if request.ignore_value {
                kv.value = previous.value.clone();
            }
            if request.ignore_lease {
                kv.lease = previous.lease;
            }
        }
        self.now.insert(request.key.clone(), kv.clone());
        self.changes.push(Event { r#type: 0, kv: Some(kv), prev_kv: None });
        let prev_kv = previous.filter(|_| request.prev_kv);
        Ok(PutResponse { header: header(main), prev_kv })
    }

    pub(crate) fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let keys: Vec<Vec<u8>> = self.now.keys().cloned().collect();
        let main = self.revision() + 1;
        let mut prev_kvs = Vec::new();
        for key in keys {
            if !within(&key, &request.key, &request.range_end) {
                continue;
            }
            prev_kvs.extend(self.now.remove(&key));
            let kv = KeyValue { key: key.into(), mod_revision: main, ..KeyValue::default() };
            self.changes.push(Event { r#type: 1, kv: Some(kv), prev_kv: None });
        }
        let deleted = i64::try_from(prev_kvs.len()).unwrap();
        if !request.prev_kv {
            prev_kvs.clear();
        }
        DeleteRangeResponse { header: header(self.current()), deleted, prev_kvs }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let zero = KeyValue::default();
        let mut kvs: Vec<&KeyValue> = self
            .now
            .values()
            .filter(|kv| within(&kv.key, &compare.key, &compare.range_end))
            .collect();
        if kvs.is_empty() {
            if compare.target == 3 {
                return false;
            }
            kvs.push(&zero);
        }
        kvs.iter().all(|kv| {
            let order = match compare.target_union.as_ref().unwrap() {
                TargetUnion::Version(version) => kv.version.cmp(version),
                TargetUnion::CreateRevision(revision) => kv.create_revision.cmp(revision),
                TargetUnion::ModRevision(revision) => kv.mod_revision.cmp(revision),
                TargetUnion::Value(value) => kv.value[..].cmp(&value[..]),
                TargetUnion::Lease(lease) => kv.lease.cmp(lease),
            };
            match compare.result {
                0 => order.is_eq(),
                1 => order.is_gt(),
                2 => order.is_lt(),
                _ => order.is_ne(),
            }
        })
    }

    /// Applies a transaction: on a copy, so that an error changes nothing. All conditions see the
    /// state before.
    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, &'static str> {
        let before = self.clone();
        let mut copy = self.clone();
        let mut response = copy.steps(&before, request)?;
        response.header = header(copy.current());
        *self = copy;
        Ok(response)
    }

    fn steps(&mut self, before: &Model, txn: &TxnRequest) -> Result<TxnResponse, &'static str> {
        let succeeded = txn.compare.iter().all(|compare| before.holds(compare));
        let mut responses = Vec::new();
        for step in if succeeded { &txn.success } else { &txn.failure } {
            let response = match step.request.as_ref().unwrap() {
                Request::RequestRange(range) => {
                    // What is asked for is checked against the state before.
                    let compacted = before.compacted;
                    if range.revision > before.revision() {
                        return Err("etcdserver: mvcc: required revision is a future revision");
                    }
                    if range.revision != 0 && range.revision < compacted {
                        return Err("etcdserver: mvcc: required revision has been compacted");
                    }
                    Response::ResponseRange(self.range(range)?)
                }
                Request::RequestPut(put) => {
                    let keeps = put.ignore_value || put.ignore_lease;
                    if keeps && !before.now.contains_key(&put.key) {
                        return Err("etcdserver: key not found");
                    }
                    Response::ResponsePut(self.put(put)?)
                }
                Request::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(self.delete(delete))
                }
                Request::RequestTxn(nested) => Response::ResponseTxn(self.steps(before, nested)?),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }
}
