//! lease grant, revoke, timetolive, list, keep-alive.

use super::session::{Call, Session};
use crate::failure::Failure;
use crate::go::number;
use crate::print::{Answer, Format};
use futures::stream;
use holdfast_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

/// `lease grant`
pub(super) async fn grant(call: &Call) -> Result<(), Failure> {
    let [ttl] = call.given.arguments() else {
        return Err(Failure::arguments("lease grant command needs TTL argument"));
    };
    let ttl = number::int(ttl, 10).map_err(|why| Failure::arguments(format!("bad TTL ({why})")))?;
    let session = call.session()?;
    let request = LeaseGrantRequest { ttl, id: 0 };
    let response = session.check(session.client.lease().lease_grant(request).await);
    let response = response.map_err(|failure| failure.within("failed to grant lease"))?;
    session.print(&Answer::Grant(&response))
}

/// `lease revoke`
pub(super) async fn revoke(call: &Call) -> Result<(), Failure> {
    let id = only_lease(call, "lease revoke command needs 1 argument")?;
    let session = call.session()?;
    let request = LeaseRevokeRequest { id };
    let response = session.check(session.client.lease().lease_revoke(request).await);
    let response = response.map_err(|failure| failure.within("failed to revoke lease"))?;
    let words = format!("lease {id:016x} revoked");
    session.print(&Answer::Done { words, header: response.header, has_fields: true })
}

/// `lease timetolive`
pub(super) async fn time_to_live(call: &Call) -> Result<(), Failure> {
    let id = only_lease(call, "lease timetolive command needs lease ID as argument")?;
    let with_keys = call.given.truth("keys");
    let session = call.session()?;
    let request = LeaseTimeToLiveRequest { id, keys: with_keys };
    let response = session.check(session.client.lease().lease_time_to_live(request).await);
    let response = response.map_err(|failure| failure.with_code(2))?;
    session.print(&Answer::TimeToLive { response: &response, with_keys })
}

/// `lease list`
pub(super) async fn list(call: &Call) -> Result<(), Failure> {
    let session = call.session()?;
    let response = session.check(session.client.lease().lease_leases(LeaseLeasesRequest {}).await);
    session.print(&Answer::Leases(&response.map_err(|failure| failure.with_code(2))?))
}

/// `lease keep-alive`
pub(super) async fn keep_alive(call: &Call) -> Result<(), Failure> {
    let id = only_lease(call, "lease keep-alive command needs lease ID as argument")?;
    let session = call.session()?;
    let mut renewal = Renewal::begin(&session, id, call.given.span("command-timeout"));
    if call.given.truth("once") {
        let renewed = renewal.renew().await.map_err(|status| Failure::from(status).with_code(2))?;
        if renewed.ttl <= 0 {
            return Err(Failure::connection("etcdserver: requested lease not found"));
        }
        return session.print(&Answer::KeepAlive(&renewed));
    }
    loop {
        let renewed = renewal.renew().await.map_err(|status| Failure::from(status).with_code(2))?;
        if renewed.ttl <= 0 {
            break;
        }
        session.print(&Answer::KeepAlive(&renewed))?;
        tokio::time::sleep(pause(renewed.ttl)).await;
    }
    if session.printer.format == Format::Simple {
        session.console.line(format!("lease {id:016x} expired or revoked."))?;
    }
    Ok(())
}

/// A third of the time that a lease has left, as upstream's client waits between renewals.
fn pause(ttl_seconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(ttl_seconds).unwrap_or(1).saturating_mul(1000) / 3)
}

fn only_lease(call: &Call, otherwise: &str) -> Result<i64, Failure> {
    let [id] = call.given.arguments() else { return Err(Failure::arguments(otherwise)) };
    number::int(id, 16)
        .map_err(|why| Failure::arguments(format!("bad lease ID arg ({why}), expecting ID in Hex")))
}

/// Keeps one lease alive over one stream after another.
pub(super) struct Renewal {
    client: holdfast_api::client::Client,
    id: i64,
    patience: Duration,
    at: usize,
    open: Option<(mpsc::Sender<LeaseKeepAliveRequest>, Streaming<LeaseKeepAliveResponse>)>,
}

impl Renewal {
    /// For a lease; one renewal may take as long as `patience`.
    pub(super) fn begin(session: &Session, id: i64, patience: Duration) -> Renewal {
        Renewal { client: session.client.clone(), id, patience, at: 0, open: None }
    }

    /// Renews once; an answer without time to live means that the lease is gone.
    ///
    /// # Errors
    /// The server refuses, or nobody answers in time.
    pub(super) async fn renew(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        let patience = self.patience;
        let late = || Status::deadline_exceeded("");
        tokio::time::timeout(patience, self.renew_at_any()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn renew_at_any(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        loop {
            match self.renew_here().await {
                Err(status)
                    if status.code() == Code::Unavailable || status.code() == Code::Unknown =>
                {
                    self.open = None;
                    self.at += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => return other,
            }
        }
    }

    async fn renew_here(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        let request = LeaseKeepAliveRequest { id: self.id };
        if self.open.is_none() {
            let (asks, asked) = mpsc::channel(1);
            let _ = asks.send(request).await;
            let requests = stream::unfold(asked, |mut asked| async {
                asked.recv().await.map(|request| (request, asked))
            });
            let members = self.client.members();
            let mut stub = members[self.at % members.len()].lease();
            let answers = stub.lease_keep_alive(requests).await?.into_inner();
            self.open = Some((asks, answers));
        } else if let Some((asks, _)) = &self.open {
            asks.send(request).await.map_err(|_| Status::unavailable("the stream is closed"))?;
        }
        let Some((_, answers)) = &mut self.open else {
            return Err(Status::unavailable("the stream is closed"));
        };
        let answer = answers.message().await?;
        answer.ok_or_else(|| Status::unavailable("the stream ended"))
    }
}
