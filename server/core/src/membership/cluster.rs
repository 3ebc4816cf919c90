//! The cluster as applied: members, removed ids, version, downgrade.
//!
//! There are two sides, because an entry can be applied to one and not yet to the other. What is
//! *stored* stands in the buckets `members`, `members_removed` and `cluster`, and stands where the
//! database stands (its consistent index). What is *replayed* starts at the last snapshot, with the
//! .snap file's v2 store, and goes through every entry again after a restart. An entry that the
//! database holds already changes the replayed side only; and it is judged by that side, so that
//! raft hears of each conf change exactly what it heard the first time.
//!
//! What must hold (see [`Cluster::check_invariants`]): no id is a member and removed; no two
//! members share a peer URL. A removed id never comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;
use super::change::{MemberRequest, MemberRequestError};
use crate::buckets::{CLUSTER, MEMBERS, MEMBERS_REMOVED, SmallBuckets};
use crate::change::BucketChange;
use crate::ids;
use crate::meta::ConfState;
use crate::raftpb::ConfChange;
use crate::rebuilt::{CLUSTER_VERSION, DOWNGRADE};
use crate::v2store::V2Membership;
use crate::versions::EtcdVersion;
use serde::{Deserialize, Serialize};

/// How many learners a cluster may have unless a flag says otherwise.
pub const MAX_LEARNERS: usize = 1;

/// Which sides an entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Both: the entry is new to the database.
    Both,
    /// The database holds it already: its index is not above the consistent index.
    Replayed,
}

/// A change of members that is refused when it is applied. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was a member once.
    #[error("membership: ID removed")]
    IdRemoved,
    /// It is a member.
    #[error("membership: ID exists")]
    IdExists,
    /// It is no member.
    #[error("membership: ID not found")]
    IdNotFound,
    /// Another member has one of its peer URLs.
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// It has a vote already.
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// No room for a further learner.
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
}

/// An entry that cannot be applied: the log and what is stored do not belong together, or a newer
/// etcd wrote it. The member must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The conf change is not readable.
    #[error(transparent)]
    Request(#[from] MemberRequestError),
    /// Attributes of a member that never was one.
    #[error("failed to update; member unknown: {id:x}")]
    UnknownMember {
        /// The id.
        id: u64,
    },
    /// The cluster is newer than this server.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version (server \
         {server}, cluster {cluster})"
    )]
    ServerTooOld {
        /// This server's version.
        server: EtcdVersion,
        /// The cluster's.
        cluster: EtcdVersion,
    },
    /// A bucket's entry is not readable.
    #[error("{place} in the database is not readable: {reason}")]
    Stored {
        /// Bucket and key.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// A downgrade, running or not; the JSON is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Downgrade {
    /// The version it goes to; empty when none is running.
    #[serde(rename = "target-version")]
    pub target_version: String,
    /// Whether one is running.
    pub enabled: bool,
}

/// What a conf change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfChangeOutcome {
    /// What raft must be told: the change, or the same with node id 0 if it is refused.
    pub for_raft: ConfChange,
    /// What happened, for the one who asked and for the connections to peers.
    pub result: Result<MemberChange, Refusal>,
    /// For the database.
    pub changes: Vec<BucketChange>,
}

/// A change of members that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member or learner.
    Added(Member),
    /// A learner has a vote now. `forced`: the stored side had missed it, see
    /// [`Cluster::load`].
    Promoted {
        /// The member.
        id: u64,
        /// Upstream logs `Forcibly apply member promotion request`.
        forced: bool,
    },
    /// Other peer URLs.
    Updated(Member),
    /// A member has left. If it is the local one, the server stops.
    Removed {
        /// The member.
        id: u64,
        /// Whether it is this one.
        is_local: bool,
    },
}

/// What setting the cluster's version came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionChange {
    /// The version before.
    pub from: Option<EtcdVersion>,
    /// Whether the version went down: then a snapshot is taken at once, for older servers to read.
    pub force_snapshot: bool,
    /// For the database.
    pub changes: Vec<BucketChange>,
}

/// What does not change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The local member.
    pub local_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// This server's version.
    pub server_version: EtcdVersion,
    /// See [`MAX_LEARNERS`].
    pub max_learners: usize,
}

/// Members and ids that were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roster {
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) removed: BTreeSet<u64>,
}

/// The applied state of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    config: ClusterConfig,
    stored: Roster,
    replayed: Roster,
    version: Option<EtcdVersion>,
    downgrade: Downgrade,
}

impl Cluster {
    /// Reads the stored side out of the database's buckets; the replayed side is the .snap file's,
    /// `None` without one. The second value heals what 3.5 left behind: a promotion that reached
    /// the snapshot but not the database (upstream logs `Syncing member in v3store`).
    ///
    /// # Errors
    /// [`ClusterError::Stored`], [`ClusterError::ServerTooOld`].
    pub fn load(
        config: ClusterConfig,
        small: &SmallBuckets,
        replayed: Option<&V2Membership>,
    ) -> Result<(Self, Vec<BucketChange>), ClusterError> {
        let mut stored = Roster::default();
        for (key, json) in small.entries(MEMBERS) {
            let mut member = Member::from_json(json).map_err(unreadable(MEMBERS, key))?;
            member.id = id_of(MEMBERS, key)?;
            stored.members.insert(member.id, member);
        }
        for (key, _) in small.entries(MEMBERS_REMOVED) {
            stored.removed.insert(id_of(MEMBERS_REMOVED, key)?);
        }
        let version = small.get(CLUSTER, CLUSTER_VERSION).map(|text| {
            let read = String::from_utf8_lossy(text).parse::<EtcdVersion>();
            read.map_err(unreadable(CLUSTER, CLUSTER_VERSION))
        });
        let downgrade = small
            .get(CLUSTER, DOWNGRADE)
            .map(|json| serde_json::from_slice(json).map_err(unreadable(CLUSTER, DOWNGRADE)));
        let replayed = replayed.map(Roster::of_v2).unwrap_or_default();
        let mut cluster = Cluster {
            config,
            stored,
            replayed,
            version: version.transpose()?,
            downgrade: downgrade.transpose()?.unwrap_or_default(),
        };
        if let Some(version) = cluster.version {
            cluster.check_version(version)?;
        }
        let healed = cluster.heal_promotions();
        Ok((cluster, healed))
    }

    /// A cluster that is founded or joined now: nothing is applied yet.
    pub fn new(config: ClusterConfig) -> Self {
        Cluster {
            config,
            stored: Roster::default(),
            replayed: Roster::default(),
            version: None,
            downgrade: Downgrade::default(),
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> u64 {
        self.config.cluster_id
    }

    /// The local member's id.
    pub fn local_id(&self) -> u64 {
        self.config.local_id
    }

    /// Members by ascending id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.stored.members.values()
    }

    /// Members with a vote, by ascending id.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| !member.is_learner)
    }

    /// A member.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.stored.members.get(&id)
    }

    /// Whether the id was a member and left.
    pub fn is_removed(&self, id: u64) -> bool {
        self.stored.removed.contains(&id)
    }

    /// Whether the local member is a learner.
    pub fn is_local_learner(&self) -> bool {
        self.member(self.config.local_id).is_some_and(|member| member.is_learner)
    }

    /// The version that all members speak; none until the first leader has set it.
    pub fn version(&self) -> Option<EtcdVersion> {
        self.version
    }

    /// The downgrade.
    pub fn downgrade(&self) -> &Downgrade {
        &self.downgrade
    }

    /// Voters and learners, as `meta/confState`, .snap files and notes in the log hold them.
    pub fn conf_state(&self) -> ConfState {
        let ids = |learners| {
            self.members().filter(move |it| it.is_learner == learners).map(|it| it.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true), ..ConfState::default() }
    }

    /// What a .snap file says of the cluster; see [`crate::v2store::encode_membership`].
    pub fn to_v2(&self) -> V2Membership {
        V2Membership {
            members: self.members().cloned().collect(),
            removed: self.stored.removed.iter().map(|id| ids::hex(*id)).collect(),
            cluster_version: self.version.map(|version| version.to_string()),
        }
    }

    /// Applies a conf change that is committed.
    ///
    /// # Errors
    /// [`ClusterError::Request`]: the member must stop.
    pub fn apply_conf_change(
        &mut self,
        change: &ConfChange,
        scope: Scope,
    ) -> Result<ConfChangeOutcome, ClusterError> {
        let side = if scope == Scope::Both { &self.stored } else { &self.replayed };
        let request = match MemberRequest::of(change) {
            // Upstream looks at the id before it reads the context.
            Err(_) if side.removed.contains(&change.node_id) => Err(Refusal::IdRemoved),
            read => side.judge(&read?, self.config.max_learners),
        };
        match request {
            Err(refusal) => {
                let for_raft = ConfChange { node_id: 0, ..change.clone() };
                Ok(ConfChangeOutcome { for_raft, result: Err(refusal), changes: Vec::new() })
            }
            Ok(request) => {
                let (made, changes) = self.make(request, scope);
                assert!(self.check_invariants().is_none(), "{:?}", self.check_invariants());
                Ok(ConfChangeOutcome { for_raft: change.clone(), result: Ok(made), changes })
            }
        }
    }

    /// Whether a change would be refused if it were applied now.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, request: &MemberRequest) -> Result<(), Refusal> {
        self.stored.judge(request, self.config.max_learners).map(|_| ())
    }

    /// A member publishes its name and client URLs. Of one that was removed since, nothing changes.
    ///
    /// # Errors
    /// [`ClusterError::UnknownMember`]: the member must stop.
    pub fn set_attributes(
        &mut self,
        id: u64,
        name: &str,
        client_urls: &[String],
        scope: Scope,
    ) -> Result<Vec<BucketChange>, ClusterError> {
        let set = |member: &mut Member| {
            name.clone_into(&mut member.name);
            client_urls.clone_into(&mut member.client_urls);
        };
        if let Some(member) = self.replayed.members.get_mut(&id) {
            set(member);
        }
        if scope == Scope::Replayed {
            return Ok(Vec::new());
        }
        match self.stored.members.get_mut(&id) {
            Some(member) => {
                set(member);
                Ok(vec![put_member(member)])
            }
            None if self.stored.removed.contains(&id) => Ok(Vec::new()),
            None => Err(ClusterError::UnknownMember { id }),
        }
    }

    /// The leader has found the version that all members speak.
    ///
    /// # Errors
    /// [`ClusterError::ServerTooOld`]: the member must stop.
    pub fn set_version(
        &mut self,
        version: EtcdVersion,
        scope: Scope,
    ) -> Result<VersionChange, ClusterError> {
        let from = self.version;
        if scope == Scope::Replayed {
            return Ok(VersionChange { from, force_snapshot: false, changes: Vec::new() });
        }
        self.check_version(version)?;
        self.version = Some(version);
        let force_snapshot = from.is_some_and(|from| version < from);
        let text = version.to_string();
        let changes = vec![BucketChange::put(CLUSTER, CLUSTER_VERSION, text)];
        Ok(VersionChange { from, force_snapshot, changes })
    }

    /// A downgrade begins (with the target's version) or ends.
    pub fn set_downgrade(&mut self, target: Option<&str>, scope: Scope) -> Vec<BucketChange> {
        if scope == Scope::Replayed {
            return Vec::new();
        }
        let target_version = target.unwrap_or_default().to_owned();
        self.downgrade = Downgrade { target_version, enabled: target.is_some() };
        let json = serde_json::to_vec(&self.downgrade).expect("strings always serialize");
        vec![BucketChange::put(CLUSTER, DOWNGRADE, json)]
    }

    /// What is wrong with it, if anything.
    pub fn check_invariants(&self) -> Option<&'static str> {
        [&self.stored, &self.replayed].into_iter().find_map(Roster::check_invariants)
    }

    fn check_version(&self, cluster: EtcdVersion) -> Result<(), ClusterError> {
        let server = self.config.server_version;
        if server < cluster {
            return Err(ClusterError::ServerTooOld { server, cluster });
        }
        Ok(())
    }

    fn make(&mut self, request: MemberRequest, scope: Scope) -> (MemberChange, Vec<BucketChange>) {
        self.replayed.apply(&request);
        let mut changes = Vec::new();
        let mut forced = false;
        match &request {
            MemberRequest::Promote(id) if scope == Scope::Replayed => {
                if let Some(member) = self.stored.members.get_mut(id).filter(|it| it.is_learner) {
                    (member.is_learner, forced) = (false, true);
                    changes.push(put_member(member));
                }
            }
            _ if scope == Scope::Replayed => {}
            MemberRequest::Remove(id) => {
                self.stored.apply(&request);
                changes.push(BucketChange::delete(MEMBERS, ids::hex(*id)));
                changes.push(BucketChange::put(MEMBERS_REMOVED, ids::hex(*id), "removed"));
            }
            MemberRequest::Add(Member { id, .. })
            | MemberRequest::Update(Member { id, .. })
            | MemberRequest::Promote(id) => {
                self.stored.apply(&request);
                changes.extend(self.stored.members.get(id).map(put_member));
            }
        }
        let made = match request {
            MemberRequest::Add(member) => MemberChange::Added(member),
            MemberRequest::Promote(id) => MemberChange::Promoted { id, forced },
            MemberRequest::Update(member) => MemberChange::Updated(member),
            MemberRequest::Remove(id) => {
                MemberChange::Removed { id, is_local: id == self.config.local_id }
            }
        };
        (made, changes)
    }

    fn heal_promotions(&mut self) -> Vec<BucketChange> {
        let voters = self.replayed.members.values().filter(|member| !member.is_learner);
        let mut changes = Vec::new();
        for Member { id, .. } in voters {
            if let Some(member) = self.stored.members.get_mut(id).filter(|it| it.is_learner) {
                member.is_learner = false;
                changes.push(put_member(member));
            }
        }
        changes
    }
}

impl Roster {
    fn of_v2(membership: &V2Membership) -> Self {
        let members = membership.members.iter().map(|member| (member.id, member.clone()));
        let removed = membership.removed.iter().filter_map(|id| u64::from_str_radix(id, 16).ok());
        Roster { members: members.collect(), removed: removed.collect() }
    }

    fn judge(
        &self,
        request: &MemberRequest,
        max_learners: usize,
    ) -> Result<MemberRequest, Refusal> {
        let (MemberRequest::Add(Member { id, .. })
        | MemberRequest::Update(Member { id, .. })
        | MemberRequest::Promote(id)
        | MemberRequest::Remove(id)) = request;
        if self.removed.contains(id) {
            return Err(Refusal::IdRemoved);
        }
        let known = self.members.get(id);
        match request {
            MemberRequest::Add(_) if known.is_some() => return Err(Refusal::IdExists),
            MemberRequest::Add(member) => {
                self.check_urls(member)?;
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if member.is_learner && learners >= max_learners {
                    return Err(Refusal::TooManyLearners);
                }
            }
            _ if known.is_none() => return Err(Refusal::IdNotFound),
            MemberRequest::Promote(_) if known.is_some_and(|member| !member.is_learner) => {
                return Err(Refusal::NotLearner);
            }
            MemberRequest::Update(member) => self.check_urls(member)?,
            MemberRequest::Promote(_) | MemberRequest::Remove(_) => {}
        }
        Ok(request.clone())
    }

    fn check_urls(&self, member: &Member) -> Result<(), Refusal> {
        let others = self.members.values().filter(|other| other.id != member.id);
        let mut taken = others.flat_map(|other| &other.peer_urls);
        if taken.any(|url| member.peer_urls.contains(url)) {
            return Err(Refusal::PeerUrlExists);
        }
        Ok(())
    }

    /// Makes a change, leaving alone what is not there.
    fn apply(&mut self, request: &MemberRequest) {
        match request {
            MemberRequest::Add(member) => {
                self.members.insert(member.id, member.clone());
            }
            MemberRequest::Promote(id) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.is_learner = false;
                }
            }
            MemberRequest::Update(new) => {
                if let Some(member) = self.members.get_mut(&new.id) {
                    member.peer_urls.clone_from(&new.peer_urls);
                }
            }
            MemberRequest::Remove(id) => {
                self.members.remove(id);
                self.removed.insert(*id);
            }
        }
    }

    fn check_invariants(&self) -> Option<&'static str> {
        if self.removed.iter().any(|id| self.members.contains_key(id)) {
            return Some("a removed id is a member");
        }
        let mut urls = BTreeSet::new();
        let mut all = self.members.values().flat_map(|member| &member.peer_urls);
        // A member may name one of its own URLs twice.
        let shared = all.any(|url| !urls.insert(url) && self.owners(url) > 1);
        shared.then_some("two members share a peer URL")
    }

    fn owners(&self, url: &String) -> usize {
        self.members.values().filter(|member| member.peer_urls.contains(url)).count()
    }
}

fn put_member(member: &Member) -> BucketChange {
    BucketChange::put(MEMBERS, ids::hex(member.id), member.to_json())
}

fn id_of(bucket: &[u8], key: &[u8]) -> Result<u64, ClusterError> {
    let text = String::from_utf8_lossy(key);
    u64::from_str_radix(&text, 16).map_err(unreadable(bucket, key))
}

fn unreadable<E: ToString>(bucket: &[u8], key: &[u8]) -> impl FnOnce(E) -> ClusterError {
    let place = format!("{}/{}", bucket.escape_ascii(), key.escape_ascii());
    move |error| ClusterError::Stored { place, reason: error.to_string() }
}
