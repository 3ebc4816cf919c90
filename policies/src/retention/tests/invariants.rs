//! Invariants over generated histories, and each rule by its definition.

use super::*;
use crate::clocks::STOP_MS;
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = RetentionPolicy> {
    let within = proptest::option::of((1u64..2_000).prop_map(|h| Duration::from_secs(h * 3_600)));
    let counts = [0u32..6, 0..30, 0..9, 0..6, 0..14, 0..4];
    (counts, within).prop_map(|([last, hourly, daily, weekly, monthly, yearly], within)| {
        let lineages = super::LINEAGES;
        RetentionPolicy { last, within, hourly, daily, weekly, monthly, yearly, lineages }
    })
}

/// Times mostly grow with the numbers, but not always; some lie in the future.
fn history() -> impl Strategy<Value = Vec<SnapshotFact>> {
    let pin = proptest::option::weighted(
        0.1,
        (any::<bool>(), -50i64..50).prop_map(|(ends, days)| Pin {
            reason: "audit".into(),
            expires_ms: ends.then_some(NOON_MS + days * DAY_MS),
        }),
    );
    let one = (
        1u64..4,
        0i64..400,
        prop_oneof![
            20 => Just(0i64),
            1 => (-2_000i64..2_000).prop_map(|hours| hours * HOUR_MS),
            1 => -120_000i64..120_000
        ],
        proptest::option::weighted(0.3, 0u8..8),
        proptest::bool::weighted(0.9),
        pin,
    );
    proptest::collection::vec(one, 0..60).prop_map(|ones| {
        let total: i64 = ones.iter().map(|one| one.1).sum();
        let (mut number, mut time_ms) = (0, NOON_MS - total * HOUR_MS / 2);
        let make = |(gap, hours, jump, proven_level, restorable, pin)| {
            number += gap;
            time_ms += hours * HOUR_MS / 2;
            SnapshotFact { proven_level, restorable, pin, ..fact(number, time_ms + jump) }
        };
        ones.into_iter().map(make).collect()
    })
}

fn zone() -> impl Strategy<Value = Zone> {
    prop_oneof![
        Just("UTC"),
        Just("Europe/Berlin"),
        Just("Asia/Kolkata"),
        Just("Australia/Lord_Howe")
    ]
    .prop_map(|name| name.parse().unwrap())
}

/// The date, hour and so on of a time, computed from jiff's strftime rather than by the labels
/// under test.
fn stamp(rule: Rule, time_ms: i64, zone: &Zone) -> String {
    let format = match rule {
        Rule::Hourly => "%F %H %z",
        Rule::Daily => "%F",
        Rule::Weekly => "%G %V",
        Rule::Monthly => "%Y %m",
        Rule::Yearly => "%Y",
    };
    let at = Timestamp::from_millisecond(time_ms).unwrap();
    at.to_zoned(zone.rules().clone()).strftime(format).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_never_forgotten(
        history in history(),
        policy in policy(),
        zone in zone(),
    ) {
        let verdicts = judge(&history, &policy, Clocks::single(NOON_MS), &zone);
        let kept = kept(&verdicts);
        prop_assert_eq!(verdicts.len(), history.len());
        let Some(newest) = history.last() else { return Ok(()) };
        prop_assert!(kept.contains(&newest.number));
        let restorable = || history.iter().filter(|fact| fact.restorable);
        match restorable().next_back() {
            Some(last) => prop_assert!(kept.contains(&last.number)),
            None => prop_assert_eq!(kept.len(), history.len()),
        }
        if let Some(best) = restorable().filter_map(|fact| fact.proven_level).max() {
            let proven = restorable().rfind(|fact| fact.proven_level == Some(best)).unwrap();
            prop_assert!(kept.contains(&proven.number));
        }
        for fact in &history {
            let pinned =
                fact.pin.as_ref().is_some_and(|pin| pin.expires_ms.is_none_or(|at| at > NOON_MS));
            if pinned || fact.time_ms > LATEST_MS {
                prop_assert!(kept.contains(&fact.number));
            }
        }
        for verdict in &verdicts {
            let reasons = reasons(&verdicts, verdict.number);
            let unique: BTreeSet<&String> = reasons.iter().collect();
            prop_assert_eq!(unique.len(), reasons.len(), "{:?}", &reasons);
        }
    }

    #[test]
    fn each_rule_keeps_what_its_definition_says(
        history in history(),
        policy in policy(),
        zone in zone(),
    ) {
        let verdicts = judge(&history, &policy, Clocks::single(NOON_MS), &zone);
        let counted: Vec<&SnapshotFact> =
            history.iter().filter(|fact| fact.restorable && fact.time_ms <= LATEST_MS).collect();
        for (fact, verdict) in history.iter().zip(&verdicts) {
            let keep = match &verdict.fate {
                Fate::Keep(reasons) => reasons.as_slice(),
                Fate::Forget(_) => &[],
            };
            let counts = counted.iter().any(|other| other.number == fact.number);
            let newer = || counted.iter().filter(|other| other.number > fact.number);
            for rule in Rule::ALL {
                let own = stamp(rule, fact.time_ms, &zone);
                let others: BTreeSet<String> =
                    newer().map(|other| stamp(rule, other.time_ms, &zone)).collect();
                let expected =
                    counts && !others.contains(&own) && others.len() < rule.count(&policy) as usize;
                let got = keep.iter().any(
                    |reason| matches!(reason, KeepReason::Bucket { rule: by, .. } if *by == rule),
                );
                prop_assert_eq!(got, expected, "{} {} {:?}", rule, fact.number, keep);
            }
            let last = keep.iter().any(|reason| matches!(reason, KeepReason::Last { .. }));
            prop_assert_eq!(last, counts && newer().count() < policy.last as usize);
            let within = keep.iter().any(|reason| matches!(reason, KeepReason::Within { .. }));
            let age_ms = NOON_MS - fact.time_ms;
            let young = policy
                .within
                .is_some_and(|within| fact.time_ms <= LATEST_MS && age_ms < millis(within));
            prop_assert_eq!(within, young);
        }
    }

    #[test]
    fn knowing_of_damage_forgets_nothing_more(
        history in history(),
        policy in policy(),
        zone in zone(),
    ) {
        let clocks = Clocks::single(NOON_MS);
        let known = kept(&judge(&history, &policy, clocks, &zone));
        let whole: Vec<_> =
            history.iter().map(|fact| SnapshotFact { restorable: true, ..fact.clone() }).collect();
        let unknown = kept(&judge(&whole, &policy, clocks, &zone));
        prop_assert!(unknown.is_subset(&known), "{unknown:?} {known:?}");
    }

    #[test]
    fn judging_what_was_kept_keeps_it(
        history in history(),
        policy in policy(),
        zone in zone(),
    ) {
        let clocks = Clocks::single(NOON_MS);
        let first = kept(&judge(&history, &policy, clocks, &zone));
        let rest: Vec<_> =
            history.into_iter().filter(|fact| first.contains(&fact.number)).collect();
        prop_assert_eq!(kept(&judge(&rest, &policy, clocks, &zone)), first);
    }

    #[test]
    fn a_newer_snapshot_brings_nothing_back_and_lowers_no_count(
        history in history(),
        policy in policy(),
        level in proptest::option::of(0u8..8),
    ) {
        let before = at_noon(&history, &policy);
        let number = history.last().map_or(1, |fact| fact.number + 1);
        let mut longer = history.clone();
        longer.push(SnapshotFact { proven_level: level, ..fact(number, NOON_MS) });
        let after = at_noon(&longer, &policy);
        for verdict in before.iter().filter(|verdict| !verdict.is_kept()) {
            prop_assert!(!kept(&after).contains(&verdict.number));
        }
        let counted = |verdicts: &[Verdict], is: fn(&KeepReason) -> bool| {
            verdicts
                .iter()
                .filter(|verdict| matches!(&verdict.fate, Fate::Keep(keep) if keep.iter().any(is)))
                .count()
        };
        let last = |reason: &KeepReason| matches!(reason, KeepReason::Last { .. });
        let bucket =
            |reason: &KeepReason| matches!(reason, KeepReason::Bucket { rule: Rule::Daily, .. });
        prop_assert!(counted(&after, last) >= counted(&before, last));
        prop_assert!(counted(&after, bucket) >= counted(&before, bucket));
    }

    #[test]
    fn counted_rules_keep_at_most_their_counts(history in history(), policy in policy()) {
        let policy = RetentionPolicy { within: None, ..policy };
        let verdicts = at_noon(&history, &policy);
        let rules = verdicts.iter().filter(|verdict| match &verdict.fate {
            Fate::Keep(keep) => keep
                .iter()
                .any(|r| matches!(r, KeepReason::Last { .. } | KeepReason::Bucket { .. })),
            Fate::Forget(_) => false,
        });
        let sum: u32 = Rule::ALL.iter().map(|rule| rule.count(&policy)).sum();
        prop_assert!(rules.count() <= (policy.last + sum) as usize);
    }

    #[test]
    fn a_wider_policy_keeps_no_less(
        history in history(),
        policy in policy(),
        extra in policy(),
    ) {
        let wider = RetentionPolicy {
            last: policy.last + extra.last,
            within: policy.within.max(extra.within),
            hourly: policy.hourly + extra.hourly,
            daily: policy.daily + extra.daily,
            weekly: policy.weekly + extra.weekly,
            monthly: policy.monthly + extra.monthly,
            yearly: policy.yearly + extra.yearly,
            lineages: policy.lineages,
        };
        let narrow = kept(&at_noon(&history, &policy));
        prop_assert!(narrow.is_subset(&kept(&at_noon(&history, &wider))));
    }

    #[test]
    fn clocks_far_apart_forget_nothing(
        history in history(),
        policy in policy(),
        ahead in any::<bool>(),
    ) {
        let skew = if ahead { STOP_MS + 1 } else { -STOP_MS - 1 };
        let clocks = Clocks { own_ms: NOON_MS + skew, store_ms: Some(NOON_MS) };
        let verdicts = judge(&history, &policy, clocks, &Zone::utc());
        prop_assert!(verdicts.iter().all(Verdict::is_kept));
    }

    #[test]
    fn any_times_and_any_order_are_judged(
        times in proptest::collection::vec(any::<i64>(), 1..20),
        own in any::<i64>(),
    ) {
        let backwards: Vec<_> =
            times.iter().rev().zip(0u64..).map(|(at, n)| fact(100 - n, *at)).collect();
        let verdicts =
            judge(&backwards, &RetentionPolicy::default(), Clocks::single(own), &Zone::utc());
        prop_assert!(verdicts.is_sorted_by_key(|verdict| verdict.number));
    }
}
