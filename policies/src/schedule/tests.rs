//! Schedules: against a model (`tests/model.rs`), and each rule by an example.

mod model;

use super::*;
use jiff::ToSpan as _;
use model::{Model, ModelField, ModelItem, Span, ZONES, field, model, walk, window};
use proptest::prelude::*;

fn ticks_of(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let mut ticks = Vec::new();
    let mut at = from - 1.nanosecond();
    while let Some(next) = schedule.next_after(at)
        && next < to
    {
        assert!(next > at);
        ticks.push(next);
        at = next;
    }
    ticks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ticks_equal_those_of_the_model(
        model in model(),
        named in any::<bool>(),
        zone in 0..ZONES.len(),
        near_change in any::<bool>(),
        pick in 0i64..100_000,
    ) {
        let zone: Zone = ZONES[zone].parse().unwrap();
        let line = model.line(named);
        let schedule = match Schedule::parse(&line, &zone) {
            Ok(schedule) => schedule,
            Err(ScheduleError::NeverRuns { .. }) => {
                // Refused only if no day of nine years matches.
                let mut date = jiff::civil::date(2024, 1, 1);
                while date.year() < 2033 {
                    for hour in 0..24 {
                        let first =
                            (0..60).find(|minute| model.holds(date.at(hour, *minute, 0, 0)));
                        prop_assert_eq!(first, None, "{} {}", line, date);
                    }
                    date = date.tomorrow().unwrap();
                }
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{line}: {error}"))),
        };
        let from = window(&zone, near_change, pick);
        let to = from + 60.hours();
        let (got, expected) = (ticks_of(&schedule, from, to), model.ticks(&zone, from, to));
        let differs = got.iter().zip(&expected).position(|(one, other)| one != other);
        let at = differs.unwrap_or(got.len().min(expected.len()));
        prop_assert!(got == expected, "{line}: {:?} for {:?}", got.get(at), expected.get(at));
    }

    #[test]
    fn rare_dates_equal_those_of_the_model(
        day in field(1, 31),
        month in field(1, 12),
        weekday in field(0, 7),
        start in 0i64..3_000,
    ) {
        let at = |value| ModelField {
            lowest: 0,
            items: vec![ModelItem { span: Span::Single(value), step: 1 }],
        };
        let model = Model { minute: at(30), hour: at(12), day, month, weekday };
        let Ok(schedule) = Schedule::parse(&model.line(false), &Zone::utc()) else { return Ok(()) };
        let mut date = jiff::civil::date(2024, 1, 1) + start.days();
        let from = date.at(12, 30, 0, 0);
        while date.year() < 2072 {
            date = date.tomorrow().unwrap();
            if model.holds(date.at(12, 30, 0, 0)) {
                break;
            }
        }
        let next = schedule.next_after(from.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp());
        prop_assert_eq!(
            Zone::utc().wall(next.unwrap()),
            date.at(12, 30, 0, 0),
            "{}",
            model.line(false)
        );
    }

    #[test]
    fn jitter_shifts_all_ticks_alike(
        model in model(),
        seed in any::<[u8; 16]>(),
        longest in 0u64..7_200,
        zone in 0..ZONES.len(),
        pick in 0i64..100_000,
    ) {
        let zone: Zone = ZONES[zone].parse().unwrap();
        let Ok(plain) = Schedule::parse(&model.line(false), &zone) else { return Ok(()) };
        let shifted = plain.clone().with_jitter(&seed, Duration::from_secs(longest)).unwrap();
        prop_assert!(shifted.jitter() < Duration::from_secs(longest.max(1)));
        let shift = SignedDuration::try_from(shifted.jitter()).unwrap();
        let from = window(&zone, true, pick);
        let to = from + 40.hours();
        let expected: Vec<_> = ticks_of(&plain, from, to).iter().map(|at| *at + shift).collect();
        prop_assert!(ticks_of(&shifted, from + shift, to + shift) == expected);
    }

    /// Whoever asks now and then runs once for each stretch in which ticks passed, and never
    /// otherwise.
    #[test]
    fn each_tick_is_followed_by_one_run(
        model in model(),
        naps in proptest::collection::vec(1i64..20_000, 1..80),
        pick in 0i64..100_000,
    ) {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        let Ok(schedule) = Schedule::parse(&model.line(false), &zone) else { return Ok(()) };
        let mut now = window(&zone, true, pick);
        let mut last_run = now;
        for nap in naps {
            let before = now;
            now += nap.seconds();
            let passed = ticks_of(&schedule, before + 1.nanosecond(), now + 1.nanosecond());
            match schedule.due(Some(last_run), now) {
                Decision::RunNow { reason } => {
                    prop_assert!(!passed.is_empty(), "{reason}");
                    if let RunReason::Missed { first, count } = reason {
                        prop_assert_eq!((first, count as usize), (passed[0], passed.len()));
                    }
                    last_run = now;
                }
                Decision::WaitUntil(next) => {
                    prop_assert!(passed.is_empty());
                    prop_assert_eq!(Some(next), schedule.next_after(now));
                }
                Decision::Never => prop_assert!(false, "every schedule goes on"),
            }
        }
    }

    #[test]
    fn no_text_panics(line in "[-0-9*/,a-z@ ?#é]{0,40}") {
        if let Ok(schedule) = Schedule::parse(&line, &Zone::utc()) {
            let _ = schedule.next_after(Timestamp::UNIX_EPOCH);
        }
    }
}

/// A whole year, each minute of it.
#[test]
fn a_year_equals_the_model_in_every_zone() {
    let single = |lowest, items: &[u32]| ModelField {
        lowest,
        items: items.iter().map(|v| ModelItem { span: Span::Single(*v), step: 1 }).collect(),
    };
    let star =
        |lowest, step| ModelField { lowest, items: vec![ModelItem { span: Span::Star, step }] };
    let all = || (star(1, 1), star(1, 1), star(0, 1));
    let models = [
        (star(0, 1), star(0, 1), all()),
        (single(0, &[0]), star(0, 1), all()),
        (single(0, &[30]), single(0, &[2]), all()),
        (single(0, &[15, 45]), single(0, &[1, 2, 3]), all()),
        (single(0, &[5]), single(0, &[0]), (single(1, &[13, 31]), star(1, 1), single(0, &[5]))),
        (single(0, &[5]), single(0, &[0]), (star(1, 15), star(1, 2), single(0, &[7, 1]))),
        (star(0, 7), star(0, 5), (single(1, &[29]), star(1, 1), star(0, 3))),
    ]
    .map(|(minute, hour, (day, month, weekday))| Model { minute, hour, day, month, weekday });
    let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    for name in ZONES {
        let zone: Zone = name.parse().unwrap();
        let mut expected: Vec<Vec<Timestamp>> = models.iter().map(|_| Vec::new()).collect();
        walk(&zone, from, to, |at, wall| {
            for (model, ticks) in models.iter().zip(&mut expected) {
                if model.holds(wall) && ticks.last() != Some(&at) {
                    ticks.push(at);
                }
            }
        });
        for (model, expected) in models.iter().zip(expected) {
            let schedule = Schedule::parse(&model.line(false), &zone).unwrap();
            assert!(ticks_of(&schedule, from, to) == expected, "{} in {name}", model.line(false));
        }
    }
}

fn next(line: &str, zone: &str, after: &str) -> String {
    let schedule = Schedule::parse(line, &zone.parse().unwrap()).unwrap();
    schedule.next_after(after.parse().unwrap()).unwrap().to_string()
}

#[test]
fn sunday_is_0_and_7_and_1_is_monday() {
    // 2026-11-22 is a Sunday.
    for line in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly"] {
        assert_eq!(next(line, "UTC", "2026-11-20T12:00:00Z"), "2026-11-22T00:00:00Z", "{line}");
    }
    assert_eq!(next("0 0 * * 1", "UTC", "2026-11-20T12:00:00Z"), "2026-11-23T00:00:00Z");
    assert_eq!(next("0 0 * * fri-sun", "UTC", "2026-11-21T00:00:00Z"), "2026-11-22T00:00:00Z");
    assert_eq!(next("0 0 * * 5-7", "UTC", "2026-11-22T00:00:00Z"), "2026-11-27T00:00:00Z");
}

#[test]
fn either_day_field_suffices_unless_one_begins_with_a_star() {
    // The 13th or any Friday; 2026-11-13 and 2027-08-13 are both.
    assert_eq!(next("0 0 13 * 5", "UTC", "2026-11-13T00:00:00Z"), "2026-11-20T00:00:00Z");
    assert_eq!(next("0 0 13 * 5", "UTC", "2026-12-11T00:00:00Z"), "2026-12-13T00:00:00Z");
    // Every 15th day (1, 16, 31) that is a Friday.
    assert_eq!(next("0 0 */15 * 5", "UTC", "2026-11-13T00:00:00Z"), "2027-01-01T00:00:00Z");
}

#[test]
fn a_gap_runs_once_after_it_and_a_repeated_hour_once() {
    let zone = "Europe/Berlin";
    // 2026-03-29: 02:00 to 03:00 do not exist. 2026-10-25: 02:00 to 03:00 exist twice.
    assert_eq!(next("30 2 * * *", zone, "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(next("30 2 * * *", zone, "2026-03-29T01:00:00Z"), "2026-03-30T00:30:00Z");
    assert_eq!(next("0,30 2,3 * * *", zone, "2026-03-29T01:00:00Z"), "2026-03-29T01:30:00Z");
    assert_eq!(next("30 2 * * *", zone, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
    assert_eq!(next("30 2 * * *", zone, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
    assert_eq!(next("@hourly", zone, "2026-10-25T00:00:00Z"), "2026-10-25T02:00:00Z");
    // Half an hour: 02:00 to 02:30 do not exist on 2026-10-04.
    let zone = "Australia/Lord_Howe";
    assert_eq!(next("15 2 * * *", zone, "2026-10-03T12:00:00Z"), "2026-10-03T15:30:00Z");
    assert_eq!(next("45 2 * * *", zone, "2026-10-03T12:00:00Z"), "2026-10-03T15:45:00Z");
}

#[test]
fn words_with_an_at_sign() {
    let after = "2026-11-20T12:34:56Z";
    for (line, expected) in [
        ("@hourly", "2026-11-20T13:00:00Z"),
        ("@daily", "2026-11-21T00:00:00Z"),
        ("@midnight", "2026-11-21T00:00:00Z"),
        ("@weekly", "2026-11-22T00:00:00Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@Annually", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(line, "UTC", after), expected, "{line}");
    }
}

#[test]
fn leap_days_and_the_end_of_time() {
    assert_eq!(next("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z"), "2104-02-29T00:00:00Z");
    assert_eq!(next("0 0 29 2 */7", "UTC", "2032-03-01T00:00:00Z"), "2060-02-29T00:00:00Z");
    let schedule = Schedule::parse("@yearly", &Zone::utc()).unwrap();
    assert_eq!(schedule.next_after(Timestamp::MAX), None);
    assert!(schedule.next_after(Timestamp::MIN).is_some());
    assert_eq!(schedule.due(Some(Timestamp::MAX), Timestamp::MAX), Decision::Never);
}

#[test]
fn a_refusal_names_the_field_what_was_read_and_what_is_allowed() {
    for (line, says) in [
        ("60 * * * *", "minute field: \"60\" is outside 0-59; allowed: 0-59, *"),
        ("* 24 * * *", "hour field: \"24\" is outside 0-23"),
        ("* * 0 * *", "day of month field: \"0\" is outside 1-31"),
        ("* * 32 * *", "day of month field: \"32\" is outside"),
        ("* * * 13 *", "month field: \"13\""),
        ("* * * foo *", "month field: \"foo\" is not a value; allowed: 1-12 or jan-dec"),
        ("* * * * 8", "day of week field: \"8\" is outside 0-7"),
        ("* * * * mon#2", "day of week field: \"mon#2\" is not a value"),
        ("* * L * *", "day of month field: \"l\" is not a value"),
        ("? * * * *", "minute field: \"?\" is not a value"),
        ("*/0 * * * *", "minute field: \"*/0\" has a step outside 1-59"),
        ("*/60 * * * *", "has a step outside 1-59"),
        ("*/x * * * *", "has no number as its step"),
        ("5/15 * * * *", "has a step behind a single value: write 5-59/15"),
        ("* 22-2 * * *", "hour field: \"22-2\" runs backwards: write 22-23,0-2"),
        ("1,,2 * * * *", "minute field: \"\" is not a value"),
        ("-1 * * * *", "minute field: \"\" is not a value"),
        ("+1 * * * *", "minute field: \"+1\" is not a value"),
        ("1-2-3 * * * *", "minute field: \"2-3\" is not a value"),
        ("*/2/3 * * * *", "has no number as its step"),
        ("0 0 0 * * *", "has 6 fields: write five"),
        ("", "has 0 fields"),
        ("0 0 31 2 *", "\"31 2\" never runs"),
        ("0 0 31 4,6,9,11 *", "never runs"),
        ("0 0 30 feb */2", "never runs"),
        ("@reboot", "\"@reboot\" is not known: write one of @hourly"),
        ("@every 5m", "\"@every 5m\" is not known"),
    ] {
        let error = Schedule::parse(line, &Zone::utc()).unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
    // Never by date, but Mondays suffice.
    assert!(Schedule::parse("0 0 31 2 1", &Zone::utc()).is_ok());
    let schedule = Schedule::parse("@daily", &Zone::utc()).unwrap();
    assert!(schedule.with_jitter(b"x", Duration::from_secs(86_401)).is_err());
}

#[test]
fn a_start_makes_up_for_what_was_missed_once() {
    let schedule = Schedule::parse("@hourly", &Zone::utc()).unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let now = at("2026-11-20T12:34:00Z");
    let due = |last: &str| schedule.due(Some(at(last)), now);
    let reason = |decision| match decision {
        Decision::RunNow { reason } => reason.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(reason(schedule.due(None, now)), "no earlier run is known");
    assert_eq!(due("2026-11-20T12:00:01Z"), Decision::WaitUntil(at("2026-11-20T13:00:00Z")));
    assert_eq!(reason(due("2026-11-20T11:30:00Z")), "missed the tick of 2026-11-20T12:00:00Z");
    let many = "missed 6 ticks since 2026-11-20T07:00:00Z: one run makes up for them";
    assert_eq!(reason(due("2026-11-20T06:30:00Z")), many);
    assert!(reason(due("2020-01-01T00:00:00Z")).contains("1000 or more"));
    // A clock that was set back: the next tick of this clock, not of the other.
    assert_eq!(due("2031-01-01T00:00:00Z"), Decision::WaitUntil(at("2026-11-20T13:00:00Z")));
    let on_time = schedule.due(Some(at("2026-11-20T11:00:00Z")), at("2026-11-20T12:00:00Z"));
    assert_eq!(reason(on_time), "due at 2026-11-20T12:00:00Z");
}
