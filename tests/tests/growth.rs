//! A restored single member grown to three over TLS by `holdfast grow`; the test is the operator
//! that starts what it prints.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_api::client::{Client, ClientConfig, Tls};
use holdfast_restore::server::{Ports, Server, ServerSpec};
use holdfast_tests::etcd::{Etcd, Options, free_ports};
use holdfast_tests::objects::object;
use holdfast_tests::peers::{VERSIONS, peer};
use holdfast_tests::pki::Pki;
use holdfast_tests::site::{Login, Site};
use holdfast_tests::{contents, seed};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Growing by two may take this long on a machine that does much at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// A member that will join: its ports, and the process once the operator started it.
struct Newcomer {
    name: String,
    ports: Ports,
}

impl Newcomer {
    fn new(name: &str) -> Newcomer {
        Newcomer { name: name.to_owned(), ports: free_ports() }
    }

    fn add(&self) -> String {
        format!("{}=https://127.0.0.1:{}", self.name, self.ports.peer)
    }

    fn client_url(&self) -> String {
        format!("{}=https://127.0.0.1:{}", self.name, self.ports.client)
    }
}

/// The flags an operator adds to the printed command.
fn tls_flags(pki: &Pki) -> Vec<String> {
    let (server, ca) = (pki.server(), pki.ca());
    let files = [
        ("--cert-file", &server.cert),
        ("--key-file", &server.key),
        ("--trusted-ca-file", &ca),
        ("--peer-cert-file", &server.cert),
        ("--peer-key-file", &server.key),
        ("--peer-trusted-ca-file", &ca),
    ];
    let flags = ["--client-cert-auth", "--peer-client-cert-auth", "--unsafe-no-fsync"];
    let files = files.map(|(flag, path)| format!("{flag}={}", path.display()));
    flags.map(str::to_owned).into_iter().chain(files).collect()
}

/// Starts a command as `holdfast grow` printed it, with an own data directory and TLS.
fn obey(line: &str, version: &str, data_dir: &Path, pki: &Pki) -> Child {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "etcd", "{line}");
    let at = words.iter().position(|word| *word == "--data-dir").expect("a data directory");
    let mut command = Command::new(peer(&format!("etcd-{version}")));
    command.args(&words[1..=at]).arg(data_dir).args(&words[at + 2..]).args(tls_flags(pki));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

fn client(endpoints: Vec<String>, pki: &Pki) -> Client {
    let pair = pki.client("root");
    let tls = Tls::from_files(pki.ca(), pair.cert, pair.key);
    let config =
        ClientConfig { request_timeout: Duration::from_secs(30), ..ClientConfig::new(endpoints) };
    Client::lazy(config.with_tls(tls)).unwrap()
}

/// Runs `holdfast grow` and starts each member when it says so; the started members.
async fn grow(
    site: &Site,
    first: &Server,
    to: &[Newcomer],
    pki: &Pki,
    version: &str,
) -> Vec<Child> {
    let pair = pki.client("root");
    let text = |path: &Path| path.display().to_string();
    let mut line = vec!["grow".to_owned(), "--endpoint".to_owned(), first.spec().client_url()];
    line.extend(["--cacert".to_owned(), text(&pki.ca()), "--cert".to_owned(), text(&pair.cert)]);
    line.extend(["--key".to_owned(), text(&pair.key), "--wait".to_owned(), "2".to_owned()]);
    for newcomer in to {
        line.extend(["--add".to_owned(), newcomer.add()]);
        line.extend(["--client-url".to_owned(), newcomer.client_url()]);
    }
    let mut command = Command::from(site.command(&line));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut running = command.spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut errors = running.stderr.take().unwrap();
    let complaints = tokio::spawn(async move {
        let mut said = String::new();
        errors.read_to_string(&mut said).await.map(|_| said)
    });
    let (mut started, mut said) = (Vec::new(), String::new());
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
        if line.trim().starts_with("etcd --name ") {
            let data_dir = site.path(&to[started.len()].name);
            started.push(obey(line.trim(), version, &data_dir, pki));
        }
    }
    let status = running.wait().await.unwrap();
    let complained = complaints.await.unwrap().unwrap();
    let messages = complained.lines().filter(|line| line.starts_with("holdfast: "));
    let messages: Vec<&str> = messages.collect();
    assert!(status.success(), "{status}\n{said}\n{messages:?}");
    for word in ["learner", "romoted"] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
    assert_eq!(started.len(), to.len(), "{said}");
    started
}

async fn from_one_to_three(version: &str) {
    let pki = Arc::new(Pki::new());
    let source = Etcd::start_with(Options::new(version).with_tls(&pki)).await;
    seed::records(&source.client()).await.unwrap();
    let before = contents::read(&source.client()).await.unwrap();
    let site = Site::on_disk();
    site.watch(&source, Login { pki: Some(&*pki), ..Login::default() });
    site.init().await;
    site.back_up().await;
    // The cluster is lost.
    drop(source);

    let ports = free_ports();
    let peer_url = format!("https://127.0.0.1:{}", ports.peer);
    let data_dir = site.restore("first", version, &["--peer-url", &peer_url]).await;
    let spec = ServerSpec {
        program: peer(&format!("etcd-{version}")),
        data_dir,
        name: "default".to_owned(),
        ports,
        initial_cluster: String::new(),
        joins: false,
        token: "ignored, the directory has one".to_owned(),
        log: site.path("first.log"),
        extra: tls_flags(&pki),
        tls: true,
    };
    let mut first = Server::start(spec).unwrap();
    let alone = client(vec![first.spec().client_url()], &pki);
    let answers = || async { contents::revision(&alone).await.map(|_| ()) };
    first.wait_ready(PATIENCE, answers).await.unwrap();

    let newcomers = [Newcomer::new("second"), Newcomer::new("third")];
    let growing = grow(&site, &first, &newcomers, &pki, version);
    let grown = tokio::time::timeout(PATIENCE, growing).await;
    let mut started = grown.expect("growing ends");

    let mut endpoints = vec![first.spec().client_url()];
    let others = newcomers.iter().map(|one| format!("https://127.0.0.1:{}", one.ports.client));
    endpoints.extend(others);
    let all = client(endpoints.clone(), &pki);
    let revision = contents::revision(&all).await.unwrap();
    let hashes = contents::hashes(&all, revision).await.unwrap();
    assert_eq!(hashes.len(), 3);
    assert!(hashes.iter().all(|(_, _, hash)| *hash == hashes[0].2), "{hashes:?}");
    for endpoint in &endpoints {
        let one = client(vec![endpoint.clone()], &pki);
        let now = contents::read(&one).await.unwrap();
        assert_eq!(before.differences(&now), Vec::<String>::new(), "{endpoint}");
    }
    for (index, endpoint) in (0..).zip(&endpoints) {
        let one = client(vec![endpoint.clone()], &pki);
        contents::put(&one, std::iter::once(object(77, index, 1)), 1).await.unwrap();
    }
    // Three voters: one may be lost.
    started[0].kill().await.unwrap();
    let rest = client(vec![endpoints[0].clone(), endpoints[2].clone()], &pki);
    contents::put(&rest, std::iter::once(object(77, 3, 1)), 1).await.unwrap();
    let now = contents::read(&rest).await.unwrap();
    assert_eq!(now.records.len(), before.records.len() + 4);
    for mut child in started {
        // One of them was killed already.
        let _ = child.kill().await;
    }
    first.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_restored_member_grows_to_three_over_tls() {
    let versions = VERSIONS.map(from_one_to_three);
    futures::future::join_all(versions).await;
}
