//! make-mirror: copies a prefix into another cluster, then follows its changes.

use super::session::{Call, Certificates, Session, connect, credentials};
use super::watching::Watching;
use crate::failure::Failure;
use crate::keys;
use holdfast_api::client::{Client, ClientConfig};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
    WatchResponse,
};
use std::time::Duration;

/// Keys of one read.
const BATCH: i64 = 1000;
/// Between two counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);

/// `make-mirror`
pub(super) async fn run(call: &Call) -> Result<(), Failure> {
    let [destination] = call.given.arguments() else {
        return Err(Failure::arguments("make-mirror takes one destination argument"));
    };
    let prefix = call.given.text("prefix").as_bytes().to_vec();
    let to = call.given.text("dest-prefix").as_bytes().to_vec();
    let to_root = call.given.truth("no-dest-prefix");
    if to_root && !to.is_empty() {
        let words =
            "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one";
        return Err(Failure::arguments(words));
    }
    let to = if to.is_empty() && !to_root { prefix.clone() } else { to };
    let other = connect(destination_config(call, destination)?)?;
    let session = call.session()?;
    let most_operations = usize::try_from(call.given.uint("max-txn-ops")).unwrap_or(1).max(1);
    let mut mirror = Mirror { session: &session, other, prefix, to, most_operations, total: 0 };
    let asked = call.given.int("rev");
    let next = if asked > 1 { asked } else { mirror.copy().await?.saturating_add(1) };
    mirror.follow(next).await
}

/// How the other cluster is reached: its own endpoints, certificates and login.
fn destination_config(call: &Call, destination: &str) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::new([destination]);
    let given = Certificates {
        ca: call.given.text("dest-cacert"),
        cert: call.given.text("dest-cert"),
        key: call.given.text("dest-key"),
        is_insecure: call.given.truth("dest-insecure-transport"),
        skips_verification: false,
    };
    config.tls = given.tls(&config.endpoints)?;
    let (user, password) = (call.given.text("dest-user"), call.given.text("dest-password"));
    config.credentials = credentials(&call.console, user, password, "Destination Password: ")?;
    call.set_times(&mut config);
    Ok(config)
}

struct Mirror<'a> {
    session: &'a Session,
    other: Client,
    prefix: Vec<u8>,
    to: Vec<u8>,
    most_operations: usize,
    total: u64,
}

impl Mirror<'_> {
    /// Copies what is there; the revision it was read at.
    async fn copy(&mut self) -> Result<i64, Failure> {
        let (mut key, range_end) = keys::prefix(&self.prefix);
        let mut revision = 0;
        loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                revision,
                limit: BATCH,
                ..RangeRequest::default()
            };
            let answer = self.session.check(self.session.client.kv().range(request).await)?;
            if revision == 0 {
                revision = answer.header.map_or(0, |header| header.revision);
            }
            for record in &answer.kvs {
                let put = self.put(&record.key, &record.value);
                self.session.check(self.other.kv().put(put).await)?;
                self.total += 1;
            }
            let Some(last) = answer.kvs.last().filter(|_| answer.more) else { return Ok(revision) };
            key = [&last.key[..], &[0]].concat();
        }
    }

    /// Repeats every change from a revision on.
    async fn follow(&mut self, start_revision: i64) -> Result<(), Failure> {
        let (key, range_end) = keys::prefix(&self.prefix);
        let request =
            WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let mut watching = Watching::begin(&self.session.client);
        watching.add(request).await;
        let mut count = tokio::time::interval(COUNT_INTERVAL);
        count.tick().await;
        loop {
            tokio::select! {
                _ = count.tick() => self.session.console.line(self.total.to_string())?,
                response = watching.next() => {
                    let response = response?;
                    if response.canceled {
                        let words = "etcdserver: mvcc: required revision has been compacted";
                        return Err(Failure::error(words));
                    }
                    self.repeat(&response).await?;
                }
            }
        }
    }

    /// One transaction for each revision, or several if it has too many changes.
    async fn repeat(&mut self, response: &WatchResponse) -> Result<(), Failure> {
        let (mut operations, mut revision) = (Vec::new(), 0);
        for event in &response.events {
            let Some(record) = &event.kv else { continue };
            let is_next = revision != 0 && record.mod_revision > revision;
            if is_next || operations.len() == self.most_operations {
                self.commit(&mut operations).await?;
            }
            revision = record.mod_revision;
            let request = if event.is_delete() {
                let key = self.renamed(&record.key);
                let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                Request::RequestDeleteRange(request)
            } else {
                Request::RequestPut(self.put(&record.key, &record.value))
            };
            operations.push(RequestOp { request: Some(request) });
            self.total += 1;
        }
        self.commit(&mut operations).await
    }

    async fn commit(&self, operations: &mut Vec<RequestOp>) -> Result<(), Failure> {
        if operations.is_empty() {
            return Ok(());
        }
        let success = std::mem::take(operations);
        let request = TxnRequest { success, ..TxnRequest::default() };
        self.session.check(self.other.kv().txn(request).await).map(|_| ())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> PutRequest {
        PutRequest { key: self.renamed(key), value: value.to_vec(), ..PutRequest::default() }
    }

    fn renamed(&self, key: &[u8]) -> Vec<u8> {
        [&self.to, key.strip_prefix(&self.prefix[..]).unwrap_or(key)].concat()
    }
}
