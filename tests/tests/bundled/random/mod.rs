//! Our server and upstream's under the same random calls: every answer and every watch equal, and
//! HashKV at the end.
//!
//! One seed is one sequence. `HOLDFAST_SEQUENCES` sets how many run (default 12), `HOLDFAST_SEED`
//! where they begin, `HOLDFAST_STEPS` how long they are. A sequence that finds a difference is
//! shortened on new servers, and told whole with both answers.

mod keys;
mod sequence;
mod side;
mod steps;
mod watches;

use holdfast_api::etcdserverpb::alarm_request::AlarmAction;
use holdfast_api::etcdserverpb::{
    AlarmRequest, AuthUserAddRequest, CompactionRequest, Compare, DowngradeRequest, PutRequest,
    TxnRequest, WatchCreateRequest,
};
use holdfast_tests::etcd::BUNDLED;
use side::Side;
use std::fmt::Write as _;
use std::time::Duration;
use steps::{Account, Call, Now, Step, Who};
use tokio::time::{Instant, sleep};

/// How long both servers may take until their watches have been told the same.
const SETTLED: Duration = Duration::from_secs(10);
/// Runs that a sequence is shortened with.
const MOST_RUNS: usize = 80;

struct Difference {
    at: usize,
    ours: String,
    theirs: String,
}

/// Both servers.
struct Pair {
    ours: Side,
    theirs: Side,
    /// Calls that both answered in the same way, and how many of them with a refusal.
    calls: u64,
    refused: u64,
}

impl Pair {
    async fn start() -> Pair {
        let (ours, theirs) = tokio::join!(Side::start(BUNDLED), Side::start("3.6"));
        Pair { ours, theirs, calls: 0, refused: 0 }
    }

    /// Waits until the watches of both have been told the same; what they were told otherwise.
    async fn settle(&self) -> Result<(), (String, String)> {
        let deadline = Instant::now() + SETTLED;
        loop {
            tokio::join!(self.ours.watches.catch_up(), self.theirs.watches.catch_up());
            let shown = |side: &Side| {
                let lines = |lines: Vec<String>| lines.join("\n    ");
                let told = side.watches.told().into_iter();
                let told = told.map(|(id, told)| (id, side.comparable(lines(told))));
                told.collect::<Vec<_>>()
            };
            let (ours, theirs) = (shown(&self.ours), shown(&self.theirs));
            if ours == theirs {
                return Ok(());
            }
            if Instant::now() > deadline {
                let only = |these: &[((usize, i64), String)], those: &[((usize, i64), String)]| {
                    let mut text = String::new();
                    for ((stream, id), told) in these.iter().filter(|one| !those.contains(one)) {
                        write!(text, "\n  stream {stream}, watch {id}:\n    {told}").unwrap();
                    }
                    text
                };
                return Err((only(&ours, &theirs), only(&theirs, &ours)));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), (String, String)> {
        let now = Now { revision: self.theirs.revision, campaign: self.theirs.campaign };
        let call = now.resolve(&step.call);
        if let Call::Contest(contest) = &call
            && self.theirs.would_wait(step.who, contest).await
        {
            return Ok(());
        }
        // A watch that lags when its events are compacted away is told so, or is not.
        if matches!(call, Call::Compact(_)) {
            self.settle().await?;
        }
        let (ours, theirs) =
            tokio::join!(self.ours.make(step.who, &call), self.theirs.make(step.who, &call));
        if ours != theirs {
            return Err((ours, theirs));
        }
        self.calls += 1;
        self.refused += u64::from(side::is_refusal(&ours));
        if matches!(call, Call::Watch(..) | Call::Cancel(..)) {
            self.settle().await?;
        }
        Ok(())
    }
}

/// A sequence on new servers: the first difference, and how much there was to compare.
struct Played {
    difference: Option<Difference>,
    calls: u64,
    refused: u64,
}

async fn play(steps: &[Step]) -> Played {
    let mut pair = Pair::start().await;
    let mut found = None;
    for (at, step) in steps.iter().enumerate() {
        if let Err((ours, theirs)) = pair.take(step).await {
            found = Some(Difference { at, ours, theirs });
            break;
        }
    }
    if found.is_none()
        && let Err((ours, theirs)) = pair.settle().await
    {
        found = Some(Difference { at: steps.len() - 1, ours, theirs });
    }
    let (calls, refused) = (pair.calls, pair.refused);
    tokio::join!(pair.ours.stop(), pair.theirs.stop());
    Played { difference: found, calls, refused }
}

/// Leaves out steps, first many at once, as long as there is a difference.
async fn shorten(mut steps: Vec<Step>, mut found: Difference) -> (Vec<Step>, Difference) {
    steps.truncate(found.at + 1);
    let (mut size, mut runs) = (steps.len() / 2, 0);
    while size > 0 && runs < MOST_RUNS {
        let mut end = steps.len() - 1;
        while end > 0 && runs < MOST_RUNS {
            let start = end.saturating_sub(size);
            let fewer: Vec<Step> = [&steps[..start], &steps[end..]].concat();
            runs += 1;
            if let Some(still) = play(&fewer).await.difference {
                steps = fewer;
                steps.truncate(still.at + 1);
                found = still;
                end = start.min(steps.len() - 1);
            } else {
                end = start;
            }
        }
        size /= 2;
    }
    (steps, found)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_are_answered_as_upstreams() {
    let first = number("HOLDFAST_SEED", 1);
    let length = usize::try_from(number("HOLDFAST_STEPS", 150)).unwrap();
    let (mut differences, mut calls, mut refused) = (0, 0, 0);
    for seed in first..first + number("HOLDFAST_SEQUENCES", 12) {
        let steps = sequence::sequence(seed, length);
        let played = play(&steps).await;
        calls += played.calls;
        refused += played.refused;
        let Some(found) = played.difference else { continue };
        differences += 1;
        println!("seed {seed}: step {} differs: {:?}", found.at, steps[found.at]);
        println!("ours:   {}\ntheirs: {}\nshortened:", found.ours, found.theirs);
        let (steps, found) = shorten(steps, found).await;
        for (at, step) in steps.iter().enumerate() {
            println!("  {at}: {step:?}");
        }
        println!("ours:   {}\ntheirs: {}", found.ours, found.theirs);
    }
    println!("{calls} calls from seed {first} on, {refused} of them refused");
    assert_eq!(differences, 0, "sequences with a difference");
    // Servers that refuse everything are equal as well.
    assert!(refused * 4 < calls * 3, "{refused} of {calls} calls were refused");
}

/// Steps that showed a difference once, by chance or looked for, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_otherwise_is_not_any_more() {
    let mut pair = Pair::start().await;
    for (what, step) in found() {
        if let Err((ours, theirs)) = pair.take(&step).await {
            panic!("{what}: {step:?}\nours:   {ours}\ntheirs: {theirs}");
        }
    }
}

fn found() -> Vec<(&'static str, Step)> {
    let key = b"a".to_vec();
    let before = WatchCreateRequest { key, start_revision: -1, ..WatchCreateRequest::default() };
    let compacted = WatchCreateRequest { start_revision: 1, ..before.clone() };
    let chosen = WatchCreateRequest { watch_id: 5, ..compacted.clone() };
    let again = WatchCreateRequest { start_revision: 0, ..chosen.clone() };
    let record = PutRequest { key: b"a".to_vec(), ..PutRequest::default() };
    let compact = CompactionRequest { revision: 3, physical: true };
    let validate = DowngradeRequest { action: 0, version: "3.5.0".to_owned() };
    let root = AuthUserAddRequest {
        name: "root".to_owned(),
        password: "pw".to_owned(),
        ..AuthUserAddRequest::default()
    };
    let alarm = |action: AlarmAction| {
        Call::Alarm(AlarmRequest { action: action as i32, member_id: 0, alarm: 3 })
    };
    let nobody = |what, call| (what, Step { who: Who::Nobody, call });
    let account = |call| nobody("users", Call::Account(call));
    let impostor = |what, call| (what, Step { who: Who::Impostor, call });
    let no_port = || vec!["http://127.0.0.1".to_owned()];
    let (range, put, delete) = Default::default();
    let txn = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
    vec![
        nobody("a watch from before the first revision", Call::Watch(0, before.clone())),
        nobody("a record", Call::Put(record.clone())),
        nobody("its successor", Call::Put(record)),
        nobody("a compaction", Call::Compact(compact)),
        nobody("a watch from before the compaction", Call::Watch(0, compacted)),
        nobody("the end of a watch that a compaction ended", Call::Cancel(0, 0)),
        nobody("a watch of a chosen id from before the compaction", Call::Watch(1, chosen.clone())),
        nobody("another of that id", Call::Watch(1, again.clone())),
        nobody("the end of the first", Call::Cancel(1, 5)),
        nobody("the other once more", Call::Watch(1, again)),
        nobody("an alarm of no member and no known kind", alarm(AlarmAction::Activate)),
        nobody("what is said of it", Call::Status),
        nobody("its end", alarm(AlarmAction::Deactivate)),
        nobody("a URL without a port", Call::AddMember(no_port())),
        nobody("an unknown member and no URL", Call::UpdateMember(99, Vec::new())),
        nobody("an unknown member and a bad URL", Call::UpdateMember(99, no_port())),
        nobody("the cluster's version", Call::Downgrade(validate)),
        account(Account::UserAdd(root)),
        account(Account::UserGrant("root", "root")),
        account(Account::Enable),
        impostor("a range without a key, by nobody", Call::Range(range)),
        impostor("a put without a key, by nobody", Call::Put(put)),
        impostor("a deletion without a key, by nobody", Call::Delete(delete)),
        impostor("a comparison without a key, by nobody", Call::Txn(txn)),
        nobody("leases, though there are none, by nobody", Call::Leases),
        nobody("a sign of life for no lease, by nobody", Call::KeepAlive(vec![99])),
        impostor("a bad URL, by nobody", Call::AddMember(no_port())),
        impostor("a watch from before the first revision, by nobody", Call::Watch(0, before)),
    ]
}
