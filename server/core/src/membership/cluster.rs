//! The cluster as applied: members, removed ids, version, downgrade.
//!
//! There are two sides, because an entry can be applied to one and not yet to the other. What is
//! *stored* stands in the buckets `members`, `members_removed` and `cluster`, and stands where the
//! database stands (its consistent index). What is *replayed* starts at the last snapshot, with the
//! .snap file's v2 store, and goes through every entry again after a restart. An entry that the
//! database holds already changes the replayed side only; and it is judged by that side, so that
//! raft hears of each conf change exactly what it heard the first time.
//!
//! What must hold (see [`Cluster::check_invariants`]): either side is a sound
//! [`Roster`](super::roster::Roster).

use super::Member;
use super::change::MemberRequest;
use super::outcome::{ClusterError, ConfChangeOutcome, MemberChange, VersionChange};
use super::roster::{Refusal, Roster};
use super::stored::{self, Downgrade};
use crate::buckets::SmallBuckets;
use crate::change::BucketChange;
use crate::ids;
use crate::meta::ConfState;
use crate::raftpb::ConfChange;
use crate::v2store::V2Membership;
use crate::versions::EtcdVersion;

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
        let mut cluster = Cluster {
            config,
            stored: stored::read_roster(small)?,
            replayed: replayed.map(Roster::of_v2).unwrap_or_default(),
            version: stored::read_version(small)?,
            downgrade: stored::read_downgrade(small)?,
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
                Ok(vec![stored::put_member(member)])
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
        let changes = vec![stored::put_version(version)];
        Ok(VersionChange { from, force_snapshot, changes })
    }

    /// A downgrade begins (with the target's version) or ends.
    pub fn set_downgrade(&mut self, target: Option<&str>, scope: Scope) -> Vec<BucketChange> {
        if scope == Scope::Replayed {
            return Vec::new();
        }
        let target_version = target.unwrap_or_default().to_owned();
        self.downgrade = Downgrade { target_version, enabled: target.is_some() };
        vec![stored::put_downgrade(&self.downgrade)]
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
                    changes.push(stored::put_member(member));
                }
            }
            _ if scope == Scope::Replayed => {}
            MemberRequest::Remove(id) => {
                self.stored.apply(&request);
                changes.extend(stored::remove_member(*id));
            }
            MemberRequest::Add(Member { id, .. })
            | MemberRequest::Update(Member { id, .. })
            | MemberRequest::Promote(id) => {
                self.stored.apply(&request);
                changes.extend(self.stored.members.get(id).map(stored::put_member));
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
                changes.push(stored::put_member(member));
            }
        }
        changes
    }
}
