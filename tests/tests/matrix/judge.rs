//! What is compared between a source and what was restored from it, and upstream's tools as
//! judges of our files. The tools get copies: some of them write to what they inspect.

use futures::StreamExt;
use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request};
use holdfast_bolt::{Db, MappedFile};
use holdfast_tests::accounts::Accounts;
use holdfast_tests::contents::{self, Contents};
use holdfast_tests::etcd::{Etcd, Options, run};
use holdfast_tests::objects::object;
use holdfast_tests::peers::peer;
use holdfast_tests::seed;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// All that two clusters are compared by.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Records alive, and the revision.
    pub(crate) contents: Contents,
    /// Leases, users, roles.
    pub(crate) accounts: Accounts,
    /// Compaction revision and HashKV at the current revision.
    pub(crate) hash: (i64, u32),
}

impl State {
    /// Reads it.
    pub(crate) async fn read(client: &Client) -> Result<State, ClientError> {
        let contents = contents::read(client).await?;
        let mut accounts = Accounts::read(client).await?;
        // From 3.6 on the answer gives root a permission for everything, which stands in no store.
        if let Some(shown) = accounts.roles.get_mut("root") {
            shown.retain(|permission| !permission.key.is_empty());
        }
        let hashes = contents::hashes(client, 0).await?;
        let (_, compacted, hash) = hashes.into_iter().next().expect("a client has a member");
        Ok(State { contents, accounts, hash: (compacted, hash) })
    }

    /// Fails unless `other` is the same in everything.
    pub(crate) fn assert_same(&self, other: &State, what: &str) {
        self.assert_alive_same(other, what);
        assert_eq!(self.contents.revision, other.contents.revision, "{what}: revision");
        assert_eq!(self.hash, other.hash, "{what}: compaction revision and HashKV");
    }

    /// Fails unless `other` has the same records alive, leases, users and roles, at least `lifted`
    /// revisions later.
    pub(crate) fn assert_lifted(&self, other: &State, lifted: i64, what: &str) {
        self.assert_alive_same(other, what);
        let least = self.contents.revision + lifted;
        assert!(other.contents.revision >= least, "{what}: {}", other.contents.revision);
        // Marked as compacted: no watcher goes on from a revision that means something else now.
        assert_eq!(other.hash.0, other.contents.revision, "{what}: compaction revision");
    }

    fn assert_alive_same(&self, other: &State, what: &str) {
        let differences = self.contents.differences(&other.contents);
        assert_eq!(differences, Vec::<String>::new(), "{what}: records");
        assert_eq!(self.contents.records.len(), other.contents.records.len(), "{what}: records");
        assert_eq!(self.accounts, other.accounts, "{what}: leases, users, roles");
    }
}

/// Root's client where authentication is on, else anybody's.
pub(crate) fn client_of(etcd: &Etcd, auth: bool) -> Client {
    if auth { etcd.client_as(seed::ROOT.0, seed::ROOT.1) } else { etcd.client() }
}

/// Boots a version of etcd on a data directory and reads everything; then it must take a write.
pub(crate) async fn boot(data_dir: &Path, version: &str, auth: bool) -> State {
    let etcd = Etcd::start_with(Options::new(version).with_data_dir(data_dir)).await;
    serves(&etcd, auth).await
}

async fn serves(etcd: &Etcd, auth: bool) -> State {
    let (version, client) = (etcd.version(), client_of(etcd, auth));
    let state = State::read(&client).await;
    let state = state.unwrap_or_else(|error| panic!("{version}: {error}\n{}", etcd.log_tail()));
    if auth {
        let reader = etcd.client_as(seed::READER.0, seed::READER.1);
        contents::revision(&reader).await.expect("the reader's password and roles came over");
        contents::revision(&etcd.client()).await.expect_err("nobody reads without a login");
    }
    // No alarm of the old cluster refuses it.
    let written = contents::put(&client, std::iter::once(object(99, 1, 1)), 1).await;
    written.unwrap_or_else(|error| panic!("{version} takes no write: {error}"));
    state
}

/// Boots a version of etcd on a lifted data directory: whoever comes with a revision of before is
/// told that it is compacted, and where history begins now. A silent answer would be a lie.
pub(crate) async fn boot_lifted(
    data_dir: &Path,
    version: &str,
    auth: bool,
    before: &State,
) -> State {
    let etcd = Etcd::start_with(Options::new(version).with_data_dir(data_dir)).await;
    let client = client_of(&etcd, auth);
    let old = before.contents.revision;
    let rev = format!("--rev={old}");
    let user = format!("--user={}:{}", seed::ROOT.0, seed::ROOT.1);
    let login = if auth { &[&*user][..] } else { &[] };
    // The revision of the backup itself was readable until then; now it is not.
    for verb in [&["get", "--prefix", "", &rev][..], &["watch", "--prefix", "", &rev]] {
        let said = etcd.ctl_refused(&[login, verb].concat()).await;
        let told = said.contains("required revision has been compacted");
        assert!(told, "{version}: {} at {old}: {said}", verb[0]);
    }
    let begins = watch_from(&client, old).await.expect("the watch is answered");
    let state = serves(&etcd, auth).await;
    assert_eq!(begins, state.contents.revision, "{version}: where a watch is told to begin");
    state
}

/// Where the server says that history begins, to one who watches from an old revision; 0: it takes
/// the watch.
async fn watch_from(client: &Client, start_revision: i64) -> Result<i64, ClientError> {
    let create = WatchCreateRequest {
        key: vec![0],
        range_end: vec![0],
        start_revision,
        ..WatchCreateRequest::default()
    };
    let request =
        WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open: its end would end the watch.
    let requests = futures::stream::iter([request]).chain(futures::stream::pending());
    let mut answers = client.check("Watch", client.watch().watch(requests).await)?;
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.message()).await;
        let answer = answer.expect("the server answers a watch").expect("no broken stream");
        let answer = answer.expect("the server does not end the stream");
        if answer.canceled || !answer.events.is_empty() {
            return Ok(answer.compact_revision);
        }
    }
}

/// No version in a data directory is above that of the etcd which boots it: 3.5 knows no storage
/// version at all, 3.6 refuses 3.7's.
pub(crate) fn versions_fit(data_dir: &Path, target: &str) {
    let (_folder, copy) = copied(&data_dir.join("member/snap/db"));
    let db = Db::open(MappedFile::open(&copy).unwrap()).unwrap();
    let read = |bucket: &[u8], key: &[u8]| {
        let found = db.bucket(bucket).unwrap()?.get(key).unwrap()?;
        Some(String::from_utf8(found.into_owned()).unwrap())
    };
    let storage = read(b"meta", b"storageVersion");
    let cluster = read(b"cluster", b"clusterVersion");
    let limit = format!("{target}.0");
    assert!(cluster.as_ref().is_none_or(|version| *version <= limit), "{target}: {cluster:?}");
    match target {
        "3.5" => assert_eq!(storage, None, "3.5"),
        _ => assert!(storage.as_ref().is_none_or(|version| *version <= limit), "{storage:?}"),
    }
}

/// The compaction marks of a member that does not run: scheduled, finished.
pub(crate) fn compaction_marks(database: &Path) -> [Option<Vec<u8>>; 2] {
    let db = Db::open(MappedFile::open(database).unwrap()).unwrap();
    let meta = db.bucket(b"meta").unwrap().expect("every member has it");
    [&b"scheduledCompactRev"[..], b"finishedCompactRev"]
        .map(|name| meta.get(name).unwrap().map(Vec::from))
}

/// Go's bbolt finds no fault in a copy of the file.
pub(crate) fn bbolt_agrees(file: &Path) {
    let (_folder, copy) = copied(file);
    let said = run(Command::new(peer("bbolt")).arg("check").arg(&copy));
    assert_eq!(said.trim(), "OK", "{}", file.display());
}

/// The etcdutl of a version knows the exported file and restores it, with its hash checked;
/// the data directory.
pub(crate) fn etcdutl_restores(version: &str, export: &Path, revision: i64) -> (TempDir, PathBuf) {
    let (folder, copy) = copied(export);
    let etcdutl = || {
        let mut command = Command::new(peer(&format!("etcdutl-{version}")));
        command.arg("snapshot");
        command
    };
    let status = run(etcdutl().args(["status", "-w", "json"]).arg(&copy));
    let status: Value = serde_json::from_str(&status).expect("JSON");
    // It looks at the last record; a store without one is at revision 1.
    let last = if revision == 1 { 0 } else { revision };
    assert_eq!(status["revision"].as_i64(), Some(last), "{status}");
    let (folder_again, copy) = copied(export);
    drop(folder);
    let data_dir = folder_again.path().join("data");
    run(etcdutl().arg("restore").arg(&copy).arg("--data-dir").arg(&data_dir));
    (folder_again, data_dir)
}

fn copied(file: &Path) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder for a copy");
    let copy = folder.path().join("copy.db");
    std::fs::copy(file, &copy).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (folder, copy)
}
