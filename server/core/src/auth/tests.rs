//! Tests of users, roles and permissions.

use std::borrow::Borrow;
use std::time::Duration;

use holdfast_api::authpb::UserAddOptions;
use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::*;
use proptest::prelude::*;

use super::*;
use crate::buckets::SmallBuckets;
use crate::lease::{LeaseConfig, Leases};

/// Users and roles with the buckets that they are stored in.
struct World {
    auth: Auth,
    stored: SmallBuckets,
}

impl World {
    fn new() -> Self {
        let (auth, changes) = Auth::new();
        let mut world = World { auth, stored: SmallBuckets::empty() };
        world.store(changes);
        world
    }

    /// One with a root that is on, and user `alice` of role `reader`.
    fn enabled() -> Self {
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

    fn store(&mut self, changes: Vec<BucketChange>) {
        for change in changes {
            match change.value {
                Some(value) => self.stored.put(change.bucket, &change.key, value),
                None => drop(self.stored.create(change.bucket).remove(&change.key)),
            }
        }
    }

    fn apply(
        &mut self,
        who: &Identity,
        request: impl Borrow<InternalRaftRequest>,
    ) -> Result<Applied, AuthError> {
        let applied = self.auth.apply(who, request.borrow()).expect("of users or roles")?;
        self.store(applied.changes.clone());
        Ok(applied)
    }

    fn by_root(&mut self, request: impl Borrow<InternalRaftRequest>) -> Result<Applied, AuthError> {
        let root = self.auth.server_identity();
        self.apply(&root, request)
    }

    fn restored(&self) -> Auth {
        let entries = |bucket| self.stored.entries(bucket).collect::<Vec<_>>();
        let (auth, changes) =
            Auth::restore(entries(AUTH), entries(AUTH_USERS), entries(AUTH_ROLES)).unwrap();
        assert_eq!(changes, [], "there is a revision");
        auth
    }

    fn alice(&self) -> Identity {
        self.auth.token_identity("alice")
    }
}

macro_rules! request {
    ($field:ident: $message:expr) => {
        InternalRaftRequest { $field: Some($message), ..InternalRaftRequest::default() }
    };
}

fn enable() -> InternalRaftRequest {
    request!(auth_enable: AuthEnableRequest {})
}

fn disable() -> InternalRaftRequest {
    request!(auth_disable: AuthDisableRequest {})
}

fn user_add(name: &str) -> InternalRaftRequest {
    let hashed_password = "JDJhJA==".to_owned();
    let name = name.to_owned();
    request!(auth_user_add: AuthUserAddRequest { name, hashed_password, ..Default::default() })
}

fn user_delete(name: &str) -> InternalRaftRequest {
    request!(auth_user_delete: AuthUserDeleteRequest { name: name.to_owned() })
}

fn change_password(name: &str) -> InternalRaftRequest {
    let (name, hashed_password) = (name.to_owned(), "JDJi".to_owned());
    let change = AuthUserChangePasswordRequest { name, hashed_password, ..Default::default() };
    request!(auth_user_change_password: change)
}

fn grant_role(user: &str, role: &str) -> InternalRaftRequest {
    let (user, role) = (user.to_owned(), role.to_owned());
    request!(auth_user_grant_role: AuthUserGrantRoleRequest { user, role })
}

fn revoke_role(name: &str, role: &str) -> InternalRaftRequest {
    let (name, role) = (name.to_owned(), role.to_owned());
    request!(auth_user_revoke_role: AuthUserRevokeRoleRequest { name, role })
}

fn role_add(name: &str) -> InternalRaftRequest {
    request!(auth_role_add: AuthRoleAddRequest { name: name.to_owned() })
}

fn role_delete(role: &str) -> InternalRaftRequest {
    request!(auth_role_delete: AuthRoleDeleteRequest { role: role.to_owned() })
}

fn permission(kind: Type, key: &[u8], range_end: &[u8]) -> authpb::Permission {
    authpb::Permission { perm_type: kind as i32, key: key.into(), range_end: range_end.into() }
}

fn grant(role: &str, kind: Type, key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
    let (name, perm) = (role.to_owned(), Some(permission(kind, key, range_end)));
    request!(auth_role_grant_permission: AuthRoleGrantPermissionRequest { name, perm })
}

fn revoke(role: &str, key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
    let (role, key, range_end) = (role.to_owned(), key.to_vec(), range_end.to_vec());
    request!(auth_role_revoke_permission: AuthRoleRevokePermissionRequest { role, key, range_end })
}

#[test]
fn turning_on_needs_a_root_and_raises_no_revision() {
    let mut world = World::new();
    assert_eq!(world.auth.revision(), 1, "a new store begins with 1");
    assert_eq!(world.stored.get(AUTH, b"authRevision"), Some(&1u64.to_be_bytes()[..]));
    assert_eq!(world.stored.get(AUTH, b"authEnabled"), None);
    assert_eq!(world.by_root(enable()), Err(AuthError::RootUserNotExist));
    world.by_root(user_add("root")).unwrap();
    assert_eq!(world.by_root(enable()), Err(AuthError::RootRoleNotExist));
    assert_eq!(world.by_root(disable()).unwrap().changes, [], "it is off");
    world.by_root(grant_role("root", "root")).unwrap();
    world.by_root(enable()).unwrap();
    assert_eq!((world.auth.revision(), world.auth.is_enabled()), (3, true));
    assert_eq!(world.by_root(enable()).unwrap().changes, []);
    assert_eq!(world.stored.get(AUTH, b"authEnabled"), Some(&[1u8][..]));
    let off = world.by_root(disable()).unwrap();
    assert_eq!((world.auth.revision(), off.logged_out), (4, LoggedOut::Everybody));
    assert_eq!(world.stored.get(AUTH, b"authEnabled"), Some(&[0u8][..]));
}

#[test]
fn root_cannot_be_taken_away_while_it_is_on() {
    let mut world = World::enabled();
    let before = world.auth.revision();
    for request in [user_delete("root"), role_delete("root"), revoke_role("root", "root")] {
        assert_eq!(world.by_root(request), Err(AuthError::InvalidManagement));
    }
    assert_eq!(world.auth.revision(), before);
    world.by_root(disable()).unwrap();
    for request in [revoke_role("root", "root"), role_delete("root"), user_delete("root")] {
        world.apply(&Identity::default(), request).unwrap();
    }
}

#[test]
fn what_is_refused_and_why() {
    let mut world = World::enabled();
    let no_perm = AuthRoleGrantPermissionRequest { name: "reader".into(), perm: None };
    let bad_hash = AuthUserAddRequest {
        name: "bob".into(),
        hashed_password: "?".into(),
        ..Default::default()
    };
    for (request, refusal) in [
        (user_add(""), AuthError::UserEmpty),
        (user_add("alice"), AuthError::UserAlreadyExists),
        (request!(auth_user_add: bad_hash), AuthError::NoPasswordUser),
        (user_delete("bob"), AuthError::UserNotFound),
        (change_password("bob"), AuthError::UserNotFound),
        (grant_role("bob", "reader"), AuthError::UserNotFound),
        (grant_role("alice", "writer"), AuthError::RoleNotFound),
        (revoke_role("bob", "reader"), AuthError::UserNotFound),
        (revoke_role("alice", "root"), AuthError::RoleNotGranted),
        (role_add(""), AuthError::RoleEmpty),
        (role_add("reader"), AuthError::RoleAlreadyExists),
        (role_delete("writer"), AuthError::RoleNotFound),
        (request!(auth_role_grant_permission: no_perm), AuthError::PermissionNotGiven),
        (grant("reader", Type::Read, b"", b""), AuthError::InvalidManagement),
        (grant("reader", Type::Read, b"b", b"a"), AuthError::InvalidManagement),
        (grant("reader", Type::Read, b"b", b"b"), AuthError::InvalidManagement),
        (grant("writer", Type::Read, b"b", b""), AuthError::RoleNotFound),
        (revoke("writer", b"b", b""), AuthError::RoleNotFound),
        (revoke("reader", b"b", b""), AuthError::PermissionNotGranted),
    ] {
        let before = world.auth.revision();
        assert_eq!(world.by_root(request.clone()), Err(refusal), "{request:?}");
        assert_eq!(world.auth.revision(), before, "a refusal changes nothing");
        let alice = world.alice();
        assert_eq!(world.apply(&alice, request.clone()), Err(AuthError::PermissionDenied));
        assert_eq!(world.apply(&Identity::default(), request), Err(AuthError::UserEmpty));
    }
    let ghost = Identity { user: "ghost".into(), revision: 99 };
    assert_eq!(world.apply(&ghost, user_add("x")), Err(AuthError::UserNotFound));
    let none = InternalRaftRequest::default();
    assert_eq!(world.auth.apply(&ghost, &none), None, "of another kind");
}

#[test]
fn a_role_that_is_there_already_changes_nothing() {
    let mut world = World::enabled();
    let before = world.auth.revision();
    assert_eq!(world.by_root(grant_role("alice", "reader")).unwrap().changes, []);
    assert_eq!(world.auth.revision(), before);
    let same = grant("reader", Type::Read, b"k", b"");
    world.by_root(same.clone()).unwrap();
    world.by_root(same).unwrap();
    assert_eq!(world.auth.revision(), before + 2, "but a permission does, as upstream");
}

#[test]
fn permissions_are_stored_in_the_order_of_upstream() {
    let mut world = World::enabled();
    for (kind, key, end) in [
        (Type::Read, &b"m"[..], &b"z"[..]),
        (Type::Write, b"a", b""),
        (Type::Write, b"m", b"n"),
        (Type::Readwrite, b"m", b"z"),
        (Type::Write, b"m", b"n"),
    ] {
        world.by_root(grant("reader", kind, key, end)).unwrap();
    }
    let get = request!(auth_role_get: AuthRoleGetRequest { role: "reader".into() });
    let Answer::Permissions(permissions) = world.by_root(get).unwrap().answer else { panic!() };
    assert_eq!(
        permissions,
        [
            permission(Type::Write, b"a", b""),
            // The first of its key: its type is replaced.
            permission(Type::Readwrite, b"m", b"z"),
            permission(Type::Write, b"m", b"n"),
            // Behind the first one it is not found, and added again.
            permission(Type::Write, b"m", b"n"),
        ]
    );
    world.by_root(revoke("reader", b"m", b"n")).unwrap();
    let get = request!(auth_role_get: AuthRoleGetRequest { role: "reader".into() });
    let alice = world.alice();
    let Answer::Permissions(left) = world.apply(&alice, get).unwrap().answer else { panic!() };
    assert_eq!(left.len(), 2, "both are gone; who has the role may see it");
}

#[test]
fn users_see_themselves_and_their_roles_only() {
    let mut world = World::enabled();
    world.by_root(user_add("bob")).unwrap();
    let user = |name: &str| request!(auth_user_get: AuthUserGetRequest { name: name.into() });
    let role = |role: &str| request!(auth_role_get: AuthRoleGetRequest { role: role.into() });
    let alice = world.alice();
    let own = world.apply(&alice, user("alice")).unwrap().answer;
    assert_eq!(own, Answer::UserRoles(vec!["reader".into()]));
    assert!(world.apply(&alice, role("reader")).is_ok());
    assert_eq!(world.apply(&alice, user("bob")), Err(AuthError::PermissionDenied));
    assert_eq!(world.apply(&alice, role("root")), Err(AuthError::PermissionDenied));
    assert_eq!(world.by_root(user("carol")), Err(AuthError::UserNotFound));
    assert_eq!(world.by_root(role("carol")), Err(AuthError::RoleNotFound));
    let everything = permission(Type::Readwrite, b"", b"\0");
    let root = world.by_root(role("root")).unwrap().answer;
    assert_eq!(root, Answer::Permissions(vec![everything]), "whatever is stored");
    let users = request!(auth_user_list: AuthUserListRequest {});
    let names = ["alice", "bob", "root"].map(str::to_owned).to_vec();
    assert_eq!(world.by_root(users.clone()).unwrap().answer, Answer::Users(names));
    assert_eq!(world.apply(&alice, users), Err(AuthError::PermissionDenied));
    let roles = request!(auth_role_list: AuthRoleListRequest {});
    let names = ["reader", "root"].map(str::to_owned).to_vec();
    assert_eq!(world.by_root(roles).unwrap().answer, Answer::Roles(names));
    let status = request!(auth_status: AuthStatusRequest {});
    let revision = world.auth.revision();
    assert_eq!(world.by_root(status).unwrap().answer, Answer::Status { enabled: true, revision });
}

#[test]
fn a_role_that_is_deleted_leaves_its_users() {
    let mut world = World::enabled();
    world.by_root(grant("reader", Type::Read, b"k", b"")).unwrap();
    let alice = world.alice();
    assert_eq!(world.auth.check_range(&alice, b"k", b"", Access::Read), Ok(()));
    let before = world.auth.revision();
    let applied = world.by_root(role_delete("reader")).unwrap();
    assert_eq!((applied.changes.len(), world.auth.revision()), (3, before + 1));
    assert_eq!(
        world.auth.check_range(&alice, b"k", b"", Access::Read),
        Err(AuthError::OldRevision),
        "an identity of before is asked again"
    );
    let alice = world.alice();
    let denied = Err(AuthError::PermissionDenied);
    assert_eq!(world.auth.check_range(&alice, b"k", b"", Access::Read), denied);
    assert_eq!(world.auth.check_fresh(&alice), Ok(()));
    world.by_root(user_add("new")).unwrap();
    assert_eq!(world.auth.check_fresh(&alice), Err(AuthError::OldRevision));
    assert_eq!(world.auth.check_fresh(&Identity::default()), Ok(()));
}

#[test]
fn what_a_role_opens_and_shuts_its_users_feel_at_once() {
    let mut world = World::enabled();
    let may = |world: &World| world.auth.check_range(&world.alice(), b"k", b"", Access::Read);
    // Each look keeps what it has merged.
    assert_eq!(may(&world), Err(AuthError::PermissionDenied));
    world.by_root(grant("reader", Type::Read, b"k", b"")).unwrap();
    assert_eq!(may(&world), Ok(()));
    world.by_root(revoke("reader", b"k", b"")).unwrap();
    assert_eq!(may(&world), Err(AuthError::PermissionDenied));
}

fn put(key: &[u8], prev_kv: bool, lease: i64) -> PutRequest {
    PutRequest { key: key.into(), prev_kv, lease, ..Default::default() }
}

fn range(key: &[u8], range_end: &[u8]) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn delete(key: &[u8], range_end: &[u8], prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv }
}

fn txn(compare: &[u8], success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare: vec![Compare { key: compare.into(), ..Default::default() }],
        success: success.into_iter().map(op).collect(),
        failure: failure.into_iter().map(op).collect(),
    }
}

/// A transaction with a step two levels below.
fn deep(inner: Request) -> InternalRaftRequest {
    let lower = Request::RequestTxn(txn(b"y", vec![inner], vec![]));
    let middle = Request::RequestTxn(txn(b"r", vec![], vec![lower]));
    request!(txn: txn(b"r", vec![middle], vec![]))
}

/// Operations, and whether a user who reads [r, s), writes [w, x) and both from y on may: lease 1
/// holds a key that it writes, lease 2 one that it does not.
fn operations() -> Vec<(InternalRaftRequest, bool)> {
    use Request::{RequestDeleteRange, RequestPut, RequestRange};
    vec![
        (request!(range: range(b"r", b"")), true),
        (request!(range: range(b"r", b"s")), true),
        (request!(range: range(b"r", b"s\0")), false),
        (request!(range: range(b"w", b"")), false),
        (request!(range: range(b"z", b"\0")), true),
        (request!(range: range(b"r", b"\0")), false),
        (request!(put: put(b"w", false, 0)), true),
        (request!(put: put(b"w", true, 0)), false),
        (request!(put: put(b"y", true, 0)), true),
        (request!(put: put(b"r", false, 0)), false),
        (request!(put: put(b"w", false, 1)), true),
        (request!(put: put(b"w", false, 2)), false),
        (request!(put: put(b"w", false, 77)), true),
        (request!(delete_range: delete(b"w", b"x", false)), true),
        (request!(delete_range: delete(b"w", b"x", true)), false),
        (request!(delete_range: delete(b"y", b"\0", true)), true),
        (request!(delete_range: delete(b"r", b"", false)), false),
        (request!(lease_revoke: LeaseRevokeRequest { id: 1 }), true),
        (request!(lease_revoke: LeaseRevokeRequest { id: 2 }), false),
        (request!(lease_revoke: LeaseRevokeRequest { id: 77 }), true),
        (request!(txn: txn(b"w", vec![], vec![])), false),
        (request!(txn: txn(b"r", vec![RequestPut(put(b"w", false, 0))], vec![])), true),
        (request!(txn: txn(b"r", vec![], vec![RequestPut(put(b"r", false, 0))])), false),
        (deep(RequestPut(put(b"y", true, 1))), true),
        (deep(RequestPut(put(b"w", true, 1))), false),
        (deep(RequestRange(range(b"a", b""))), false),
        (deep(RequestDeleteRange(delete(b"w", b"", true))), false),
        (request!(compaction: CompactionRequest::default()), true),
        (request!(lease_grant: LeaseGrantRequest::default()), true),
    ]
}

#[test]
fn what_an_operation_touches_must_be_open() {
    let mut world = World::enabled();
    world.by_root(grant("reader", Type::Read, b"r", b"s")).unwrap();
    world.by_root(grant("reader", Type::Write, b"w", b"x")).unwrap();
    world.by_root(grant("reader", Type::Readwrite, b"y", b"\0")).unwrap();
    let mut leases = Leases::new(LeaseConfig::default());
    for (lease, key) in [(1, &b"w1"[..]), (2, b"a"), (2, b"w2")] {
        let _ = leases.grant(lease, 60, Duration::ZERO);
        leases.attach(lease, key).unwrap();
    }
    let (alice, root) = (world.alice(), world.auth.server_identity());
    for (request, allowed) in operations() {
        let expected = if allowed { Ok(()) } else { Err(AuthError::PermissionDenied) };
        assert_eq!(world.auth.check_operation(&alice, &request, &leases), expected, "{request:?}");
        assert_eq!(world.auth.check_operation(&root, &request, &leases), Ok(()));
    }
    let nobody = Identity::default();
    let read = request!(range: range(b"r", b""));
    assert_eq!(world.auth.check_operation(&nobody, &read, &leases), Err(AuthError::UserEmpty));
    let unknown = world.auth.certificate_identity("mallory");
    let denied = Err(AuthError::PermissionDenied);
    assert_eq!(world.auth.check_operation(&unknown, &read, &leases), denied);
    assert_eq!(world.auth.check_lease(&alice, &leases, 1, Access::Read), denied);
    assert_eq!(world.auth.check_somebody(&nobody), Err(AuthError::UserEmpty));
    assert_eq!(world.auth.check_somebody(&unknown), Ok(()), "whoever it is");
    world.by_root(disable()).unwrap();
    assert_eq!(world.auth.check_operation(&nobody, &read, &leases), Ok(()), "off: all may");
    assert_eq!(world.auth.check_admin(&nobody), Ok(()));
    assert_eq!(world.auth.server_identity(), nobody);
}

#[test]
fn logins_are_checked_by_password_and_applied_without_one() {
    let salt = [7; password::SALT_LEN];
    let mut add = AuthUserAddRequest {
        name: "root".into(),
        password: "correct horse".into(),
        ..Default::default()
    };
    password::seal_user_add(&mut add, 4, salt).unwrap();
    assert!(add.password.is_empty() && !add.hashed_password.is_empty());
    let mut world = World::new();
    world.by_root(request!(auth_user_add: add)).unwrap();
    assert_eq!(world.auth.login_check("root").unwrap_err(), AuthError::NotEnabled);
    world.by_root(grant_role("root", "root")).unwrap();
    let options = Some(UserAddOptions { no_password: true });
    let mut certified = AuthUserAddRequest { name: "cn".into(), options, ..Default::default() };
    password::seal_user_add(&mut certified, 4, salt).unwrap();
    assert_eq!(certified.hashed_password, "");
    world.by_root(request!(auth_user_add: certified)).unwrap();
    world.by_root(enable()).unwrap();

    let stored = authpb::User::decode(world.stored.get(AUTH_USERS, b"root").unwrap()).unwrap();
    assert!(stored.password.starts_with(b"$2a$04$"), "as Go's bcrypt writes it");
    assert_eq!(stored.password.len(), 60);
    let check = world.auth.login_check("root").unwrap();
    assert_eq!(check.verify("correct horse"), Ok(world.auth.revision()));
    assert_eq!(check.verify("Correct horse"), Err(AuthError::AuthFailed));
    assert_eq!(world.auth.login_check("mallory").unwrap_err(), AuthError::AuthFailed);
    assert_eq!(world.auth.login_check("cn").unwrap_err(), AuthError::NoPasswordUser);
    let login = |name: &str| {
        let login = InternalAuthenticateRequest { name: name.into(), ..Default::default() };
        request!(authenticate: login)
    };
    let nobody = Identity::default();
    let root = world.apply(&nobody, login("root")).unwrap().answer;
    assert_eq!(root, Answer::LogIn(world.auth.server_identity()));
    assert_eq!(world.apply(&nobody, login("cn")), Err(AuthError::AuthFailed));
    assert_eq!(world.apply(&nobody, login("mallory")), Err(AuthError::AuthFailed));

    let mut change =
        AuthUserChangePasswordRequest { name: "root".into(), ..change_of("x".repeat(73)) };
    let too_long = password::seal_change(&mut change, 4, salt);
    assert_eq!(too_long, Err(AuthError::PasswordTooLong));
    let mut change =
        AuthUserChangePasswordRequest { name: "root".into(), ..change_of("x".repeat(72)) };
    password::seal_change(&mut change, 4, salt).unwrap();
    let applied = world.by_root(request!(auth_user_change_password: change)).unwrap();
    assert_eq!(applied.logged_out, LoggedOut::User("root".into()));
    assert!(check.verify("correct horse").unwrap() != world.auth.revision(), "ask again");
    let check = world.auth.login_check("root").unwrap();
    assert!(check.verify("correct horse").is_err() && check.verify(&"x".repeat(72)).is_ok());
    for shown in [format!("{:?}", world.auth), format!("{check:?}"), format!("{applied:?}")] {
        assert!(!shown.contains("$2a") && !shown.contains("36, 50, 97"), "{shown}");
    }
    assert_eq!([0, 3, 4, 31, 32].map(password::effective_cost), [10, 10, 4, 31, 10]);
}

fn change_of(password: String) -> AuthUserChangePasswordRequest {
    AuthUserChangePasswordRequest { password, ..Default::default() }
}

#[test]
fn an_entry_with_a_plain_password_comes_to_the_same_hash_everywhere() {
    let add =
        AuthUserAddRequest { name: "old".into(), password: "plain".into(), ..Default::default() };
    let stored = || {
        let mut world = World::new();
        world.by_root(request!(auth_user_add: add.clone())).unwrap();
        world.stored.get(AUTH_USERS, b"old").unwrap().to_vec()
    };
    assert_eq!(stored(), stored());
    let user = authpb::User::decode(&stored()[..]).unwrap();
    assert!(bcrypt::verify("plain", std::str::from_utf8(&user.password).unwrap()).unwrap());
}

#[test]
fn damaged_buckets_are_an_error_with_a_place() {
    let none: [(&[u8], &[u8]); 0] = [];
    let restore = |auth: &[(&'static [u8], &'static [u8])],
                   users: &[(&'static [u8], &'static [u8])]| {
        Auth::restore(auth.to_vec(), users.to_vec(), none.to_vec()).map(|_| ())
    };
    let short = restore(&[(b"authRevision", &[1])], &[]).unwrap_err();
    assert_eq!(short, RestoreError::Revision { len: 1 });
    let damaged = restore(&[], &[(b"root", &[10])]).unwrap_err();
    assert!(damaged.to_string().contains("authUsers, entry root"), "{damaged}");
    let swapped = restore(&[], &[(b"root", &[10, 1, b'a'])]).unwrap_err();
    assert!(matches!(swapped, RestoreError::Misplaced { .. }));
    let (auth, changes) = Auth::restore(none, none, none).unwrap();
    assert_eq!((auth.revision(), changes.len()), (1, 1), "a store of before authentication");
}

/// A request of users and roles, of few names so that they meet.
fn any_request() -> impl Strategy<Value = InternalRaftRequest> {
    let user = prop_oneof![Just("root"), Just("a"), Just("b")];
    let role = prop_oneof![Just("root"), Just("r"), Just("s")];
    let key = prop::sample::select(vec![&b"a"[..], b"b", b"c"]);
    let end = prop::sample::select(vec![&b""[..], b"b", b"d", b"\0"]);
    let kind = prop_oneof![Just(Type::Read), Just(Type::Write), Just(Type::Readwrite)];
    let pair = (user.clone(), role.clone());
    prop_oneof![
        1 => Just(enable()),
        1 => Just(disable()),
        3 => user.clone().prop_map(user_add),
        1 => user.clone().prop_map(user_delete),
        1 => user.prop_map(change_password),
        5 => pair.clone().prop_map(|(user, role)| grant_role(user, role)),
        2 => pair.prop_map(|(user, role)| revoke_role(user, role)),
        3 => role.clone().prop_map(role_add),
        1 => role.clone().prop_map(role_delete),
        6 => (role.clone(), kind, key.clone(), end.clone())
            .prop_map(|(role, kind, key, end)| grant(role, kind, key, end)),
        2 => (role, key, end).prop_map(|(role, key, end)| revoke(role, key, end)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_stored_is_all_there_is(requests in prop::collection::vec(any_request(), 1..60)) {
        let mut world = World::new();
        for request in requests {
            let before = (world.auth.revision(), world.auth.is_enabled());
            let applied = world.by_root(request);
            let changed = applied.is_ok_and(|applied| !applied.changes.is_empty());
            let turned_on = !before.1 && world.auth.is_enabled();
            let raised = u64::from(changed && !turned_on);
            prop_assert_eq!(world.auth.revision(), before.0 + raised);

            // A store that was opened just now has merged nothing yet.
            let fresh = world.restored();
            prop_assert_eq!(fresh.revision(), world.auth.revision());
            prop_assert_eq!(fresh.is_enabled(), world.auth.is_enabled());
            for user in ["root", "a", "b", "c"] {
                let who = world.auth.token_identity(user);
                prop_assert_eq!(fresh.check_admin(&who), world.auth.check_admin(&who));
                for key in [&b"a"[..], b"b", b"c"] {
                    for end in [&b""[..], b"b", b"c", b"d", b"\0"] {
                        for access in [Access::Read, Access::Write] {
                            let expected = fresh.check_range(&who, key, end, access);
                            let got = world.auth.check_range(&who, key, end, access);
                            prop_assert_eq!(got, expected, "{} {:?} {:?}", user, key, end);
                        }
                    }
                }
            }
        }
    }
}
