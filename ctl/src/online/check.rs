//! check perf, datascale: puts a known load on a cluster, judges it, and cleans up.

use super::load::{self, Load, Measured};
use super::session::{Call, Session};
use crate::failure::Failure;
use crate::go::quote;
use crate::keys;
use holdfast_api::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, RangeRequest, StatusRequest,
};
use std::time::Duration;
use tokio::sync::watch;

/// How long the last answers are waited for when a check is broken off.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How long `check perf` takes.
const PERF_SECONDS: u64 = 60;
/// The slowest put may take so long.
const SLOWEST_SECONDS: f64 = 0.5;
/// And the standard deviation be so large.
const MOST_DEVIATION_SECONDS: f64 = 0.1;

/// Puts a second and clients of `check perf`, keys of `check datascale`.
fn model(call: &Call) -> Result<(u64, u64, u64), Failure> {
    match call.given.text("load") {
        "s" | "small" => Ok((150, 50, 10_000)),
        "m" | "medium" => Ok((1_000, 200, 100_000)),
        "l" | "large" => Ok((8_000, 500, 1_000_000)),
        "xl" | "xLarge" => Ok((15_000, 1_000, 3_000_000)),
        other => Err(Failure::feature(format!("unknown load option {other}"))),
    }
}

/// `check perf`
pub(super) async fn perf(call: &Call) -> Result<(), Failure> {
    let (per_second, clients, _) = model(call)?;
    let load = Load {
        prefix: call.given.text("prefix").to_owned(),
        clients,
        puts: per_second * PERF_SECONDS,
        per_second,
        key_bytes: 256,
        value_bytes: 1024,
    };
    let session = call.session()?;
    refuse_used(&session, &load.prefix).await?;
    call.console.complain(format!("putting {per_second} keys a second for {PERF_SECONDS} s"));
    let measured = measure(call, &session, &load).await?;
    clean_up(call, &session, &load.prefix).await?;
    if judge(&session, &measured, per_second)? {
        return session.console.line("PASS");
    }
    session.console.line("FAIL")?;
    Err(Failure::silent(1))
}

/// Runs a load. Who breaks it off finds its keys deleted: also those of the puts that were under
/// way, so these are waited for first.
async fn measure(call: &Call, session: &Session, load: &Load) -> Result<Measured, Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut running = std::pin::pin!(load::run(&session.client, load, stopped));
    tokio::select! {
        measured = &mut running => return Ok(measured),
        () = super::queue::asked_to_end() => {}
    }
    let _ = stop.send(true);
    // Puts to a server that does not answer are given up.
    let _ = tokio::time::timeout(LAST_ANSWERS, running).await;
    clean_up(call, session, &load.prefix).await?;
    Err(Failure::interrupted("broken off; the keys are deleted"))
}

/// Prints the verdicts; whether all are good.
fn judge(session: &Session, measured: &Measured, per_second: u64) -> Result<bool, Failure> {
    let console = &session.console;
    let mut good = print_errors(session, measured)?;
    let rate = measured.per_second();
    let shown = format!("{:.0}", rate.floor() + 1.0);
    #[expect(clippy::cast_precision_loss, reason = "at most 15,000")]
    let enough = rate / per_second as f64 > 0.9;
    if enough {
        console.line(format!("PASS: Throughput is {shown} writes/s"))?;
    } else {
        console.line(format!("FAIL: Throughput too low: {shown} writes/s"))?;
    }
    let (slowest, deviation) = (measured.slowest(), measured.deviation());
    if slowest > SLOWEST_SECONDS {
        console.line(format!("Slowest request took too long: {slowest:.6}s"))?;
    } else {
        console.line(format!("PASS: Slowest request took {slowest:.6}s"))?;
    }
    if deviation > MOST_DEVIATION_SECONDS {
        console.line(format!("Stddev too high: {deviation:.6}s"))?;
    } else {
        console.line(format!("PASS: Stddev is {deviation:.6}s"))?;
    }
    good &= enough && slowest <= SLOWEST_SECONDS && deviation <= MOST_DEVIATION_SECONDS;
    Ok(good)
}

/// `check datascale`: how much the database grows under a load.
pub(super) async fn datascale(call: &Call) -> Result<(), Failure> {
    let (_, clients, puts) = model(call)?;
    let load = Load {
        prefix: call.given.text("prefix").to_owned(),
        clients,
        puts,
        per_second: 0,
        key_bytes: 512,
        value_bytes: 512,
    };
    let session = call.session()?;
    refuse_used(&session, &load.prefix).await?;
    let before = size_in_use(&session).await?;
    session.console.line(format!(
        "Start data scale check for work load [{puts} key-value pairs, 1024 bytes per key-value, \
         {clients} concurrent clients]."
    ))?;
    let measured = measure(call, &session, &load).await?;
    let after = size_in_use(&session).await?;
    clean_up(call, &session, &load.prefix).await?;
    if !print_errors(&session, &measured)? {
        return Err(Failure::silent(1));
    }
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let megabytes = after.saturating_sub(before) as f64 / 1_048_576.0;
    session.console.line(format!("PASS: Approximate database size used : {megabytes:.2} MB."))
}

async fn size_in_use(session: &Session) -> Result<i64, Failure> {
    let status = session.client.maintenance().status(StatusRequest {}).await;
    Ok(session.check(status)?.db_size_in_use)
}

fn print_errors(session: &Session, measured: &Measured) -> Result<bool, Failure> {
    if measured.errors.is_empty() {
        return Ok(true);
    }
    session.console.line("FAIL: too many errors")?;
    for (why, count) in &measured.errors {
        session.console.line(format!("FAIL: ERROR({why}) -> {count}"))?;
    }
    Ok(false)
}

/// The keys of a check are deleted afterwards: there must be none of somebody else's.
async fn refuse_used(session: &Session, prefix: &str) -> Result<(), Failure> {
    let (key, range_end) = keys::prefix(prefix.as_bytes());
    let request = RangeRequest { key, range_end, limit: 1, ..RangeRequest::default() };
    let there = session.check(session.client.kv().range(request).await)?;
    if there.kvs.is_empty() {
        return Ok(());
    }
    let quoted = quote::text(prefix);
    let what =
        format!("prefix {quoted} has keys. Delete with 'etcdctl del --prefix {prefix}' first");
    Err(Failure::input(what))
}

/// Deletes the keys; compacts and defragments where asked to.
async fn clean_up(call: &Call, session: &Session, prefix: &str) -> Result<(), Failure> {
    let (key, range_end) = keys::prefix(prefix.as_bytes());
    let request = DeleteRangeRequest { key, range_end, prev_kv: false };
    let deleted = session.check(session.client.kv().delete_range(request).await)?;
    if call.given.truth("auto-compact") {
        let revision = deleted.header.map_or(0, |header| header.revision);
        session.console.line(format!("Compacting with revision {revision}"))?;
        let request = CompactionRequest { revision, physical: true };
        session.check(session.client.kv().compact(request).await)?;
        session.console.line(format!("Compacted with revision {revision}"))?;
    }
    if call.given.truth("auto-defrag") {
        for endpoint in call.given.list("endpoints") {
            let quoted = quote::text(&endpoint);
            session.console.line(format!("Defragmenting {quoted}"))?;
            let client = call.client_at(&endpoint)?;
            session.check(client.maintenance().defragment(DefragmentRequest {}).await)?;
            session.console.line(format!("Defragmented {quoted}"))?;
        }
    }
    Ok(())
}
