//! Random requests: what is stored is all there is, whatever was merged and kept meanwhile.

use proptest::prelude::*;

use super::*;

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
