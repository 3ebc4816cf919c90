//! The daemon's decisions: single stories, and any course of events against the rules of the file's
//! top.

use super::*;
use holdfast_policies::zone::Zone;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 / 3600 * 3600 + seconds).unwrap()
}

fn settings() -> Settings {
    let schedule = |line| Schedule::parse(line, &Zone::utc()).unwrap();
    Settings {
        rounds: schedule("0 * * * *"),
        drills: Some(schedule("30 */6 * * *")),
        prune: true,
        backoff: Backoff {
            first: SignedDuration::from_secs(30),
            longest: SignedDuration::from_secs(900),
        },
        grace: SignedDuration::from_secs(20),
    }
}

fn ran(seconds: i64) -> Memory {
    let moment = Some(at(seconds));
    Memory { last_round: moment, last_attempt: moment, failures: 0, last_drill: moment }
}

fn started(actions: &[Action]) -> Option<Job> {
    actions.iter().find_map(|action| match action {
        Action::Start(job, _) => Some(*job),
        _ => None,
    })
}

#[test]
fn a_day_in_its_life() {
    let mut cycle = Cycle::new(settings(), Memory::default());
    assert_eq!(started(&cycle.step(Event::Wake, at(10))), Some(Job::Round));
    assert_eq!(cycle.step(Event::Wake, at(20)), [], "a job runs");
    let actions = cycle.step(Event::Finished(Job::Round, Ending::Done), at(40));
    assert_eq!(actions, [Action::Start(Job::Prune, Cause::AfterRound)]);
    let actions = cycle.step(Event::Finished(Job::Prune, Ending::Failed), at(50));
    assert_eq!(started(&actions), Some(Job::Drill), "never ran, and now there is a snapshot");
    let actions = cycle.step(Event::Finished(Job::Drill, Ending::Failed), at(90));
    assert_eq!(actions, [Action::WaitUntil(at(3600))]);
    assert_eq!(cycle.step(Event::Wake, at(3599)), [Action::WaitUntil(at(3600))]);
    let actions = cycle.step(Event::Wake, at(3600));
    assert_eq!(
        actions,
        [Action::Start(Job::Round, Cause::Schedule(RunReason::Tick { at: at(3600) }))]
    );
}

#[test]
fn missed_ticks_run_once_at_start() {
    let mut cycle = Cycle::new(settings(), ran(-5 * 3600));
    let actions = cycle.step(Event::Wake, at(10));
    let reason = RunReason::Missed { first: at(-4 * 3600), count: 5 };
    assert_eq!(actions, [Action::Start(Job::Round, Cause::Schedule(reason))]);
    cycle.step(Event::Finished(Job::Round, Ending::Done), at(20));
    cycle.step(Event::Finished(Job::Prune, Ending::Done), at(30));
    assert_eq!(started(&cycle.step(Event::Wake, at(60))), None);
}

#[test]
fn failures_pause_longer_and_longer_and_over_restarts() {
    let mut cycle = Cycle::new(settings(), Memory::default());
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(started(&cycle.step(Event::Wake, at(now))), Some(Job::Round));
        let actions = cycle.step(Event::Finished(Job::Round, Ending::Failed), at(now));
        let [Action::WaitUntil(next)] = actions[..] else { panic!("{actions:?}") };
        let pause = next.duration_since(at(now)).as_secs();
        let mut restarted = Cycle::new(settings(), cycle.memory());
        assert_eq!(started(&restarted.step(Event::Wake, at(now + pause - 1))), None);
        assert_eq!(started(&restarted.step(Event::Wake, at(now + pause))), Some(Job::Round));
        now += pause;
        pauses.push(pause);
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900, 900]);
    cycle.step(Event::Wake, at(now));
    cycle.step(Event::Finished(Job::Round, Ending::Done), at(now));
    assert_eq!(cycle.memory().failures, 0);
}

#[test]
fn missing_wraps_are_tried_again_until_they_are_made() {
    let mut cycle = Cycle::new(Settings { drills: None, ..settings() }, Memory::default());
    cycle.step(Event::Wake, at(0));
    let actions = cycle.step(Event::Finished(Job::Round, Ending::ForPaper), at(10));
    assert_eq!(actions, [Action::WaitUntil(at(40))], "no prune: the chain cannot be read");
    assert!(cycle.memory().last_round.is_some(), "the cluster is protected");
    assert_eq!(started(&cycle.step(Event::Wake, at(40))), Some(Job::Wraps));
    let actions = cycle.step(Event::Finished(Job::Wraps, Ending::Failed), at(50));
    assert_eq!(actions, [Action::WaitUntil(at(110))]);
    assert_eq!(started(&cycle.step(Event::Wake, at(110))), Some(Job::Wraps));
    let actions = cycle.step(Event::Finished(Job::Wraps, Ending::Done), at(111));
    assert_eq!(actions, [Action::WaitUntil(at(3600))]);
    // A tick comes first, and tells anew whether wraps are missing.
    cycle.step(Event::Wake, at(3600));
    cycle.step(Event::Finished(Job::Round, Ending::ForPaper), at(3610));
    assert_eq!(started(&cycle.step(Event::Wake, at(7200))), Some(Job::Round));
    let actions = cycle.step(Event::Finished(Job::Round, Ending::Done), at(7210));
    assert_eq!(started(&actions), Some(Job::Prune));
}

#[test]
fn a_clock_set_back_does_not_stop_the_rounds() {
    let mut cycle = Cycle::new(settings(), ran(86_400));
    let actions = cycle.step(Event::Wake, at(10));
    assert_eq!(actions, [Action::WaitUntil(at(3600))]);
    let failed = Memory { failures: 3, ..ran(86_400) };
    let mut cycle = Cycle::new(settings(), failed);
    assert_eq!(cycle.step(Event::Wake, at(10)), [Action::WaitUntil(at(130))]);
}

#[test]
fn sigterm_when_idle_and_in_each_job() {
    let mut idle = Cycle::new(settings(), ran(0));
    assert_eq!(idle.step(Event::Terminate, at(5)), [Action::Exit]);

    let mut round = Cycle::new(settings(), Memory::default());
    round.step(Event::Wake, at(0));
    assert_eq!(round.step(Event::Terminate, at(5)), [Action::WaitUntil(at(25))]);
    let actions = round.step(Event::Finished(Job::Round, Ending::Done), at(15));
    assert_eq!(actions, [Action::Exit], "it finished in time; no prune follows");
    assert!(round.memory().last_round.is_some());

    let mut slow = Cycle::new(settings(), Memory::default());
    slow.step(Event::Wake, at(0));
    slow.step(Event::Terminate, at(5));
    assert_eq!(slow.step(Event::Wake, at(24)), [Action::WaitUntil(at(25))]);
    let actions = slow.step(Event::Wake, at(25));
    assert_eq!(actions, [Action::Abandon(Job::Round), Action::WaitUntil(at(40))]);
    assert_eq!(slow.step(Event::Wake, at(39)), [Action::WaitUntil(at(40))]);
    assert_eq!(slow.step(Event::Wake, at(40)), [Action::Exit], "it does not listen");

    let mut twice = Cycle::new(settings(), Memory::default());
    twice.step(Event::Wake, at(0));
    twice.step(Event::Terminate, at(5));
    let actions = twice.step(Event::Terminate, at(6));
    assert_eq!(actions, [Action::Abandon(Job::Round), Action::WaitUntil(at(21))]);
    let actions = twice.step(Event::Finished(Job::Round, Ending::Abandoned), at(7));
    assert_eq!(actions, [Action::Exit]);
    assert_eq!(twice.memory(), Memory::default(), "an abandoned round never was");

    let mut drill = Cycle::new(settings(), Memory { last_drill: None, ..ran(0) });
    assert_eq!(started(&drill.step(Event::Wake, at(10))), Some(Job::Drill));
    let actions = drill.step(Event::Terminate, at(12));
    assert_eq!(actions, [Action::Abandon(Job::Drill), Action::WaitUntil(at(27))]);
}

/// What may happen to a daemon.
#[derive(Debug, Clone)]
enum Op {
    Pass(i64),
    Finish(Ending),
    Terminate,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let ending = prop_oneof![
        Just(Ending::Done),
        Just(Ending::Failed),
        Just(Ending::Abandoned),
        Just(Ending::ForPaper),
    ];
    let op = prop_oneof![
        8 => (-4_000i64..9_000).prop_map(Op::Pass),
        6 => ending.prop_map(Op::Finish),
        1 => Just(Op::Terminate),
    ];
    proptest::collection::vec(op, 1..200)
}

proptest! {
    #[test]
    fn any_course_keeps_the_rules(ops in ops(), prune: bool) {
        let mut cycle = Cycle::new(Settings { prune, ..settings() }, Memory::default());
        let (mut now, mut running, mut terminated) = (0, None, false);
        let mut failed_at: Option<(i64, u32)> = None;
        for op in ops {
            let event = match op {
                Op::Pass(seconds) => { now += seconds; Event::Wake }
                Op::Finish(ending) => match running.take() {
                    Some(job) => {
                        if job == Job::Round && ending == Ending::Failed {
                            failed_at = Some((now, failed_at.map_or(1, |(_, count)| count + 1)));
                        }
                        if job == Job::Round && matches!(ending, Ending::Done | Ending::ForPaper) {
                            failed_at = None;
                        }
                        Event::Finished(job, ending)
                    }
                    None => Event::Wake,
                },
                Op::Terminate => { terminated = true; Event::Terminate }
            };
            let actions = cycle.step(event, at(now));
            let is_start = |action: &&Action| matches!(action, Action::Start(..));
            let starts = actions.iter().filter(is_start).count();
            prop_assert!(starts <= 1);
            if let Some(job) = started(&actions) {
                prop_assert!(running.is_none(), "{job} beside {running:?}");
                prop_assert!(!terminated);
                if let (Job::Round, Some((when, count))) = (job, failed_at) {
                    let pause = settings().backoff.after(count).as_secs();
                    prop_assert!(now - when >= pause || now < when, "{now} {when} {pause}");
                }
                running = Some(job);
            }
            for action in &actions {
                match action {
                    Action::WaitUntil(moment) => prop_assert!(*moment > at(now)),
                    Action::Abandon(job) => prop_assert_eq!(Some(*job), running),
                    Action::Exit => prop_assert!(terminated),
                    Action::Start(..) => {}
                }
            }
            prop_assert_eq!(cycle.running().map(|(job, _)| job), running);
            if actions.contains(&Action::Exit) {
                return Ok(());
            }
            // Whatever happened, the daemon wakes again by itself, or a job's end wakes it.
            let waits = actions.iter().any(|action| matches!(action, Action::WaitUntil(_)));
            prop_assert!(waits || running.is_some());
        }
    }
}
