//! From a data directory to the state that the threads start from.
//!
//! Must hold: what is found decides ([`bootstrap::decide`]), and is told in the log; nothing is
//! served before everything is read; a directory that cannot be gone on from is left as it is.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use holdfast_bolt::StoreOptions;
use holdfast_core::alarm::Alarms;
use holdfast_core::auth::Auth;
use holdfast_core::backend::{Backend, View};
use holdfast_core::bootstrap::{self, Action, Flags, InitialState, MemberDirs, Started};
use holdfast_core::buckets::{self, META, SmallBuckets};
use holdfast_core::disk::FileSystem;
use holdfast_core::lease::{LeaseConfig, Leases};
use holdfast_core::membership::{Cluster, ClusterConfig};
use holdfast_core::meta::{CONSISTENT_INDEX, STORAGE_VERSION};
use holdfast_core::mvcc::{Restored, Store};
use holdfast_core::raft::{Config as RaftConfig, Entry, MemoryLog, Node, Snapshot, Start};
use holdfast_core::versions::{NEWEST_TAKEN_OVER, V3_6};
use holdfast_core::wal::{SyncObserver, Wal, WalOptions};
use serde_json::json;

use super::database::Database;
use super::machine::Shared;
use crate::config::Config;
use crate::log::Logger;

/// Address space that the database's file is given at first, so that it is seldom mapped anew: as
/// upstream. It is not memory.
const MAP_BYTES: u64 = 10 << 30;

/// Why a member cannot start; one sentence for the log.
pub(crate) type Refused = String;

/// What was opened.
pub(crate) struct Opened {
    pub(crate) wal: Wal<FileSystem>,
    pub(crate) node: Node<MemoryLog>,
    pub(crate) database: Arc<Database>,
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cluster: Arc<RwLock<Cluster>>,
    pub(crate) dirs: MemberDirs,
    pub(crate) consistent_index: u64,
    pub(crate) snapshot_index: u64,
    pub(crate) term: u64,
    pub(crate) committed: u64,
}

/// Opens, or founds.
pub(crate) fn open(
    config: &Config,
    logger: &Logger,
    observer: Box<dyn SyncObserver>,
    seed: u64,
) -> Result<Opened, Refused> {
    let dirs = MemberDirs::new(&config.data_dir, config.wal_dir.as_deref());
    let started = start(config, &dirs, logger, observer)?;
    let options = StoreOptions {
        initial_map_bytes: MAP_BYTES,
        no_sync: config.unsafe_no_fsync,
        ..StoreOptions::default()
    };
    let database = Database::open(&dirs.db(), options).map_err(said)?;
    let backend = Backend::new(Box::new(database.base())).map_err(said)?;
    defragment(config, &database, &backend, logger)?;
    let (store, restored) = Store::open(backend.clone()).map_err(said)?;
    logger.info(
        "restored the store",
        &[("records", json!(restored.records)), ("revision", json!(store.revision()))],
    );
    let small = small_buckets(&backend.latest())?;
    let metadata = started.wal.metadata();
    let cluster_config = ClusterConfig {
        local_id: metadata.node_id,
        cluster_id: metadata.cluster_id,
        server_version: NEWEST_TAKEN_OVER,
        max_learners: config.max_learners,
    };
    let (cluster, healed) =
        Cluster::load(cluster_config, &small, started.replayed.as_ref()).map_err(said)?;
    let (auth, first) = Auth::restore(
        small.entries(buckets::AUTH),
        small.entries(buckets::AUTH_USERS),
        small.entries(buckets::AUTH_ROLES),
    )
    .map_err(said)?;
    backend.change(healed.into_iter().chain(first));
    // One of 3.5, or on its way there, has none until the cluster's version goes up.
    let is_new = cluster.version().is_none() && small.get(META, STORAGE_VERSION).is_none();
    if is_new {
        backend.put(META, STORAGE_VERSION, V3_6.to_string().into_bytes().into());
    }
    backend.commit().map_err(said)?;
    let alarms =
        Alarms::restore(small.entries(buckets::ALARM).map(|(key, _)| key)).map_err(said)?;
    let shared = Arc::new(Shared {
        leases: RwLock::new(leases(config, &small, &restored, logger)?),
        auth: RwLock::new(auth),
        alarms: RwLock::new(alarms),
    });
    let consistent_index = small.get(META, CONSISTENT_INDEX);
    let consistent_index = consistent_index.and_then(|bytes| bytes.try_into().ok());
    let node = node(config, &started, metadata.node_id, seed)?;
    Ok(Opened {
        node,
        database: Arc::new(database),
        store,
        shared,
        cluster: Arc::new(RwLock::new(cluster)),
        dirs,
        consistent_index: consistent_index.map_or(0, u64::from_be_bytes),
        snapshot_index: started.snapshot.index,
        term: started.hard_state.term,
        committed: started.hard_state.commit,
        wal: started.wal,
    })
}

/// At a start, if so much can be given back as `--bootstrap-defrag-threshold-megabytes` says.
fn defragment(
    config: &Config,
    database: &Database,
    backend: &Backend,
    logger: &Logger,
) -> Result<(), Refused> {
    let least_bytes = config.bootstrap_defrag_threshold_megabytes.saturating_mul(1 << 20);
    if least_bytes == 0 {
        return Ok(());
    }
    let stats = database.stats();
    if stats.size_bytes.saturating_sub(stats.in_use_bytes()) < least_bytes {
        logger.info(
            "Skipping defragmentation",
            &[
                ("current-db-size-bytes", json!(stats.size_bytes)),
                ("current-db-size-in-use-bytes", json!(stats.in_use_bytes())),
                ("experimental-bootstrap-defrag-threshold-bytes", json!(least_bytes)),
            ],
        );
        return Ok(());
    }
    match database.rewrite(backend) {
        Ok(sizes) => logger.info(
            "defragmented the database at the start",
            &[
                ("size-before-bytes", json!(sizes.before.size_bytes)),
                ("size-bytes", json!(sizes.after.size_bytes)),
            ],
        ),
        Err(error) if error.is_final() => return Err(error.to_string()),
        Err(error) => {
            logger.warn("failed to defragment", &[("error", json!(error.to_string()))]);
        }
    }
    Ok(())
}

fn start(
    config: &Config,
    dirs: &MemberDirs,
    logger: &Logger,
    observer: Box<dyn SyncObserver>,
) -> Result<Started<FileSystem>, Refused> {
    let flags = Flags {
        name: config.name.clone(),
        initial_cluster: config.initial_cluster.clone(),
        advertise_peer_urls: config.advertise_peer_urls.iter().map(ToString::to_string).collect(),
        initial_state: if config.is_new_cluster {
            InitialState::New
        } else {
            InitialState::Existing
        },
        token: config.initial_cluster_token.clone(),
        force_new_cluster: config.force_new_cluster,
        server_version: NEWEST_TAKEN_OVER,
    };
    let facts = bootstrap::survey(&FileSystem, dirs).map_err(said)?;
    let plan = bootstrap::decide(&flags, &facts, dirs).map_err(said)?;
    for reason in &plan.reasons {
        logger.info(reason, &[]);
    }
    let options = WalOptions { no_sync: config.unsafe_no_fsync, ..WalOptions::default() };
    let started = match plan.action {
        Action::Found(founding) if founding.members().len() == 1 => {
            bootstrap::found(FileSystem, dirs, &founding, options, observer)
        }
        Action::Restart(plan) => bootstrap::restart(FileSystem, dirs, plan, options, observer),
        Action::Found(_) | Action::Join { .. } => {
            return Err("clusters of several members are not supported by this server yet; \
                        start it alone (--initial-cluster with itself only)"
                .to_owned());
        }
    };
    let started = started.map_err(said)?;
    if let Some(repair) = &started.repaired {
        logger.warn(
            "a torn tail of the WAL was cut off",
            &[
                ("segment", json!(repair.segment.display().to_string())),
                ("copy", json!(repair.copy.display().to_string())),
                ("offset", json!(repair.offset)),
            ],
        );
    }
    Ok(started)
}

fn node(
    config: &Config,
    started: &Started<FileSystem>,
    id: u64,
    seed: u64,
) -> Result<Node<MemoryLog>, Refused> {
    let snapshot = Snapshot { metadata: started.snapshot.clone(), ..Snapshot::default() };
    let mut log = MemoryLog::new(snapshot);
    let entries: Vec<Entry> = started
        .entries
        .iter()
        .map(|entry| Entry {
            kind: entry.kind,
            term: entry.term,
            index: entry.index,
            data: entry.data.clone(),
        })
        .collect();
    log.append(&entries).map_err(said)?;
    let start = Start {
        hard_state: started.hard_state,
        conf_state: started.snapshot.conf_state.clone(),
        applied: 0,
    };
    let ticks = config.election.as_millis() / config.heartbeat.as_millis().max(1);
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    let raft = RaftConfig { pre_vote: config.pre_vote, ..RaftConfig::etcd(id, ticks, seed) };
    Node::new(raft, log, &start).map_err(said)
}

fn leases(
    config: &Config,
    small: &SmallBuckets,
    restored: &Restored,
    logger: &Logger,
) -> Result<Leases, Refused> {
    let lease_config = LeaseConfig {
        min_ttl_seconds: min_ttl(config.election),
        checkpoints: config.gates.enabled("LeaseCheckpoint"),
        ..LeaseConfig::default()
    };
    let mut leases = Leases::restore(lease_config, small.entries(buckets::LEASE)).map_err(said)?;
    let orphans = leases.restore_keys(restored.leased.iter().map(|(key, id)| (&**key, *id)));
    if orphans.count > 0 {
        logger.warn(
            "failed to attach a lease: keys name leases that are not stored; they never expire",
            &[("keys", json!(orphans.count))],
        );
    }
    Ok(leases)
}

/// Upstream: one and a half election timeouts, in whole seconds, rounded up.
fn min_ttl(election: Duration) -> i64 {
    let half_millis = election.as_millis().saturating_mul(3);
    i64::try_from(half_millis.div_ceil(2_000)).unwrap_or(i64::MAX)
}

/// All buckets but the records.
fn small_buckets(view: &View) -> Result<SmallBuckets, Refused> {
    let mut small = SmallBuckets::empty();
    for name in buckets::ALL.into_iter().filter(|name| *name != buckets::KEY) {
        for (key, value) in view.entries(name).map_err(said)? {
            small.put(name, &key, value);
        }
    }
    Ok(small)
}

fn said(error: impl std::fmt::Display) -> Refused {
    error.to_string()
}
