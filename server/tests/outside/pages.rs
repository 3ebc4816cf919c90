//! Pages: ours and upstream's asked the same, headers and all.

use crate::process::{Page, Server, ask, ours};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// What may differ: the time, and what the connection is about.
fn comparable(page: &Page) -> Page {
    let mut page = page.clone();
    page.headers.retain(|(name, _)| !matches!(name.as_str(), "date" | "connection"));
    page
}

#[test]
fn pages_are_upstreams_with_their_headers() {
    let (our, their) = (Server::ours(), Server::theirs());
    for (verb, path) in [
        ("GET", "/version"),
        ("POST", "/version"),
        ("HEAD", "/version"),
        ("GET", "/health"),
        ("GET", "/health?serializable=true&exclude=NOSPACE"),
        ("POST", "/health"),
        ("GET", "/livez"),
        ("GET", "/livez?verbose"),
        ("GET", "/livez/serializable_read?verbose"),
        ("POST", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/readyz/linearizable_read?verbose=1"),
        ("GET", "/readyz/non_learner"),
        (
            "GET",
            "/readyz?verbose&exclude=linearizable_read&exclude=serializable_read&exclude=non_learner",
        ),
        ("GET", "/readyz/nope"),
        ("GET", "/readyznope"),
        ("GET", "/"),
        ("GET", "/foo"),
        ("GET", "/v2/keys"),
        ("PUT", "/v2/keys/a"),
        ("GET", "/config/local/log"),
        ("PUT", "/config/local/log"),
        ("POST", "/debug/vars"),
        ("GET", "//version"),
        ("GET", "//health?exclude=NOSPACE&serializable=true"),
        ("HEAD", "//version"),
        ("GET", "/a/../version"),
        ("GET", "/a/./b/"),
        ("POST", "//v3/kv/range"),
        ("GET", "//"),
        ("OPTIONS", "/foo"),
        ("OPTIONS", "/v3/kv/range"),
    ] {
        let (our, their) = (our.ask(verb, path, ""), their.ask(verb, path, ""));
        assert_eq!(comparable(&our), comparable(&their), "{verb} {path}");
    }
    let vars = our.ask("GET", "/debug/vars", "");
    let parsed: Value = serde_json::from_str(&vars.body).unwrap();
    assert_eq!(parsed["cmdline"][0], "etcd");
    assert_eq!(vars.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(our.ask("GET", "/readyz?verbose", "").body.lines().count(), 5);
}

#[test]
fn peer_pages_are_upstreams() {
    let (our, their) = (Server::ours(), Server::theirs());
    for (verb, path) in [
        ("GET", "/version"),
        ("POST", "/version"),
        ("POST", "/members"),
        ("GET", "/downgrade/enabled"),
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/metrics"),
    ] {
        let of = |server: &Server| {
            let mut page = comparable(&ask(server.peer_port, verb, path, "", &[]));
            // Another cluster's.
            page.headers.retain(|(name, _)| name != "x-etcd-cluster-id");
            page
        };
        assert_eq!(of(&our), of(&their), "{verb} {path}");
    }
    let members = |server: &Server| {
        let page = ask(server.peer_port, "GET", "/members", "", &[]);
        let parsed: Value = serde_json::from_str(&page.body).unwrap();
        let keys: Vec<String> = parsed[0].as_object().unwrap().keys().cloned().collect();
        assert!(parsed[0]["id"].is_u64() && page.header("x-etcd-cluster-id").is_some(), "{page:?}");
        (keys, page.header("content-type").map(str::to_owned))
    };
    assert_eq!(members(&our), members(&their));
    let probing = ask(our.peer_port, "GET", "/raft/probing", "", &[]);
    assert!(probing.body.contains("\"OK\":true"), "{probing:?}");
}

#[test]
fn what_is_wrong_shows_in_the_health_pages() {
    let server = Server::ours();
    let put = |key: &str, value: &str| {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let body = format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", encode(key), encode(value));
        assert_eq!(server.ask("POST", "/v3/kv/put", &body).status, 200);
    };
    let health = |path: &str| {
        let page = server.ask("GET", path, "");
        (page.status, page.body)
    };
    put("fake/unreadable", "1");
    let text = "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: request timed out\"}\n";
    assert_eq!(health("/health"), (503, text.to_owned()));
    assert_eq!(health("/health?serializable=true").0, 200);
    assert_eq!(health("/livez").0, 200);
    assert_eq!(health("/readyz/serializable_read").0, 200);
    let (status, body) = health("/readyz");
    assert!(
        status == 503 && body.contains("[-]linearizable_read failed: etcdserver: request timed")
    );
    assert!(body.contains("[+]serializable_read ok\n"), "{body}");
    put("fake/unreadable", "0");
    put("fake/alarm", "1");
    let text = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n";
    assert_eq!(health("/health"), (503, text.to_owned()));
    assert_eq!(health("/health?exclude=NOSPACE").0, 200);
    assert_eq!(health("/readyz").0, 200, "only corruption makes it unready");
    put("fake/alarm", "2");
    let (status, body) = health("/readyz/data_corruption");
    assert_eq!(
        (status, body.as_str()),
        (503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n")
    );
    put("fake/alarm", "0");
    put("fake/leader", "0");
    assert!(health("/health").1.contains("RAFT NO LEADER"));
    assert_eq!(health("/health?serializable=true").0, 200);
    put("fake/leader", "1");
    let page = server.ask("GET", "/metrics", "").body;
    for line in [
        "etcd_server_health_failures 3",
        "etcd_server_healthcheck{name=\"data_corruption\",type=\"readyz\"} 0",
        "etcd_server_healthchecks_total{name=\"linearizable_read\",status=\"error\",type=\"readyz\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

/// Families of a metrics page and their types.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

#[test]
fn every_family_of_upstreams_metrics_is_on_our_page() {
    let (our, their) = (Server::start(ours, "http", &["--metrics=extensive"]), Server::theirs());
    for server in [&our, &their] {
        server.ask("GET", "/health", "");
        server.ask("GET", "/readyz", "");
        server.ask("POST", "/v3/kv/range", "{\"key\":\"Zg==\"}");
    }
    let (our_page, their_page) = (our.ask("GET", "/metrics", ""), their.ask("GET", "/metrics", ""));
    let (ours, theirs) = (families(&our_page.body), families(&their_page.body));
    assert!(theirs.len() > 120, "{}", theirs.len());
    // Those have series only once the core counts.
    let of_core = [
        "etcd_cluster_version",
        "etcd_debugging_store_reads_total",
        "etcd_debugging_store_writes_total",
        "etcd_network_known_peers",
        "etcd_server_apply_duration_seconds",
        "etcd_server_id",
        "etcd_server_range_duration_seconds",
    ];
    for (name, kind) in &theirs {
        if !of_core.contains(&name.as_str()) {
            assert_eq!(ours.get(name), Some(kind), "{name}");
        }
    }
    assert!(ours.contains_key("grpc_server_handling_seconds"));
    let sample = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1";
    assert!(our_page.body.lines().any(|line| line == sample), "{}", our_page.body);
    assert_eq!(our_page.header("content-type"), their_page.header("content-type"));
}

#[test]
fn listeners_of_their_own_serve_their_own_pages_only() {
    let [http, metrics] = holdfast_peers::free_ports();
    let (http_url, metrics_url) =
        (format!("http://127.0.0.1:{http}"), format!("http://127.0.0.1:{metrics}"));
    let arguments = ["--listen-client-http-urls", &http_url, "--listen-metrics-urls", &metrics_url];
    let server = Server::start(ours, "http", &arguments);
    assert_eq!(ask(http, "GET", "/version", "", &[]).status, 200);
    assert_eq!(ask(http, "POST", "/v3/kv/range", "{\"key\":\"Zg==\"}", &[]).status, 200);
    assert_eq!(ask(metrics, "GET", "/metrics", "", &[]).status, 200);
    assert_eq!(ask(metrics, "GET", "/health", "", &[]).status, 200);
    assert_eq!(ask(metrics, "GET", "/version", "", &[]).status, 404);
    assert_ne!(server.ask("GET", "/version", "").status, 200, "gRPC only");
    assert!(server.log().contains("\"traffic\":\"grpc\""), "{}", server.log());
}

#[test]
fn hosts_and_origins_are_held_to_the_lists() {
    let arguments = ["--host-whitelist=good", "--cors=http://a:1"];
    let server = Server::start(ours, "http", &arguments);
    let asked = |headers: &[(&str, &str)]| ask(server.port, "GET", "/version", "", headers);
    assert_eq!(asked(&[("Host", "evil")]).status, 421);
    assert_eq!(asked(&[("Host", "good:2379")]).status, 200);
    let from = |origin| asked(&[("Host", "good"), ("Origin", origin)]);
    assert_eq!(from("http://a:1").header("access-control-allow-origin"), Some("http://a:1"));
    assert_eq!(from("http://b:1").header("access-control-allow-origin"), None);
    assert!(server.log().contains("rejecting HTTP request to prevent DNS rebinding attacks"));
}

#[test]
fn garbage_on_a_port_ends_its_own_connection_only() {
    let server = Server::ours();
    let long = vec![b'A'; 300_000];
    let frame = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xff; 4096]].concat();
    let pieces: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0",
        b"POST /v3/kv/put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &long,
        &frame,
    ];
    for port in [server.port, server.peer_port] {
        for piece in pieces {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            // The other side may close before it has read all of it.
            let _ = stream.write_all(piece);
            let _ = stream.read(&mut [0; 1024]);
        }
    }
    assert_eq!(server.ask("GET", "/health", "").status, 200);
    assert_eq!(ask(server.peer_port, "GET", "/version", "", &[]).status, 200);
}
