//! A transaction of the single writer.

use bytes::Bytes;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
};
use holdfast_api::mvccpb::event::EventType;
use holdfast_api::mvccpb::{Event, KeyValue};

use super::history::MAX_SUB;
use super::index::KeyRange;
use super::range::header;
use super::reader::decode;
use super::store::{Store, put_response};
use super::{Applied, MvccError, Reader};
use crate::backend::{exclusive, shared};
use crate::buckets::KEY;
use crate::record;
use crate::revision::{BucketKey, Revision};

/// A transaction: its reads see its writes, nobody else does before [`WriteTxn::finish`]. One that
/// changed something and is dropped instead breaks the store.
#[derive(Debug)]
pub struct WriteTxn<'s> {
    store: &'s mut Store,
    begin: i64,
    reader: Reader,
    events: Vec<Event>,
}

impl<'s> WriteTxn<'s> {
    pub(super) fn new(store: &'s mut Store) -> WriteTxn<'s> {
        let state = shared(&store.shared.state);
        let (begin, compacted) = (state.revision, state.compacted);
        drop(state);
        let view = store.shared.backend.latest();
        let reader = Reader::new(store.shared.clone(), view, begin, compacted);
        WriteTxn { store, begin, reader, events: Vec::new() }
    }

    /// The point as of now: its own writes included.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The revision that its writes have.
    pub fn main(&self) -> i64 {
        self.begin + 1
    }

    /// Puts a key.
    ///
    /// # Errors
    /// A fatal one.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Result<(), MvccError> {
        let at = self.next()?;
        let mut state = exclusive(&self.store.shared.state);
        let before = state.index.get(key);
        let alive = before.filter(|history| !history.newest().is_tombstone());
        let (created, version) = alive
            .map_or((at.main, 1), |history| (history.created, history.version.saturating_add(1)));
        state.index.put(key, at, created, version);
        drop(state);
        let kv = record::KeyValue {
            key,
            create_revision: created,
            mod_revision: at.main,
            version,
            value,
            lease,
        };
        let bytes = Bytes::from(kv.to_bytes());
        let backend = &self.store.shared.backend;
        backend.put(KEY, &BucketKey::put(at).encode(), bytes.clone());
        self.changed(EventType::Put, decode(at, bytes)?);
        Ok(())
    }

    /// Deletes the keys of a range, in their order; how many there were.
    ///
    /// # Errors
    /// A fatal one.
    pub fn delete(&mut self, range: KeyRange<'_>) -> Result<i64, MvccError> {
        let keys = self.reader.keys(range, 0)?;
        for key in &keys {
            let at = self.next()?;
            exclusive(&self.store.shared.state).index.delete(key, at);
            let tombstone = record::KeyValue { key, ..record::KeyValue::default() };
            let bytes = Bytes::from(tombstone.to_bytes());
            let backend = &self.store.shared.backend;
            backend.put(KEY, &BucketKey::tombstone(at).encode(), bytes.clone());
            let kv = KeyValue { mod_revision: at.main, ..decode(at, bytes)? };
            self.changed(EventType::Delete, kv);
        }
        Ok(i64::try_from(keys.len()).unwrap_or(i64::MAX))
    }

    /// Makes the changes visible. Without any the revision stays.
    pub fn finish<T>(self, response: T) -> Applied<T> {
        let WriteTxn { store, begin, events, .. } = self;
        if events.is_empty() {
            return Applied { response, revision: begin, events };
        }
        let mut state = exclusive(&store.shared.state);
        store.shared.backend.publish();
        state.revision = begin + 1;
        drop(state);
        store.broken = false;
        Applied { response, revision: begin + 1, events }
    }

    /// Answers a put request.
    pub(super) fn put_request(&mut self, request: &PutRequest) -> Result<PutResponse, MvccError> {
        let keeps = request.ignore_value || request.ignore_lease;
        let previous =
            if keeps || request.prev_kv { self.reader.get(&request.key, 0)? } else { None };
        if keeps && previous.is_none() {
            return Err(MvccError::KeyNotFound);
        }
        let (mut value, mut lease) = (&request.value[..], request.lease);
        if let Some(previous) = &previous {
            value = if request.ignore_value { &previous.value } else { value };
            lease = if request.ignore_lease { previous.lease } else { lease };
        }
        self.put(&request.key, value, lease)?;
        let mut response = put_response(self.main());
        response.prev_kv = previous.filter(|_| request.prev_kv);
        Ok(response)
    }

    /// Answers a delete request.
    pub(super) fn delete_request(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, MvccError> {
        let range = KeyRange::of_request(&request.key, &request.range_end);
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            for revision in self.reader.find(range, 0, 0, true)?.revisions {
                prev_kvs.push(self.reader.record(revision)?);
            }
        }
        let deleted = self.delete(range)?;
        Ok(DeleteRangeResponse { header: header(self.reader.revision), deleted, prev_kvs })
    }

    fn next(&mut self) -> Result<Revision, MvccError> {
        let sub = i64::try_from(self.events.len()).unwrap_or(i64::MAX);
        if sub > MAX_SUB || self.begin == i64::MAX {
            return Err(MvccError::HalfWay { reason: "revisions are used up".to_owned() });
        }
        self.store.broken = true;
        Ok(Revision::new(self.begin + 1, sub))
    }

    fn changed(&mut self, kind: EventType, kv: KeyValue) {
        self.events.push(Event { r#type: kind.into(), kv: Some(kv), prev_kv: None });
        self.reader.revision = self.begin + 1;
    }
}
