//! The verbs that talk to a cluster.

mod accounts;
mod alarm;
mod check;
mod commands;
mod completion;
mod election;
mod endpoint;
mod kv;
mod lease;
mod load;
mod lock;
mod maintenance;
mod member;
mod mirror;
mod queue;
mod session;
mod snapshot;
mod txn;
mod watch;
mod watching;

pub(crate) use commands::ROOT;
pub(crate) use completion::script;

use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use session::Call;

/// Runs a verb.
///
/// # Errors
/// The verb's, with upstream's exit codes.
pub(crate) async fn run(program: &str, mut given: Given, console: Console) -> Result<(), Failure> {
    let verb = given.verb();
    match verb.as_str() {
        "version" => {
            let (version, api) = (crate::VERSION, crate::API_VERSION);
            return console.line(format!("etcdctl version: {version}\nAPI version: {api}"));
        }
        "completion" => return script(program, &ROOT, given.arguments(), &console),
        _ => given.take_environment("ETCDCTL", &console)?,
    }
    let call = Call::new(given, console);
    match verb.as_str() {
        "get" => kv::get(&call).await,
        "put" => kv::put(&call).await,
        "del" => kv::del(&call).await,
        "txn" => txn::run(&call).await,
        "watch" => watch::run(&call).await,
        "compaction" => maintenance::compaction(&call).await,
        "defrag" => maintenance::defrag(&call).await,
        "move-leader" => maintenance::move_leader(&call).await,
        "downgrade validate" | "downgrade enable" | "downgrade cancel" => {
            maintenance::downgrade(&call, &verb).await
        }
        "alarm list" => alarm::list(&call).await,
        "alarm disarm" => alarm::disarm(&call).await,
        "lease grant" => lease::grant(&call).await,
        "lease revoke" => lease::revoke(&call).await,
        "lease timetolive" => lease::time_to_live(&call).await,
        "lease list" => lease::list(&call).await,
        "lease keep-alive" => lease::keep_alive(&call).await,
        "member add" => member::add(&call).await,
        "member list" => member::list(&call).await,
        "member remove" => member::remove(&call).await,
        "member update" => member::update(&call).await,
        "member promote" => member::promote(&call).await,
        "endpoint health" => endpoint::health(&call).await,
        "endpoint status" => endpoint::status(&call).await,
        "endpoint hashkv" => endpoint::hash_kv(&call).await,
        "snapshot save" => snapshot::save(&call).await,
        "snapshot status" | "snapshot restore" => Err(Failure::arguments(format!(
            "{verb} works on files: run `etcdutl {verb}` (or `holdfast utl {verb}`) instead"
        ))),
        "lock" => lock::run(&call).await,
        "elect" => election::run(&call).await,
        "make-mirror" => mirror::run(&call).await,
        "check perf" => check::perf(&call).await,
        "check datascale" => check::datascale(&call).await,
        other => accounts::run(&call, other).await,
    }
}

#[cfg(test)]
mod tests;
