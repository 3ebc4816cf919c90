//! Puts objects into a running etcd, and reads back everything that is in one.
//!
//! Must hold: two clusters are equal when their [`Contents`] are: each key with value, versions,
//! revisions and lease. Nothing is read twice at different revisions.

use crate::objects::Object;
use futures::stream::{self, StreamExt, TryStreamExt};
use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::{
    CompactionRequest, HashKvRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op,
};
use holdfast_api::mvccpb::KeyValue;
use std::collections::BTreeMap;

/// Requests in flight while a store is filled.
const IN_FLIGHT: usize = 64;
/// Keys a page holds when everything is read.
const PAGE: i64 = 500;

/// Everything readable in a cluster at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The revision it was read at.
    pub revision: i64,
    /// All records alive, by key.
    pub records: BTreeMap<Vec<u8>, KeyValue>,
}

impl Contents {
    /// The first few differences, in words; empty when both hold the same records.
    pub fn differences(&self, other: &Contents) -> Vec<String> {
        let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let missing =
            self.records.iter().filter_map(|(key, record)| match other.records.get(key) {
                None => Some(format!("{} is missing", name(key))),
                Some(found) if found != record => Some(format!("{} differs", name(key))),
                Some(_) => None,
            });
        let extra = other.records.keys().filter(|key| !self.records.contains_key(*key));
        missing.chain(extra.map(|key| format!("{} is new", name(key)))).take(10).collect()
    }

    /// Key and value bytes.
    pub fn bytes(&self) -> u64 {
        self.records.values().map(|record| (record.key.len() + record.value.len()) as u64).sum()
    }
}

/// Puts objects, `per_txn` in each transaction (1: a plain put each), many transactions at once.
///
/// # Errors
/// The first refusal.
pub async fn put(
    client: &Client,
    objects: impl Iterator<Item = Object>,
    per_txn: usize,
) -> Result<u64, ClientError> {
    let mut objects = objects.peekable();
    let batches = std::iter::from_fn(|| {
        objects.peek()?;
        Some(objects.by_ref().take(per_txn.max(1)).collect::<Vec<_>>())
    });
    stream::iter(batches)
        .map(|batch| async move {
            let count = batch.len() as u64;
            put_batch(client, batch).await.map(|()| count)
        })
        .buffer_unordered(IN_FLIGHT)
        .try_fold(0, |sum, count| async move { Ok(sum + count) })
        .await
}

async fn put_batch(client: &Client, batch: Vec<Object>) -> Result<(), ClientError> {
    let request = |object: Object| PutRequest {
        key: object.key.into_bytes(),
        value: object.value,
        ..PutRequest::default()
    };
    if batch.len() == 1 {
        let put = batch.into_iter().map(request).next().expect("one object");
        return client.check("Put", client.kv().put(put).await).map(|_| ());
    }
    let step =
        |object| RequestOp { request: Some(request_op::Request::RequestPut(request(object))) };
    let txn =
        TxnRequest { success: batch.into_iter().map(step).collect(), ..TxnRequest::default() };
    client.check("Txn", client.kv().txn(txn).await).map(|_| ())
}

/// Reads everything at the current revision.
///
/// # Errors
/// The cluster does not answer, or compacted under us.
pub async fn read(client: &Client) -> Result<Contents, ClientError> {
    let mut contents = Contents { revision: 0, records: BTreeMap::new() };
    let mut from = vec![0];
    loop {
        let page = RangeRequest {
            key: from,
            range_end: vec![0],
            limit: PAGE,
            revision: contents.revision,
            ..RangeRequest::default()
        };
        let page = client.check("Range", client.kv().range(page).await)?;
        if contents.revision == 0 {
            contents.revision = page.header.map_or(0, |header| header.revision);
        }
        let last = page.kvs.last().map(|record| [&record.key[..], &[0]].concat());
        contents.records.extend(page.kvs.into_iter().map(|record| (record.key.to_vec(), record)));
        match last {
            Some(next) if page.more => from = next,
            _ => return Ok(contents),
        }
    }
}

/// The current revision.
///
/// # Errors
/// No member answers a linearizable read.
pub async fn revision(client: &Client) -> Result<i64, ClientError> {
    let request = RangeRequest { key: vec![0], count_only: true, ..RangeRequest::default() };
    let answer = client.check("Range", client.kv().range(request).await)?;
    Ok(answer.header.map_or(0, |header| header.revision))
}

/// Compacts at `revision` and waits until the records are gone.
///
/// # Errors
/// The cluster refuses.
pub async fn compact(client: &Client, revision: i64) -> Result<(), ClientError> {
    let request = CompactionRequest { revision, physical: true };
    client.check("Compact", client.kv().compact(request).await).map(|_| ())
}

/// HashKV of every endpoint at one revision: (endpoint, compact revision, hash). Each has caught up
/// before it is asked: one that is behind refuses a revision that it does not have yet.
///
/// # Errors
/// An endpoint does not answer.
pub async fn hashes(client: &Client, at: i64) -> Result<Vec<(String, i64, u32)>, ClientError> {
    let mut hashes = Vec::new();
    for member in client.members() {
        let newest = RangeRequest { key: vec![0], count_only: true, ..RangeRequest::default() };
        member.check("Range", member.kv().range(newest).await)?;
        let answer = member.maintenance().hash_kv(HashKvRequest { revision: at }).await;
        let answer = member.check("HashKV", answer)?;
        hashes.push((member.endpoint().to_owned(), answer.compact_revision, answer.hash));
    }
    Ok(hashes)
}
