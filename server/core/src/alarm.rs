//! Alarms: which member raised what, and what that refuses.
//!
//! An alarm is stored as a key of the bucket `alarm`: the marshalled `AlarmMember`, with an empty
//! value. It stays until someone disarms it, also when its member is long gone.
//!
//! What must hold: raising an alarm that is raised changes nothing; what is refused depends on the
//! kinds raised only, never on who raised them, so that all members refuse alike.

use std::collections::BTreeSet;

use holdfast_api::etcdserverpb::alarm_request::AlarmAction;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, InternalRaftRequest, RequestOp, TxnRequest,
};
use prost::Message;

use crate::buckets;
use crate::change::BucketChange;

/// The alarms of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    /// (kind, member), as numbers of the wire: kinds that we do not know are kept.
    raised: BTreeSet<(i32, u64)>,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlarmRefusal {
    /// NOSPACE is raised. gRPC: `ResourceExhausted`.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// CORRUPT is raised. gRPC: `DataLoss`.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
}

impl AlarmRefusal {
    /// The gRPC status code, as a number of the wire.
    pub fn code(self) -> i32 {
        match self {
            AlarmRefusal::NoSpace => 8,
            AlarmRefusal::Corrupt => 15,
        }
    }
}

impl Alarms {
    /// Reads the keys of the bucket `alarm`.
    ///
    /// # Errors
    /// A key that is no `AlarmMember`.
    pub fn restore<'a>(
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, prost::DecodeError> {
        let mut raised = BTreeSet::new();
        for key in keys {
            let member = AlarmMember::decode(key)?;
            raised.insert((member.alarm, member.member_id));
        }
        Ok(Alarms { raised })
    }

    /// Applies a request: the alarms that the answer lists, and what to store. An action that we do
    /// not know does nothing.
    pub fn apply(&mut self, request: &AlarmRequest) -> (Vec<AlarmMember>, Option<BucketChange>) {
        let (member, change) = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => return (self.list(request.alarm), None),
            Ok(AlarmAction::Activate) => self.activate(request.member_id, request.alarm),
            Ok(AlarmAction::Deactivate) => {
                self.deactivate(request.member_id, request.alarm).unzip()
            }
            Err(_) => (None, None),
        };
        (member.into_iter().collect(), change)
    }

    /// Raises an alarm of kind `kind` (a number of the wire) for a member. Gives what the answer
    /// lists, and what is to be stored: nothing if it was raised before. NONE raises nothing.
    pub fn activate(
        &mut self,
        member_id: u64,
        kind: i32,
    ) -> (Option<AlarmMember>, Option<BucketChange>) {
        if kind == AlarmType::None as i32 {
            return (None, None);
        }
        let member = AlarmMember { member_id, alarm: kind };
        let is_new = self.raised.insert((kind, member_id));
        let change = BucketChange::put(buckets::ALARM, member.encode_to_vec(), Vec::new());
        (Some(member), is_new.then_some(change))
    }

    /// Clears an alarm; nothing if it was not raised.
    pub fn deactivate(&mut self, member_id: u64, kind: i32) -> Option<(AlarmMember, BucketChange)> {
        let member = AlarmMember { member_id, alarm: kind };
        let was_raised = self.raised.remove(&(kind, member_id));
        let change = BucketChange::delete(buckets::ALARM, member.encode_to_vec());
        was_raised.then_some((member, change))
    }

    /// The alarms of a kind, or all for NONE; by kind, then by member.
    pub fn list(&self, kind: i32) -> Vec<AlarmMember> {
        let all = kind == AlarmType::None as i32;
        let wanted = self.raised.iter().filter(|(of, _)| all || *of == kind);
        wanted.map(|&(alarm, member_id)| AlarmMember { member_id, alarm }).collect()
    }

    /// Whether an alarm of this kind is raised by any member.
    pub fn is_raised(&self, kind: AlarmType) -> bool {
        let kind = kind as i32;
        self.raised.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    /// Whether an entry is refused when it is applied. Reads that do not travel through raft are
    /// never asked.
    ///
    /// Upstream asks in this order: may only an administrator do it and is this one
    /// ([`crate::auth::Auth::check_admin`]); then this; then permissions of keys
    /// ([`crate::auth::Auth::check_operation`]); then the quota.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, request: &InternalRaftRequest) -> Result<(), AlarmRefusal> {
        if self.is_raised(AlarmType::Corrupt) && touches_data(request) {
            return Err(AlarmRefusal::Corrupt);
        }
        if self.is_raised(AlarmType::Nospace) && takes_space(request) {
            return Err(AlarmRefusal::NoSpace);
        }
        Ok(())
    }
}

/// All that reads or changes keys or leases: what CORRUPT refuses. Alarms, users, members,
/// versions and lease checkpoints pass.
fn touches_data(request: &InternalRaftRequest) -> bool {
    request.range.is_some()
        || request.put.is_some()
        || request.delete_range.is_some()
        || request.txn.is_some()
        || request.compaction.is_some()
        || request.lease_grant.is_some()
        || request.lease_revoke.is_some()
}

/// What NOSPACE refuses.
fn takes_space(request: &InternalRaftRequest) -> bool {
    request.put.is_some()
        || request.lease_grant.is_some()
        || request.txn.as_ref().is_some_and(txn_puts)
}

/// Whether a transaction holds a put in any branch at any depth.
fn txn_puts(txn: &TxnRequest) -> bool {
    let puts = |op: &RequestOp| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(inner)) => txn_puts(inner),
        _ => false,
    };
    txn.success.iter().chain(&txn.failure).any(puts)
}

#[cfg(test)]
mod tests;
