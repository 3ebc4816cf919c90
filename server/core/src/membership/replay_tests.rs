//! Changes of members against the database and against a restart at any point.

use proptest::prelude::*;

use super::*;
use crate::buckets::SmallBuckets;
use crate::change::BucketChange;
use crate::raftpb::ConfChange;
use crate::versions::{V3_5, V3_6, V3_7};

const CONFIG: ClusterConfig =
    ClusterConfig { local_id: 1, cluster_id: 99, server_version: V3_6, max_learners: MAX_LEARNERS };

fn member(id: u64, url: u64, is_learner: bool) -> Member {
    Member { id, peer_urls: vec![format!("http://{url}:1")], is_learner, ..Member::default() }
}

fn write(small: &mut SmallBuckets, changes: &[BucketChange]) {
    for BucketChange { bucket, key, value } in changes {
        match value {
            Some(value) => small.put(bucket, key, value.clone()),
            None => {
                small.create(bucket).remove(key);
            }
        }
    }
}

/// One committed entry about members.
#[derive(Debug, Clone)]
enum Op {
    Change(MemberRequest),
    Attributes(u64),
    Version(bool),
    Downgrade(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let ids = 1u64..6;
    prop_oneof![
        4 => (ids.clone(), 1u64..6, any::<bool>())
            .prop_map(|(id, url, learner)| MemberRequest::Add(member(id, url, learner)))
            .prop_map(Op::Change),
        2 => ids.clone().prop_map(|id| Op::Change(MemberRequest::Promote(id))),
        1 => (ids.clone(), 1u64..6)
            .prop_map(|(id, url)| Op::Change(MemberRequest::Update(member(id, url, false)))),
        1 => ids.clone().prop_map(|id| Op::Change(MemberRequest::Remove(id))),
        2 => ids.prop_map(Op::Attributes),
        1 => any::<bool>().prop_map(Op::Version),
        1 => any::<bool>().prop_map(Op::Downgrade),
    ]
}

/// Applies an entry: what raft is told, and what the database gets.
fn apply(cluster: &mut Cluster, op: &Op, scope: Scope) -> (Option<ConfChange>, Vec<BucketChange>) {
    match op {
        Op::Change(request) => {
            let change = request.to_conf_change(5);
            let outcome = cluster.apply_conf_change(&change, scope).unwrap();
            let refused = outcome.result.is_err();
            assert_eq!(outcome.for_raft.node_id == 0, refused);
            (Some(outcome.for_raft), outcome.changes)
        }
        Op::Attributes(id) => {
            let urls = [format!("http://c{id}:1")];
            let changes = cluster.set_attributes(*id, &format!("n{id}"), &urls, scope);
            // Of a member that never was: in a real log there is no such entry.
            (None, changes.unwrap_or_default())
        }
        Op::Version(low) => {
            let version = if *low { V3_5 } else { V3_6 };
            (None, cluster.set_version(version, scope).unwrap().changes)
        }
        Op::Downgrade(on) => (None, cluster.set_downgrade(on.then_some("3.5.0"), scope)),
    }
}

proptest! {
    #[test]
    fn a_restart_at_any_point_tells_raft_the_same_and_ends_the_same(
        ops in proptest::collection::vec(op(), 1..40),
        points in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut points = [points.0.index(ops.len() + 1), points.1.index(ops.len() + 1)];
        points.sort_unstable();
        let [snapshot_at, database_at] = points;
        let (mut cluster, mut small) = (Cluster::new(CONFIG), SmallBuckets::empty());
        let (mut snapshot, mut database) = (None, None);
        let mut told = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            if at == snapshot_at {
                snapshot = Some(cluster.to_v2());
            }
            if at == database_at {
                database = Some(small.clone());
            }
            let (for_raft, changes) = apply(&mut cluster, op, Scope::Both);
            write(&mut small, &changes);
            told.push(for_raft);
            prop_assert_eq!(cluster.check_invariants(), None);
        }
        let end = cluster.to_v2();
        let snapshot = snapshot.unwrap_or_else(|| end.clone());
        let mut small_again = database.unwrap_or_else(|| small.clone());

        let bytes = crate::v2store::encode_membership(&snapshot);
        let snapshot = crate::v2store::decode(&bytes).unwrap();
        let (mut again, healed) = Cluster::load(CONFIG, &small_again, Some(&snapshot)).unwrap();
        prop_assert_eq!(healed, Vec::new());
        for (at, op) in ops.iter().enumerate().skip(snapshot_at) {
            let scope = if at < database_at { Scope::Replayed } else { Scope::Both };
            let (for_raft, changes) = apply(&mut again, op, scope);
            prop_assert_eq!(&for_raft, &told[at], "entry {}", at);
            write(&mut small_again, &changes);
        }
        prop_assert_eq!(again.to_v2(), end);
        prop_assert_eq!(again.downgrade(), cluster.downgrade());
        prop_assert_eq!(small_again, small);
    }
}

/// A cluster of these members, all of them founders.
fn cluster(members: &[Member]) -> Cluster {
    let mut cluster = Cluster::new(CONFIG);
    for member in members {
        let change = MemberRequest::Add(member.clone()).to_conf_change(0);
        cluster.apply_conf_change(&change, Scope::Both).unwrap().result.unwrap();
    }
    cluster
}

#[test]
fn refusals_have_upstreams_texts() {
    let mut cluster = cluster(&[member(1, 1, false), member(2, 2, true)]);
    let refused = |cluster: &Cluster, request| cluster.check(&request).unwrap_err().to_string();
    let add = |id, url, learner| MemberRequest::Add(member(id, url, learner));
    assert_eq!(refused(&cluster, add(1, 9, false)), "membership: ID exists");
    assert_eq!(refused(&cluster, add(3, 2, false)), "membership: peerURL exists");
    let full = "membership: too many learner members in cluster";
    assert_eq!(refused(&cluster, add(3, 3, true)), full);
    assert_eq!(refused(&cluster, MemberRequest::Remove(3)), "membership: ID not found");
    let voter = "membership: can only promote a learner member";
    assert_eq!(refused(&cluster, MemberRequest::Promote(1)), voter);
    let update = MemberRequest::Update(member(1, 2, false));
    assert_eq!(refused(&cluster, update), "membership: peerURL exists");
    assert_eq!(cluster.check(&MemberRequest::Update(member(1, 1, false))), Ok(()));

    let remove = MemberRequest::Remove(1).to_conf_change(0);
    let outcome = cluster.apply_conf_change(&remove, Scope::Both).unwrap();
    assert_eq!(outcome.result, Ok(MemberChange::Removed { id: 1, is_local: true }));
    assert_eq!(
        outcome.changes,
        [
            BucketChange::delete(b"members", "1"),
            BucketChange::put(b"members_removed", "1", "removed"),
        ]
    );
    assert_eq!(refused(&cluster, add(1, 9, false)), "membership: ID removed");
    assert_eq!(cluster.set_attributes(1, "n", &[], Scope::Both), Ok(Vec::new()));
    let unknown = cluster.set_attributes(7, "n", &[], Scope::Both);
    assert_eq!(unknown, Err(ClusterError::UnknownMember { id: 7 }));
}

#[test]
fn versions_go_up_and_down_but_not_above_the_server() {
    let mut cluster = cluster(&[member(1, 1, false)]);
    assert_eq!(cluster.version(), None);
    let first = cluster.set_version(V3_6, Scope::Both).unwrap();
    assert_eq!((first.from, first.force_snapshot), (None, false));
    assert_eq!(first.changes, [BucketChange::put(b"cluster", "clusterVersion", "3.6.0")]);
    assert!(cluster.set_version(V3_5, Scope::Both).unwrap().force_snapshot);
    let error = cluster.set_version(V3_7, Scope::Both).unwrap_err().to_string();
    assert!(error.starts_with("invalid downgrade; server version is lower than"), "{error}");
    let on = cluster.set_downgrade(Some("3.5.0"), Scope::Both);
    let json = r#"{"target-version":"3.5.0","enabled":true}"#;
    assert_eq!(on, [BucketChange::put(b"cluster", "downgrade", json)]);
    let off = cluster.set_downgrade(None, Scope::Both);
    let json = r#"{"target-version":"","enabled":false}"#;
    assert_eq!(off, [BucketChange::put(b"cluster", "downgrade", json)]);
}

#[test]
fn a_promotion_that_only_the_snapshot_knows_is_healed() {
    let mut small = SmallBuckets::empty();
    small.put(b"members", b"2", member(2, 2, true).to_json());
    let snapshot = crate::v2store::V2Membership {
        members: vec![member(2, 2, false)],
        ..crate::v2store::V2Membership::default()
    };
    let (cluster, healed) = Cluster::load(CONFIG, &small, Some(&snapshot)).unwrap();
    assert_eq!(healed.len(), 1);
    assert!(!cluster.member(2).unwrap().is_learner);
    // And one that stands in the log behind the snapshot.
    let learner = crate::v2store::V2Membership {
        members: vec![member(2, 2, true)],
        ..crate::v2store::V2Membership::default()
    };
    let (mut cluster, healed) = Cluster::load(CONFIG, &small, Some(&learner)).unwrap();
    assert_eq!(healed, []);
    let change = MemberRequest::Promote(2).to_conf_change(0);
    let outcome = cluster.apply_conf_change(&change, Scope::Replayed).unwrap();
    assert_eq!(outcome.result, Ok(MemberChange::Promoted { id: 2, forced: true }));
    assert_eq!((outcome.changes.len(), outcome.for_raft), (1, change));
}

#[test]
fn what_is_stored_and_unreadable_is_named() {
    let says = |bucket: &[u8], key: &[u8], value: &str, want: &str| {
        let mut small = SmallBuckets::empty();
        small.put(bucket, key, value);
        let error = Cluster::load(CONFIG, &small, None).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    says(b"members", b"xyz", r#"{"id":1}"#, "members/xyz in the database is not readable");
    says(b"members", b"1", "{", "members/1 in the database is not readable");
    says(b"cluster", b"clusterVersion", "three", "cluster/clusterVersion");
    says(b"cluster", b"downgrade", "no", "cluster/downgrade");
    says(b"cluster", b"clusterVersion", "3.7.0", "server 3.6.0, cluster 3.7.0");
}

struct Peers(&'static [u64]);

impl Connections for Peers {
    fn is_settled(&self, id: u64) -> bool {
        self.0.contains(&id)
    }

    fn is_active(&self, id: u64) -> bool {
        self.0.contains(&id)
    }
}

#[test]
fn strict_checks_protect_the_quorum() {
    let started = |cluster: &mut Cluster, ids: &[u64]| {
        for id in ids {
            cluster.set_attributes(*id, "n", &[], Scope::Both).unwrap();
        }
    };
    let new = member(9, 9, false);
    let mut one = cluster(&[member(1, 1, false)]);
    assert_eq!(one.may_add(&new, &Peers(&[])), Err(ReconfigError::NotEnoughStarted));
    started(&mut one, &[1]);
    assert_eq!(one.may_add(&new, &Peers(&[])), Ok(()), "a cluster of one may grow");
    assert_eq!(one.may_remove(1, &Peers(&[])), Err(ReconfigError::NotEnoughStarted));

    let mut two = cluster(&[member(1, 1, false), member(2, 2, false)]);
    started(&mut two, &[1]);
    assert_eq!(two.may_add(&new, &Peers(&[2])), Err(ReconfigError::NotEnoughStarted));
    assert_eq!(two.may_add(&member(9, 9, true), &Peers(&[2])), Ok(()), "a learner needs no vote");
    assert_eq!(two.may_remove(2, &Peers(&[])), Ok(()), "one that never started may go");
    assert_eq!(two.may_promote(), Ok(()));

    let all = [member(1, 1, false), member(2, 2, false), member(3, 3, false), member(4, 4, true)];
    let mut three = cluster(&all);
    started(&mut three, &[1, 2, 3]);
    assert_eq!(three.may_add(&new, &Peers(&[2, 3])), Ok(()));
    let unhealthy = Err(ReconfigError::Unhealthy);
    assert_eq!(three.may_add(&new, &Peers(&[2])), unhealthy, "two of four are no quorum");
    assert_eq!(three.may_remove(3, &Peers(&[2])), Ok(()), "3 is down");
    assert_eq!(three.may_remove(2, &Peers(&[2])), unhealthy, "2 is the quorum");
    assert_eq!(three.may_remove(4, &Peers(&[])), Ok(()), "learners may always go");
    assert_eq!(three.conf_state().learners, [4]);
}
