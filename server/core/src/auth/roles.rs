//! Changes of roles.

use std::sync::OnceLock;

use holdfast_api::authpb::Permission;
use holdfast_api::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest,
};

use super::apply::Applied;
use super::{Auth, AuthError, ROOT_ROLE, Role};
use crate::buckets::AUTH_ROLES;
use crate::change::BucketChange;

impl Auth {
    pub(super) fn role_add(&mut self, add: &AuthRoleAddRequest) -> Result<Applied, AuthError> {
        if add.name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(&add.name) {
            return Err(AuthError::RoleAlreadyExists);
        }
        self.roles.insert(add.name.clone(), Role::default());
        Ok(self.role_changed(&add.name))
    }

    /// Also takes the role from its users.
    pub(super) fn role_delete(
        &mut self,
        delete: &AuthRoleDeleteRequest,
    ) -> Result<Applied, AuthError> {
        if self.enabled && delete.role == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(&delete.role).ok_or(AuthError::RoleNotFound)?;
        let mut changes = vec![BucketChange::delete(AUTH_ROLES, delete.role.as_str())];
        let holders: Vec<String> = self
            .users
            .iter()
            .filter(|(_, user)| user.has_role(&delete.role))
            .map(|(name, _)| name.clone())
            .collect();
        for name in holders {
            if let Some(user) = self.users.get_mut(&name) {
                user.roles.retain(|role| *role != delete.role);
                user.merged = OnceLock::new();
            }
            changes.extend(self.store_user(&name));
        }
        changes.push(self.next_revision());
        Ok(Applied::changed(changes))
    }

    /// Permissions lie in the order of their keys. As upstream, only the first one of a key is
    /// looked at: with the same range end its type is replaced, with another one the permission is
    /// added behind all of that key, even if the same range is among them.
    ///
    /// Known difference: with 13 to 49 permissions in a role upstream's sort mixes up those that
    /// share a key, ours never does. What is open is the same until one of them is granted anew.
    pub(super) fn role_grant_permission(
        &mut self,
        grant: &AuthRoleGrantPermissionRequest,
    ) -> Result<Applied, AuthError> {
        let wanted = grant.perm.as_ref().ok_or(AuthError::PermissionNotGiven)?;
        if !is_range(&wanted.key, &wanted.range_end) {
            return Err(AuthError::InvalidManagement);
        }
        let role = self.roles.get_mut(&grant.name).ok_or(AuthError::RoleNotFound)?;
        let permissions = &mut role.permissions;
        let first = permissions.partition_point(|own| own.key < wanted.key);
        match permissions.get_mut(first).filter(|own| is_same_range(own, wanted)) {
            Some(own) => own.perm_type = wanted.perm_type,
            None => {
                let behind = permissions.partition_point(|own| own.key <= wanted.key);
                permissions.insert(behind, wanted.clone());
            }
        }
        Ok(self.role_changed(&grant.name))
    }

    pub(super) fn role_revoke_permission(
        &mut self,
        revoke: &AuthRoleRevokePermissionRequest,
    ) -> Result<Applied, AuthError> {
        let role = self.roles.get_mut(&revoke.role).ok_or(AuthError::RoleNotFound)?;
        let before = role.permissions.len();
        role.permissions.retain(|own| own.key != revoke.key || own.range_end != revoke.range_end);
        if role.permissions.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        Ok(self.role_changed(&revoke.role))
    }

    /// Stores a role anew and raises the revision.
    fn role_changed(&mut self, name: &str) -> Applied {
        for user in self.users.values_mut().filter(|user| user.has_role(name)) {
            user.merged = OnceLock::new();
        }
        let mut changes: Vec<BucketChange> = self.store_role(name).into_iter().collect();
        changes.push(self.next_revision());
        Applied::changed(changes)
    }
}

fn is_same_range(own: &Permission, other: &Permission) -> bool {
    own.key == other.key && own.range_end == other.range_end
}

/// Whether a permission may be granted on it: a key, and an end that is none, open, or behind it.
fn is_range(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}
