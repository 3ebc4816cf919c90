//! Watches beside upstream's where time does not come into it: large answers in pieces, and
//! questions about progress.

use futures::StreamExt;
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::watch_client::WatchClient;
use holdfast_api::etcdserverpb::watch_request::RequestUnion;
use holdfast_api::etcdserverpb::{
    PutRequest, TxnRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
    WatchRequest, WatchResponse,
};
use holdfast_api::txn::step;
use holdfast_tests::etcd::{BUNDLED, Etcd};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// A server, and a stream that says these things to it.
async fn said(version: &str, says: Vec<RequestUnion>) -> (Etcd, Channel, Streaming<WatchResponse>) {
    let etcd = Etcd::start(version).await;
    let channel = Endpoint::from_shared(etcd.endpoint()).unwrap().connect().await.unwrap();
    let says = says.into_iter().map(|says| WatchRequest { request_union: Some(says) });
    let says = futures::stream::iter(says).chain(futures::stream::pending());
    let answers = WatchClient::new(channel.clone()).watch(says).await.unwrap().into_inner();
    (etcd, channel, answers)
}

fn create(watch_id: i64, fragment: bool) -> RequestUnion {
    RequestUnion::CreateRequest(WatchCreateRequest {
        key: b"k".to_vec(),
        range_end: b"l".to_vec(),
        prev_kv: true,
        watch_id,
        fragment,
        ..WatchCreateRequest::default()
    })
}

/// An answer without what is the server's own.
fn plain(answer: &WatchResponse) -> String {
    let header = answer.header.unwrap_or_default();
    let keys: Vec<_> = answer.events.iter().map(|event| &event.kv.as_ref().unwrap().key).collect();
    format!(
        "{} at {}: created {}, canceled {}, {:?}, fragment {}, {keys:?}",
        answer.watch_id,
        header.revision,
        answer.created,
        answer.canceled,
        answer.cancel_reason,
        answer.fragment
    )
}

/// What a watch is told of two transactions with 1.35 MB of values.
async fn pieces(version: &str, fragment: bool) -> Vec<String> {
    let (_etcd, channel, mut answers) = said(version, vec![create(5, fragment)]).await;
    let mut told = vec![plain(&answers.message().await.unwrap().unwrap())];
    let put = |key: &str| {
        let (key, value) = (key.into(), vec![b'x'; 450_000]);
        step(Request::RequestPut(PutRequest { key, value, ..PutRequest::default() }))
    };
    let success = vec![put("k1"), put("k2"), put("k3")];
    let txn = TxnRequest { success, ..TxnRequest::default() };
    for _ in 0..2 {
        KvClient::new(channel.clone()).txn(txn.clone()).await.unwrap();
        loop {
            let answer = answers.message().await.unwrap().unwrap();
            let is_last = !answer.fragment;
            told.push(plain(&answer));
            if is_last {
                break;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_come_in_upstreams_pieces() {
    for fragment in [true, false] {
        let (ours, theirs) = tokio::join!(pieces(BUNDLED, fragment), pieces("3.6", fragment));
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), if fragment { 4 } else { 3 });
    }
}

/// What a stream is told that asks for progress before its watches, beside them and after them.
async fn progress(version: &str) -> Vec<String> {
    let ask = || RequestUnion::ProgressRequest(WatchProgressRequest {});
    let cancel = |watch_id| RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
    let says = vec![
        ask(),
        create(7, false),
        create(7, false),
        cancel(8),
        ask(),
        create(0, false),
        cancel(7),
        cancel(7),
        cancel(0),
        ask(),
        create(9, false),
    ];
    let (_etcd, _channel, mut answers) = said(version, says).await;
    let mut told = Vec::new();
    loop {
        let answer = answers.message().await.unwrap().unwrap();
        let is_last = answer.watch_id == 9;
        told.push(plain(&answer));
        if is_last {
            // Progress and what begins or ends a watch go ways of their own in upstream's server.
            told.sort();
            return told;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_as_by_upstream() {
    let (ours, theirs) = tokio::join!(progress(BUNDLED), progress("3.6"));
    assert_eq!(ours, theirs);
}
