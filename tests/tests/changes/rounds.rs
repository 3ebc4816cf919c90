//! A vault beside a member: what is written, what a round says, what a restore gives.

use crate::judge::{self, State};
use holdfast_api::client::Client;
use holdfast_tests::contents;
use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::objects::object;
use holdfast_tests::site::{Login, Said, Site};
use std::path::PathBuf;

/// What a round's log says of it.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) received_bytes: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) records: u64,
    pub(crate) whole: bool,
    pub(crate) hash_equal: bool,
    pub(crate) alarms: u64,
}

/// The value of a field of a log line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split_whitespace();
    let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in: {line}"))
}

impl Round {
    pub(crate) fn of(said: &Said) -> Round {
        let line = said.err.lines().find(|line| line.contains("the round is complete"));
        let line = line.unwrap_or_else(|| panic!("no round:\n{}", said.err));
        let number = |name| field(line, name).parse().unwrap();
        Round {
            received_bytes: number("received_bytes"),
            uploaded_bytes: number("uploaded_bytes"),
            records: number("records"),
            whole: field(line, "whole") == "true",
            hash_equal: field(line, "hash_equal") == "Some(true)",
            alarms: number("alarms"),
        }
    }
}

/// Puts versions of the first `count` objects; the bytes of the last one of each.
pub(crate) async fn write(client: &Client, count: u64, versions: std::ops::Range<u64>) -> u64 {
    let mut bytes = 0;
    for version in versions {
        let all: Vec<_> = (0..count).map(|at| object(9, at, version)).collect();
        bytes = all.iter().map(|object| (object.key.len() + object.value.len()) as u64).sum();
        contents::put(client, all.into_iter(), 1).await.unwrap();
    }
    bytes
}

pub(crate) async fn compact_behind(client: &Client, behind: i64) {
    let revision = contents::revision(client).await.unwrap();
    contents::compact(client, revision - behind).await.unwrap();
}

pub(crate) async fn watched(etcd: &Etcd) -> Site {
    let site = Site::on_disk();
    site.watch(etcd, Login::default());
    site.init().await;
    site
}

/// What the newest snapshot restores to is what the cluster has, HashKV included.
pub(crate) async fn assert_restores(site: &Site, etcd: &Etcd, name: &str) {
    let state = State::read(&judge::client_of(etcd, false)).await.unwrap();
    assert_restores_to(site, None, &state, name).await;
}

/// What a snapshot restores to (`None`: the newest) is `state`, HashKV included.
pub(crate) async fn assert_restores_to(
    site: &Site,
    number: Option<u64>,
    state: &State,
    name: &str,
) {
    let number = number.map(|number| number.to_string());
    let chosen: Vec<&str> = number.iter().flat_map(|number| ["--snapshot", number]).collect();
    let arguments = [&["--bump", "none"][..], &chosen].concat();
    let data_dir = site.restore(name, "3.6", &arguments).await;
    let restored = judge::boot(&data_dir, BUNDLED, false).await;
    state.assert_same(&restored, name);
    // Rebuilt and read back to the last record, with the digest over all of them.
    let check = [&["vault", "check", "--level", "2"][..], &chosen].concat();
    let said = site.succeed(&site.on_vault(&check)).await;
    assert!(said.succeeded);
}

/// A second configuration of the site's agent: a state of its own under `name`, asking at
/// `endpoint`. Gives its path.
pub(crate) fn another_agent(site: &Site, etcd: &Etcd, name: &str, endpoint: &str) -> PathBuf {
    let config = std::fs::read_to_string(site.path("agent.yaml")).unwrap();
    let state = format!("stateDirectory: state-{name}");
    let config = config.replace(&etcd.endpoint(), endpoint);
    let config = config.replace("stateDirectory: state", &state);
    std::fs::create_dir_all(site.path(&format!("state-{name}"))).unwrap();
    let path = site.path(&format!("agent-{name}.yaml"));
    std::fs::write(&path, config).unwrap();
    path
}

/// One round of an agent with this configuration, whatever comes of it.
pub(crate) async fn one_round(site: &Site, config: &std::path::Path) -> Said {
    let config = config.display().to_string();
    site.run(&["agent", "--once", "--config", &config]).await
}
