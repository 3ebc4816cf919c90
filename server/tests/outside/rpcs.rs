//! RPCs over the wire: limits, demands for a leader, learners, metrics, health.

use crate::process::{Server, ours, theirs};
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::etcdserverpb::watch_client::WatchClient;
use holdfast_api::etcdserverpb::{PutRequest, RangeRequest, WatchRequest};
use holdfast_api::health::HealthCheckRequest;
use holdfast_api::health::health_client::HealthClient;
use holdfast_peers::{peer, run};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

async fn channel(server: &Server) -> Channel {
    let url = format!("http://127.0.0.1:{}", server.port);
    Endpoint::from_shared(url).unwrap().connect().await.unwrap()
}

async fn put(channel: &Channel, key: &str, value: &str) {
    let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    KvClient::new(channel.clone()).put(put).await.unwrap();
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

fn demanding<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    request
}

fn a_range() -> RangeRequest {
    RangeRequest { key: "k".into(), ..RangeRequest::default() }
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_in_upstreams_words() {
    for extra in [&[][..], &["--max-request-bytes=1000"]] {
        let (our, their) =
            (Server::start(ours, "http", extra), Server::start(theirs, "http", extra));
        let mut words = Vec::new();
        for server in [&our, &their] {
            let value = vec![b'x'; 3 * 1024 * 1024];
            let large = PutRequest { key: "k".into(), value, ..PutRequest::default() };
            let refused = KvClient::new(channel(server).await).put(large).await.unwrap_err();
            words.push(told(&refused));
        }
        assert_eq!(words[0], words[1]);
        assert_eq!(words[0].0, Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn unknown_methods_are_refused_in_upstreams_words() {
    let (our, their) = (Server::ours(), Server::theirs());
    for path in ["/etcdserverpb.KV/Nope", "/no.Service/Call", "/x"] {
        let mut words = Vec::new();
        for server in [&our, &their] {
            let mut grpc = tonic::client::Grpc::new(channel(server).await);
            grpc.ready().await.unwrap();
            let codec: tonic_prost::ProstCodec<RangeRequest, RangeRequest> = Default::default();
            let path = path.parse().unwrap();
            let refused = grpc.unary(Request::new(a_range()), path, codec).await.unwrap_err();
            words.push(told(&refused));
        }
        assert_eq!(words[0], words[1], "{path}");
    }
}

#[tokio::test]
async fn who_demands_a_leader_is_refused_without_one() {
    let server = Server::start(ours, "http", &["--heartbeat-interval=10", "--election-timeout=50"]);
    let channel = channel(&server).await;
    let mut kv = KvClient::new(channel.clone());
    let mut watch = WatchClient::new(channel.clone());
    let requests = || tokio_stream::once(WatchRequest::default());
    let mut demanding_watch = watch.watch(demanding(requests())).await.unwrap().into_inner();
    let mut patient_watch = watch.watch(requests()).await.unwrap().into_inner();
    assert!(demanding_watch.message().await.unwrap().unwrap().created);
    assert!(patient_watch.message().await.unwrap().unwrap().created);
    kv.range(demanding(a_range())).await.unwrap();
    put(&channel, "fake/leader", "0").await;
    let wanted = (Code::Unavailable, "etcdserver: no leader".to_owned());
    assert_eq!(told(&kv.range(demanding(a_range())).await.unwrap_err()), wanted);
    kv.range(a_range()).await.unwrap();
    assert_eq!(told(&watch.watch(demanding(requests())).await.unwrap_err()), wanted);
    let ended = tokio::time::timeout(Duration::from_secs(30), demanding_watch.message()).await;
    assert_eq!(told(&ended.unwrap().unwrap_err()), wanted, "after three elections");
    let quiet = tokio::time::timeout(Duration::from_millis(300), patient_watch.message()).await;
    assert!(quiet.is_err(), "it did not demand one");
}

#[tokio::test]
async fn a_learner_serves_little() {
    let server = Server::ours();
    let channel = channel(&server).await;
    put(&channel, "fake/learner", "1").await;
    let put = PutRequest { key: "k".into(), ..PutRequest::default() };
    let refused = KvClient::new(channel.clone()).put(put).await.unwrap_err();
    let wanted = (Code::FailedPrecondition, "etcdserver: rpc not supported for learner".to_owned());
    assert_eq!(told(&refused), wanted);
    let watch = WatchClient::new(channel).watch(tokio_stream::once(WatchRequest::default())).await;
    assert_eq!(told(&watch.unwrap_err()), wanted);
    assert_eq!(server.ask("GET", "/readyz/non_learner", "").status, 503);
    assert_eq!(server.ask("GET", "/livez", "").status, 200);
}

#[tokio::test]
async fn calls_are_counted_once_however_they_end() {
    let server = Server::ours();
    let channel = channel(&server).await;
    for _ in 0..3 {
        KvClient::new(channel.clone()).range(a_range()).await.unwrap();
    }
    KvClient::new(channel.clone()).range(RangeRequest::default()).await.unwrap_err();
    let mut versioned = Request::new(a_range());
    versioned.metadata_mut().insert("client-api-version", "3.6.16".parse().unwrap());
    KvClient::new(channel.clone()).range(versioned).await.unwrap();
    let stream = tokio_stream::once(WatchRequest::default());
    let mut watch = WatchClient::new(channel.clone()).watch(stream).await.unwrap().into_inner();
    watch.message().await.unwrap();
    drop(watch);
    let labels = |code: &str, name: &str, service: &str, kind: &str| {
        format!(
            "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"{name}\",grpc_service=\"etcdserverpb.{service}\",grpc_type=\"{kind}\"}}"
        )
    };
    let wanted = [
        format!("{} 4", labels("OK", "Range", "KV", "unary")),
        format!("{} 1", labels("InvalidArgument", "Range", "KV", "unary")),
        format!("{} 1", labels("Canceled", "Watch", "Watch", "bidi_stream")),
        "grpc_server_started_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 5".to_owned(),
        "grpc_server_msg_sent_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 4".to_owned(),
        "grpc_server_msg_received_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 1".to_owned(),
        "etcd_server_client_requests_total{client_api_version=\"3.6.16\",type=\"unary\"} 1".to_owned(),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"stream\"} 1".to_owned(),
    ];
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let page = server.ask("GET", "/metrics", "").body;
        let missing: Vec<&String> =
            wanted.iter().filter(|line| !page.lines().any(|found| found == *line)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{missing:#?}\n{page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn slow_calls_are_logged() {
    let mut server = Server::ours();
    let slow = RangeRequest { key: "slow".into(), ..RangeRequest::default() };
    KvClient::new(channel(&server).await).range(slow).await.unwrap();
    server.wait_for_line("\"msg\":\"request stats\"");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("\"msg\":\"request stats\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["response type"], "/etcdserverpb.KV/Range");
    assert_eq!((&line["request content"], &line["request count"]), (&"".into(), &(-1).into()));
    // As upstream's: Go's way to write a duration, and a time in UTC.
    let (spent, start) =
        (line["time spent"].as_str().unwrap(), line["start time"].as_str().unwrap());
    let (seconds, _) =
        spent.strip_suffix("ms").or(spent.strip_suffix('s')).unwrap().split_once('.').unwrap();
    assert!(seconds.parse::<u32>().is_ok(), "{spent}");
    assert!(start.ends_with('Z') && start.len() == "2026-11-30T22:38:15.083866Z".len(), "{start}");
}

#[tokio::test]
async fn health_follows_the_member() {
    let server = Server::ours();
    let channel = channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let ask = HealthCheckRequest::default;
    assert_eq!(health.check(ask()).await.unwrap().into_inner().status, 1, "SERVING");
    let mut changes = health.watch(ask()).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status, 1);
    put(&channel, "fake/serving", "0").await;
    assert_eq!(changes.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    assert_eq!(health.check(ask()).await.unwrap().into_inner().status, 2);
    let other = HealthCheckRequest { service: "x".to_owned() };
    assert_eq!(told(&health.check(other).await.unwrap_err()).0, Code::NotFound);
}

#[test]
fn upstreams_clients_talk_to_it() {
    let server = Server::ours();
    for version in holdfast_peers::VERSIONS {
        let endpoint = format!("--endpoints=127.0.0.1:{}", server.port);
        let said =
            run(Command::new(peer(&format!("etcdctl-{version}")))
                .args([&endpoint, "put", "a", "b"]));
        assert_eq!(said, "OK\n");
    }
}

#[tokio::test]
async fn a_client_that_pings_too_often_is_sent_away() {
    let server = Server::start(ours, "http", &["--grpc-keepalive-min-time=1h"]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let eager = Endpoint::from_shared(url)
        .unwrap()
        .http2_keep_alive_interval(Duration::from_millis(30))
        .keep_alive_while_idle(true);
    let channel = eager.connect().await.unwrap();
    let mut stream = WatchClient::new(channel)
        .watch(tokio_stream::once(WatchRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().unwrap().created);
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
    assert!(ended.unwrap().is_err());
}

#[tokio::test]
async fn an_open_stream_does_not_hold_the_end_up() {
    use std::os::unix::process::ExitStatusExt;
    let mut server = Server::ours();
    let stream = tokio_stream::once(WatchRequest::default());
    let mut watch =
        WatchClient::new(channel(&server).await).watch(stream).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().created);
    let begun = Instant::now();
    let status = tokio::task::spawn_blocking(move || server.signal("TERM")).await.unwrap();
    assert_eq!(status.signal(), Some(15));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.message()).await;
    assert!(!matches!(ended, Ok(Ok(Some(_))) | Err(_)), "the client is told");
}
