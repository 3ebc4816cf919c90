//! Starts the member: opens, founds the threads, and ties them together.
//!
//! What must hold: nothing is served before everything is tied; what fails before ends the start
//! with its reason.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use holdfast_api::etcdserverpb::RangeRequest;
use holdfast_api::etcdserverpb::auth_server::AuthServer;
use holdfast_api::etcdserverpb::cluster_server::ClusterServer;
use holdfast_api::etcdserverpb::kv_server::KvServer;
use holdfast_api::etcdserverpb::lease_server::LeaseServer;
use holdfast_api::etcdserverpb::maintenance_server::MaintenanceServer;
use holdfast_api::health::health_server::HealthServer;
use holdfast_api::holdfast::records_server::RecordsServer;
use holdfast_api::v3electionpb::election_server::ElectionServer;
use holdfast_api::v3lockpb::lock_server::LockServer;
use holdfast_core::bootstrap::MemberDirs;
use holdfast_core::disk::FileSystem;
use holdfast_core::mvcc::{self, AutoCompaction, ByRevision, Periodic};
use holdfast_core::raft::{MemoryLog, Node};
use holdfast_core::snap::SnapFiles;
use holdfast_core::wal::{self, Wal};
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use super::applied::Applied;
use super::apply_thread::{ApplyThread, CompactionPace, Reply, Work};
use super::chores::Chores;
use super::commit_thread::{CommitFigures, CommitThread};
use super::corruption;
use super::figures::Figures;
use super::handle::{Handle, Inner, Limits};
use super::identity::Identities;
use super::machine::Machine;
use super::observe::{Fsyncs, measure};
use super::opening::{Opened, open};
use super::raft_thread::{Input, Pace, RaftThread};
use super::raft_view::RaftView;
use super::request_ids::RequestIds;
use super::room::{PENDING, Room};
use super::routine;
use super::services::WatchService;
use super::services::records::RecordsService;
use super::slow::Slow;
use super::snapshots::Snapshots;
use super::threads::{Fate, Threads};
use super::versions;
use super::waits::Waits;
use super::watching::Watching;
use crate::config::{Compaction, Config};
use crate::grpc::{HealthService, Services};
use crate::log::Logger;
use crate::member::Member;
use crate::metrics::Metrics;
use crate::run::{Boot, Started};

/// Upstream's quota where none is given.
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;

/// Starts members of this kind.
#[derive(Debug, Default)]
pub struct EngineBoot;

#[async_trait::async_trait]
impl Boot for EngineBoot {
    async fn boot(
        self: Box<Self>,
        config: Arc<Config>,
        logger: Logger,
        metrics: Metrics,
    ) -> Result<Started, String> {
        let (settings, log, figures) = (Arc::clone(&config), logger.clone(), metrics.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let observer = Box::new(Fsyncs::new(&figures));
            let dirs = MemberDirs::new(&settings.data_dir, settings.wal_dir.as_deref());
            let was_there = wal::exists(&FileSystem, dirs.wal());
            let opened = open(&settings, &log, observer, chance()?)?;
            if was_there && settings.gates.enabled("InitialCorruptCheck") {
                let (store, id) = (opened.store.handle(), opened.wal.metadata().node_id);
                corruption::check_at_start(&store, id, &settings, &log)?;
            }
            Ok::<_, String>(opened)
        });
        let opened = opening.await.map_err(|error| error.to_string())??;
        let fate = Fate::new();
        let (handle, threads) = tie(&config, opened, &logger, &metrics, &fate)?;
        measure(&handle, &metrics);
        Ok(started(&config, handle, threads, &logger, &fate))
    }
}

/// What the threads and the calls meet by.
struct Wires {
    raft: Sender<Input>,
    work: Sender<Work>,
    chores: Chores,
    view: Arc<RaftView>,
    applied: Arc<Applied>,
    identities: Arc<Identities>,
    watching: Watching,
    waits: Waits<Reply>,
    figures: Figures,
    slow: Slow,
    begun: Instant,
}

/// Starts the threads.
fn tie(
    config: &Config,
    opened: Opened,
    logger: &Logger,
    metrics: &Metrics,
    fate: &Fate,
) -> Result<(Handle, Threads), String> {
    let ((raft, inbox), (work, to_apply)) = (mpsc::channel(), mpsc::channel());
    let (commits, to_commit) = mpsc::channel();
    let (tell_written, written) = mpsc::sync_channel(1);
    let failed = |error: std::io::Error| format!("cannot start a thread: {error}");
    let (chores, chores_thread) = Chores::start(raft.clone(), logger.clone()).map_err(failed)?;
    let watch_failed = fate.clone();
    let (watching, watch_thread) =
        Watching::start(opened.store.handle(), move |error| watch_failed.ended(Err(error)))
            .map_err(failed)?;
    let wires = Wires {
        raft,
        work,
        chores,
        view: Arc::new(RaftView::new(opened.term, opened.committed)),
        applied: Arc::new(Applied::at(opened.snapshot_index)),
        identities: Arc::new(Identities::new(&config.auth_token, config.auth_token_ttl)?),
        watching,
        waits: Waits::new(),
        figures: figures(metrics, &opened.store.handle())?,
        slow: slow(config, &opened, logger, metrics),
        begun: Instant::now(),
    };
    let inner = inner(config, &opened, &wires);
    let raft_thread = raft_thread(config, (opened.node, opened.wal, &opened.dirs), inbox, &wires)?;
    let snapshots = snapshots(config, &opened.dirs, opened.snapshot_index, &wires);
    let rewriting = Arc::new(AtomicBool::new(false));
    let commit_thread = CommitThread {
        orders: to_commit,
        written: tell_written,
        rewriting: Arc::clone(&rewriting),
        backend: opened.store.backend().clone(),
        database: opened.database,
        logger: logger.clone(),
        figures: CommitFigures::new(metrics),
    };
    let (identities, figures) = (Arc::clone(&wires.identities), wires.figures.clone());
    let machine = Machine { store: opened.store, shared: opened.shared, identities, figures };
    let publisher = wires.watching.clone();
    let apply_thread = ApplyThread {
        machine,
        cluster: opened.cluster,
        work: to_apply,
        raft: wires.raft.clone(),
        commits,
        own: wires.work.clone(),
        publish: Box::new(move |revision, events| publisher.publish(revision, &events)),
        waits: wires.waits.clone(),
        applied: Arc::clone(&wires.applied),
        snapshots,
        chores: wires.chores,
        consistent_index: opened.consistent_index,
        lowered_at: opened.consistent_index,
        compaction: compaction(config),
        logger: logger.clone(),
        slow: wires.slow.clone(),
        commit_interval: config.backend_batch_interval,
        commit_changes: config.backend_batch_limit,
        begun: wires.begun,
    };
    let room = Room { limits: PENDING, rewriting, written };
    let commit_thread = fate.spawn("commit", move || commit_thread.run())?;
    let threads = Threads {
        raft_thread: fate.spawn("raft", move || raft_thread.run())?,
        apply_thread: fate.spawn("apply", move || apply_thread.run(&room))?,
        rest: vec![commit_thread, chores_thread, watch_thread],
        raft: wires.raft,
        work: wires.work,
        watching: wires.watching,
    };
    Ok((Handle { inner: Arc::new(inner) }, threads))
}

fn raft_thread(
    config: &Config,
    (node, wal, dirs): (Node<MemoryLog>, Wal<FileSystem>, &MemberDirs),
    inbox: Receiver<Input>,
    wires: &Wires,
) -> Result<RaftThread, String> {
    Ok(RaftThread {
        node,
        wal,
        inbox,
        apply: wires.work.clone(),
        peers: Box::new(|_| {}),
        view: Arc::clone(&wires.view),
        chores: wires.chores.clone(),
        snaps: SnapFiles::new(FileSystem, &dirs.snap()),
        pace: pace(config),
        next_context: chance()?,
    })
}

fn compaction(config: &Config) -> CompactionPace {
    CompactionPace { batch: config.compaction_batch_limit, pause: config.compaction_sleep_interval }
}

fn pace(config: &Config) -> Pace {
    Pace {
        tick: config.heartbeat,
        catch_up_entries: config.snapshot_catchup_entries,
        kept_segments: kept(config.max_wals),
        kept_snapshots: kept(config.max_snapshots),
    }
}

/// What is counted, beginning with the keys that are alive.
fn figures(metrics: &Metrics, store: &mvcc::Handle) -> Result<Figures, String> {
    let all =
        RangeRequest { key: vec![0], range_end: vec![0], count_only: true, ..Default::default() };
    let alive = store.range(&all).map_err(|error| error.to_string())?;
    let figures = Figures::new(metrics);
    figures.begin(alive.count);
    Ok(figures)
}

fn snapshots(config: &Config, dirs: &MemberDirs, last: u64, wires: &Wires) -> Snapshots {
    let (chores, raft) = (wires.chores.clone(), wires.raft.clone());
    Snapshots::new(config.snapshot_count, last, dirs.snap(), chores, raft)
}

/// Files to keep, of `--max-wals` and `--max-snapshots`: 0 keeps all.
fn kept(flag: u64) -> usize {
    if flag == 0 { usize::MAX } else { usize::try_from(flag).unwrap_or(usize::MAX) }
}

/// What calls share.
fn inner(config: &Config, opened: &Opened, wires: &Wires) -> Inner {
    let metadata = opened.wal.metadata();
    Inner {
        member_id: metadata.node_id,
        cluster_id: metadata.cluster_id,
        ids: RequestIds::new(metadata.node_id, unix_ms()),
        waits: wires.waits.clone(),
        raft: wires.raft.clone(),
        work: wires.work.clone(),
        view: Arc::clone(&wires.view),
        applied: Arc::clone(&wires.applied),
        store: opened.store.handle(),
        shared: Arc::clone(&opened.shared),
        cluster: Arc::clone(&opened.cluster),
        identities: Arc::clone(&wires.identities),
        watching: wires.watching.clone(),
        limits: limits(config),
        begun: wires.begun,
        token: config.initial_cluster_token.clone(),
        progress_interval: config.watch_progress_notify_interval,
        bcrypt_cost: config.bcrypt_cost,
        serving: watch::Sender::new(true),
        database: Arc::clone(&opened.database),
        defragmenting: tokio::sync::Mutex::new(()),
        pauses_to_defragment: config.gates.enabled("StopGRPCServiceOnDefrag"),
        figures: wires.figures.clone(),
        slow: wires.slow.clone(),
    }
}

fn slow(config: &Config, opened: &Opened, logger: &Logger, metrics: &Metrics) -> Slow {
    let metadata = opened.wal.metadata();
    let ids = (metadata.cluster_id, metadata.node_id);
    Slow::new(config.warning_apply, ids, logger.clone(), metrics)
}

fn limits(config: &Config) -> Limits {
    Limits {
        request_bytes: config.max_request_bytes,
        txn_ops: config.max_txn_ops,
        quota_bytes: match config.quota_backend_bytes {
            0 => DEFAULT_QUOTA_BYTES,
            // Below zero: no quota.
            given => u64::try_from(given).unwrap_or(0),
        },
        strict_reconfig: config.strict_reconfig_check,
        patience: config.request_timeout(),
    }
}

fn started(
    config: &Arc<Config>,
    handle: Handle,
    threads: Threads,
    logger: &Logger,
    fate: &Fate,
) -> Started {
    let mut tasks = vec![
        tokio::spawn(routine::follow_leadership(handle.clone(), config.election)),
        tokio::spawn(versions::agree(handle.clone(), logger.clone())),
        tokio::spawn(routine::look_after_leases(handle.clone())),
        tokio::spawn(routine::purge(handle.clone())),
    ];
    tasks.extend(checks(config, &handle, logger));
    if let Some(policy) = policy(config, handle.inner.store.revision()) {
        let compacting = routine::compact_by_policy(handle.clone(), policy, logger.clone());
        tasks.push(tokio::spawn(compacting));
    }
    let ready: BoxFuture<'static, Result<(), String>> = {
        let (handle, config, logger) = (handle.clone(), Arc::clone(config), logger.clone());
        let failed = fate.reason();
        Box::pin(async move {
            tokio::select! {
                () = routine::publish(&handle, &config, &logger) => Ok(()),
                why = failed => Err(why),
            }
        })
    };
    let ended: BoxFuture<'static, Result<(), String>> = {
        let failed = fate.reason();
        Box::pin(async move { Err(failed.await) })
    };
    let applied = Arc::clone(&handle.inner.applied);
    let stop: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send> = Box::new(move || {
        Box::pin(async move {
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
            applied.end();
            let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
        })
    });
    Started {
        services: services(&handle, logger, config.max_receive_bytes()),
        member: Arc::new(handle) as Arc<dyn Member>,
        ready,
        ended,
        stop,
    }
}

/// What looks for damage.
fn checks(config: &Config, handle: &Handle, logger: &Logger) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    let every = config.corrupt_check_time;
    if !every.is_zero() {
        let checking = corruption::check_by_time(handle.clone(), every, logger.clone());
        tasks.push(tokio::spawn(checking));
    }
    if config.gates.enabled("CompactHashCheck") {
        let every = config.compact_hash_check_time;
        let checking = corruption::check_compactions(handle.clone(), every, logger.clone());
        tasks.push(tokio::spawn(checking));
    }
    tasks
}

fn policy(config: &Config, revision: i64) -> Option<AutoCompaction> {
    match config.auto_compaction {
        Compaction::Off => None,
        Compaction::Periodic(retention) => {
            Some(AutoCompaction::Periodic(Periodic::new(retention, Duration::ZERO, revision)))
        }
        Compaction::Revisions(retention) => {
            Some(AutoCompaction::ByRevision(ByRevision::new(retention, Duration::ZERO)))
        }
    }
}

/// The services; none takes a message of more than so many bytes, packed or not. Answers are never
/// packed: whoever takes packed ones takes plain ones as well.
fn services(handle: &Handle, logger: &Logger, most: usize) -> Services {
    macro_rules! limited {
        ($server:ident of $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(most)
                .accept_compressed(CompressionEncoding::Gzip)
        };
    }
    let records = RecordsService::new(handle.clone(), logger.clone());
    let routes = Routes::new(limited!(KvServer of handle.clone()))
        .add_service(WatchService::new(handle.clone(), most))
        .add_service(limited!(LeaseServer of handle.clone()))
        .add_service(limited!(ClusterServer of handle.clone()))
        .add_service(limited!(AuthServer of handle.clone()))
        .add_service(limited!(MaintenanceServer of handle.clone()))
        .add_service(limited!(RecordsServer of records))
        .add_service(limited!(LockServer of handle.clone()))
        .add_service(limited!(ElectionServer of handle.clone()))
        .add_service(limited!(HealthServer of HealthService::new(handle.serving())));
    Services { routes, frequent: Some(Arc::new(handle.clone())) }
}

fn chance() -> Result<u64, String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
