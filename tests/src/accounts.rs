//! All that a cluster knows beside its records: leases with their keys, users, roles, whether
//! authentication is on. Two clusters that have equal [`Accounts`] let the same people do the same
//! things.

use holdfast_api::authpb::Permission;
use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::{
    AuthRoleGetRequest, AuthRoleListRequest, AuthStatusRequest, AuthUserGetRequest,
    AuthUserListRequest, LeaseLeasesRequest, LeaseTimeToLiveRequest,
};
use std::collections::{BTreeMap, BTreeSet};

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Seconds as granted.
    pub granted_ttl: i64,
    /// Keys that hang on it.
    pub keys: BTreeSet<Vec<u8>>,
}

/// Leases, users, roles.
#[derive(Debug, Clone, PartialEq)]
pub struct Accounts {
    /// By id.
    pub leases: BTreeMap<i64, Lease>,
    /// Roles by user, sorted.
    pub users: BTreeMap<String, Vec<String>>,
    /// Permissions by role.
    pub roles: BTreeMap<String, Vec<Permission>>,
    /// Whether authentication is on.
    pub auth_enabled: bool,
    /// Revision of users and roles.
    pub auth_revision: u64,
}

impl Accounts {
    /// Reads them; as root where authentication is on.
    ///
    /// # Errors
    /// The cluster does not answer or refuses.
    pub async fn read(client: &Client) -> Result<Accounts, ClientError> {
        let status = client.auth().auth_status(AuthStatusRequest {}).await;
        let status = client.check("AuthStatus", status)?;
        Ok(Accounts {
            leases: leases(client).await?,
            users: users(client).await?,
            roles: roles(client).await?,
            auth_enabled: status.enabled,
            auth_revision: status.auth_revision,
        })
    }
}

async fn leases(client: &Client) -> Result<BTreeMap<i64, Lease>, ClientError> {
    let all = client.lease().lease_leases(LeaseLeasesRequest {}).await;
    let mut leases = BTreeMap::new();
    for lease in client.check("LeaseLeases", all)?.leases {
        let request = LeaseTimeToLiveRequest { id: lease.id, keys: true };
        let found = client.lease().lease_time_to_live(request).await;
        let found = client.check("LeaseTimeToLive", found)?;
        let lease_now =
            Lease { granted_ttl: found.granted_ttl, keys: found.keys.into_iter().collect() };
        leases.insert(lease.id, lease_now);
    }
    Ok(leases)
}

async fn users(client: &Client) -> Result<BTreeMap<String, Vec<String>>, ClientError> {
    let all = client.auth().user_list(AuthUserListRequest {}).await;
    let mut users = BTreeMap::new();
    for name in client.check("UserList", all)?.users {
        let user = client.auth().user_get(AuthUserGetRequest { name: name.clone() }).await;
        let mut roles = client.check("UserGet", user)?.roles;
        roles.sort();
        users.insert(name, roles);
    }
    Ok(users)
}

async fn roles(client: &Client) -> Result<BTreeMap<String, Vec<Permission>>, ClientError> {
    let all = client.auth().role_list(AuthRoleListRequest {}).await;
    let mut roles = BTreeMap::new();
    for role in client.check("RoleList", all)?.roles {
        let found = client.auth().role_get(AuthRoleGetRequest { role: role.clone() }).await;
        roles.insert(role, client.check("RoleGet", found)?.perm);
    }
    Ok(roles)
}
