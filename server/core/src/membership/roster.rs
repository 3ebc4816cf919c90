//! One side of a cluster: who is a member, who was one, and which changes are refused.
//!
//! What must hold (see [`Roster::check_invariants`]): no id is a member and removed; no two members
//! share a peer URL. A removed id never comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;
use super::change::MemberRequest;
use crate::v2store::V2Membership;

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

/// Members and ids that were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roster {
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) removed: BTreeSet<u64>,
}

impl Roster {
    pub(super) fn of_v2(membership: &V2Membership) -> Self {
        let members = membership.members.iter().map(|member| (member.id, member.clone()));
        let removed = membership.removed.iter().filter_map(|id| u64::from_str_radix(id, 16).ok());
        Roster { members: members.collect(), removed: removed.collect() }
    }

    pub(super) fn judge(
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
    pub(super) fn apply(&mut self, request: &MemberRequest) {
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

    pub(super) fn check_invariants(&self) -> Option<&'static str> {
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
