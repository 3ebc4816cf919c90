//! elect: stands for a name's leadership, or tells who leads.

use super::queue::{Hold, asked_to_end, enter, first};
use super::session::{Call, Session};
use super::watching::Watching;
use crate::failure::Failure;
use crate::keys;
use crate::print::Answer;
use holdfast_api::etcdserverpb::{RangeResponse, WatchCreateRequest};

/// The lease of a candidate, in seconds.
const TTL_SECONDS: i64 = 60;

/// `elect`
pub(super) async fn run(call: &Call) -> Result<(), Failure> {
    let listens = call.given.truth("listen");
    match (call.given.arguments(), listens) {
        ([_], false) => Err(Failure::arguments("no proposal argument but -l not set")),
        ([name], true) => {
            let session = call.session()?;
            tokio::select! {
                ended = observe(&session, name) => ended,
                () = asked_to_end() => Ok(()),
            }
        }
        ([_, _], true) => Err(Failure::arguments("proposal given but -l is set")),
        ([name, proposal], false) => campaign(&call.session()?, name, proposal).await,
        _ => Err(Failure::arguments(
            "elect takes one election name argument and an optional proposal argument",
        )),
    }
}

async fn campaign(session: &Session, name: &str, proposal: &str) -> Result<(), Failure> {
    let hold = Hold::take(session, TTL_SECONDS).await?;
    let place = enter(session, name, proposal.as_bytes(), &hold).await?;
    let ended = tokio::select! {
        turn = place.turn(session) => match turn {
            Ok(()) => lead(session, &place, &hold).await,
            Err(failure) => Err(failure),
        },
        () = asked_to_end() => Err(Failure::error("context canceled")),
    };
    let left = place.leave(session).await;
    hold.give_back(session).await;
    ended.and(left)
}

async fn lead(session: &Session, place: &super::queue::Place, hold: &Hold) -> Result<(), Failure> {
    session.print(&Answer::Range(&place.read(session).await?))?;
    tokio::select! {
        () = asked_to_end() => Ok(()),
        () = hold.lost() => Err(Failure::error("elect: session expired")),
    }
}

/// Prints each leader, and each proclamation of one.
async fn observe(session: &Session, name: &str) -> Result<(), Failure> {
    loop {
        let (leader, answer) = first(session, name).await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        let prefix = format!("{name}/").into_bytes();
        let (key, range_end) = match &leader {
            Some(leader) => (leader.key.to_vec(), Vec::new()),
            None => (prefix.clone(), keys::prefix_end(&prefix)),
        };
        if leader.is_some() {
            session.print(&Answer::Range(&answer))?;
        }
        let start_revision = revision.saturating_add(1);
        let request =
            WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let mut watching = Watching::begin(&session.client);
        watching.add(request).await;
        'leader: loop {
            let response = watching.next().await?;
            if response.canceled {
                return Err(Failure::error("elect: observer lost"));
            }
            for event in response.events {
                // A new leader, or none any more: look anew.
                if event.is_delete() || leader.is_none() {
                    break 'leader;
                }
                let kvs = event.kv.into_iter().collect();
                let header = response.header;
                session.print(&Answer::Range(&RangeResponse {
                    header,
                    kvs,
                    more: false,
                    count: 0,
                }))?;
            }
        }
    }
}
