//! Changes of users.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use holdfast_api::authpb::UserAddOptions;
use holdfast_api::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
    AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
};
use std::sync::OnceLock;
use zeroize::Zeroizing;

use super::apply::{Applied, LoggedOut};
use super::{Auth, AuthError, ROOT_ROLE, ROOT_USER, User, password};
use crate::buckets::AUTH_USERS;
use crate::change::BucketChange;

/// Base64 as Go decodes it: left-over bits may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

impl Auth {
    pub(super) fn user_add(&mut self, add: &AuthUserAddRequest) -> Result<Applied, AuthError> {
        if add.name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(&add.name) {
            return Err(AuthError::UserAlreadyExists);
        }
        let options = add.options.unwrap_or(UserAddOptions { no_password: false });
        let password_hash = match options.no_password {
            true => Zeroizing::default(),
            false => self.password_hash(&add.name, &add.password, &add.hashed_password)?,
        };
        let user = User { password_hash, options: Some(options), ..User::default() };
        self.users.insert(add.name.clone(), user);
        Ok(self.user_changed(&add.name))
    }

    pub(super) fn user_delete(
        &mut self,
        delete: &AuthUserDeleteRequest,
    ) -> Result<Applied, AuthError> {
        if self.enabled && delete.name == ROOT_USER {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(&delete.name).ok_or(AuthError::UserNotFound)?;
        let changes =
            vec![BucketChange::delete(AUTH_USERS, delete.name.as_str()), self.next_revision()];
        let logged_out = LoggedOut::User(delete.name.clone());
        Ok(Applied { logged_out, ..Applied::changed(changes) })
    }

    pub(super) fn user_change_password(
        &mut self,
        change: &AuthUserChangePasswordRequest,
    ) -> Result<Applied, AuthError> {
        let user = self.users.get(&change.name).ok_or(AuthError::UserNotFound)?;
        let password_hash = match user.has_no_password() {
            true => Zeroizing::default(),
            false => self.password_hash(&change.name, &change.password, &change.hashed_password)?,
        };
        if let Some(user) = self.users.get_mut(&change.name) {
            user.password_hash = password_hash;
        }
        let logged_out = LoggedOut::User(change.name.clone());
        Ok(Applied { logged_out, ..self.user_changed(&change.name) })
    }

    /// The role root need not exist. A role that the user has already changes nothing, not even
    /// the revision.
    pub(super) fn user_grant_role(
        &mut self,
        grant: &AuthUserGrantRoleRequest,
    ) -> Result<Applied, AuthError> {
        let user = self.users.get_mut(&grant.user).ok_or(AuthError::UserNotFound)?;
        if grant.role != ROOT_ROLE && !self.roles.contains_key(&grant.role) {
            return Err(AuthError::RoleNotFound);
        }
        match user.roles.binary_search(&grant.role) {
            Ok(_) => return Ok(Applied::changed(Vec::new())),
            Err(at) => user.roles.insert(at, grant.role.clone()),
        }
        Ok(self.user_changed(&grant.user))
    }

    pub(super) fn user_revoke_role(
        &mut self,
        revoke: &AuthUserRevokeRoleRequest,
    ) -> Result<Applied, AuthError> {
        if self.enabled && revoke.name == ROOT_USER && revoke.role == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        let user = self.users.get_mut(&revoke.name).ok_or(AuthError::UserNotFound)?;
        if !user.has_role(&revoke.role) {
            return Err(AuthError::RoleNotGranted);
        }
        user.roles.retain(|role| *role != revoke.role);
        Ok(self.user_changed(&revoke.name))
    }

    /// Stores a user anew and raises the revision.
    fn user_changed(&mut self, name: &str) -> Applied {
        if let Some(user) = self.users.get_mut(name) {
            user.merged = OnceLock::new();
        }
        let mut changes: Vec<BucketChange> = self.store_user(name).into_iter().collect();
        changes.push(self.next_revision());
        Applied::changed(changes)
    }

    /// The hash that a request carries. One that carries a password instead was proposed by etcd
    /// 3.4 or older: it is hashed here, with a salt that every member finds alike.
    fn password_hash(
        &self,
        user: &str,
        plain: &str,
        hashed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        if !plain.is_empty() && hashed.is_empty() {
            let salt = password::derived_salt(user, self.revision);
            let hash = password::hash(plain, password::DEFAULT_COST, salt)?;
            return Ok(Zeroizing::new(hash.as_bytes().to_vec()));
        }
        let text: Zeroizing<Vec<u8>> =
            Zeroizing::new(hashed.bytes().filter(|byte| !b"\r\n".contains(byte)).collect());
        BASE64.decode(&text[..]).map(Zeroizing::new).map_err(|_| AuthError::NoPasswordUser)
    }
}
