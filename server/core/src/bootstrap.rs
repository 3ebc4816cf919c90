//! What a server starts from: its flags and what lies in its data directory make a plan.
//!
//! Three steps. [`survey`] reads the directory and changes nothing. [`decide`] is a pure function
//! from flags and facts to a [`Plan`] with its reasons, or to a refusal in upstream's words where
//! it has some. [`found`], [`join`] and [`restart`] carry it out and give back what raft and the
//! apply thread start with.
//!
//! | log | `--initial-cluster-state` | plan |
//! |---|---|---|
//! | yes | not looked at | restart: newest .snap that the log notes, the log behind it, database |
//! | no | new | found: ids from URLs and token, a log with one entry for each founder |
//! | no | existing | join: ask the peers for ids, then an empty log |
//!
//! What must hold: the log reaches at least as far as the database has applied it; the database
//! stands at or after the snapshot at which the log is read (consistent index ≥ snapshot index), or
//! it is the one that came with that snapshot, which then takes its place. A log that is lost
//! beside a database that was in use is never founded anew: its entries would be skipped as if they
//! were applied.

mod carry_out;
mod decide;
mod survey;

use std::path::{Path, PathBuf};

pub use carry_out::{CarryOutError, Started, found, join, restart};
pub use decide::{BootstrapError, decide, is_bootstrapped, match_existing};
pub use survey::{DatabaseFacts, Facts, LogFacts, SurveyError, read_cluster_buckets, survey};

use crate::membership::Founding;
use crate::snap::LoadedSnap;
use crate::versions::EtcdVersion;

/// `--initial-cluster-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialState {
    /// The cluster is founded now.
    New,
    /// The cluster is there; this member was added to it.
    Existing,
}

/// The flags that decide.
#[derive(Debug, Clone)]
pub struct Flags {
    /// `--name`.
    pub name: String,
    /// `--initial-cluster`.
    pub initial_cluster: String,
    /// `--initial-advertise-peer-urls`.
    pub advertise_peer_urls: Vec<String>,
    /// `--initial-cluster-state`.
    pub initial_state: InitialState,
    /// `--initial-cluster-token`.
    pub token: String,
    /// `--force-new-cluster`: a member of a cluster that lost its quorum goes on alone.
    pub force_new_cluster: bool,
    /// This server's version.
    pub server_version: EtcdVersion,
}

/// Where a member's files stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDirs {
    data_dir: PathBuf,
    wal_dir: PathBuf,
}

/// What to do, and why, in sentences for the log.
#[derive(Debug)]
pub struct Plan {
    /// What to do.
    pub action: Action,
    /// Why, and what else was found.
    pub reasons: Vec<String>,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Found a cluster. With other founders, ask them first whether it is founded already, see
    /// [`is_bootstrapped`].
    Found(Founding),
    /// Ask one of these peers for the cluster's members, see [`match_existing`], then [`join`].
    Join {
        /// The local member as its flags describe it; its id is not yet the right one.
        wanted: Founding,
        /// URLs of the other members.
        ask: Vec<String>,
    },
    /// Go on.
    Restart(RestartPlan),
}

/// How a member goes on.
#[derive(Debug)]
pub struct RestartPlan {
    /// The snapshot to start at; `None`: the log's start.
    pub snapshot: Option<LoadedSnap>,
    /// What is done with the database.
    pub database: DatabaseStep,
    /// Files of the directory `snap` that are broken.
    pub set_aside: Vec<String>,
    /// Whether the others are thrown out.
    pub force_new_cluster: bool,
    /// Consistent index of the database that is in use afterwards; 0 for a new one.
    pub consistent_index: u64,
}

/// What is done with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseStep {
    /// It stays.
    Keep,
    /// The one that came with the snapshot takes its place.
    TakeReceived(PathBuf),
    /// There is none; the log has everything.
    Create,
}

impl MemberDirs {
    /// The usual places, or the log elsewhere (`--wal-dir`).
    pub fn new(data_dir: &Path, wal_dir: Option<&Path>) -> Self {
        let wal_dir = wal_dir.map_or_else(|| crate::datadir::wal_dir(data_dir), Path::to_owned);
        MemberDirs { data_dir: data_dir.to_owned(), wal_dir }
    }

    /// `--data-dir`.
    pub fn data(&self) -> &Path {
        &self.data_dir
    }

    /// `<data-dir>/member`.
    pub fn member(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    /// Where .snap files and the database stand.
    pub fn snap(&self) -> PathBuf {
        crate::datadir::snap_dir(&self.data_dir)
    }

    /// Where the log stands.
    pub fn wal(&self) -> &Path {
        &self.wal_dir
    }

    /// The database.
    pub fn db(&self) -> PathBuf {
        crate::datadir::db_path(&self.data_dir)
    }
}

#[cfg(test)]
mod tests;
