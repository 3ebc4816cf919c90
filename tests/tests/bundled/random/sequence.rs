//! A sequence by its seed: calls of every service; in most, users are asked for from the middle on.

use super::keys::{Dice, LEASES};
use super::steps::{Account, Call, Contest, LAST_CAMPAIGN, OWN_MEMBER, Step, Who, since};
use holdfast_api::authpb::{Permission, UserAddOptions};
use holdfast_api::etcdserverpb::{
    AlarmRequest, AuthUserAddRequest, AuthUserChangePasswordRequest, CompactionRequest,
    DowngradeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
};
use holdfast_api::v3electionpb::{CampaignRequest, LeaderKey};
use holdfast_api::v3lockpb::LockRequest;

const USERS: [&str; 5] = ["root", "alice", "bob", "nobody", ""];
const ROLES: [&str; 5] = ["root", "r1", "r2", "none", ""];
/// "pw" under bcrypt, in base64.
const HASHED: &str =
    "JDJhJDA0JHQxQ3p0cGhCMU0yeVhIUGhGRUV2dWVUWVlPQ0MxTkpXa0RpQThBSXZPUDV4ZDB5ZjFkbDdp";

/// The steps of a seed.
pub fn sequence(seed: u64, length: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let nobody = |call| Step { who: Who::Nobody, call };
    let mut steps = Vec::new();
    for (at, id) in LEASES[..3].iter().enumerate() {
        let grant = LeaseGrantRequest { id: *id, ttl: 600 + i64::try_from(at).unwrap() };
        steps.push(nobody(Call::Grant(grant)));
    }
    let with_users = dice.percent(70);
    let half = if with_users { length / 2 } else { length };
    while steps.len() < half {
        steps.push(nobody(call(&mut dice)));
    }
    if with_users {
        steps.extend(users(&mut dice));
        while steps.len() < length {
            let who = who(&mut dice);
            dice.careful = who != Who::User("root");
            let mut call = call(&mut dice);
            if let Call::Watch(_, create) = &mut call {
                // The stream may be another's, who has limited rights.
                dice.careful = true;
                *create = dice.watch();
            }
            steps.push(Step { who, call });
        }
    }
    let root = if with_users { Who::User("root") } else { Who::Nobody };
    for last in [Call::HashKv(0), Call::HashKv(since(-4)), Call::Range(all()), Call::Leases] {
        steps.push(Step { who: root, call: last });
    }
    steps
}

fn all() -> RangeRequest {
    RangeRequest { key: vec![0], range_end: vec![0], ..RangeRequest::default() }
}

fn who(dice: &mut Dice) -> Who {
    match dice.below(10) {
        0..=3 => Who::User("root"),
        4..=6 => Who::User("alice"),
        7 | 8 => Who::User("bob"),
        _ if dice.percent(30) => Who::Impostor,
        _ => Who::Nobody,
    }
}

/// What it takes to ask for users, and some with limited rights.
fn users(dice: &mut Dice) -> Vec<Step> {
    let mut calls = Vec::new();
    for name in ["root", "alice", "bob"] {
        calls.push(Account::UserAdd(AuthUserAddRequest {
            name: name.to_owned(),
            password: "pw".to_owned(),
            ..AuthUserAddRequest::default()
        }));
    }
    calls.push(Account::RoleAdd("root"));
    calls.push(Account::RoleAdd("r1"));
    calls.push(Account::RoleAdd("r2"));
    calls.push(Account::UserGrant("root", "root"));
    for _ in 0..4 {
        let role = dice.pick(&["r1", "r2"]);
        calls.push(Account::RoleGrant(role, Some(permission(dice))));
    }
    calls.push(Account::UserGrant("alice", "r1"));
    calls.push(Account::UserGrant("bob", dice.pick(&["r1", "r2"])));
    calls.push(Account::Enable);
    for name in ["root", "alice", "bob"] {
        calls.push(Account::Login(name, "pw"));
    }
    let step = |account| Step { who: Who::Nobody, call: Call::Account(account) };
    calls.into_iter().map(step).collect()
}

fn permission(dice: &mut Dice) -> Permission {
    let careful = std::mem::replace(&mut dice.careful, true);
    let key = dice.key();
    let range_end = dice.end(&key);
    dice.careful = careful;
    Permission { perm_type: dice.pick(&[0, 1, 2, 2, 2]), key, range_end }
}

fn call(dice: &mut Dice) -> Call {
    match dice.below(100) {
        0..=21 => Call::Put(dice.put()),
        22..=39 => Call::Range(dice.range()),
        40..=46 => Call::Delete(dice.delete()),
        47..=60 => Call::Txn(dice.txn()),
        61..=63 => {
            let revision = match dice.below(10) {
                0 => dice.pick(&[0, -1, i64::MAX]),
                1 => since(1),
                2 => since(0),
                _ => since(-i64::try_from(dice.below(20)).unwrap()),
            };
            Call::Compact(CompactionRequest { revision, physical: dice.percent(60) })
        }
        64..=72 => lease(dice),
        73..=80 => Call::Watch(usize::try_from(dice.below(3)).unwrap(), dice.watch()),
        81 => {
            let id = dice.pick(&[0, 0, 1, 1, 2, 3, 77, -1, -3, 99]);
            Call::Cancel(usize::try_from(dice.below(3)).unwrap(), id)
        }
        82..=90 => Call::Account(account(dice)),
        91..=94 => Call::Contest(contest(dice)),
        95 => Call::HashKv(dice.revision()),
        96 => Call::Alarm(alarm(dice)),
        _ => upkeep(dice),
    }
}

fn lease(dice: &mut Dice) -> Call {
    let id = dice.pick(&LEASES);
    match dice.below(12) {
        0..=2 => Call::Grant(LeaseGrantRequest {
            id: dice.pick(&[7, 8, 9, -5, i64::MAX, i64::MIN]),
            ttl: dice.pick(&[600, 1000, 9_000_000_000, 9_000_000_001, i64::MAX]),
        }),
        3 | 4 => Call::GrantBriefly(LeaseGrantRequest {
            id: dice.pick(&[0, 0, 20, 21, -20]),
            ttl: dice.pick(&[0, -1, 1, 2, 60, i64::MIN, i64::MAX]),
        }),
        5 | 6 => Call::Revoke(dice.pick(&[id, id, 0, -1])),
        7..=9 => Call::TimeToLive(LeaseTimeToLiveRequest {
            id: dice.pick(&[id, id, id, 0]),
            keys: dice.percent(60),
        }),
        10 => Call::Leases,
        _ => Call::KeepAlive((0..=dice.below(2)).map(|_| dice.pick(&[id, 0, 99, 8])).collect()),
    }
}

fn account(dice: &mut Dice) -> Account {
    let (user, role) = (dice.pick(&USERS), dice.pick(&ROLES));
    let password = dice.pick(&["pw", "pw", "pw", "", "wrong"]);
    let hashed = dice.pick(&["", "", "", HASHED, "no hash"]);
    match dice.below(36) {
        0..=3 => Account::UserAdd(AuthUserAddRequest {
            name: user.to_owned(),
            password: password.to_owned(),
            options: dice.pick(&[
                None,
                None,
                Some(UserAddOptions { no_password: false }),
                Some(UserAddOptions { no_password: true }),
            ]),
            hashed_password: hashed.to_owned(),
        }),
        4 | 5 => Account::UserGet(user),
        6 => Account::UserList,
        7 => Account::UserDelete(user),
        8 | 9 => Account::UserChange(AuthUserChangePasswordRequest {
            name: user.to_owned(),
            password: dice.pick(&["pw", "pw", ""]).to_owned(),
            hashed_password: hashed.to_owned(),
        }),
        10..=12 => Account::UserGrant(user, role),
        13 => Account::UserRevoke(user, role),
        14..=16 => Account::RoleAdd(role),
        17 | 18 => Account::RoleGet(role),
        19 => Account::RoleList,
        20 => Account::RoleDelete(role),
        21..=25 => {
            let permission = if dice.percent(95) { Some(permission(dice)) } else { None };
            Account::RoleGrant(role, permission)
        }
        26 | 27 => {
            let permission = permission(dice);
            Account::RoleRevoke(role, permission.key, permission.range_end)
        }
        28..=32 => Account::Login(user, password),
        33 => Account::Status,
        34 => Account::Enable,
        _ => Account::Disable,
    }
}

/// What stands for a leader, rarely a wrong one.
fn leader(dice: &mut Dice) -> Option<LeaderKey> {
    let (name, lease) = (dice.pick(&[&b"e1"[..], b"e2", b""]), dice.pick(&[7, 8, 9, 99]));
    let key = [name, format!("/{lease:x}").as_bytes()].concat();
    let rev = dice.pick(&[LAST_CAMPAIGN, LAST_CAMPAIGN, LAST_CAMPAIGN, 0, 3]);
    dice.percent(95).then(|| LeaderKey { name: name.to_vec(), key, rev, lease })
}

fn contest(dice: &mut Dice) -> Contest {
    let lease = dice.pick(&[7, 8, 9, 99, -5]);
    let value = dice.pick(&[&b"v"[..], b"w", b""]).to_vec();
    match dice.below(9) {
        0 | 1 => {
            Contest::Lock(LockRequest { name: dice.pick(&[&b"l"[..], b"m", b""]).to_vec(), lease })
        }
        2 => {
            Contest::Unlock(dice.pick(&[&b"l/7"[..], b"l/8", b"m/7", b"/7", b"m/9", b""]).to_vec())
        }
        3 | 4 => Contest::Campaign(CampaignRequest {
            name: dice.pick(&[&b"e1"[..], b"e2", b""]).to_vec(),
            lease,
            value,
        }),
        5 => Contest::Proclaim(leader(dice), value),
        6 | 7 => Contest::Leader(dice.pick(&[&b"e1"[..], b"e2", b""]).to_vec()),
        _ => Contest::Resign(leader(dice)),
    }
}

fn alarm(dice: &mut Dice) -> AlarmRequest {
    AlarmRequest {
        // Switched off more often than on, or little else is seen. Upstream panics over an action
        // that it does not know.
        action: dice.pick(&[0, 0, 1, 2, 2, 2]),
        member_id: dice.pick(&[0, OWN_MEMBER, OWN_MEMBER, 99]),
        alarm: dice.pick(&[0, 1, 1, 2, 3]),
    }
}

fn upkeep(dice: &mut Dice) -> Call {
    let member = dice.pick(&[0, OWN_MEMBER, 99]);
    let bad = dice.pick(&[&[][..], &[""], &["http://127.0.0.1"], &["x"], &["ftp://a:1"]]);
    let urls: Vec<String> = bad.iter().map(|url: &&str| (*url).to_owned()).collect();
    match dice.below(22) {
        0..=2 => Call::Members(dice.percent(50)),
        3 => Call::RemoveMember(member),
        4 => Call::PromoteMember(member),
        5 => Call::AddMember(urls),
        // Of one that is there upstream takes any text for a URL.
        6 => Call::UpdateMember(dice.pick(&[0, 99]), urls),
        7..=9 => Call::Status,
        10 => Call::Hash,
        11 => Call::Defragment,
        12 => Call::MoveLeader(dice.pick(&[0, 99])),
        13 => Call::Downgrade(DowngradeRequest {
            action: dice.pick(&[0, 2, 3]),
            version: dice.pick(&["", "x", "3.5.0", "3.6.0", "3.4.0", "3.5"]).to_owned(),
        }),
        14 | 15 => Call::Alarm(AlarmRequest { action: 2, member_id: 0, alarm: 0 }),
        _ => Call::Put(PutRequest { key: dice.key(), ..PutRequest::default() }),
    }
}
