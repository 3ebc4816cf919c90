//! compaction, defrag, move-leader, downgrade.

use super::session::{Call, check};
use crate::failure::{Failure, words};
use crate::go::number;
use crate::print::Answer;
use holdfast_api::etcdserverpb::downgrade_request::DowngradeAction;
use holdfast_api::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DowngradeRequest, MoveLeaderRequest, StatusRequest,
};
use holdfast_core::duration::GoDuration;
use std::time::Instant;

/// `compaction`
pub(super) async fn compaction(call: &Call) -> Result<(), Failure> {
    let [revision] = call.given.arguments() else {
        return Err(Failure::arguments("compaction command needs 1 argument"));
    };
    let revision = number::int(revision, 10).map_err(Failure::error)?;
    let session = call.session()?;
    let request = CompactionRequest { revision, physical: call.given.truth("physical") };
    session.check(session.client.kv().compact(request).await)?;
    session.console.line(format!("compacted revision {revision}"))
}

/// `defrag`: one member after the other, since each of them is blocked meanwhile.
pub(super) async fn defrag(call: &Call) -> Result<(), Failure> {
    let mut failed = false;
    for endpoint in call.endpoints().await? {
        let client = call.client_at(&endpoint)?;
        let start = Instant::now();
        let answer = client.maintenance().defragment(DefragmentRequest {}).await;
        let took = GoDuration::from(start.elapsed());
        match answer {
            Ok(_) => call
                .console
                .line(format!("Finished defragmenting etcd member[{endpoint}]. took {took}"))?,
            Err(status) => {
                let why = words(&status);
                call.console.complain(format!(
                    "Failed to defragment etcd member[{endpoint}]. took {took}. ({why})"
                ));
                failed = true;
            }
        }
    }
    if failed { Err(Failure::silent(1)) } else { Ok(()) }
}

/// `move-leader`: asks the endpoints which of them leads, and that one to hand over.
pub(super) async fn move_leader(call: &Call) -> Result<(), Failure> {
    let [target] = call.given.arguments() else {
        return Err(Failure::arguments("move-leader command needs 1 argument"));
    };
    let target_id = number::uint(target, 16).map_err(Failure::arguments)?;
    let endpoints = call.given.list("endpoints");
    for endpoint in &endpoints {
        let client = call.client_at(endpoint)?;
        let status = check(&call.console, client.maintenance().status(StatusRequest {}).await)?;
        if status.header.is_none_or(|header| header.member_id != status.leader) {
            continue;
        }
        let request = MoveLeaderRequest { target_id };
        let response = check(&call.console, client.maintenance().move_leader(request).await)?;
        let words = format!("Leadership transferred from {:x} to {target_id:x}", status.leader);
        return call.print(&Answer::Done { words, header: response.header, has_fields: false });
    }
    let shown = endpoints.join(" ");
    Err(Failure::arguments(format!("no leader endpoint given at [{shown}]")))
}

/// `downgrade validate`, `enable`, `cancel`
pub(super) async fn downgrade(call: &Call, verb: &str) -> Result<(), Failure> {
    let arguments = call.given.arguments();
    let (action, name) = match verb {
        "downgrade validate" => (DowngradeAction::Validate, "validate"),
        "downgrade enable" => (DowngradeAction::Enable, "enable"),
        _ => (DowngradeAction::Cancel, "cancel"),
    };
    let version = match (action, arguments) {
        (DowngradeAction::Cancel, _) => "",
        (_, []) => return Err(Failure::arguments("TARGET_VERSION not provided")),
        (_, [version]) if version.is_empty() => {
            return Err(Failure::arguments("target version not provided"));
        }
        (_, [version]) => version,
        _ => return Err(Failure::arguments("too many arguments")),
    };
    let session = call.session()?;
    let request = DowngradeRequest { action: action as i32, version: version.to_owned() };
    let response = session.check(session.client.maintenance().downgrade(request).await)?;
    let words = format!("Downgrade {name} success, cluster version {}", response.version);
    session.print(&Answer::Downgrade { words, response: &response })
}
