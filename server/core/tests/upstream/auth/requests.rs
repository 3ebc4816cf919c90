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
const READ: i32 = 0;
const WRITE: i32 = 1;
const BOTH: i32 = 2;

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

fn user_add(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    asked!("auth/user/add", body, auth_user_add: AuthUserAddRequest { name, password, ..Default::default() })
}

fn certified(name: &str) -> Asked {
    let body = json!({"name": name, "options": {"no_password": true}});
    let options = Some(UserAddOptions { no_password: true });
    let name = name.to_owned();
    asked!("auth/user/add", body, auth_user_add: AuthUserAddRequest { name, options, ..Default::default() })
}

fn user_delete(name: &str) -> Asked {
    let delete = AuthUserDeleteRequest { name: name.to_owned() };
    asked!("auth/user/delete", json!({"name": name}), auth_user_delete: delete)
}

fn change_password(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    let change = AuthUserChangePasswordRequest { name, password, ..Default::default() };
    asked!("auth/user/changepw", body, auth_user_change_password: change)
}

fn user_get(name: &str) -> Asked {
    let get = AuthUserGetRequest { name: name.to_owned() };
    asked!("auth/user/get", json!({"name": name}), auth_user_get: get)
}

fn user_list() -> Asked {
    asked!("auth/user/list", json!({}), auth_user_list: AuthUserListRequest {})
}

fn grant_role(user: &str, role: &str) -> Asked {
    let grant = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    let body = json!({"user": user, "role": role});
    asked!("auth/user/grant", body, auth_user_grant_role: grant)
}

fn revoke_role(name: &str, role: &str) -> Asked {
    let revoke = AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() };
    let body = json!({"name": name, "role": role});
    asked!("auth/user/revoke", body, auth_user_revoke_role: revoke)
}

fn role_add(name: &str) -> Asked {
    let add = AuthRoleAddRequest { name: name.to_owned() };
    asked!("auth/role/add", json!({"name": name}), auth_role_add: add)
}

fn role_delete(role: &str) -> Asked {
    let delete = AuthRoleDeleteRequest { role: role.to_owned() };
    asked!("auth/role/delete", json!({"role": role}), auth_role_delete: delete)
}

fn role_get(role: &str) -> Asked {
    let get = AuthRoleGetRequest { role: role.to_owned() };
    asked!("auth/role/get", json!({"role": role}), auth_role_get: get)
}

fn role_list() -> Asked {
    asked!("auth/role/list", json!({}), auth_role_list: AuthRoleListRequest {})
}

fn grant(role: &str, perm_type: i32, key: &str, end: &str) -> Asked {
    let kind = KINDS[usize::try_from(perm_type).unwrap()];
    let perm = json!({"permType": kind, "key": base64(key), "range_end": base64(end)});
    let body = json!({"name": role, "perm": perm});
    let perm = Some(Permission { perm_type, key: key.into(), range_end: end.into() });
    let grant = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm };
    asked!("auth/role/grant", body, auth_role_grant_permission: grant)
}

fn grant_nothing(role: &str) -> Asked {
    let grant = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: None };
    asked!("auth/role/grant", json!({"name": role}), auth_role_grant_permission: grant)
}

fn revoke(role: &str, key: &str, end: &str) -> Asked {
    let body = json!({"role": role, "key": base64(key), "range_end": base64(end)});
    let revoke = AuthRoleRevokePermissionRequest {
        role: role.to_owned(),
        key: key.into(),
        range_end: end.into(),
    };
    asked!("auth/role/revoke", body, auth_role_revoke_permission: revoke)
}

fn enable() -> Asked {
    asked!("auth/enable", json!({}), auth_enable: AuthEnableRequest {})
}

fn disable() -> Asked {
    asked!("auth/disable", json!({}), auth_disable: AuthDisableRequest {})
}

fn status() -> Asked {
    asked!("auth/status", json!({}), auth_status: AuthStatusRequest {})
}

fn login(name: &str, password: &str) -> Asked {
    let body = json!({"name": name, "password": password});
    let (name, password) = (name.to_owned(), password.to_owned());
    let login = InternalAuthenticateRequest { name, password, ..Default::default() };
    asked!("auth/authenticate", body, authenticate: login)
}

fn put_op(key: &str, prev_kv: bool, lease: i64) -> (Value, PutRequest) {
    let body = json!({"key": base64(key), "prev_kv": prev_kv, "lease": lease.to_string()});
    (body, PutRequest { key: key.into(), prev_kv, lease, ..Default::default() })
}

fn put(key: &str, prev_kv: bool, lease: i64) -> Asked {
    let (body, put) = put_op(key, prev_kv, lease);
    asked!("kv/put", body, put: put)
}

fn range_op(key: &str, end: &str) -> (Value, RangeRequest) {
    let body = json!({"key": base64(key), "range_end": base64(end)});
    (body, RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() })
}

fn range(key: &str, end: &str) -> Asked {
    let (body, range) = range_op(key, end);
    asked!("kv/range", body, range: range)
}

fn delete_op(key: &str, end: &str, prev_kv: bool) -> (Value, DeleteRangeRequest) {
    let body = json!({"key": base64(key), "range_end": base64(end), "prev_kv": prev_kv});
    (body, DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv })
}

fn delete(key: &str, end: &str, prev_kv: bool) -> Asked {
    let (body, delete) = delete_op(key, end, prev_kv);
    asked!("kv/deleterange", body, delete_range: delete)
}

/// A transaction that compares a key, reads one, and one level below deletes a range or puts.
fn txn(compared: &str, read: &str, puts: Option<&str>, deleted: &str) -> Asked {
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

fn lease_grant(id: i64, ttl: i64) -> Asked {
    let body = json!({"ID": id.to_string(), "TTL": ttl.to_string()});
    asked!("lease/grant", body, lease_grant: LeaseGrantRequest { id, ttl })
}

fn lease_revoke(id: i64) -> Asked {
    let body = json!({"ID": id.to_string()});
    asked!("lease/revoke", body, lease_revoke: LeaseRevokeRequest { id })
}

fn is_range(key: &str, end: &str) -> bool {
    end.is_empty() || end == "\0" || key < end
}

fn alarm(action: &str, member_id: u64, kind: &str) -> Asked {
    let body = json!({"action": action, "memberID": member_id.to_string(), "alarm": kind});
    let action = alarm_request::AlarmAction::from_str_name(action).unwrap() as i32;
    let alarm = AlarmType::from_str_name(kind).unwrap() as i32;
    asked!("maintenance/alarm", body, alarm: AlarmRequest { action, member_id, alarm })
}

/// What each alarm refuses, to whom, and before what else. One stays.
pub(super) fn alarms() -> Vec<(&'static str, Asked)> {
    let mut all = vec![
        ("root", enable()),
        ("", login("root", "root's")),
        ("root", user_add("carol", "carol's")),
        ("root", lease_grant(50, 100_000)),
        ("", login("carol", "carol's")),
        ("", alarm("GET", 0, "NONE")),
        ("", alarm("ACTIVATE", 5, "NOSPACE")),
        ("carol", alarm("GET", 0, "NONE")),
        ("carol", alarm("ACTIVATE", 5, "NOSPACE")),
        ("root", alarm("DEACTIVATE", 5, "NOSPACE")),
        ("root", alarm("ACTIVATE", 5, "NONE")),
    ];
    for kind in ["NOSPACE", "CORRUPT"] {
        all.push(("root", alarm("ACTIVATE", 5, kind)));
        all.push(("root", alarm("ACTIVATE", 5, kind)));
        all.push(("root", alarm("ACTIVATE", 6, kind)));
        for who in ["root", "carol", ""] {
            all.extend([
                (who, put("k", true, 0)),
                (who, range("k", "")),
                (who, delete("k", "", false)),
                (who, txn("k", "k", Some("k"), "k")),
                (who, txn("k", "k", None, "k")),
                (who, lease_grant(51, 100_000)),
                (who, lease_revoke(50)),
                (who, lease_grant(50, 100_000)),
                (who, role_add("while it is raised")),
                (who, alarm("GET", 0, "NONE")),
                (who, alarm("GET", 6, "CORRUPT")),
            ]);
        }
        all.push(("root", alarm("DEACTIVATE", 5, kind)));
        all.push(("root", put("k", false, 0)));
        all.push(("root", alarm("DEACTIVATE", 6, kind)));
        all.push(("root", put("k", false, 0)));
    }
    all.push(("root", alarm("ACTIVATE", 0x0123_4567_89ab_cdef, "CORRUPT")));
    all
}

/// What everybody does one after the other: every refusal there is, and every way to be allowed.
pub(super) fn script() -> Vec<(&'static str, Asked)> {
    let mut all = beginnings();
    all.extend(permissions());
    all.extend(endings());
    all
}

fn beginnings() -> Vec<(&'static str, Asked)> {
    let mut all = vec![
        ("", status()),
        ("", enable()),
        ("", disable()),
        ("", login("root", "root's")),
        ("", user_add("root", "root's")),
        ("", user_add("root", "root's")),
        ("", user_add("", "x")),
        ("", user_add("x", &"x".repeat(73))),
        ("", enable()),
        ("", grant_role("root", "root")),
        ("", grant_role("root", "root")),
        ("", status()),
        ("", user_add("alice", "alice's")),
        ("", user_add("empty", "")),
        ("", certified("cn")),
        ("", role_add("r")),
        ("", role_add("")),
        ("", role_add("r")),
        ("", role_get("root")),
        ("", role_add("root")),
        ("", role_get("root")),
        ("", lease_grant(7, 100_000)),
        ("", lease_grant(7, 100_000)),
        ("", lease_grant(8, 9_000_000_001)),
        ("", lease_grant(8, 9_000_000_000)),
        ("", lease_revoke(9)),
        ("", lease_grant(30, 0)),
        ("", lease_revoke(30)),
        ("", lease_grant(-30, -5)),
        ("", lease_revoke(-30)),
        ("", lease_grant(-40, 100_000)),
        ("", put("secret", false, 7)),
        ("", enable()),
        ("", enable()),
        ("", login("root", "wrong")),
        ("", login("mallory", "x")),
        ("", login("cn", "x")),
        ("", login("root", "root's")),
        ("", login("alice", "alice's")),
        ("", login("empty", "")),
    ];
    for who in ["", "alice", "root"] {
        all.extend([
            (who, status()),
            (who, user_list()),
            (who, role_list()),
            (who, user_get("alice")),
            (who, user_get("mallory")),
            (who, role_get("r")),
            (who, role_get("none")),
            (who, role_get("root")),
            (who, lease_grant(20, 100_000)),
            (who, lease_revoke(20)),
            (who, lease_revoke(99)),
            (who, range("k", "")),
            (who, put("k", true, 0)),
            (who, txn("k", "k", Some("k"), "k")),
        ]);
    }
    all
}

fn permissions() -> Vec<(&'static str, Asked)> {
    let mut all = vec![
        ("root", grant_nothing("r")),
        ("root", grant("r", READ, "", "")),
        ("root", grant("r", READ, "b", "a")),
        ("root", grant("r", READ, "b", "b")),
        ("root", grant("none", READ, "b", "")),
        ("root", revoke("r", "b", "")),
        ("root", revoke("none", "b", "")),
        ("root", grant("r", READ, "k", "l")),
        ("root", grant("r", WRITE, "k", "k5")),
        ("root", grant("r", BOTH, "w", "\0")),
        ("root", grant("r", BOTH, "p", "")),
        ("root", grant("r", WRITE, "k", "k5")),
        ("root", role_get("r")),
        ("alice", role_get("r")),
        ("root", grant_role("alice", "none")),
        ("root", grant_role("nobody", "r")),
        ("root", grant_role("alice", "r")),
        ("alice", role_get("r")),
        ("alice", user_get("alice")),
        ("root", lease_grant(9, 100_000)),
        ("root", put("w1", false, 9)),
    ];
    for key in ["j", "k", "k1", "k5", "l", "p", "p0", "w", "z"] {
        // A range without a key is nobody's business: upstream's answer depends on a tree's shape.
        let ends = ["", "k3", "k5", "l", "l0", "p\0", "p1", "\0"];
        for end in ends.into_iter().filter(|end| is_range(key, end)) {
            all.push(("alice", range(key, end)));
            all.push(("alice", delete(key, end, false)));
        }
        all.push(("alice", delete(key, "", true)));
        all.push(("alice", put(key, false, 0)));
        all.push(("alice", put(key, true, 9)));
        all.push(("alice", put(key, false, 7)));
        all.push(("alice", txn(key, "k", Some("p"), "p")));
        all.push(("alice", txn("k", key, None, "p")));
        all.push(("alice", txn("k", "k", Some(key), "p")));
        all.push(("alice", txn("k", "k", None, key)));
    }
    all.extend([("alice", lease_revoke(7)), ("alice", lease_revoke(9)), ("", lease_revoke(7))]);
    all
}

fn endings() -> Vec<(&'static str, Asked)> {
    vec![
        ("root", user_delete("root")),
        ("root", revoke_role("root", "root")),
        ("root", role_delete("root")),
        ("root", revoke_role("alice", "root")),
        ("root", revoke_role("mallory", "r")),
        ("root", user_delete("mallory")),
        ("root", role_delete("none")),
        ("root", change_password("mallory", "x")),
        ("root", change_password("cn", "x")),
        ("root", change_password("alice", "new")),
        ("alice", range("k", "")),
        ("", login("alice", "alice's")),
        ("", login("alice", "new")),
        ("alice", range("k", "")),
        ("root", revoke("r", "k", "k5")),
        ("alice", put("k", false, 0)),
        ("root", role_add("s")),
        ("root", grant_role("alice", "s")),
        ("root", role_delete("r")),
        ("alice", range("k", "")),
        ("root", user_get("alice")),
        ("root", user_add("bob", "bob's")),
        ("root", user_delete("alice")),
        ("alice", range("k", "")),
        ("root", disable()),
        ("root", status()),
        ("bob", put("k", false, 0)),
        ("root", enable()),
        ("root", range("k", "")),
        ("", login("root", "root's")),
        ("root", status()),
    ]
}

/// A step of a wild course, the same for the same number: who asks, and what. While it is off it is
/// turned on first.
pub(super) fn wild(step: u64, is_enabled: bool) -> Vec<(String, Asked)> {
    let mut state = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut pick = move |count: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % count).unwrap()
    };
    let mut all = Vec::new();
    if !is_enabled {
        all.push(("root".to_owned(), enable()));
        all.push((String::new(), login("root", "root's")));
    }
    let who = ["root", "root", "root", "a", "a", "b", ""][pick(7)];
    let user = ["a", "b", "root"][pick(3)];
    let role = ["r", "s", "root"][pick(3)];
    let keys = ["a", "b", "c", "d"];
    let (key, other) = (keys[pick(4)], keys[pick(4)]);
    let end = ["", "b", "c\0", "\0"][pick(4)];
    let held = if is_range(key, end) { end } else { "" };
    let password = ["one", "one", "one", "two"][pick(4)];
    let of_root = user == "root";
    let kind = i32::try_from(pick(3)).unwrap();
    let lease = [0, 31, 32, 33][pick(4)];
    let asked = match pick(34) {
        0 if !of_root => user_add(user, password),
        1 if !of_root && pick(3) == 0 => user_delete(user),
        2 if !of_root && pick(2) == 0 => change_password(user, password),
        3 | 4 => grant_role(user, role),
        5 => revoke_role(user, role),
        6 | 7 => role_add(role),
        8 if pick(2) == 0 => role_delete(role),
        9..=12 => grant(role, kind, key, end),
        13 => revoke(role, key, end),
        14 => user_get(user),
        15 => role_get(role),
        16 => lease_grant(lease.max(31), 100_000),
        17 => lease_revoke(lease),
        18 | 19 => put(key, kind == READ, lease),
        20..=22 => range(key, held),
        23 | 24 => delete(key, held, kind == READ),
        25 | 26 => txn(key, other, (kind == READ).then_some(other), key),
        27..=31 if !of_root => login(user, password),
        32 if pick(8) == 0 => disable(),
        33 => role_list(),
        _ => user_list(),
    };
    all.push((who.to_owned(), asked));
    all
}
