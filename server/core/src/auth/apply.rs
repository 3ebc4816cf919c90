//! Entries of users and roles: asked whether they may, then done.

use holdfast_api::authpb::Permission;
use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::{
    AuthRoleGetRequest, AuthUserGetRequest, InternalAuthenticateRequest, InternalRaftRequest,
};

use super::{Auth, AuthError, Identity, ROOT_ROLE, ROOT_USER};
use crate::change::BucketChange;

/// What an entry has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever waits for it; its header is the caller's.
    pub answer: Answer,
    /// What to store.
    pub changes: Vec<BucketChange>,
    /// Whose simple tokens end.
    pub logged_out: LoggedOut,
}

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but a header.
    Done,
    /// For `AuthStatusResponse`.
    Status {
        /// Whether authentication is on.
        enabled: bool,
        /// The auth revision.
        revision: u64,
    },
    /// For `AuthUserGetResponse`: the user's roles.
    UserRoles(Vec<String>),
    /// For `AuthUserListResponse`.
    Users(Vec<String>),
    /// For `AuthRoleGetResponse`.
    Permissions(Vec<Permission>),
    /// For `AuthRoleListResponse`.
    Roles(Vec<String>),
    /// For `AuthenticateResponse`: a token is to be made out. Every member keeps a simple one; a
    /// JWT is signed by the member that answers.
    LogIn(Identity),
}

/// Whose simple tokens end with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedOut {
    /// Nobody's.
    Nobody,
    /// A user's: the password was changed, or the user is gone.
    User(String),
    /// All: authentication was turned off.
    Everybody,
}

impl Applied {
    pub(super) fn changed(changes: Vec<BucketChange>) -> Self {
        Applied { answer: Answer::Done, changes, logged_out: LoggedOut::Nobody }
    }

    fn answered(answer: Answer) -> Self {
        Applied { answer, ..Applied::changed(Vec::new()) }
    }
}

impl Auth {
    /// Applies an entry of users, roles or a login, after asking whether `who` may; `None` for an
    /// entry of another kind.
    pub fn apply(
        &mut self,
        who: &Identity,
        request: &InternalRaftRequest,
    ) -> Option<Result<Applied, AuthError>> {
        if let Some(login) = &request.authenticate {
            return Some(self.log_in(login).map(Applied::answered));
        }
        if let Some(get) = &request.auth_user_get {
            return Some(self.user_get(who, get).map(Applied::answered));
        }
        if let Some(get) = &request.auth_role_get {
            return Some(self.role_get(who, get).map(Applied::answered));
        }
        if !is_admins(request) {
            return None;
        }
        if let Err(refusal) = self.check_admin(who) {
            return Some(Err(refusal));
        }
        self.apply_status(request)
            .or_else(|| self.apply_users(request))
            .or_else(|| self.apply_roles(request))
    }

    fn apply_status(
        &mut self,
        request: &InternalRaftRequest,
    ) -> Option<Result<Applied, AuthError>> {
        if request.auth_enable.is_some() {
            Some(self.enable())
        } else if request.auth_disable.is_some() {
            Some(Ok(self.disable()))
        } else if request.auth_status.is_some() {
            let (enabled, revision) = (self.enabled, self.revision);
            Some(Ok(Applied::answered(Answer::Status { enabled, revision })))
        } else {
            None
        }
    }

    fn apply_users(&mut self, request: &InternalRaftRequest) -> Option<Result<Applied, AuthError>> {
        if let Some(add) = &request.auth_user_add {
            Some(self.user_add(add))
        } else if let Some(delete) = &request.auth_user_delete {
            Some(self.user_delete(delete))
        } else if let Some(change) = &request.auth_user_change_password {
            Some(self.user_change_password(change))
        } else if let Some(grant) = &request.auth_user_grant_role {
            Some(self.user_grant_role(grant))
        } else if let Some(revoke) = &request.auth_user_revoke_role {
            Some(self.user_revoke_role(revoke))
        } else if request.auth_user_list.is_some() {
            let names = self.users.keys().cloned().collect();
            Some(Ok(Applied::answered(Answer::Users(names))))
        } else {
            None
        }
    }

    fn apply_roles(&mut self, request: &InternalRaftRequest) -> Option<Result<Applied, AuthError>> {
        if let Some(add) = &request.auth_role_add {
            Some(self.role_add(add))
        } else if let Some(delete) = &request.auth_role_delete {
            Some(self.role_delete(delete))
        } else if let Some(grant) = &request.auth_role_grant_permission {
            Some(self.role_grant_permission(grant))
        } else if let Some(revoke) = &request.auth_role_revoke_permission {
            Some(self.role_revoke_permission(revoke))
        } else if request.auth_role_list.is_some() {
            let names = self.roles.keys().cloned().collect();
            Some(Ok(Applied::answered(Answer::Roles(names))))
        } else {
            None
        }
    }

    /// Turning on raises no revision; doing it twice is nothing.
    fn enable(&mut self) -> Result<Applied, AuthError> {
        if self.enabled {
            return Ok(Applied::changed(Vec::new()));
        }
        let root = self.users.get(ROOT_USER).ok_or(AuthError::RootUserNotExist)?;
        if !root.has_role(ROOT_ROLE) {
            return Err(AuthError::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(Applied::changed(vec![self.store_enabled()]))
    }

    fn disable(&mut self) -> Applied {
        if !self.enabled {
            return Applied::changed(Vec::new());
        }
        self.enabled = false;
        let changes = vec![self.store_enabled(), self.next_revision()];
        Applied { logged_out: LoggedOut::Everybody, ..Applied::changed(changes) }
    }

    /// The password was checked by the member that was asked ([`Auth::login_check`]).
    fn log_in(&self, login: &InternalAuthenticateRequest) -> Result<Answer, AuthError> {
        if !self.enabled {
            return Err(AuthError::NotEnabled);
        }
        match self.users.get(&login.name) {
            Some(user) if !user.has_no_password() => {
                Ok(Answer::LogIn(self.token_identity(&login.name)))
            }
            _ => Err(AuthError::AuthFailed),
        }
    }

    /// Root, or the user itself.
    fn user_get(&self, who: &Identity, get: &AuthUserGetRequest) -> Result<Answer, AuthError> {
        self.check_admin(who).or_else(
            |refusal| {
                if get.name == who.user { Ok(()) } else { Err(refusal) }
            },
        )?;
        let user = self.users.get(&get.name).ok_or(AuthError::UserNotFound)?;
        Ok(Answer::UserRoles(user.roles.clone()))
    }

    /// Root, or who has the role. That of root opens everything, whatever is stored.
    fn role_get(&self, who: &Identity, get: &AuthRoleGetRequest) -> Result<Answer, AuthError> {
        self.check_admin(who).or_else(|refusal| {
            let holds = self.users.get(&who.user).is_some_and(|user| user.has_role(&get.role));
            if holds { Ok(()) } else { Err(refusal) }
        })?;
        let role = self.roles.get(&get.role).ok_or(AuthError::RoleNotFound)?;
        if get.role == ROOT_ROLE {
            let all = Permission {
                perm_type: Type::Readwrite as i32,
                key: Vec::new(),
                range_end: vec![0],
            };
            return Ok(Answer::Permissions(vec![all]));
        }
        Ok(Answer::Permissions(role.permissions.clone()))
    }
}

/// Entries that only a root may have applied.
fn is_admins(request: &InternalRaftRequest) -> bool {
    request.auth_enable.is_some()
        || request.auth_disable.is_some()
        || request.auth_status.is_some()
        || request.auth_user_add.is_some()
        || request.auth_user_delete.is_some()
        || request.auth_user_change_password.is_some()
        || request.auth_user_grant_role.is_some()
        || request.auth_user_revoke_role.is_some()
        || request.auth_user_list.is_some()
        || request.auth_role_add.is_some()
        || request.auth_role_delete.is_some()
        || request.auth_role_grant_permission.is_some()
        || request.auth_role_revoke_permission.is_some()
        || request.auth_role_list.is_some()
}
