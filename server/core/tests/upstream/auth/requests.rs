//! Requests in the two shapes: for upstream's JSON gateway, and as an entry of the log.

use crate::peers::base64;
use holdfast_api::authpb::{Permission, UserAddOptions};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::*;
use serde_json::{Value, json};

/// A request.
pub(super) struct Asked {
    pub(super) path: &'static str,
    pub(super) body: Value,
    pub(super) entry: InternalRaftRequest,
}

macro_rules! asked {
    ($path:literal, $body:expr, $field:ident: $message:expr) => {
        Asked {
            path: concat!("/v3/", $path),
            body: $body,
            entry: InternalRaftRequest { $field: Some($message), ..Default::default() },
        }
    };
}

const KINDS: [&str; 3] = ["READ", "WRITE", "READWRITE"];
pub(super) const READ: i32 = 0;
pub(super) const WRITE: i32 = 1;
pub(super) const BOTH: i32 = 2;

/// A permission as the gateway shows it: what is zero or empty is left out.
pub(super) fn shown(permission: &Permission) -> Value {
    let text = |bytes: &[u8]| base64(std::str::from_utf8(bytes).unwrap());
    let mut out = serde_json::Map::new();
    if permission.perm_type != READ {
        let kind = usize::try_from(permission.perm_type).unwrap();
        out.insert("permType".into(), json!(KINDS[kind]));
    }
    if !permission.key.is_empty() {
        out.insert("key".into(), json!(text(&permission.key)));
    }
    if !permission.range_end.is_empty() {
        out.insert("range_end".into(), json!(text(&permission.range_end)));
    }
    Value::Object(out)
}

pub(super) fn user_add(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    asked!("auth/user/add", body, auth_user_add: AuthUserAddRequest { name, password, ..Default::default() })
}

pub(super) fn certified(name: &str) -> Asked {
    let body = json!({"name": name, "options": {"no_password": true}});
    let options = Some(UserAddOptions { no_password: true });
    let name = name.to_owned();
    asked!("auth/user/add", body, auth_user_add: AuthUserAddRequest { name, options, ..Default::default() })
}

pub(super) fn user_delete(name: &str) -> Asked {
    let delete = AuthUserDeleteRequest { name: name.to_owned() };
    asked!("auth/user/delete", json!({"name": name}), auth_user_delete: delete)
}

pub(super) fn change_password(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    let change = AuthUserChangePasswordRequest { name, password, ..Default::default() };
    asked!("auth/user/changepw", body, auth_user_change_password: change)
}

pub(super) fn user_get(name: &str) -> Asked {
    let get = AuthUserGetRequest { name: name.to_owned() };
    asked!("auth/user/get", json!({"name": name}), auth_user_get: get)
}

pub(super) fn user_list() -> Asked {
    asked!("auth/user/list", json!({}), auth_user_list: AuthUserListRequest {})
}

pub(super) fn grant_role(user: &str, role: &str) -> Asked {
    let grant = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    let body = json!({"user": user, "role": role});
    asked!("auth/user/grant", body, auth_user_grant_role: grant)
}

pub(super) fn revoke_role(name: &str, role: &str) -> Asked {
    let revoke = AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() };
    let body = json!({"name": name, "role": role});
    asked!("auth/user/revoke", body, auth_user_revoke_role: revoke)
}

pub(super) fn role_add(name: &str) -> Asked {
    let add = AuthRoleAddRequest { name: name.to_owned() };
    asked!("auth/role/add", json!({"name": name}), auth_role_add: add)
}

pub(super) fn role_delete(role: &str) -> Asked {
    let delete = AuthRoleDeleteRequest { role: role.to_owned() };
    asked!("auth/role/delete", json!({"role": role}), auth_role_delete: delete)
}

pub(super) fn role_get(role: &str) -> Asked {
    let get = AuthRoleGetRequest { role: role.to_owned() };
    asked!("auth/role/get", json!({"role": role}), auth_role_get: get)
}

pub(super) fn role_list() -> Asked {
    asked!("auth/role/list", json!({}), auth_role_list: AuthRoleListRequest {})
}

pub(super) fn grant(role: &str, perm_type: i32, key: &str, end: &str) -> Asked {
    let kind = KINDS[usize::try_from(perm_type).unwrap()];
    let perm = json!({"permType": kind, "key": base64(key), "range_end": base64(end)});
    let body = json!({"name": role, "perm": perm});
    let perm = Some(Permission { perm_type, key: key.into(), range_end: end.into() });
    let grant = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm };
    asked!("auth/role/grant", body, auth_role_grant_permission: grant)
}

pub(super) fn grant_nothing(role: &str) -> Asked {
    let grant = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: None };
    asked!("auth/role/grant", json!({"name": role}), auth_role_grant_permission: grant)
}

pub(super) fn revoke(role: &str, key: &str, end: &str) -> Asked {
    let body = json!({"role": role, "key": base64(key), "range_end": base64(end)});
    let revoke = AuthRoleRevokePermissionRequest {
        role: role.to_owned(),
        key: key.into(),
        range_end: end.into(),
    };
    asked!("auth/role/revoke", body, auth_role_revoke_permission: revoke)
}

pub(super) fn enable() -> Asked {
    asked!("auth/enable", json!({}), auth_enable: AuthEnableRequest {})
}

pub(super) fn disable() -> Asked {
    asked!("auth/disable", json!({}), auth_disable: AuthDisableRequest {})
}

pub(super) fn status() -> Asked {
    asked!("auth/status", json!({}), auth_status: AuthStatusRequest {})
}

pub(super) fn login(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    let login = InternalAuthenticateRequest { name, password, ..Default::default() };
    asked!("auth/authenticate", body, authenticate: login)
}

pub(super) fn put_op(key: &str, prev_kv: bool, lease: i64) -> (Value, PutRequest) {
    let body = json!({"key": base64(key), "prev_kv": prev_kv, "lease": lease.to_string()});
    (body, PutRequest { key: key.into(), prev_kv, lease, ..Default::default() })
}

pub(super) fn put(key: &str, prev_kv: bool, lease: i64) -> Asked {
    let (body, put) = put_op(key, prev_kv, lease);
    asked!("kv/put", body, put: put)
}

pub(super) fn range_op(key: &str, end: &str) -> (Value, RangeRequest) {
    let body = json!({"key": base64(key), "range_end": base64(end)});
    (body, RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() })
}

pub(super) fn range(key: &str, end: &str) -> Asked {
    let (body, range) = range_op(key, end);
    asked!("kv/range", body, range: range)
}

pub(super) fn delete_op(key: &str, end: &str, prev_kv: bool) -> (Value, DeleteRangeRequest) {
    let body = json!({"key": base64(key), "range_end": base64(end), "prev_kv": prev_kv});
    (body, DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv })
}

pub(super) fn delete(key: &str, end: &str, prev_kv: bool) -> Asked {
    let (body, delete) = delete_op(key, end, prev_kv);
    asked!("kv/deleterange", body, delete_range: delete)
}

/// A transaction that compares a key, reads one, and one level below deletes a range or puts.
pub(super) fn txn(compared: &str, read: &str, puts: Option<&str>, deleted: &str) -> Asked {
    let (range_body, range) = range_op(read, "");
    let (delete_body, delete) = delete_op(deleted, "", true);
    let (inner_body, inner) = match puts {
        Some(key) => {
            let (body, put) = put_op(key, false, 0);
            (json!({"requestPut": body}), Request::RequestPut(put))
        }
        None => (json!({"requestDeleteRange": delete_body}), Request::RequestDeleteRange(delete)),
    };
    let below = json!({"requestTxn": {"failure": [inner_body]}});
    let compare = json!({"key": base64(compared), "target": "VERSION", "version": "77"});
    let body = json!({"compare": [compare], "success": [{"requestRange": range_body}, below]});
    let op = |request| RequestOp { request: Some(request) };
    let lower = TxnRequest { failure: vec![op(inner)], ..Default::default() };
    let target = compare::TargetUnion::Version(77);
    let compare =
        Compare { key: compared.into(), target_union: Some(target), ..Default::default() };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestRange(range)), op(Request::RequestTxn(lower))],
        failure: vec![],
    };
    asked!("kv/txn", body, txn: txn)
}

pub(super) fn lease_grant(id: i64, ttl: i64) -> Asked {
    let body = json!({"ID": id.to_string(), "TTL": ttl.to_string()});
    asked!("lease/grant", body, lease_grant: LeaseGrantRequest { id, ttl })
}

pub(super) fn lease_revoke(id: i64) -> Asked {
    let body = json!({"ID": id.to_string()});
    asked!("lease/revoke", body, lease_revoke: LeaseRevokeRequest { id })
}

pub(super) fn is_range(key: &str, end: &str) -> bool {
    end.is_empty() || end == "\0" || key < end
}

pub(super) fn alarm(action: &str, member_id: u64, kind: &str) -> Asked {
    let body = json!({"action": action, "memberID": member_id.to_string(), "alarm": kind});
    let action = alarm_request::AlarmAction::from_str_name(action).unwrap() as i32;
    let alarm = AlarmType::from_str_name(kind).unwrap() as i32;
    asked!("maintenance/alarm", body, alarm: AlarmRequest { action, member_id, alarm })
}
