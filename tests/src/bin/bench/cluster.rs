//! A cluster of one, upstream's etcd 3.6, with the store in it.
//!
//! What is done to it is done through its API and by upstream's own tools. It does not fsync: the
//! disk's latency is no part of any figure that is taken while it runs.

use crate::Ground;
use crate::figures::{Result, mebibytes};
use crate::store::{StoreSpec, shuffled_prefix};
use holdfast_api::client::{Client, ClientConfig};
use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options, run};
use holdfast_tests::objects::{Chance, object};
use holdfast_tests::peers::peer;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of everything that is made up.
pub(crate) const SEED: u64 = 2026;
/// Room for eight gigabytes and their history.
pub(crate) const FLAGS: [&str; 1] = ["--quota-backend-bytes=34359738368"];
/// For one call to a member that does much at once.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same, for upstream's tools.
const TOOL_PATIENCE: &str = "--command-timeout=30m";
/// What the updated versions of objects count from: above those of the store's making.
const FIRST_VERSION: u64 = 1_000;

/// It, running or stopped.
pub(crate) struct Cluster {
    etcd: Etcd,
    spec: StoreSpec,
    chance: Chance,
    version: u64,
}

impl Cluster {
    /// Boots the store as upstream's restore makes it from its snapshot file: page by page as it
    /// was.
    pub(crate) async fn boot(ground: &Ground, store: &Path, spec: &StoreSpec) -> Result<Cluster> {
        let data_dir = ground.dir.join("source");
        run(&mut upstream_restore(store, &data_dir));
        let etcd =
            Etcd::start_with(Options::new("3.6").with_flags(&FLAGS).with_data_dir(&data_dir)).await;
        let cluster =
            Cluster { etcd, spec: *spec, chance: Chance::new(SEED), version: FIRST_VERSION };
        let status = cluster
            .client()?
            .members()
            .first()
            .ok_or("a client without endpoints")?
            .status()
            .await?;
        let (size, used) = (status.db_size.unsigned_abs(), status.db_size_in_use.unsigned_abs());
        println!("etcd 3.6 serves it: {}, of that {} in use", mebibytes(size), mebibytes(used));
        Ok(cluster)
    }

    pub(crate) fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    pub(crate) fn keys(&self) -> u64 {
        self.spec.keys
    }

    pub(crate) fn client(&self) -> Result<Client> {
        patient_client(&self.etcd)
    }

    pub(crate) async fn stop(&mut self) {
        self.etcd.stop().await;
    }

    pub(crate) async fn start(&mut self) {
        self.etcd.boot().await;
    }

    /// Gives `count` keys a new value, each in a revision of its own; `hot` of them, in percent,
    /// among the fiftieth part of the keys that change often.
    pub(crate) async fn update(&mut self, count: u64, hot_percent: u64) -> Result<()> {
        self.version += 1;
        let hot = (count * hot_percent / 100).min(self.spec.keys / 50);
        let mut keys = shuffled_prefix(self.spec.keys / 50, hot, &mut self.chance);
        let rest = count.saturating_sub(hot);
        keys.extend(shuffled_prefix(self.spec.keys, rest, &mut self.chance));
        let version = self.version;
        let objects = keys.into_iter().map(|index| object(SEED, index, version));
        contents::put(&self.client()?, objects, 1).await?;
        Ok(())
    }

    /// Compacts at the current revision and waits until the records are gone.
    pub(crate) async fn compact(&self) -> Result<()> {
        let revision = contents::revision(&self.client()?).await?;
        compact(&self.etcd, revision);
        Ok(())
    }

    pub(crate) fn defragment(&self) {
        self.etcd.ctl(&[TOOL_PATIENCE, "defrag"]);
    }

    pub(crate) async fn revision(&self) -> Result<i64> {
        Ok(contents::revision(&self.client()?).await?)
    }
}

/// A client that waits long for an answer.
pub(crate) fn patient_client(etcd: &Etcd) -> Result<Client> {
    Ok(Client::lazy(ClientConfig {
        request_timeout: PATIENCE,
        ..ClientConfig::new([etcd.endpoint()])
    })?)
}

/// Compacts with upstream's tool and waits until the records are gone.
pub(crate) fn compact(etcd: &Etcd, revision: i64) {
    etcd.ctl(&[TOOL_PATIENCE, "compact", "--physical", &revision.to_string()]);
}

/// Saves a snapshot with upstream's tool.
pub(crate) fn save(etcd: &Etcd, to: &Path) {
    run(&mut upstream_save(etcd, to));
}

/// `etcdctl snapshot save`.
pub(crate) fn upstream_save(etcd: &Etcd, to: &Path) -> Command {
    upstream_save_from(&etcd.endpoint(), to)
}

/// The same from any member.
pub(crate) fn upstream_save_from(endpoint: &str, to: &Path) -> Command {
    let mut command = Command::new(peer("etcdctl-3.6"));
    command.arg("--endpoints").arg(endpoint).args([TOOL_PATIENCE, "snapshot", "save"]).arg(to);
    command
}

/// `etcdutl snapshot restore` for a member `default`.
pub(crate) fn upstream_restore(snapshot: &Path, data_dir: &Path) -> Command {
    let mut command = Command::new(peer("etcdutl-3.6"));
    command.args(["snapshot", "restore"]).arg(snapshot).arg("--data-dir").arg(data_dir);
    command.args(["--name", MEMBER, "--initial-cluster", &format!("{MEMBER}={PEER_URL}")]);
    command.args(["--initial-advertise-peer-urls", PEER_URL]);
    command
}

/// The name of every member here.
pub(crate) const MEMBER: &str = "default";
/// What restored members are told; nobody reaches a cluster of one there.
pub(crate) const PEER_URL: &str = "http://127.0.0.1:2380";

/// The database of a member's data directory.
pub(crate) fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("member/snap/db")
}
