//! The decision: flags and facts to a plan or a refusal. Pure.

use std::path::PathBuf;

use super::{Action, DatabaseStep, Facts, Flags, InitialState, LogFacts, Plan, RestartPlan};
use crate::membership::{Founding, InitialClusterError, Member};
use crate::rebuilt::CLUSTER_VERSION;
use crate::versions::EtcdVersion;

/// A start that is refused. Texts are upstream's where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The flags do not describe a cluster.
    #[error(transparent)]
    InitialCluster(InitialClusterError),
    /// The local member is not in `--initial-cluster`.
    #[error("couldn't find local name {name:?} in the initial cluster configuration")]
    NoLocalMember {
        /// `--name`.
        name: String,
    },
    /// A URL stands twice.
    #[error("initial cluster {list} has duplicate url")]
    DuplicateUrl {
        /// `--initial-cluster`.
        list: String,
    },
    /// The advertised URLs are not those of `--initial-cluster`.
    #[error(
        "--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={urls}"
    )]
    NotAdvertised {
        /// `name=url` of those missing.
        missing: String,
        /// What is advertised.
        urls: String,
    },
    /// The other way round.
    #[error(
        "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={list}"
    )]
    NotInCluster {
        /// The URLs missing.
        missing: String,
        /// `name=url` of the local member.
        list: String,
    },
    /// The member has started before, on another directory.
    #[error("member {id:x} has already been bootstrapped")]
    AlreadyBootstrapped {
        /// The member.
        id: u64,
    },
    /// The flags and the running cluster differ.
    #[error("error validating peerURLs: {reason}")]
    NotTheCluster {
        /// How they differ.
        reason: String,
    },
    /// A newer etcd wrote the database.
    #[error(
        "version \"{stored}\" is not supported (this server is {server}; start a newer one, or downgrade the cluster first)"
    )]
    StorageTooNew {
        /// The database's version.
        stored: EtcdVersion,
        /// This server's.
        server: EtcdVersion,
    },
    /// The cluster is newer than this server.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version (server \
         {server}, cluster {cluster})"
    )]
    ClusterTooNew {
        /// The cluster's version.
        cluster: EtcdVersion,
        /// This server's.
        server: EtcdVersion,
    },
    /// The snapshot is ahead of the database, and the database that came with it is not there.
    #[error(
        "failed to find database snapshot file (snap: snapshot file doesn't exist): the snapshot \
         stands at index {snapshot}, the database at {database}; restore this member from its \
         peers or from a backup"
    )]
    NoReceivedDatabase {
        /// The snapshot's index.
        snapshot: u64,
        /// The database's consistent index; 0 if there is none.
        database: u64,
    },
    /// The log notes snapshots, but no .snap file is usable, and the log's first entries are gone.
    #[error("snap: no available snapshot, although the WAL notes one at index {index}")]
    NoSnapshot {
        /// The newest note's index.
        index: u64,
    },
    /// The log is gone.
    #[error(
        "the database {} was in use up to entry {consistent_index}, but there is no WAL in {}; bring \
         it back, or move the whole data directory aside and restore from a backup or from the peers",
        db.display(), wal_dir.display()
    )]
    LogLost {
        /// The database.
        db: PathBuf,
        /// Where the log should be.
        wal_dir: PathBuf,
        /// How far the database is.
        consistent_index: u64,
    },
}

/// Decides what the server starts from.
///
/// # Errors
/// [`BootstrapError`].
pub fn decide(
    flags: &Flags,
    facts: &Facts,
    dirs: &super::MemberDirs,
) -> Result<Plan, BootstrapError> {
    let mut reasons: Vec<String> = facts
        .strangers
        .iter()
        .map(|name| format!("found invalid file under data directory: {name}"))
        .collect();
    check_versions(flags, facts)?;
    let action = if let Some(log) = &facts.log {
        Action::Restart(restart(flags, facts, log, &mut reasons)?)
    } else {
        let used = facts.database.as_ref().map_or(0, |database| database.consistent_index);
        if used > 0 {
            let (db, wal_dir) = (dirs.db(), dirs.wal().to_owned());
            return Err(BootstrapError::LogLost { db, wal_dir, consistent_index: used });
        }
        fresh(flags, &mut reasons)?
    };
    Ok(Plan { action, reasons })
}

fn check_versions(flags: &Flags, facts: &Facts) -> Result<(), BootstrapError> {
    let Some(database) = &facts.database else { return Ok(()) };
    let server = flags.server_version;
    if let Some(stored) = database.storage_version.filter(|stored| *stored > server) {
        return Err(BootstrapError::StorageTooNew { stored, server });
    }
    let cluster = database.buckets.get(crate::buckets::CLUSTER, CLUSTER_VERSION);
    let cluster = cluster.and_then(|text| String::from_utf8_lossy(text).parse().ok());
    if let Some(cluster) = cluster.filter(|cluster| *cluster > server) {
        return Err(BootstrapError::ClusterTooNew { cluster, server });
    }
    Ok(())
}

fn restart(
    flags: &Flags,
    facts: &Facts,
    log: &LogFacts,
    reasons: &mut Vec<String>,
) -> Result<RestartPlan, BootstrapError> {
    let state = log.summary.hard_state;
    let snapshot = log.snaps.snapshot.clone();
    let index = snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let notes = log.summary.snapshots.iter().map(|note| note.index);
    let newest_note = notes.filter(|index| *index <= state.commit).max().unwrap_or(0);
    if snapshot.is_none() && log.summary.first_index > 1 {
        return Err(BootstrapError::NoSnapshot { index: newest_note });
    }
    for (name, error) in &log.snaps.broken {
        reasons.push(format!("failed to read a snap file: {name}: {error}; it is set aside"));
    }
    if index < newest_note {
        reasons.push(format!(
            "the WAL notes a snapshot at index {newest_note}, but its file is not usable; going on \
             from index {index}"
        ));
    }
    let applied = facts.database.as_ref().map_or(0, |database| database.consistent_index);
    let (database, consistent_index) = match (&facts.database, &log.received_db) {
        _ if index > applied => {
            let missing = BootstrapError::NoReceivedDatabase { snapshot: index, database: applied };
            let received = log.received_db.clone().ok_or(missing)?;
            reasons.push(format!(
                "Recovering from snapshot backend: snapshot index {index}, consistent index {applied}"
            ));
            (DatabaseStep::TakeReceived(received), index)
        }
        (Some(_), _) => (DatabaseStep::Keep, applied),
        (None, _) => {
            reasons.push("there is no database; the WAL is applied from its start".to_owned());
            (DatabaseStep::Create, 0)
        }
    };
    match index {
        0 => reasons.push("No snapshot found. Recovering WAL from scratch!".to_owned()),
        _ => reasons.push(format!("recovering from the snapshot at index {index}")),
    }
    if let Some(damage) = log.summary.torn_tail {
        reasons.push(format!("the WAL ends in a torn write: {damage}"));
    }
    let set_aside = log.snaps.broken.iter().map(|(name, _)| name.clone()).collect();
    let force_new_cluster = flags.force_new_cluster;
    Ok(RestartPlan { snapshot, database, set_aside, force_new_cluster, consistent_index })
}

fn fresh(flags: &Flags, reasons: &mut Vec<String>) -> Result<Action, BootstrapError> {
    let list = &flags.initial_cluster;
    let founding =
        Founding::parse(list, &flags.name, &flags.token).map_err(|error| match error {
            InitialClusterError::NotThere { name, .. } => BootstrapError::NoLocalMember { name },
            InitialClusterError::SharedUrl { .. } => {
                BootstrapError::DuplicateUrl { list: list.clone() }
            }
            other => BootstrapError::InitialCluster(other),
        })?;
    let local = founding.local().id;
    let others = founding.members().iter().filter(|member| member.id != local);
    let ask: Vec<String> = others.flat_map(|member| member.peer_urls.clone()).collect();
    if flags.initial_state == InitialState::Existing {
        reasons.push("there is no WAL, and the cluster exists: joining it".to_owned());
        return Ok(Action::Join { wanted: founding, ask });
    }
    check_advertised(flags, founding.local())?;
    reasons.push(format!(
        "there is no WAL: founding cluster {:x} as member {local:x}, one of {}",
        founding.cluster_id(),
        founding.members().len()
    ));
    Ok(Action::Found(founding))
}

/// Holds `--initial-advertise-peer-urls` to the local member's URLs. Host names are compared as
/// they are written; upstream would resolve them.
fn check_advertised(flags: &Flags, local: &Member) -> Result<(), BootstrapError> {
    let advertised = &flags.advertise_peer_urls;
    let without = |all: &[String], those: &[String]| -> Vec<String> {
        all.iter().filter(|url| !those.contains(url)).cloned().collect()
    };
    let named = |urls: &[String]| -> String {
        let pairs = urls.iter().map(|url| format!("{}={url}", flags.name));
        pairs.collect::<Vec<_>>().join(",")
    };
    let missing = without(&local.peer_urls, advertised);
    if !missing.is_empty() {
        let (missing, urls) = (named(&missing), advertised.join(","));
        return Err(BootstrapError::NotAdvertised { missing, urls });
    }
    let missing = without(advertised, &local.peer_urls);
    if !missing.is_empty() {
        let (missing, list) = (missing.join(","), named(&local.peer_urls));
        return Err(BootstrapError::NotInCluster { missing, list });
    }
    Ok(())
}

/// Whether the members that a peer names show that the local one has started before: then it must
/// not be founded again.
///
/// # Errors
/// [`BootstrapError::AlreadyBootstrapped`].
pub fn is_bootstrapped(founding: &Founding, named: &[Member]) -> Result<(), BootstrapError> {
    let id = founding.local().id;
    let started = named.iter().any(|member| member.id == id && !member.client_urls.is_empty());
    if started { Err(BootstrapError::AlreadyBootstrapped { id }) } else { Ok(()) }
}

/// Matches `--initial-cluster` to the members that a peer names; the local member's id.
///
/// # Errors
/// [`BootstrapError::NotTheCluster`].
pub fn match_existing(wanted: &Founding, existing: &[Member]) -> Result<u64, BootstrapError> {
    let refuse = |reason: String| BootstrapError::NotTheCluster { reason };
    if existing.len() != wanted.members().len() {
        return Err(refuse("member count is unequal".to_owned()));
    }
    let sorted = |member: &Member| {
        let mut urls = member.peer_urls.clone();
        urls.sort_unstable();
        urls
    };
    let known: Vec<_> = wanted.members().iter().map(sorted).collect();
    if let Some(stranger) = existing.iter().find(|member| !known.contains(&sorted(member))) {
        let (id, urls) = (stranger.id, stranger.peer_urls.join(","));
        return Err(refuse(format!(
            "PeerURLs: no match found for existing member ({id:x}, [{urls}])"
        )));
    }
    let local = existing.iter().find(|member| sorted(member) == sorted(wanted.local()));
    local.map(|member| member.id).ok_or_else(|| refuse("the local member is not in it".to_owned()))
}
