//! What is asked, one after the other: by hand, and by chance.

use super::requests::*;

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
