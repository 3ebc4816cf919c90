//! Changes of members as they travel in the log: the JSON in a conf change's context.
//!
//! | change | context |
//! |---|---|
//! | founding member | the member |
//! | member or learner added, learner promoted | the member and `isPromote` |
//! | peer URLs changed | the member |
//! | member removed | nothing |
//!
//! A promotion is of the kind "add node", like a new voter: only `isPromote` tells them apart.

use serde::{Deserialize, Serialize};

use super::Member;
use crate::raftpb::{ConfChange, ConfChangeKind};

/// What a conf change asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberRequest {
    /// A new member, with a vote unless it is a learner.
    Add(Member),
    /// A learner gets a vote.
    Promote(u64),
    /// Other peer URLs.
    Update(Member),
    /// A member leaves for good.
    Remove(u64),
}

/// A conf change that no etcd proposes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberRequestError {
    /// The context is not the JSON of a member.
    #[error("the change of member {node_id:x} has an unreadable context: {reason}")]
    Context {
        /// The member that the change names.
        node_id: u64,
        /// serde's words.
        reason: String,
    },
    /// The context names another member than the change.
    #[error("the change of member {node_id:x} has the context of member {context:x}")]
    OtherMember {
        /// The member that the change names.
        node_id: u64,
        /// The member in the context.
        context: u64,
    },
}

#[derive(Serialize)]
struct Context<'a> {
    #[serde(flatten)]
    member: &'a Member,
    #[serde(rename = "isPromote")]
    is_promote: bool,
}

#[derive(Deserialize)]
struct ReadContext {
    #[serde(flatten)]
    member: Member,
    #[serde(rename = "isPromote", default)]
    is_promote: bool,
}

impl MemberRequest {
    /// The conf change that asks for it. `id` is the request's.
    pub fn to_conf_change(&self, id: u64) -> ConfChange {
        let context = |member: &Member, is_promote| {
            serde_json::to_vec(&Context { member, is_promote })
                .expect("numbers and strings always serialize")
        };
        let (kind, node_id, context) = match self {
            MemberRequest::Add(member) if member.is_learner => {
                (ConfChangeKind::AddLearner, member.id, context(member, false))
            }
            MemberRequest::Add(member) => {
                (ConfChangeKind::AddNode, member.id, context(member, false))
            }
            MemberRequest::Promote(id) => {
                let member = Member { id: *id, ..Member::default() };
                (ConfChangeKind::AddNode, *id, context(&member, true))
            }
            MemberRequest::Update(member) => {
                (ConfChangeKind::UpdateNode, member.id, member.to_json())
            }
            MemberRequest::Remove(id) => (ConfChangeKind::RemoveNode, *id, Vec::new()),
        };
        ConfChange { id, kind, node_id, context }
    }

    /// What `change` asks for.
    ///
    /// # Errors
    /// A context that is not readable, or of another member.
    pub fn of(change: &ConfChange) -> Result<Self, MemberRequestError> {
        let node_id = change.node_id;
        if change.kind == ConfChangeKind::RemoveNode {
            return Ok(MemberRequest::Remove(node_id));
        }
        let read: ReadContext = serde_json::from_slice(&change.context)
            .map_err(|error| MemberRequestError::Context { node_id, reason: error.to_string() })?;
        let ReadContext { member, is_promote } = read;
        if member.id != node_id {
            return Err(MemberRequestError::OtherMember { node_id, context: member.id });
        }
        Ok(match change.kind {
            ConfChangeKind::UpdateNode => MemberRequest::Update(member),
            _ if is_promote => MemberRequest::Promote(node_id),
            _ => MemberRequest::Add(member),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contexts_are_upstreams() {
        let text =
            |request: &MemberRequest| String::from_utf8(request.to_conf_change(5).context).unwrap();
        let member = Member {
            id: 0xd622_1276_8587_9b3c,
            peer_urls: vec!["http://a:1".to_owned()],
            is_learner: true,
            ..Member::default()
        };
        let add = MemberRequest::Add(member.clone());
        let want = r#"{"id":15429915573580438332,"peerURLs":["http://a:1"],"isLearner":true,"isPromote":false}"#;
        assert_eq!(text(&add), want);
        let update = MemberRequest::Update(Member { is_learner: false, ..member.clone() });
        assert_eq!(text(&update), r#"{"id":15429915573580438332,"peerURLs":["http://a:1"]}"#);
        let promote = MemberRequest::Promote(member.id);
        assert!(text(&promote).ends_with(r#""isPromote":true}"#));
        for request in [add, update, promote, MemberRequest::Remove(7)] {
            assert_eq!(MemberRequest::of(&request.to_conf_change(5)), Ok(request));
        }
    }

    #[test]
    fn founders_and_go_nulls_are_read_and_others_refused() {
        let change = |context: &str| ConfChange {
            id: 0,
            kind: ConfChangeKind::AddNode,
            node_id: 7,
            context: context.as_bytes().to_vec(),
        };
        let read = MemberRequest::of(&change(r#"{"id":7,"peerURLs":null,"name":"n"}"#)).unwrap();
        let member = Member { id: 7, name: "n".to_owned(), ..Member::default() };
        assert_eq!(read, MemberRequest::Add(member));
        let other = MemberRequest::of(&change(r#"{"id":8,"peerURLs":[]}"#));
        assert_eq!(other, Err(MemberRequestError::OtherMember { node_id: 7, context: 8 }));
        assert!(matches!(MemberRequest::of(&change("")), Err(MemberRequestError::Context { .. })));
    }
}
