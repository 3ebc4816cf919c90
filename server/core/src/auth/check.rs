//! May this user do that? Asked when a request arrives (reads) and when its entry is applied.

use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RequestOp, TxnRequest,
};

use super::spans::Spans;
use super::{Auth, AuthError, Identity, Merged, ROOT_ROLE, User};
use crate::lease::Leases;

/// What is done to a range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Range, watch, compare, previous values.
    Read,
    /// Put, delete, and what a lease does to its keys.
    Write,
}

impl Auth {
    /// Only users with the role root. [`Auth::apply`] asks it for changes of users and roles; the
    /// server asks it before it does or proposes a compaction, a defragmentation, a snapshot, a
    /// hash, a move of the leader, a downgrade, a change of members, or an alarm raised or cleared.
    ///
    /// # Errors
    /// Nobody asks, the user is gone, or is no root.
    pub fn check_admin(&self, who: &Identity) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        if who.user.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let user = self.users.get(&who.user).ok_or(AuthError::UserNotFound)?;
        if user.has_role(ROOT_ROLE) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Somebody must ask, whoever it is: the status, the list of alarms, of members, and all that
    /// is asked about leases (grant, revoke, keep-alive, time to live, list), before it is
    /// proposed or done.
    ///
    /// # Errors
    /// Nobody asks.
    pub fn check_somebody(&self, who: &Identity) -> Result<(), AuthError> {
        let nobody = self.enabled && *who == Identity::default();
        if nobody { Err(AuthError::UserEmpty) } else { Ok(()) }
    }

    /// Access to a range of keys: an empty range end is the one key, a zero byte all that follow.
    ///
    /// # Errors
    /// Nobody asks, users or roles have changed since, or the user may not.
    pub fn check_range(
        &self,
        who: &Identity,
        key: &[u8],
        range_end: &[u8],
        access: Access,
    ) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        if who.revision == 0 {
            return Err(AuthError::UserEmpty);
        }
        if who.revision < self.revision {
            return Err(AuthError::OldRevision);
        }
        let user = self.users.get(&who.user).ok_or(AuthError::PermissionDenied)?;
        if user.has_role(ROOT_ROLE) {
            return Ok(());
        }
        let merged = user.merged.get_or_init(|| self.merge(user));
        let spans = match access {
            Access::Read => &merged.read,
            Access::Write => &merged.write,
        };
        if spans.covers(key, range_end) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// After a read outside of the log: nothing may have changed while it was made.
    ///
    /// # Errors
    /// Users or roles have changed since.
    pub fn check_fresh(&self, who: &Identity) -> Result<(), AuthError> {
        let stale = who.revision != 0 && who.revision != self.revision;
        if stale { Err(AuthError::OldRevision) } else { Ok(()) }
    }

    /// What an entry does to keys and leases, when it is applied. Entries of users and roles are
    /// [`Auth::apply`]'s. All else passes.
    ///
    /// # Errors
    /// As [`Auth::check_range`].
    pub fn check_operation(
        &self,
        who: &Identity,
        request: &InternalRaftRequest,
        leases: &Leases,
    ) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        if let Some(range) = &request.range {
            return self.check_range(who, &range.key, &range.range_end, Access::Read);
        }
        if let Some(put) = &request.put {
            return self.check_put(who, put, leases);
        }
        if let Some(delete) = &request.delete_range {
            return self.check_delete(who, delete);
        }
        if let Some(txn) = &request.txn {
            return self.check_txn(who, txn, leases);
        }
        if let Some(revoke) = &request.lease_revoke {
            return self.check_lease(who, leases, revoke.id, Access::Write);
        }
        Ok(())
    }

    /// All that a transaction may do, in both branches and at every depth.
    ///
    /// # Errors
    /// As [`Auth::check_range`].
    pub fn check_txn(
        &self,
        who: &Identity,
        txn: &TxnRequest,
        leases: &Leases,
    ) -> Result<(), AuthError> {
        for compare in &txn.compare {
            self.check_range(who, &compare.key, &compare.range_end, Access::Read)?;
        }
        for RequestOp { request } in txn.success.iter().chain(&txn.failure) {
            match request {
                Some(Request::RequestRange(range)) => {
                    self.check_range(who, &range.key, &range.range_end, Access::Read)?;
                }
                Some(Request::RequestPut(put)) => self.check_put(who, put, leases)?,
                Some(Request::RequestDeleteRange(delete)) => self.check_delete(who, delete)?,
                Some(Request::RequestTxn(inner)) => self.check_txn(who, inner, leases)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Access to all keys of a lease. Who revokes one, keeps it alive or attaches a key to it must
    /// be able to write them; who asks for its keys, or for all leases, to read them. An unknown
    /// lease has none.
    ///
    /// # Errors
    /// As [`Auth::check_range`].
    pub fn check_lease(
        &self,
        who: &Identity,
        leases: &Leases,
        id: i64,
        access: Access,
    ) -> Result<(), AuthError> {
        if self.check_admin(who).is_ok() {
            return Ok(());
        }
        leases.keys(id).try_for_each(|key| self.check_range(who, key, &[], access))
    }

    fn check_put(
        &self,
        who: &Identity,
        put: &PutRequest,
        leases: &Leases,
    ) -> Result<(), AuthError> {
        self.check_range(who, &put.key, &[], Access::Write)?;
        self.check_lease(who, leases, put.lease, Access::Write)?;
        if put.prev_kv {
            self.check_range(who, &put.key, &[], Access::Read)?;
        }
        Ok(())
    }

    fn check_delete(&self, who: &Identity, delete: &DeleteRangeRequest) -> Result<(), AuthError> {
        self.check_range(who, &delete.key, &delete.range_end, Access::Write)?;
        if delete.prev_kv {
            self.check_range(who, &delete.key, &delete.range_end, Access::Read)?;
        }
        Ok(())
    }

    /// What a user's roles open together. Roles that are gone open nothing.
    fn merge(&self, user: &User) -> Merged {
        let spans = |wanted: [Type; 2]| {
            let wanted = wanted.map(|kind| kind as i32);
            let roles = user.roles.iter().filter_map(|name| self.roles.get(name));
            let permissions = roles.flat_map(|role| &role.permissions);
            let open = permissions.filter(|permission| wanted.contains(&permission.perm_type));
            Spans::merge(open.map(|open| (open.key.as_slice(), open.range_end.as_slice())))
        };
        Merged {
            read: spans([Type::Read, Type::Readwrite]),
            write: spans([Type::Write, Type::Readwrite]),
        }
    }
}
