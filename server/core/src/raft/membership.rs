//! Who belongs to the group: voters, learners, and the rules by which that changes.
//!
//! etcd changes one member at a time ([`Members::simple`]). Joint configurations, in which two
//! majorities decide, are known because a snapshot can carry one; etcd never enters one.
//!
//! Must hold, checked after each change ([`Members::check_invariants`]): there is a progress for
//! every voter and learner and for nobody else; nobody is both; who becomes a learner at the end of
//! a joint configuration is one of its outgoing voters.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::{InflightLimits, Progress};
use super::quorum::{Majority, Tally, Voters};
use crate::meta::ConfState;
use crate::raftpb::ConfChangeKind;

/// Who belongs to the group, by role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// Those whose votes count.
    pub voters: Voters,
    /// Those that only follow.
    pub learners: BTreeSet<u64>,
    /// Outgoing voters that become learners when the joint configuration ends.
    pub learners_next: BTreeSet<u64>,
    /// Whether the leader ends the joint configuration by itself.
    pub auto_leave: bool,
}

/// A step of a change: what is done to which member. Member 0 means nothing is done.
pub type Change = (ConfChangeKind, u64);

/// The members with what a leader knows of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Their roles.
    pub configuration: Configuration,
    /// What is known of each.
    pub progress: BTreeMap<u64, Progress>,
    limits: InflightLimits,
}

/// A change that the rules forbid. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nobody could decide any more.
    #[error("removed all voters")]
    NoVoters,
    /// Old and new majorities might not overlap.
    #[error("more than one voter changed without entering joint config")]
    SeveralVoters,
    /// One change at a time.
    #[error("can't apply simple config change in joint config")]
    SimpleInJoint,
    /// It is joint already.
    #[error("config is already joint")]
    AlreadyJoint,
    /// There is nothing to leave.
    #[error("can't make a zero-voter config joint")]
    JointOfNobody,
    /// It is not joint.
    #[error("can't leave a non-joint config")]
    NotJoint,
    /// What is stored is none that the rules lead to.
    #[error("the stored members contradict each other")]
    Contradiction,
}

impl Configuration {
    /// As it is stored and sent.
    pub fn conf_state(&self) -> ConfState {
        let list = |ids: &BTreeSet<u64>| ids.iter().copied().collect();
        ConfState {
            voters: list(&self.voters.incoming.0),
            learners: list(&self.learners),
            voters_outgoing: list(&self.voters.outgoing.0),
            learners_next: list(&self.learners_next),
            auto_leave: self.auto_leave,
        }
    }
}

impl Members {
    /// Nobody.
    pub fn new(limits: InflightLimits) -> Self {
        Members { configuration: Configuration::default(), progress: BTreeMap::new(), limits }
    }

    /// Those of a stored configuration. `last_index` is where a leader would begin to send.
    ///
    /// # Errors
    /// No sequence of permitted changes leads to it: somebody has two roles, say.
    pub fn restore(
        limits: InflightLimits,
        state: &ConfState,
        last_index: u64,
    ) -> Result<Self, ChangeError> {
        use ConfChangeKind::{AddLearner, AddNode, RemoveNode};
        let each =
            |kind, ids: &[u64]| -> Vec<Change> { ids.iter().map(|id| (kind, *id)).collect() };
        let mut incoming = each(AddNode, &state.voters);
        incoming.extend(each(AddLearner, &state.learners));
        incoming.extend(each(AddLearner, &state.learners_next));
        let mut members = Members::new(limits);
        let before = if state.voters_outgoing.is_empty() {
            std::mem::take(&mut incoming)
        } else {
            each(AddNode, &state.voters_outgoing)
        };
        for change in before {
            members = members.simple(&[change], last_index)?;
        }
        if !state.voters_outgoing.is_empty() {
            let mut entered = each(RemoveNode, &state.voters_outgoing);
            entered.append(&mut incoming);
            members = members.enter_joint(state.auto_leave, &entered, last_index)?;
        }
        let mut wanted = state.clone();
        let ConfState { voters, learners, voters_outgoing, learners_next, .. } = &mut wanted;
        for ids in [voters, learners, voters_outgoing, learners_next] {
            ids.sort_unstable();
        }
        if members.configuration.conf_state() == wanted {
            Ok(members)
        } else {
            Err(ChangeError::Contradiction)
        }
    }

    /// After changes of which at most one touches a voter.
    ///
    /// # Errors
    /// The configuration is joint, would lose all voters, or more than one voter changes.
    pub fn simple(&self, changes: &[Change], last_index: u64) -> Result<Self, ChangeError> {
        if self.configuration.voters.is_joint() {
            return Err(ChangeError::SimpleInJoint);
        }
        let after = self.changed(changes, last_index)?;
        let before = &self.configuration.voters.incoming.0;
        let voters = &after.configuration.voters.incoming.0;
        if before.symmetric_difference(voters).count() > 1 {
            return Err(ChangeError::SeveralVoters);
        }
        after.check_invariants();
        Ok(after)
    }

    /// Into a joint configuration, in which the voters so far and those after the changes decide.
    ///
    /// # Errors
    /// It is joint already, has no voters, or would have none.
    pub fn enter_joint(
        &self,
        auto_leave: bool,
        changes: &[Change],
        last_index: u64,
    ) -> Result<Self, ChangeError> {
        let voters = &self.configuration.voters;
        if voters.is_joint() {
            return Err(ChangeError::AlreadyJoint);
        }
        if voters.incoming.0.is_empty() {
            return Err(ChangeError::JointOfNobody);
        }
        let mut joint = self.clone();
        joint.configuration.voters.outgoing = voters.incoming.clone();
        let mut after = joint.changed(changes, last_index)?;
        after.configuration.auto_leave = auto_leave;
        after.check_invariants();
        Ok(after)
    }

    /// Out of a joint configuration: the outgoing voters are done.
    ///
    /// # Errors
    /// It is not joint.
    pub fn leave_joint(&self) -> Result<Self, ChangeError> {
        if !self.configuration.voters.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        let mut after = self.clone();
        let configuration = &mut after.configuration;
        configuration.auto_leave = false;
        for id in std::mem::take(&mut configuration.learners_next) {
            configuration.learners.insert(id);
            if let Some(progress) = after.progress.get_mut(&id) {
                progress.is_learner = true;
            }
        }
        let outgoing = std::mem::take(&mut configuration.voters.outgoing);
        for id in outgoing.0 {
            let stays = configuration.voters.incoming.0.contains(&id)
                || configuration.learners.contains(&id);
            if !stays {
                after.progress.remove(&id);
            }
        }
        after.check_invariants();
        Ok(after)
    }

    /// Whether one voter decides alone.
    pub fn is_singleton(&self) -> bool {
        let voters = &self.configuration.voters;
        voters.incoming.0.len() == 1 && !voters.is_joint()
    }

    /// The highest index that a quorum has.
    pub fn committed(&self) -> u64 {
        let matched = |id| self.progress.get(&id).map(|progress| progress.matched);
        self.configuration.voters.committed(matched)
    }

    /// Whether a quorum was heard of since the last check.
    pub fn quorum_is_active(&self) -> bool {
        let voter = |id| self.progress.get(&id).filter(|progress| !progress.is_learner);
        let active = |id| voter(id).map(|progress| progress.recent_active);
        self.configuration.voters.tally(active) == Tally::Won
    }

    /// Forgets what is known of each member's log, at the begin of a term. `own` is this member,
    /// whose log ends at `last_index`.
    pub fn reset(&mut self, own: u64, last_index: u64) {
        for (id, progress) in &mut self.progress {
            *progress = Progress::new(last_index + 1, progress.is_learner, self.limits);
            if *id == own {
                progress.matched = last_index;
            }
        }
    }

    /// The rules at the file's top.
    pub fn check_invariants(&self) {
        let Configuration { voters, learners, learners_next, auto_leave } = &self.configuration;
        let mut expected = voters.ids();
        expected.extend(learners);
        let known: BTreeSet<u64> = self.progress.keys().copied().collect();
        assert_eq!(known, expected, "every member has a progress, and nobody else");
        for id in learners {
            assert!(!voters.contains(*id), "{id:x} is a learner and a voter");
            assert!(self.progress[id].is_learner, "{id:x} is known to be a learner");
        }
        for id in learners_next {
            assert!(voters.outgoing.0.contains(id), "{id:x} was a voter before it is a learner");
            assert!(!self.progress[id].is_learner, "{id:x} is no learner yet");
        }
        let is_plain = learners_next.is_empty() && !auto_leave;
        assert!(voters.is_joint() || is_plain, "only a joint configuration has an end");
    }

    fn changed(&self, changes: &[Change], last_index: u64) -> Result<Self, ChangeError> {
        let mut after = self.clone();
        for (kind, id) in changes.iter().filter(|(_, id)| *id != super::NOBODY) {
            match kind {
                ConfChangeKind::AddNode => after.make_voter(*id, last_index),
                ConfChangeKind::AddLearner => after.make_learner(*id, last_index),
                ConfChangeKind::RemoveNode => after.remove(*id),
                ConfChangeKind::UpdateNode => {}
            }
        }
        let Majority(voters) = &after.configuration.voters.incoming;
        if voters.is_empty() { Err(ChangeError::NoVoters) } else { Ok(after) }
    }

    fn make_voter(&mut self, id: u64, last_index: u64) {
        self.known(id, false, last_index).is_learner = false;
        self.configuration.learners.remove(&id);
        self.configuration.learners_next.remove(&id);
        self.configuration.voters.incoming.0.insert(id);
    }

    fn make_learner(&mut self, id: u64, last_index: u64) {
        if self.known(id, true, last_index).is_learner {
            self.configuration.learners.insert(id);
            return;
        }
        self.configuration.voters.incoming.0.remove(&id);
        if self.configuration.voters.outgoing.0.contains(&id) {
            // It votes until the joint configuration ends.
            self.configuration.learners_next.insert(id);
        } else {
            self.known(id, true, last_index).is_learner = true;
            self.configuration.learners.insert(id);
        }
    }

    fn remove(&mut self, id: u64) {
        self.configuration.voters.incoming.0.remove(&id);
        self.configuration.learners.remove(&id);
        self.configuration.learners_next.remove(&id);
        if !self.configuration.voters.outgoing.0.contains(&id) {
            self.progress.remove(&id);
        }
    }

    /// The member's progress; a new one counts as active, lest a check of the quorum come before
    /// its first answer.
    fn known(&mut self, id: u64, is_learner: bool, last_index: u64) -> &mut Progress {
        self.progress.entry(id).or_insert_with(|| {
            let mut progress = Progress::new(last_index.max(1), is_learner, self.limits);
            progress.recent_active = true;
            progress
        })
    }
}
