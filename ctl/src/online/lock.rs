//! lock: holds a name until the process is asked to end, or while a command runs.

use super::queue::{Hold, Place, asked_to_end, enter};
use super::session::{Call, Session};
use crate::failure::Failure;
use crate::print::Answer;
use std::os::unix::process::ExitStatusExt;
use tokio::process::Command;

/// `lock`
pub(super) async fn run(call: &Call) -> Result<(), Failure> {
    let [name, command @ ..] = call.given.arguments() else {
        return Err(Failure::arguments(
            "lock takes a lock name argument and an optional command to execute",
        ));
    };
    let session = call.session()?;
    let hold = Hold::take(&session, call.given.int("ttl")).await?;
    let place = enter(&session, name, b"", &hold).await?;
    let ended = tokio::select! {
        turn = place.turn(&session) => match turn {
            Ok(()) => held(&session, &place, &hold, command).await,
            Err(failure) => Err(failure),
        },
        () = asked_to_end() => Err(Failure::error("context canceled")),
    };
    let left = place.leave(&session).await;
    hold.give_back(&session).await;
    ended.and(left)
}

async fn held(
    session: &Session,
    place: &Place,
    hold: &Hold,
    command: &[String],
) -> Result<(), Failure> {
    let there = place.read(session).await?;
    if there.kvs.is_empty() {
        return Err(Failure::error("lock lost on init"));
    }
    let Some((program, arguments)) = command.split_first() else {
        session.print(&Answer::Range(&there))?;
        return tokio::select! {
            () = asked_to_end() => Ok(()),
            () = hold.lost() => Err(Failure::error("session expired")),
        };
    };
    let revision = there.header.map_or(0, |header| header.revision);
    let status = Command::new(program)
        .args(arguments)
        .env("ETCD_LOCK_KEY", String::from_utf8_lossy(&place.key).as_ref())
        .env("ETCD_LOCK_REV", revision.to_string())
        .status()
        .await
        .map_err(|why| Failure::error(format!("cannot run {program}: {why}")))?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => {
            let words = format!("exit status {code}");
            Err(Failure::error(words).with_code(u8::try_from(code).unwrap_or(1)))
        }
        (None, signal) => Err(Failure::error(format!("signal: {}", signal.unwrap_or(0)))),
    }
}
