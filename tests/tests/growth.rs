//! A restored single member grown to three and to five over TLS by `holdfast grow`; the test is the
//! operator that starts what it prints, and ends it in the middle.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_api::client::Client;
use holdfast_restore::server::{Ports, Server, ServerSpec};
use holdfast_tests::contents::Contents;
use holdfast_tests::etcd::{Etcd, Options, client_config, free_ports, tls_flags};
use holdfast_tests::objects::object;
use holdfast_tests::peers::{VERSIONS, peer};
use holdfast_tests::pki::Pki;
use holdfast_tests::site::{Login, Site};
use holdfast_tests::{contents, seed};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Growing by two or four may take this long on a machine that does much at once.
const PATIENCE: Duration = Duration::from_secs(180);

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
fn flags(pki: &Pki) -> Vec<String> {
    [tls_flags(pki), vec!["--unsafe-no-fsync".to_owned()]].concat()
}

/// Starts a command as `holdfast grow` printed it, with an own data directory and TLS.
fn obey(line: &str, version: &str, data_dir: &Path, pki: &Pki) -> Child {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "etcd", "{line}");
    let at = words.iter().position(|word| *word == "--data-dir").expect("a data directory");
    let mut command = Command::new(peer(&format!("etcd-{version}")));
    command.args(&words[1..=at]).arg(data_dir).args(&words[at + 2..]).args(flags(pki));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

fn client(endpoints: Vec<String>, pki: &Pki) -> Client {
    Client::lazy(client_config(endpoints, Some(pki))).unwrap()
}

/// Who runs `holdfast grow` and starts each member when it says so.
struct Operator<'a> {
    site: &'a Site,
    pki: &'a Pki,
    version: &'a str,
    first: String,
    newcomers: Vec<Newcomer>,
    started: Vec<Child>,
}

impl Operator<'_> {
    fn line(&self) -> Vec<String> {
        let pair = self.pki.client("root");
        let text = |path: &Path| path.display().to_string();
        let mut line = vec!["grow".to_owned(), "--endpoint".to_owned(), self.first.clone()];
        line.extend(["--cacert".to_owned(), text(&self.pki.ca())]);
        line.extend(["--cert".to_owned(), text(&pair.cert), "--key".to_owned(), text(&pair.key)]);
        line.extend(["--wait".to_owned(), "2".to_owned()]);
        for newcomer in &self.newcomers {
            line.extend(["--add".to_owned(), newcomer.add()]);
            line.extend(["--client-url".to_owned(), newcomer.client_url()]);
        }
        line
    }

    /// Runs the command; what it said. `until`: it is killed when it says to start this member,
    /// and the member is not started.
    async fn grow(&mut self, until: Option<&str>) -> String {
        let mut command = Command::from(self.site.command(&self.line()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut running = command.spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut errors = running.stderr.take().unwrap();
        let complaints = tokio::spawn(async move {
            let mut said = String::new();
            errors.read_to_string(&mut said).await.map(|_| said)
        });
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            let Some(rest) = line.trim().strip_prefix("etcd --name ") else { continue };
            let name = rest.split_whitespace().next().unwrap();
            if until == Some(name) {
                running.kill().await.unwrap();
                return said;
            }
            let data_dir = self.site.path(name);
            self.started.push(obey(line.trim(), self.version, &data_dir, self.pki));
        }
        let status = running.wait().await.unwrap();
        let complained = complaints.await.unwrap().unwrap();
        let messages = complained.lines().filter(|line| line.starts_with("holdfast: "));
        let messages: Vec<&str> = messages.collect();
        assert!(status.success(), "{status}\n{said}\n{messages:?}");
        assert!(until.is_none(), "{until:?} was never to be started:\n{said}");
        said
    }

    fn endpoints(&self) -> Vec<String> {
        let others = self.newcomers.iter();
        let others = others.map(|one| format!("https://127.0.0.1:{}", one.ports.client));
        std::iter::once(self.first.clone()).chain(others).collect()
    }
}

/// A cluster with the usual records is backed up over TLS, lost, and restored to one member that
/// serves again: the vault's site, the member, and what the source held.
async fn restored(version: &str, pki: &Arc<Pki>) -> (Site, Server, Contents) {
    let source = Etcd::start_with(Options::new(version).with_tls(pki)).await;
    seed::records(&source.client()).await.unwrap();
    let before = contents::read(&source.client()).await.unwrap();
    let site = Site::on_disk();
    site.watch(&source, Login { pki: Some(&**pki), ..Login::default() });
    site.init().await;
    site.back_up().await;
    // The cluster is lost.
    drop(source);

    let ports = free_ports();
    let peer_url = format!("https://127.0.0.1:{}", ports.peer);
    let data_dir = site.restore("first", version, &["--peer-url", &peer_url]).await;
    let spec = ServerSpec {
        program: peer(&format!("etcd-{version}")).into(),
        data_dir,
        name: "default".to_owned(),
        listens: ports.into(),
        initial_cluster: String::new(),
        joins: false,
        token: "ignored, the directory has one".to_owned(),
        log: site.path("first.log"),
        extra: flags(pki),
        tls: true,
    };
    let mut first = Server::start(spec).unwrap();
    let alone = client(vec![first.spec().client_url()], pki);
    let answers = || async { contents::revision(&alone).await.map(|_| ()) };
    first.wait_ready(PATIENCE, answers).await.unwrap();
    (site, first, before)
}

/// `names`: who joins. `interrupted_at`: growing is killed when this one is to be started, and
/// begun again with the same command.
async fn grows(version: &str, names: &[&str], interrupted_at: Option<&str>) {
    let pki = Arc::new(Pki::new());
    let (site, first, before) = restored(version, &pki).await;
    let mut operator = Operator {
        site: &site,
        pki: &pki,
        version,
        first: first.spec().client_url(),
        newcomers: names.iter().map(|name| Newcomer::new(name)).collect(),
        started: Vec::new(),
    };
    let growing = async {
        let mut said = String::new();
        if interrupted_at.is_some() {
            said = operator.grow(interrupted_at).await;
        }
        said + &operator.grow(None).await
    };
    let said = tokio::time::timeout(PATIENCE, growing).await.expect("growing ends");
    for name in names {
        let added = said.lines().filter(|line| line.contains(&format!("{name}: added")));
        assert_eq!(added.count(), 1, "{name} is added once, as a learner:\n{said}");
        assert!(said.contains(&format!("{name}: promoted")), "{name}:\n{said}");
    }
    assert_eq!(operator.started.len(), names.len(), "{said}");

    let endpoints = operator.endpoints();
    all_agree(&endpoints, &pki, &before).await;
    let end = losing_a_minority(operator, first, &endpoints).await;
    assert_eq!(end.records.len(), before.records.len() + endpoints.len() + 1);
}

/// All members answer, with equal HashKV, what the source held; and each takes a write.
async fn all_agree(endpoints: &[String], pki: &Pki, before: &Contents) {
    let all = client(endpoints.to_vec(), pki);
    let revision = contents::revision(&all).await.unwrap();
    let hashes = contents::hashes(&all, revision).await.unwrap();
    assert_eq!(hashes.len(), endpoints.len());
    assert!(hashes.iter().all(|(_, _, hash)| *hash == hashes[0].2), "{hashes:?}");
    for endpoint in endpoints {
        let one = client(vec![endpoint.clone()], pki);
        let now = contents::read(&one).await.unwrap();
        assert_eq!(before.differences(&now), Vec::<String>::new(), "{endpoint}");
    }
    for (index, endpoint) in (0..).zip(endpoints) {
        let one = client(vec![endpoint.clone()], pki);
        contents::put(&one, std::iter::once(object(77, index, 1)), 1).await.unwrap();
    }
}

/// One of three or two of five go, the first member among them; the others take a write. What they
/// hold then.
async fn losing_a_minority(
    mut operator: Operator<'_>,
    first: Server,
    endpoints: &[String],
) -> Contents {
    let lost = endpoints.len() / 2;
    first.stop(Duration::from_secs(10)).await;
    for child in operator.started.iter_mut().take(lost - 1) {
        child.kill().await.unwrap();
    }
    let rest = client(endpoints[lost..].to_vec(), operator.pki);
    let end = Instant::now() + PATIENCE;
    // Until they have chosen a leader.
    while let Err(error) = contents::revision(&rest).await {
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last = object(77, 1000, 1);
    contents::put(&rest, std::iter::once(last), 1).await.unwrap();
    let now = contents::read(&rest).await.unwrap();
    for mut child in operator.started {
        // Some of them were killed already.
        let _ = child.kill().await;
    }
    now
}

#[tokio::test]
async fn a_restored_member_grows_to_three_over_tls() {
    let versions = VERSIONS.map(|version| grows(version, &["second", "third"], None));
    futures::future::join_all(versions).await;
}

/// Growing dies between adding the third member and its start: the same command goes on, and adds
/// nobody twice.
#[tokio::test]
async fn a_restored_member_grows_to_five_over_tls_with_an_interruption() {
    let names = ["second", "third", "fourth", "fifth"];
    grows("3.6", &names, Some("third")).await;
}
