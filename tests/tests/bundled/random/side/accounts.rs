//! Calls about users, roles and authentication.

use super::super::steps::{Account, Who};
use super::Side;
use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::auth_client::AuthClient;

impl Side {
    pub(super) async fn account(&mut self, who: Who, account: &Account) -> String {
        let mut auth = AuthClient::new(self.channel.clone());
        let owned = |text: &&str| (*text).to_owned();
        macro_rules! ask {
            ($method:ident, $message:expr) => {{
                let answer = auth.$method(self.request(who, $message)).await;
                self.tell(answer, |_| {})
            }};
        }
        match account {
            Account::Enable => ask!(auth_enable, pb::AuthEnableRequest {}),
            Account::Disable => ask!(auth_disable, pb::AuthDisableRequest {}),
            Account::Status => ask!(auth_status, pb::AuthStatusRequest {}),
            Account::Login(name, password) => {
                let ask = pb::AuthenticateRequest { name: owned(name), password: owned(password) };
                let answer = auth.authenticate(self.request(who, ask)).await;
                if let Ok(answer) = &answer {
                    self.tokens.insert(name, answer.get_ref().token.clone());
                }
                self.tell(answer, |_| {})
            }
            Account::UserAdd(add) => ask!(user_add, add.clone()),
            Account::UserGet(name) => ask!(user_get, pb::AuthUserGetRequest { name: owned(name) }),
            Account::UserList => ask!(user_list, pb::AuthUserListRequest {}),
            Account::UserDelete(name) => {
                ask!(user_delete, pb::AuthUserDeleteRequest { name: owned(name) })
            }
            Account::UserChange(change) => ask!(user_change_password, change.clone()),
            Account::UserGrant(user, role) => {
                let message = pb::AuthUserGrantRoleRequest { user: owned(user), role: owned(role) };
                ask!(user_grant_role, message)
            }
            Account::UserRevoke(name, role) => {
                let message =
                    pb::AuthUserRevokeRoleRequest { name: owned(name), role: owned(role) };
                ask!(user_revoke_role, message)
            }
            Account::RoleAdd(name) => ask!(role_add, pb::AuthRoleAddRequest { name: owned(name) }),
            Account::RoleGet(role) => ask!(role_get, pb::AuthRoleGetRequest { role: owned(role) }),
            Account::RoleList => ask!(role_list, pb::AuthRoleListRequest {}),
            Account::RoleDelete(role) => {
                ask!(role_delete, pb::AuthRoleDeleteRequest { role: owned(role) })
            }
            Account::RoleGrant(name, perm) => {
                let message =
                    pb::AuthRoleGrantPermissionRequest { name: owned(name), perm: perm.clone() };
                ask!(role_grant_permission, message)
            }
            Account::RoleRevoke(role, key, range_end) => {
                let message = pb::AuthRoleRevokePermissionRequest {
                    role: owned(role),
                    key: key.clone(),
                    range_end: range_end.clone(),
                };
                ask!(role_revoke_permission, message)
            }
        }
    }
}
