//! Tests of leases: against a naive model, and the rules one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn leading(config: LeaseConfig) -> Leases {
    let mut leases = Leases::new(config);
    leases.promote(Duration::ZERO, Duration::ZERO);
    leases
}

#[test]
fn grants_have_limits() {
    let mut leases = leading(LeaseConfig::default());
    assert_eq!(leases.grant(0, 10, at(0)), Err(LeaseError::NotFound));
    assert_eq!(leases.grant(1, MAX_TTL_SECONDS + 1, at(0)), Err(LeaseError::TtlTooLarge));
    let granted = leases.grant(1, MAX_TTL_SECONDS, at(0)).unwrap();
    assert_eq!(granted.ttl_seconds, MAX_TTL_SECONDS);
    assert_eq!(leases.grant(1, 5, at(0)), Err(LeaseError::Exists));
    for (id, asked, given) in [(2, 1, 2), (3, 0, 2), (4, -9, 2), (5, 3, 3), (-6, i64::MIN, 2)] {
        let granted = leases.grant(id, asked, at(0)).unwrap();
        assert_eq!(granted.ttl_seconds, given);
        let stored = StoredLease { id, ttl_seconds: given, remaining_ttl_seconds: 0 };
        let bytes = StoredLease::bucket_key(id);
        assert_eq!(granted.change, BucketChange::put(buckets::LEASE, bytes, stored.to_bytes()));
    }
    leases.check_invariants();
    let codes = [LeaseError::NotFound, LeaseError::Exists, LeaseError::TtlTooLarge];
    assert_eq!(codes.map(LeaseError::code), [5, 9, 11]);
}

#[test]
fn a_revoked_lease_gives_its_keys_in_order() {
    let mut leases = leading(LeaseConfig::default());
    leases.grant(7, 60, at(0)).unwrap();
    leases.grant(8, 60, at(0)).unwrap();
    for key in [&b"c"[..], b"a", b"b", b"a", b"moved"] {
        leases.attach(7, key).unwrap();
    }
    leases.attach(8, b"moved").unwrap();
    assert_eq!(leases.attach(9, b"a"), Err(LeaseError::NotFound));
    assert_eq!((leases.of_key(b"a"), leases.of_key(b"moved")), (Some(7), Some(8)));
    assert_eq!(leases.detach(b"b"), Some(7));
    assert_eq!(leases.detach(b"b"), None);
    leases.check_invariants();
    let revoked = leases.revoke(7).unwrap();
    assert_eq!(revoked.keys.iter().map(|key| &**key).collect::<Vec<_>>(), [b"a", b"c"]);
    assert_eq!(revoked.change, BucketChange::delete(buckets::LEASE, 7i64.to_be_bytes()));
    assert_eq!(leases.revoke(7), Err(LeaseError::NotFound));
    assert_eq!((leases.of_key(b"a"), leases.list()), (None, vec![8]));
    leases.check_invariants();
}

#[test]
fn only_a_leader_knows_how_long_a_lease_lives() {
    let mut leases = Leases::new(LeaseConfig::default());
    leases.grant(1, 10, at(0)).unwrap();
    assert_eq!(leases.keep_alive(1, at(5)), KeepAlive::NotLeader);
    assert_eq!(leases.time_to_live(1, at(5)), TimeToLive::NotLeader);
    assert_eq!(leases.expired(at(1_000_000)), Vec::<i64>::new(), "a follower lets none run out");
    leases.promote(at(1000), at(20_000));
    let left = |leases: &Leases, now| match leases.time_to_live(1, at(now)) {
        TimeToLive::Lease { remaining_seconds, granted_seconds: 10 } => remaining_seconds,
        other => panic!("{other:?}"),
    };
    assert_eq!(left(&leases, 20_000), 11, "an election timeout more");
    assert_eq!(left(&leases, 20_001), 10, "cut, not rounded");
    assert_eq!(leases.keep_alive(1, at(25_000)), KeepAlive::Renewed { ttl_seconds: 10 });
    assert_eq!(left(&leases, 25_000), 10);
    assert_eq!(leases.expired(at(34_999)), Vec::<i64>::new());
    assert_eq!(leases.keep_alive(1, at(35_000)), KeepAlive::RunOut);
    assert_eq!(leases.expired(at(35_000)), [1]);
    assert_eq!(left(&leases, 35_900), 0);
    assert_eq!(left(&leases, 37_900), -2, "as upstream, below 0 until it is revoked");
    assert_eq!(leases.keep_alive(2, at(0)), KeepAlive::Unknown);
    assert_eq!(leases.time_to_live(2, at(0)), TimeToLive::Unknown);
    leases.demote();
    assert_eq!(leases.expired(at(99_000)), Vec::<i64>::new());
    assert_eq!(leases.keep_alive(1, at(99_000)), KeepAlive::NotLeader);
}

#[test]
fn what_ran_out_is_handed_out_in_order_at_a_rate_and_again() {
    let config = LeaseConfig { revoke_rate: 10, ..LeaseConfig::default() };
    let mut leases = leading(config);
    for id in 1..=12 {
        leases.grant(id, 20 - id, at(0)).unwrap();
    }
    assert_eq!(leases.list().first(), Some(&12));
    assert_eq!(leases.expired(at(30_000)), [12, 11, 10, 9, 8], "the earliest first, five a call");
    assert_eq!(leases.expired(at(30_000)), [7, 6, 5, 4, 3]);
    leases.revoke(12).unwrap();
    assert_eq!(leases.expired(at(32_999)), [2, 1]);
    assert_eq!(leases.expired(at(32_999)), Vec::<i64>::new());
    assert_eq!(leases.expired(at(33_000)), [3, 4, 5, 6, 7], "not revoked within three seconds");
    assert_eq!(leases.expired(at(33_000)), [8, 9, 10, 11]);
    leases.check_invariants();
}

#[test]
fn piles_are_spread_when_a_leader_begins() {
    let mut leases = Leases::new(LeaseConfig::default());
    for id in 1..=4000 {
        leases.grant(id, 60, at(0)).unwrap();
    }
    leases.grant(9000, 600, at(0)).unwrap();
    leases.promote(at(1000), at(0));
    leases.check_invariants();
    let mut seconds = BTreeMap::<u64, usize>::new();
    for id in 1..=4000 {
        let expires = leases.expires_at(id).unwrap();
        assert!(expires >= at(61_000), "no lease is shortened");
        *seconds.entry(expires.as_secs()).or_default() += 1;
    }
    assert_eq!(leases.expires_at(9000), Some(at(601_000)), "one alone is not moved");
    // The first 750 stay, each further one comes a 750th of a second later.
    assert_eq!(seconds.get(&61), Some(&750), "{seconds:?}");
    let later: Vec<_> = seconds.range(62..).collect();
    assert!(later.iter().all(|(_, count)| **count <= 751), "{seconds:?}");
    assert_eq!(*seconds.keys().last().unwrap(), 61 + 4000 / 750, "{seconds:?}");

    let mut few = Leases::new(LeaseConfig::default());
    for id in 1..=999 {
        few.grant(id, 60, at(0)).unwrap();
    }
    few.promote(at(1000), at(0));
    assert!((1..=999).all(|id| few.expires_at(id) == Some(at(61_000))), "few are not spread");
}

#[test]
fn checkpoints_are_off_unless_asked_for() {
    let mut leases = leading(LeaseConfig::default());
    leases.grant(1, 10_000, at(0)).unwrap();
    assert_eq!(leases.due_checkpoints(at(9_000_000)), []);
    // One that an earlier configuration left does not shorten what a keep-alive promises.
    leases.checkpoint(1, 5, false, at(0));
    assert_eq!(leases.keep_alive(1, at(0)), KeepAlive::Renewed { ttl_seconds: 10_000 });
    assert_eq!(leases.expires_at(1), Some(at(10_000_000)));
}

#[test]
fn checkpoints_tell_what_is_left() {
    let config = LeaseConfig { checkpoints: true, ..LeaseConfig::default() };
    let mut leases = leading(config);
    leases.grant(1, 1000, at(0)).unwrap();
    leases.grant(2, 300, at(0)).unwrap();
    assert_eq!(leases.due_checkpoints(at(299_999)), []);
    let due = leases.due_checkpoints(at(300_001));
    assert_eq!(due.len(), 1, "too short a lease gets none: {due:?}");
    assert_eq!((due[0].id, due[0].remaining_ttl), (1, 700), "rounded up");
    let change = leases.checkpoint(1, 700, true, at(300_001)).unwrap();
    let stored = StoredLease { id: 1, ttl_seconds: 1000, remaining_ttl_seconds: 700 };
    assert_eq!(change.value.as_deref(), Some(&stored.to_bytes()[..]));
    assert_eq!(leases.checkpoint(1, 700, false, at(300_001)), None, "not persisted");
    assert_eq!(leases.checkpoint(5, 1, true, at(0)), None, "unknown");

    // Another member, restarted, leads: what was left, not the whole TTL.
    let key = StoredLease::bucket_key(1);
    let mut next = Leases::restore(config, [(&key[..], &stored.to_bytes()[..])]).unwrap();
    next.promote(at(0), at(5000));
    assert_eq!(next.expires_at(1), Some(at(705_000)));
    assert_eq!(next.keep_alive(1, at(6000)), KeepAlive::CheckpointFirst);
    let change = next.checkpoint(1, 0, true, at(6000)).unwrap();
    let cleared = StoredLease { remaining_ttl_seconds: 0, ..stored };
    assert_eq!(change.value.as_deref(), Some(&cleared.to_bytes()[..]));
    assert_eq!(next.keep_alive(1, at(6000)), KeepAlive::Renewed { ttl_seconds: 1000 });
    assert_eq!(next.expires_at(1), Some(at(1_006_000)));
    assert_eq!(next.due_checkpoints(at(306_000)).len(), 1, "the next one is planned");
    assert_eq!(next.due_checkpoints(at(306_000)), []);
    assert_eq!(next.keep_alive(1, at(606_000)), KeepAlive::Renewed { ttl_seconds: 1000 });
    assert_eq!(next.due_checkpoints(at(606_000)), [], "one that has its whole TTL needs none");
    assert_eq!(next.due_checkpoints(at(906_000)).len(), 1);

    // The next lease of that id begins anew.
    next.checkpoint(1, 3, false, at(906_000));
    next.revoke(1).unwrap();
    next.check_invariants();
    next.grant(1, 400, at(907_000)).unwrap();
    assert_eq!(next.expires_at(1), Some(at(1_307_000)));
}

#[test]
fn a_configuration_of_zeros_ends_every_call() {
    let config = LeaseConfig {
        min_ttl_seconds: 0,
        revoke_rate: 0,
        retry_after: Duration::ZERO,
        checkpoints: true,
        checkpoint_interval: Duration::ZERO,
    };
    let mut leases = leading(config);
    assert_eq!(leases.grant(1, 0, at(0)).unwrap().ttl_seconds, 1);
    leases.grant(2, 50, at(0)).unwrap();
    leases.promote(at(0), at(0));
    assert!(leases.due_checkpoints(at(0)).len() <= 2);
    assert_eq!((leases.expired(at(2000)), leases.expired(at(2000))), (vec![1], vec![]));
    leases.check_invariants();
}

#[test]
fn leases_come_back_from_their_bucket() {
    let stored = |id, ttl| StoredLease { id, ttl_seconds: ttl, remaining_ttl_seconds: 0 };
    let entries: Vec<_> = [stored(1, 60), stored(-2, 1)]
        .map(|lease| (StoredLease::bucket_key(lease.id), lease.to_bytes()))
        .to_vec();
    let borrowed = || entries.iter().map(|(key, value)| (&key[..], &value[..]));
    let mut leases = Leases::restore(LeaseConfig::default(), borrowed()).unwrap();
    let keys = [(&b"a"[..], 1), (b"b", 0), (b"c", 77), (b"d", -2), (b"e", 77)];
    let orphans = leases.restore_keys(keys);
    assert_eq!(orphans.count, 2);
    assert_eq!(orphans.first, [(b"c".to_vec(), 77), (b"e".to_vec(), 77)]);
    assert_eq!(leases.keys(1).collect::<Vec<_>>(), [b"a"]);
    leases.check_invariants();
    leases.promote(at(0), at(0));
    assert_eq!(leases.expires_at(-2), Some(at(2000)), "raised to the minimum");

    let damaged = Leases::restore(LeaseConfig::default(), [(&b"k"[..], &[8u8][..])]);
    assert!(matches!(damaged, Err(RestoreError::Damaged { .. })), "{damaged:?}");
    let swapped = [(&entries[0].0[..], &entries[1].1[..])];
    let error = Leases::restore(LeaseConfig::default(), swapped).unwrap_err();
    assert!(error.to_string().contains("fffffffffffffffe"), "{error}");
}

#[test]
fn the_queue_stays_as_small_as_what_is_alive() {
    let mut leases = leading(LeaseConfig::default());
    for round in 0..5_000 {
        leases.grant(round + 1, MAX_TTL_SECONDS, at(0)).unwrap();
        leases.revoke(round + 1).unwrap();
        assert!(leases.queue_len() <= 70, "{}", leases.queue_len());
    }
    leases.grant(1, 10, at(0)).unwrap();
    for millis in 0..5_000 {
        leases.keep_alive(1, at(millis));
    }
    assert!(leases.queue_len() <= 70, "a keep-alive queues nothing");
    assert_eq!(leases.expired(at(14_998)), Vec::<i64>::new());
    assert_eq!(leases.expired(at(14_999)), [1]);
}

#[derive(Debug, Clone)]
enum Op {
    Grant(i64, i64),
    Revoke(i64),
    Attach(i64, u8),
    Detach(u8),
    KeepAlive(i64),
    Wait(u64),
    Expire,
    Promote(u64),
    Demote,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let id = 1..12i64;
    let op = prop_oneof![
        4 => (id.clone(), 1..20i64).prop_map(|(id, ttl)| Op::Grant(id, ttl)),
        2 => id.clone().prop_map(Op::Revoke),
        4 => (id.clone(), 0..20u8).prop_map(|(id, key)| Op::Attach(id, key)),
        2 => (0..20u8).prop_map(Op::Detach),
        4 => id.prop_map(Op::KeepAlive),
        4 => (1..9000u64).prop_map(Op::Wait),
        6 => Just(Op::Expire),
        1 => (0..3000u64).prop_map(Op::Promote),
        1 => Just(Op::Demote),
    ];
    prop::collection::vec(op, 1..120)
}

/// The naive model: (TTL, runs out at, handed out until, keys) of each lease, in milliseconds.
#[derive(Default)]
struct Model {
    leases: BTreeMap<i64, (u64, u64, u64, BTreeSet<u8>)>,
    leads: bool,
}

impl Model {
    fn holder(&self, key: u8) -> Option<i64> {
        self.leases.iter().find(|(_, lease)| lease.3.contains(&key)).map(|(id, _)| *id)
    }

    fn detach(&mut self, key: u8) {
        for lease in self.leases.values_mut() {
            lease.3.remove(&key);
        }
    }

    /// Those handed out now, the earliest first.
    fn expire(&mut self, now: u64, most: usize) -> Vec<i64> {
        let mut due: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| self.leads && lease.1.max(lease.2) <= now)
            .map(|(id, lease)| (lease.1.max(lease.2), *id))
            .collect();
        due.sort_unstable();
        due.truncate(most);
        for (_, id) in &due {
            self.leases.get_mut(id).unwrap().2 = now + 3000;
        }
        due.into_iter().map(|(_, id)| id).collect()
    }
}

fn agree(real: &Leases, model: &Model) -> Result<(), TestCaseError> {
    real.check_invariants();
    prop_assert_eq!(real.len(), model.leases.len());
    for (id, lease) in &model.leases {
        let keys: Vec<u8> = real.keys(*id).map(|key| key[0]).collect();
        prop_assert_eq!(keys, lease.3.iter().copied().collect::<Vec<_>>());
        if model.leads {
            prop_assert_eq!(real.expires_at(*id), Some(at(lease.1)));
        }
    }
    for key in 0..20u8 {
        prop_assert_eq!(real.of_key(&[key]), model.holder(key));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_course_equals_the_model(ops in ops(), rate in 1..12usize) {
        let config = LeaseConfig { revoke_rate: rate, ..LeaseConfig::default() };
        // So few leases are spread only at a low rate: then times are the real ones' own.
        let (mut real, mut model, mut now) = (Leases::new(config), Model::default(), 0u64);
        for op in ops {
            match op {
                Op::Grant(id, ttl) => {
                    let granted = real.grant(id, ttl, at(now));
                    prop_assert_eq!(granted.is_ok(), !model.leases.contains_key(&id));
                    let ttl = u64::try_from(ttl.max(2)).unwrap() * 1000;
                    let new = (ttl, now + ttl, 0, BTreeSet::new());
                    model.leases.entry(id).or_insert(new);
                }
                Op::Revoke(id) => {
                    let keys = real.revoke(id).ok().map(|gone| gone.keys);
                    let expected = model.leases.remove(&id).map(|lease| lease.3);
                    let keys = keys.map(|keys| keys.iter().map(|key| key[0]).collect::<Vec<_>>());
                    let expected = expected.map(|keys| keys.into_iter().collect::<Vec<_>>());
                    prop_assert_eq!(keys, expected);
                }
                Op::Attach(id, key) => {
                    let done = real.attach(id, &[key]).is_ok();
                    prop_assert_eq!(done, model.leases.contains_key(&id));
                    if done {
                        model.detach(key);
                        model.leases.get_mut(&id).unwrap().3.insert(key);
                    }
                }
                Op::Detach(key) => {
                    prop_assert_eq!(real.detach(&[key]), model.holder(key));
                    model.detach(key);
                }
                Op::KeepAlive(id) => {
                    let expected = match model.leases.get_mut(&id) {
                        _ if !model.leads => KeepAlive::NotLeader,
                        None => KeepAlive::Unknown,
                        Some(lease) if lease.1 <= now => KeepAlive::RunOut,
                        Some(lease) => {
                            lease.1 = now + lease.0;
                            let ttl_seconds = i64::try_from(lease.0 / 1000).unwrap();
                            KeepAlive::Renewed { ttl_seconds }
                        }
                    };
                    prop_assert_eq!(real.keep_alive(id, at(now)), expected);
                }
                Op::Wait(millis) => now += millis,
                Op::Expire => {
                    let most = (rate / 2).max(1);
                    prop_assert_eq!(real.expired(at(now)), model.expire(now, most));
                }
                Op::Promote(extend) => {
                    // What a pile is spread to is tested by itself.
                    if model.leases.len() >= rate {
                        continue;
                    }
                    real.promote(at(extend), at(now));
                    model.leads = true;
                    for lease in model.leases.values_mut() {
                        (lease.1, lease.2) = (now + extend + lease.0, 0);
                    }
                }
                Op::Demote => {
                    real.demote();
                    model.leads = false;
                }
            }
            agree(&real, &model)?;
        }
    }
}
