//! One member becomes three: plain and over TLS, and after an interruption.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_api::client::{ClientConfig, Tls};
use holdfast_api::etcdserverpb::MemberAddRequest;
use holdfast_restore::grow::{
    GrowDeadlines, GrowError, GrowEvent, GrowRequest, LocalProcesses, NewMember, Stage, grow, plan,
};
use holdfast_restore::server::Server;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::peers::{GRACE, Running, free_ports, peer, spec};

/// A throw-away authority and one certificate for everybody.
struct Certificates {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Certificates {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_cert = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let write = |name: &str, pem: String| {
            let path = folder.join(name);
            fs::write(&path, pem).unwrap();
            path
        };
        Certificates {
            ca: write("ca.pem", ca_cert.pem()),
            cert: write("cert.pem", cert.pem()),
            key: write("key.pem", key.serialize_pem()),
        }
    }

    fn flags(&self) -> Vec<String> {
        let (ca, cert, key) = (&self.ca, &self.cert, &self.key);
        let flags = [
            ("--cert-file", cert),
            ("--key-file", key),
            ("--trusted-ca-file", ca),
            ("--peer-cert-file", cert),
            ("--peer-key-file", key),
            ("--peer-trusted-ca-file", ca),
        ];
        let flags = flags.map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        let checks = ["--client-cert-auth", "--peer-client-cert-auth"].map(str::to_owned);
        flags.into_iter().flatten().chain(checks).collect()
    }
}

/// One running member with data, and what is wanted beside it.
struct Cluster {
    root: tempfile::TempDir,
    first: Server,
    request: GrowRequest,
    starter: LocalProcesses,
}

impl Cluster {
    async fn of_one(version: &str, tls: bool) -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let certificates = tls.then(|| Certificates::make(root.path()));
        let flags = certificates.as_ref().map(Certificates::flags).unwrap_or_default();
        let mut first = spec(version, &root.path().join("m1"), free_ports());
        first.tls = tls;
        // Three on a busy machine must not lose their leader because one of them stood still: the
        // last word counts.
        first
            .extra
            .extend(["--heartbeat-interval=100", "--election-timeout=2000"].map(str::to_owned));
        first.extra.extend(flags.clone());
        let mut config = ClientConfig::new([first.client_url()]);
        if let Some(made) = &certificates {
            config = config.with_tls(Tls::from_files(&made.ca, &made.cert, &made.key));
        }
        let extra = first.extra.clone();
        let client = holdfast_api::client::Client::lazy(config.clone()).unwrap();
        let mut server = Server::start(first).unwrap();
        let probe = || async { client.members()[0].status().await.map(|_| ()) };
        server.wait_ready(std::time::Duration::from_secs(60), probe).await.unwrap();
        let running = Running { server, client };
        running.fill().await;
        let first = running.server;
        let mut ports = BTreeMap::new();
        let mut members = Vec::new();
        for name in ["m2", "m3"] {
            let free = free_ports();
            ports.insert(name.to_owned(), free);
            let scheme = if tls { "https" } else { "http" };
            members.push(NewMember {
                name: name.to_owned(),
                peer_urls: vec![format!("{scheme}://127.0.0.1:{}", free.peer)],
                client_urls: Vec::new(),
            });
        }
        let starter = LocalProcesses {
            program: peer(&format!("etcd-{version}")).into(),
            folder: root.path().to_owned(),
            extra,
            ports,
            servers: BTreeMap::new(),
        };
        let second = std::time::Duration::from_secs;
        let deadlines =
            GrowDeadlines { healthy: second(60), appear: second(60), catch_up: second(60) };
        let request = GrowRequest { client: config, members, deadlines };
        Cluster { root, first, request, starter }
    }

    /// Grows, checks that all three agree, and that nothing is left to do.
    async fn grow(&mut self) -> Vec<GrowEvent> {
        let mut events = Vec::new();
        let mut tell = |event: GrowEvent| events.push(event);
        let report = grow(&self.request, &mut self.starter, &mut tell).await.unwrap();
        assert_eq!(report.members.len(), 3, "{report}");
        assert_eq!(report.hash.members, 3);
        assert!(plan(&self.request).await.unwrap().is_done());
        events
    }

    async fn stop(mut self) {
        self.starter.stop(GRACE).await;
        self.first.stop(GRACE).await;
        drop(self.root);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_over_tls() {
    for version in ["3.6", "3.7"] {
        let mut cluster = Cluster::of_one(version, true).await;
        let events = cluster.grow().await;
        let order: Vec<String> = events.iter().map(GrowEvent::to_string).collect();
        let at = |piece: &str| order.iter().position(|line| line.contains(piece)).unwrap();
        assert!(at("m2: added as learner") < at("m2: promoted"), "{order:?}");
        assert!(at("m2: promoted") < at("m3: added as learner"), "{order:?}");
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_growth_goes_on() {
    let mut cluster = Cluster::of_one("3.5", false).await;
    // Interrupted after the second member was added and before it was started.
    let client =
        holdfast_api::client::Client::connect(cluster.request.client.clone()).await.unwrap();
    let peer_urls = cluster.request.members[1].peer_urls.clone();
    client.cluster().member_add(MemberAddRequest { peer_urls, is_learner: true }).await.unwrap();
    let planned = plan(&cluster.request).await.unwrap();
    let stages: Vec<(&str, Stage)> =
        planned.steps.iter().map(|step| (step.member.name.as_str(), step.stage)).collect();
    assert_eq!(stages, [("m3", Stage::Added), ("m2", Stage::Absent)]);
    let events = cluster.grow().await;
    let added = events.iter().filter(|event| matches!(event, GrowEvent::Added { .. })).count();
    assert_eq!(added, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_start_is_named() {
    let mut cluster = Cluster::of_one("3.6", false).await;
    cluster.starter.extra.push("--no-such-flag".to_owned());
    let mut tell = |_: GrowEvent| {};
    let error = grow(&cluster.request, &mut cluster.starter, &mut tell).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GrowError::Start { .. }), "{text}");
    assert!(text.contains("member m2") && text.contains("no-such-flag"), "{text}");
    // Its cause gone, the same request goes through.
    cluster.starter.extra.pop();
    cluster.starter.servers.clear();
    cluster.grow().await;
    cluster.stop().await;
}
