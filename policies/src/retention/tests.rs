//! Retention: each rule by an example. What holds for any history is in `tests/invariants.rs`.

mod invariants;

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2026-11-20T12:00:00Z.
const NOON_MS: i64 = 1_795_176_000_000;
/// At noon what is later is from the future.
const LATEST_MS: i64 = NOON_MS + 60_000;

fn fact(number: u64, time_ms: i64) -> SnapshotFact {
    let revision = i64::try_from(number).unwrap() * 100;
    let lineage = b"first".to_vec();
    let (proven_level, restorable, pin) = (None, true, None);
    SnapshotFact { number, time_ms, revision, proven_level, lineage, restorable, pin }
}

fn none() -> RetentionPolicy {
    RetentionPolicy { hourly: 0, daily: 0, weekly: 0, monthly: 0, ..RetentionPolicy::default() }
}

fn at_noon(snapshots: &[SnapshotFact], policy: &RetentionPolicy) -> Vec<Verdict> {
    judge(snapshots, policy, Clocks::single(NOON_MS), &Zone::utc())
}

fn kept(verdicts: &[Verdict]) -> BTreeSet<u64> {
    verdicts.iter().filter(|verdict| verdict.is_kept()).map(|verdict| verdict.number).collect()
}

fn reasons(verdicts: &[Verdict], number: u64) -> Vec<String> {
    let verdict = verdicts.iter().find(|verdict| verdict.number == number).unwrap();
    match &verdict.fate {
        Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Fate::Forget(reasons) => reasons.iter().map(|reason| format!("not: {reason}")).collect(),
    }
}

#[test]
fn all_reasons_are_told() {
    let mut snapshots: Vec<_> = (0..30)
        .map(|n| fact(n + 1, NOON_MS - (29 - i64::try_from(n).unwrap()) * HOUR_MS))
        .collect();
    snapshots[0].pin = Some(Pin { reason: "audit".into(), expires_ms: None });
    snapshots[1].pin = Some(Pin { reason: "upgrade".into(), expires_ms: Some(NOON_MS - HOUR_MS) });
    snapshots[4].proven_level = Some(6);
    let policy = RetentionPolicy {
        last: 24,
        within: Some(Duration::from_secs(7_200)),
        hourly: 2,
        daily: 2,
        ..none()
    };
    let verdicts = at_noon(&snapshots, &policy);
    assert_eq!(
        reasons(&verdicts, 30),
        [
            "newest",
            "last restorable",
            "last 1 of 24",
            "within 2h (age 0s)",
            "hourly 2026-11-20 12h+00:00",
            "daily 2026-11-20"
        ]
    );
    assert_eq!(reasons(&verdicts, 28), ["last 3 of 24"]);
    assert_eq!(reasons(&verdicts, 1), ["pinned: audit"]);
    assert_eq!(reasons(&verdicts, 5), ["newest proven at level 6"]);
    assert_eq!(
        reasons(&verdicts, 2),
        [
            "not: its pin ended 1h ago: upgrade",
            "not: not among the last 24",
            "not: older than 2h (age 1d4h)",
            "not: older than the 2 hourly ones",
            "not: daily 2026-11-19 is 17"
        ]
    );
}

#[test]
fn the_future_fills_no_place() {
    let snapshots =
        [fact(1, NOON_MS - DAY_MS), fact(2, NOON_MS - HOUR_MS), fact(3, NOON_MS + 30 * DAY_MS)];
    let verdicts = at_noon(&snapshots, &RetentionPolicy { monthly: 1, ..none() });
    assert_eq!(reasons(&verdicts, 2), ["last restorable", "monthly 2026-11"]);
    let future = "from the future by 30d: judged when its time comes";
    assert_eq!(reasons(&verdicts, 3), ["newest", "last restorable", future]);
    assert_eq!(reasons(&verdicts, 1), ["not: monthly 2026-11 is 2"]);
}

/// A store tells whole seconds, so that its clock is behind a snapshot that was just taken.
#[test]
fn what_was_taken_this_moment_fills_its_place() {
    let policy = RetentionPolicy { last: 1, within: Some(Duration::from_secs(3_600)), ..none() };
    let judged = |taken_ms| {
        let snapshots = [fact(1, NOON_MS - DAY_MS), fact(2, taken_ms)];
        let clocks = Clocks { own_ms: NOON_MS + 1_000, store_ms: Some(NOON_MS) };
        judge(&snapshots, &policy, clocks, &Zone::utc())
    };
    for taken_ms in [NOON_MS, NOON_MS + 999, LATEST_MS] {
        let verdicts = judged(taken_ms);
        assert_eq!(
            reasons(&verdicts, 1),
            ["not: not among the last 1", "not: older than 1h (age 1d)"]
        );
        assert!(reasons(&verdicts, 2).contains(&"within 1h (age 0s)".to_owned()), "{taken_ms}");
    }
    let verdicts = judged(LATEST_MS + 1);
    assert_eq!(reasons(&verdicts, 1), ["last restorable", "last 1 of 1"]);
}

#[test]
fn damage_makes_no_policy_forget_more() {
    let damaged = |number, time_ms| SnapshotFact { restorable: false, ..fact(number, time_ms) };
    let noon = NOON_MS;
    let snapshots =
        [damaged(1, noon - 3), damaged(2, noon - 2), damaged(3, noon - 1), fact(4, noon)];
    let verdicts = at_noon(&snapshots, &RetentionPolicy { last: 3, ..none() });
    assert_eq!(reasons(&verdicts, 1), ["not: not restorable"]);
    assert_eq!(reasons(&verdicts, 2), ["damaged; if it were not: last 3 of 3"]);
    assert_eq!(reasons(&verdicts, 3), ["damaged; if it were not: last 2 of 3"]);
    assert_eq!(reasons(&verdicts, 4), ["newest", "last restorable", "last 1 of 3"]);
}

#[test]
fn a_damaged_one_fills_no_place() {
    let damaged = |number, time_ms| SnapshotFact { restorable: false, ..fact(number, time_ms) };
    let snapshots = [fact(1, NOON_MS - 2), damaged(2, NOON_MS - 1), damaged(3, NOON_MS)];
    let verdicts = at_noon(&snapshots, &RetentionPolicy { last: 1, ..none() });
    assert_eq!(reasons(&verdicts, 1), ["last restorable", "last 1 of 1"]);
    assert_eq!(reasons(&verdicts, 2), ["not: not restorable"]);
    assert_eq!(reasons(&verdicts, 3), ["newest"]);
    let verdicts = at_noon(&snapshots[1..], &RetentionPolicy { last: 1, ..none() });
    assert_eq!(reasons(&verdicts, 2), ["nothing is forgotten: none is restorable"]);
}

#[test]
fn now_is_the_earlier_clock() {
    let snapshots = [fact(1, NOON_MS - HOUR_MS), fact(2, NOON_MS)];
    let policy = RetentionPolicy { within: Some(Duration::from_secs(3_601)), ..none() };
    let minutes = |n: i64| NOON_MS + n * 60_000;
    // One of both clocks runs nine minutes ahead: nothing is lost by it.
    for (own_ms, store_ms) in [(minutes(9), minutes(0)), (minutes(0), minutes(9))] {
        let clocks = Clocks { own_ms, store_ms: Some(store_ms) };
        assert_eq!(kept(&judge(&snapshots, &policy, clocks, &Zone::utc())).len(), 2);
    }
    let late = judge(&snapshots, &policy, Clocks::single(minutes(9)), &Zone::utc());
    assert_eq!(kept(&late), BTreeSet::from([2]));
}

#[test]
fn a_year_of_hours_under_the_default_policy() {
    let hours = 365 * 24;
    let snapshots: Vec<_> = (0..hours)
        .map(|n| fact(u64::try_from(n).unwrap() + 1, NOON_MS - (hours - 1 - n) * HOUR_MS))
        .collect();
    let verdicts = at_noon(&snapshots, &RetentionPolicy::default());
    // 24 hours, 7 days, 5 weeks, 12 months share some snapshots.
    let kept = kept(&verdicts);
    assert!((40..=48).contains(&kept.len()), "{}", kept.len());
    // Applied hour by hour as an agent does, the same remain, but for months whose newest had to be
    // kept on the way.
    let mut rolling: Vec<SnapshotFact> = Vec::new();
    for snapshot in &snapshots {
        rolling.push(snapshot.clone());
        let clocks = Clocks::single(snapshot.time_ms);
        let verdicts = judge(&rolling, &RetentionPolicy::default(), clocks, &Zone::utc());
        rolling.retain(|fact| verdicts.iter().any(|v| v.number == fact.number && v.is_kept()));
    }
    assert_eq!(rolling.iter().map(|fact| fact.number).collect::<BTreeSet<_>>(), kept);
}

#[test]
fn the_last_of_an_older_lineage_stays_for_a_while() {
    let of = |number, hours: i64, lineage: &str| SnapshotFact {
        lineage: lineage.as_bytes().to_vec(),
        ..fact(number, NOON_MS - hours * HOUR_MS)
    };
    let mut snapshots = vec![of(1, 200, "a"), of(2, 199, "a"), of(3, 30, "b"), of(4, 29, "b")];
    snapshots.extend([of(5, 2, "c"), of(6, 1, "c")]);
    let policy = |days: u64| RetentionPolicy {
        last: 1,
        lineages: Duration::from_secs(days * 86_400),
        ..none()
    };
    let kept = |days: u64, snapshots: &[SnapshotFact]| -> Vec<u64> {
        let verdicts = at_noon(snapshots, &policy(days));
        verdicts.iter().filter(|verdict| verdict.is_kept()).map(|one| one.number).collect()
    };
    assert_eq!(kept(30, &snapshots), [2, 4, 6]);
    assert_eq!(kept(2, &snapshots), [4, 6]);
    assert_eq!(kept(1, &snapshots), [6]);
    assert_eq!(kept(0, &snapshots), [6]);
    snapshots[3].restorable = false;
    assert_eq!(kept(30, &snapshots), [2, 3, 4, 6], "and the last one that can be restored");
}
