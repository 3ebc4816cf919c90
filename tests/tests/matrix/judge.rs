//! What is compared between a source and what was restored from it, and upstream's tools as
//! judges of our files. The tools get copies: some of them write to what they inspect.

use holdfast_api::client::{Client, ClientError};
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
    let client = client_of(&etcd, auth);
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
