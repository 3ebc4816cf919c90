//! Tests of users, roles and permissions.

mod logins;
mod model;
mod operations;
mod world;

use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::*;

use super::*;
use world::*;

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
