//! The API client against every version of upstream's etcd: calls, failover, login, TLS, and its
//! words.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_api::client::{Client, ClientConfig, ClientError, Pem, Tls};
use holdfast_api::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthRoleDeleteRequest, MoveLeaderRequest, PutRequest,
    RangeRequest, WatchCreateRequest, WatchRequest, watch_request,
};
use holdfast_tests::etcd::{BUNDLED, Cluster, Etcd, Options};
use holdfast_tests::peers::VERSIONS;
use holdfast_tests::pki::Pki;
use holdfast_tests::seed;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn put(client: &Client, key: &str, value: &str) -> Result<(), ClientError> {
    let (key, value) = (key.into(), value.into());
    let request = PutRequest { key, value, ..PutRequest::default() };
    client.check("Put", client.kv().put(request).await).map(|_| ())
}

async fn get(client: &Client, key: &str) -> Result<Vec<u8>, ClientError> {
    let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
    let answer = client.check("Range", client.kv().range(request).await)?;
    Ok(answer.kvs.first().map(|record| record.value.to_vec()).unwrap_or_default())
}

#[tokio::test]
async fn every_version_answers_and_tells_what_it_is() {
    for version in VERSIONS {
        let etcd = Etcd::start(version).await;
        let client = Client::connect(etcd.client_config()).await.unwrap();
        put(&client, "key", "value").await.unwrap();
        assert_eq!(get(&client, "key").await.unwrap(), b"value");
        let status = client.members()[0].status().await.unwrap();
        assert!(status.version.starts_with(version), "{status:?}");
        assert!(status.db_size > 0 && status.leader != 0, "{status:?}");
        assert_eq!(status.db_size_quota > 0, version != "3.5", "{status:?}");
        assert_eq!(etcd.ctl(&["get", "key", "--print-value-only"]).trim(), "value");
        let alarms = client.maintenance().alarm(AlarmRequest::default()).await;
        assert!(client.check("Alarm", alarms).unwrap().alarms.is_empty());
    }
}

#[tokio::test]
async fn a_watch_delivers_past_and_coming_events() {
    let etcd = Etcd::start("3.6").await;
    let client = etcd.client();
    put(&client, "w", "1").await.unwrap();
    let create = WatchCreateRequest {
        key: vec![0],
        range_end: vec![0],
        start_revision: 2,
        ..WatchCreateRequest::default()
    };
    let request =
        WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
    let (asks, asked) = tokio::sync::mpsc::channel(1);
    asks.send(request).await.unwrap();
    let requests = futures::stream::unfold(asked, |mut asked| async {
        asked.recv().await.map(|request| (request, asked))
    });
    let mut stream = client.check("Watch", client.watch().watch(requests).await).unwrap();
    let mut seen = Vec::new();
    put(&client, "w", "2").await.unwrap();
    while seen.len() < 2 {
        let answer = stream.message().await.unwrap().expect("the watch goes on");
        assert!(!answer.canceled, "{answer:?}");
        seen.extend(answer.events.into_iter().map(|event| event.kv.unwrap().value));
    }
    assert_eq!(seen, [b"1".as_slice(), b"2"]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_passed_over() {
    let mut cluster = Cluster::start(Options::new("3.6"), 3).await;
    let client = cluster.client();
    // The one that goes must not be the leader: an election is another story.
    let (first, second) =
        (client.members()[0].status().await.unwrap(), client.members()[1].status().await.unwrap());
    let ids = [first.header.unwrap().member_id, second.header.unwrap().member_id];
    if first.leader == ids[0] {
        let request = MoveLeaderRequest { target_id: ids[1] };
        client.members()[0].maintenance().move_leader(request).await.unwrap();
    }
    put(&client, "before", "1").await.unwrap();
    cluster.members[0].kill().await;
    assert_eq!(get(&client, "before").await.unwrap(), b"1");
    put(&client, "after", "2").await.unwrap();
    let gone = cluster.members[0].endpoint();
    let error = client.member(&gone).unwrap().status().await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().contains(&gone), "{error}");
    assert!(error.to_string().contains("check that the member runs"), "{error}");
}

#[tokio::test]
async fn a_lost_token_is_renewed_without_anybody_noticing() {
    let pki = Arc::new(Pki::new());
    for version in VERSIONS {
        a_lost_token_is_renewed(Options::new(version)).await;
        // With TLS Go's server tells a refusal at another place of the answer.
        a_lost_token_is_renewed(Options::new(version).with_tls(&pki)).await;
    }
}

async fn a_lost_token_is_renewed(options: Options) {
    let mut etcd = Etcd::start_with(options).await;
    seed::authentication(&etcd.client()).await.unwrap();
    let root = etcd.client_as(seed::ROOT.0, seed::ROOT.1);
    put(&root, "key", "1").await.unwrap();
    // Tokens live in the member's memory only.
    etcd.stop().await;
    etcd.boot().await;
    put(&root, "key", "2").await.unwrap();
    assert_eq!(get(&root, "key").await.unwrap(), b"2");
    // The same for many callers at once.
    etcd.stop().await;
    etcd.boot().await;
    let many = (0..20).map(|n| {
        let root = root.clone();
        async move { put(&root, &format!("many/{n}"), "v").await }
    });
    futures::future::try_join_all(many).await.unwrap();
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let etcd = Etcd::start("3.6").await;
    // Credentials where authentication is off do no harm.
    put(&etcd.client_as("nobody", "nothing"), "open", "1").await.unwrap();
    seed::authentication(&etcd.client()).await.unwrap();

    let wrong = etcd.client_config().with_credentials(seed::ROOT.0, "wrong-password");
    let error = Client::connect(wrong).await.unwrap_err();
    assert!(matches!(error, ClientError::Login { .. }), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("root") && !shown.contains("wrong-password"), "{shown}");

    let error = put(&etcd.client(), "key", "1").await.unwrap_err();
    assert!(error.to_string().contains("give a user and password"), "{error}");

    let reader = etcd.client_as(seed::READER.0, seed::READER.1);
    get(&reader, "/registry/x").await.unwrap();
    let error = put(&reader, "/registry/x", "1").await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn tls_works_and_its_mistakes_are_named() {
    let pki = Arc::new(Pki::new());
    let etcd = Etcd::start_with(Options::new("3.6").with_tls(&pki)).await;
    let client = Client::connect(etcd.client_config()).await.unwrap();
    put(&client, "key", "value").await.unwrap();
    assert_eq!(etcd.ctl(&["get", "key", "--print-value-only"]).trim(), "value");

    let mut config = etcd.client_config();
    config.request_timeout = Duration::from_secs(5);
    let with = |tls: Option<Tls>| ClientConfig { tls, ..config.clone() };
    let stranger = Pki::new();
    let no_certificate = Client::connect(with(Some(Tls::new(Pem::File(pki.ca()))))).await;
    let error = no_certificate.unwrap_err().to_string();
    assert!(error.contains(&etcd.endpoint()), "{error}");
    let wrong_ca = Client::connect(with(Some(Tls::new(Pem::File(stranger.ca()))))).await;
    let error = wrong_ca.unwrap_err().to_string();
    assert!(error.contains("check the CA"), "{error}");
    let none = Client::connect(with(None)).await.unwrap_err().to_string();
    assert!(none.contains("https needs certificates"), "{none}");
    let missing = Tls::new(Pem::File("/nowhere/ca.crt".into()));
    let missing = Client::connect(with(Some(missing))).await.unwrap_err().to_string();
    assert!(missing.contains("/nowhere/ca.crt"), "{missing}");
}

/// Who is known by a certificate can get no fresh token when users change while a request is on its
/// way: it is sent again.
#[tokio::test]
async fn users_who_change_overtake_nobody_for_good() {
    for version in ["3.6", BUNDLED] {
        let pki = Arc::new(Pki::new());
        let etcd = Etcd::start_with(Options::new(version).with_tls(&pki)).await;
        seed::authentication(&etcd.client()).await.unwrap();
        let pair = pki.client(seed::ROOT.0);
        let tls = Tls::from_files(pki.ca(), pair.cert, pair.key);
        let root = Client::connect(etcd.client_config().with_tls(tls)).await.unwrap();
        let changes = async {
            for _ in 0..150 {
                let name = "passing".to_owned();
                let add = AuthRoleAddRequest { name: name.clone() };
                root.check("RoleAdd", root.auth().role_add(add).await)?;
                let delete = AuthRoleDeleteRequest { role: name };
                root.check("RoleDelete", root.auth().role_delete(delete).await)?;
            }
            Ok::<_, ClientError>(())
        };
        let puts = (0..8).map(|writer| {
            let root = &root;
            async move {
                for n in 0..50 {
                    put(root, &format!("{writer}/{n}"), "value").await?;
                }
                Ok::<_, ClientError>(())
            }
        });
        let (changed, written) = futures::join!(changes, futures::future::join_all(puts));
        changed.unwrap();
        written.into_iter().for_each(|outcome| outcome.unwrap());
    }
}

#[tokio::test]
async fn a_member_that_does_not_answer_costs_the_timeout_and_no_more() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut config = ClientConfig::new([endpoint.clone()]);
    config.request_timeout = Duration::from_millis(500);
    let begun = Instant::now();
    let error = Client::connect(config).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().contains(&endpoint), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
