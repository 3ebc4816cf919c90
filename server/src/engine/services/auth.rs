//! Auth: users, roles, logins. Changes and questions travel through the log, where the apply thread
//! asks whether they may.
//!
//! What must hold: a password is hashed before it is proposed, wiped afterwards, and in no message
//! or log; a login that is checked against one password is not answered for another.

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::InternalRaftRequest as Raft;
use holdfast_api::etcdserverpb::auth_server::Auth;
use holdfast_core::auth::password::{seal_change, seal_user_add};
use holdfast_core::auth::token::prefix;
use holdfast_core::auth::{Answer as Said, AuthError};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::kv::unexpected;
use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::engine::machine::{Answer, status};
use crate::grpc::Refusal;

type Reply<T> = Result<Response<T>, Status>;

/// A login is checked again so often if passwords change meanwhile.
const MOST_TRIES: usize = 16;

impl Handle {
    async fn ask<T>(
        &self,
        request: Request<T>,
        wrap: impl FnOnce(T) -> Raft,
    ) -> Result<(Said, pb::ResponseHeader), Status> {
        let who = self.identity(&request).await?;
        match self.propose(&who, wrap(request.into_inner())).await? {
            (Answer::Auth(said), revision) => Ok((said, self.header_at(revision))),
            _ => Err(unexpected()),
        }
    }

    /// Hashing takes tens of milliseconds: not on the threads that serve calls.
    async fn seal<T: Send + 'static>(
        &self,
        mut request: T,
        seal: fn(&mut T, u32, [u8; 16]) -> Result<(), AuthError>,
    ) -> Result<T, Status> {
        let (cost, salt) = (self.inner.bcrypt_cost, chance()?);
        let sealed =
            tokio::task::spawn_blocking(move || seal(&mut request, cost, salt).map(|()| request));
        sealed.await.map_err(|_| Status::from(Refusal::Stopped))?.map_err(status)
    }

    async fn log_in(&self, name: String, password: Zeroizing<String>) -> Result<Answer, Status> {
        for _ in 0..MOST_TRIES {
            let check = read(&self.inner.shared.auth).login_check(&name).map_err(status)?;
            let plain = password.clone();
            let checked = tokio::task::spawn_blocking(move || check.verify(&plain));
            let revision =
                checked.await.map_err(|_| Status::from(Refusal::Stopped))?.map_err(status)?;
            let random = u128::from_ne_bytes(chance()?);
            let login = pb::InternalAuthenticateRequest {
                name: name.clone(),
                simple_token: prefix(random).to_string(),
                ..Default::default()
            };
            let request = Raft { authenticate: Some(login), ..Raft::default() };
            let (answer, _) = self.propose(&Default::default(), request).await?;
            if read(&self.inner.shared.auth).revision() == revision {
                return Ok(answer);
            }
        }
        Err(status(AuthError::OldRevision))
    }
}

fn chance() -> Result<[u8; 16], Status> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(bytes)
}

#[tonic::async_trait]
impl Auth for Handle {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Reply<pb::AuthEnableResponse> {
        let wrap = |inner| Raft { auth_enable: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Reply<pb::AuthDisableResponse> {
        let wrap = |inner| Raft { auth_disable: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Reply<pb::AuthUserDeleteResponse> {
        let wrap = |inner| Raft { auth_user_delete: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Reply<pb::AuthUserGrantRoleResponse> {
        let wrap = |inner| Raft { auth_user_grant_role: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Reply<pb::AuthUserRevokeRoleResponse> {
        let wrap = |inner| Raft { auth_user_revoke_role: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Reply<pb::AuthRoleAddResponse> {
        let wrap = |inner| Raft { auth_role_add: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Reply<pb::AuthRoleDeleteResponse> {
        let wrap = |inner| Raft { auth_role_delete: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Reply<pb::AuthRoleGrantPermissionResponse> {
        let wrap = |inner| Raft { auth_role_grant_permission: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Reply<pb::AuthRoleRevokePermissionResponse> {
        let wrap = |inner| Raft { auth_role_revoke_permission: Some(inner), ..Raft::default() };
        let header = Some(self.ask(request, wrap).await?.1);
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Reply<pb::AuthStatusResponse> {
        let wrap = |inner| Raft { auth_status: Some(inner), ..Raft::default() };
        let (Said::Status { enabled, revision }, header) = self.ask(request, wrap).await? else {
            return Err(unexpected());
        };
        let (header, auth_revision) = (Some(header), revision);
        Ok(Response::new(pb::AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Reply<pb::AuthenticateResponse> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        match self.log_in(name, Zeroizing::new(password)).await? {
            Answer::Token(token) => Ok(Response::new(pb::AuthenticateResponse {
                header: Some(self.header()),
                token: token.to_string(),
            })),
            _ => Err(unexpected()),
        }
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Reply<pb::AuthUserAddResponse> {
        let who = self.identity(&request).await?;
        let add = self.seal(request.into_inner(), seal_user_add).await?;
        let request = Raft { auth_user_add: Some(add), ..Raft::default() };
        let (_, revision) = self.propose(&who, request).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header: Some(self.header_at(revision)) }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Reply<pb::AuthUserChangePasswordResponse> {
        let who = self.identity(&request).await?;
        let change = self.seal(request.into_inner(), seal_change).await?;
        let request = Raft { auth_user_change_password: Some(change), ..Raft::default() };
        let (_, revision) = self.propose(&who, request).await?;
        let header = Some(self.header_at(revision));
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Reply<pb::AuthUserGetResponse> {
        let wrap = |inner| Raft { auth_user_get: Some(inner), ..Raft::default() };
        let (Said::UserRoles(roles), header) = self.ask(request, wrap).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(pb::AuthUserGetResponse { header: Some(header), roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Reply<pb::AuthUserListResponse> {
        let wrap = |inner| Raft { auth_user_list: Some(inner), ..Raft::default() };
        let (Said::Users(users), header) = self.ask(request, wrap).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(pb::AuthUserListResponse { header: Some(header), users }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Reply<pb::AuthRoleGetResponse> {
        let wrap = |inner| Raft { auth_role_get: Some(inner), ..Raft::default() };
        let (Said::Permissions(perm), header) = self.ask(request, wrap).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(pb::AuthRoleGetResponse { header: Some(header), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Reply<pb::AuthRoleListResponse> {
        let wrap = |inner| Raft { auth_role_list: Some(inner), ..Raft::default() };
        let (Said::Roles(roles), header) = self.ask(request, wrap).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(pb::AuthRoleListResponse { header: Some(header), roles }))
    }
}
