//! Users and roles with the buckets that they are stored in, and requests that change them.

use std::borrow::Borrow;

use holdfast_api::authpb;
use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::*;

use crate::auth::*;
use crate::buckets::SmallBuckets;

/// Users and roles with the buckets that they are stored in.
pub(super) struct World {
    pub(super) auth: Auth,
    pub(super) stored: SmallBuckets,
}

impl World {
    pub(super) fn new() -> Self {
        let (auth, changes) = Auth::new();
        let mut world = World { auth, stored: SmallBuckets::empty() };
        world.store(changes);
        world
    }

    /// One with a root that is on, and user `alice` of role `reader`.
    pub(super) fn enabled() -> Self {
        let mut world = World::new();
        for request in [
            user_add("root"),
            user_add("alice"),
            role_add("root"),
            role_add("reader"),
            grant_role("root", "root"),
            grant_role("alice", "reader"),
            enable(),
        ] {
            world.by_root(request).unwrap();
        }
        world
    }

    pub(super) fn store(&mut self, changes: Vec<BucketChange>) {
        for change in changes {
            match change.value {
                Some(value) => self.stored.put(change.bucket, &change.key, value),
                None => drop(self.stored.create(change.bucket).remove(&change.key)),
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        who: &Identity,
        request: impl Borrow<InternalRaftRequest>,
    ) -> Result<Applied, AuthError> {
        let applied = self.auth.apply(who, request.borrow()).expect("of users or roles")?;
        self.store(applied.changes.clone());
        Ok(applied)
    }

    pub(super) fn by_root(
        &mut self,
        request: impl Borrow<InternalRaftRequest>,
    ) -> Result<Applied, AuthError> {
        let root = self.auth.server_identity();
        self.apply(&root, request)
    }

    pub(super) fn restored(&self) -> Auth {
        let entries = |bucket| self.stored.entries(bucket).collect::<Vec<_>>();
        let (auth, changes) =
            Auth::restore(entries(AUTH), entries(AUTH_USERS), entries(AUTH_ROLES)).unwrap();
        assert_eq!(changes, [], "there is a revision");
        auth
    }

    pub(super) fn alice(&self) -> Identity {
        self.auth.token_identity("alice")
    }
}

macro_rules! request {
    ($field:ident: $message:expr) => {
        InternalRaftRequest { $field: Some($message), ..InternalRaftRequest::default() }
    };
}

pub(super) use request;

pub(super) fn enable() -> InternalRaftRequest {
    request!(auth_enable: AuthEnableRequest {})
}

pub(super) fn disable() -> InternalRaftRequest {
    request!(auth_disable: AuthDisableRequest {})
}

pub(super) fn user_add(name: &str) -> InternalRaftRequest {
    let hashed_password = "JDJhJA==".to_owned();
    let name = name.to_owned();
    request!(auth_user_add: AuthUserAddRequest { name, hashed_password, ..Default::default() })
}

pub(super) fn user_delete(name: &str) -> InternalRaftRequest {
    request!(auth_user_delete: AuthUserDeleteRequest { name: name.to_owned() })
}

pub(super) fn change_password(name: &str) -> InternalRaftRequest {
    let (name, hashed_password) = (name.to_owned(), "JDJi".to_owned());
    let change = AuthUserChangePasswordRequest { name, hashed_password, ..Default::default() };
    request!(auth_user_change_password: change)
}

pub(super) fn grant_role(user: &str, role: &str) -> InternalRaftRequest {
    let (user, role) = (user.to_owned(), role.to_owned());
    request!(auth_user_grant_role: AuthUserGrantRoleRequest { user, role })
}

pub(super) fn revoke_role(name: &str, role: &str) -> InternalRaftRequest {
    let (name, role) = (name.to_owned(), role.to_owned());
    request!(auth_user_revoke_role: AuthUserRevokeRoleRequest { name, role })
}

pub(super) fn role_add(name: &str) -> InternalRaftRequest {
    request!(auth_role_add: AuthRoleAddRequest { name: name.to_owned() })
}

pub(super) fn role_delete(role: &str) -> InternalRaftRequest {
    request!(auth_role_delete: AuthRoleDeleteRequest { role: role.to_owned() })
}

pub(super) fn permission(kind: Type, key: &[u8], range_end: &[u8]) -> authpb::Permission {
    authpb::Permission { perm_type: kind as i32, key: key.into(), range_end: range_end.into() }
}

pub(super) fn grant(role: &str, kind: Type, key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
    let (name, perm) = (role.to_owned(), Some(permission(kind, key, range_end)));
    request!(auth_role_grant_permission: AuthRoleGrantPermissionRequest { name, perm })
}

pub(super) fn revoke(role: &str, key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
    let (role, key, range_end) = (role.to_owned(), key.to_vec(), range_end.to_vec());
    request!(auth_role_revoke_permission: AuthRoleRevokePermissionRequest { role, key, range_end })
}
