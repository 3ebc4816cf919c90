//! gRPC itself beside upstream's: packed messages, and the health service.

use futures::StreamExt;
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::etcdserverpb::lease_client::LeaseClient;
use holdfast_api::etcdserverpb::watch_client::WatchClient;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{
    LeaseLeasesRequest, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest, WatchRequest,
};
use holdfast_api::health::HealthListRequest;
use holdfast_api::health::health_client::HealthClient;
use holdfast_api::txn::created_at;
use holdfast_tests::etcd::{BUNDLED, Etcd};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::{Channel, Endpoint};

async fn channel(etcd: &Etcd) -> Channel {
    Endpoint::from_shared(etcd.endpoint()).unwrap().connect().await.unwrap()
}

/// What a client is told that packs all its messages.
async fn packed(version: &str) -> Vec<String> {
    let etcd = Etcd::start(version).await;
    let channel = channel(&etcd).await;
    let mut kv = KvClient::new(channel.clone()).send_compressed(Gzip).accept_compressed(Gzip);
    let put = |bytes: usize| PutRequest {
        key: b"packed".to_vec(),
        value: vec![0; bytes],
        ..PutRequest::default()
    };
    let mut told = Vec::new();
    kv.put(put(100_000)).await.unwrap();
    // On the wire that is small; unpacked it is more than a request may have, and more than is
    // taken in at all.
    for bytes in [1_700_000, 3_000_000] {
        let refused = kv.put(put(bytes)).await.unwrap_err();
        told.push(format!("{:?} {}", refused.code(), refused.message()));
    }
    let key = b"packed".to_vec();
    let range = RangeRequest { key, ..RangeRequest::default() };
    let found = kv.range(range).await.unwrap().into_inner();
    told.push(format!("{} {}", found.kvs[0].value.len(), found.kvs[0].version));
    let txn = TxnRequest { compare: vec![created_at(b"packed", 2)], ..TxnRequest::default() };
    told.push(format!("{}", kv.txn(txn).await.unwrap().into_inner().succeeded));
    let mut lease = LeaseClient::new(channel.clone()).send_compressed(Gzip).accept_compressed(Gzip);
    let leases = lease.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner();
    told.push(format!("{:?}", leases.leases));
    let mut watch = WatchClient::new(channel).send_compressed(Gzip).accept_compressed(Gzip);
    let create = WatchCreateRequest { key: b"k".to_vec(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::stream::iter([create]).chain(futures::stream::pending());
    let mut answers = watch.watch(requests).await.unwrap().into_inner();
    told.push(format!("{}", answers.message().await.unwrap().unwrap().created));
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_messages_are_taken_as_by_upstream() {
    let (ours, theirs) = tokio::join!(packed(BUNDLED), packed("3.6"));
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_listed_as_by_upstream() {
    let mut lists = Vec::new();
    for version in [BUNDLED, "3.6"] {
        let etcd = Etcd::start(version).await;
        let mut health = HealthClient::new(channel(&etcd).await);
        lists.push(health.list(HealthListRequest {}).await.unwrap().into_inner());
    }
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0].statuses.len(), 1);
}
