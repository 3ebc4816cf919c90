//! The state machine: what each committed request does to records, leases, users and alarms.
//!
//! One thread owns it and applies entries in order; readers share what stands behind the locks.
//! What must hold: the outcome of an entry depends on the entries before it and on nothing else (no
//! clock, no size of a file, no chance), so that all members agree; the time that a lease lives is
//! a leader's own matter.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use holdfast_api::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, DeleteRangeResponse, InternalRaftRequest,
    LeaseCheckpointRequest, LeaseGrantRequest, PutResponse, TxnResponse,
};
use holdfast_api::mvccpb::Event;
use holdfast_api::mvccpb::event::EventType;
use holdfast_core::alarm::Alarms;
use holdfast_core::auth::{self, Auth, Identity};
use holdfast_core::change::BucketChange;
use holdfast_core::lease::Leases;
use holdfast_core::mvcc::{MvccError, Store};
use holdfast_core::request::EntryRequest;
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::figures::Figures;
use super::identity::Identities;
use super::locks::{read, write};

/// What a request is answered with, but for its header's ids.
pub(crate) enum Answer {
    /// A put.
    Put(PutResponse),
    /// A deletion.
    DeleteRange(DeleteRangeResponse),
    /// A transaction.
    Txn(TxnResponse),
    /// A compaction was accepted.
    Compaction,
    /// A lease: id and TTL in seconds.
    LeaseGrant(i64, i64),
    /// Alarms: those asked for, raised or cleared.
    Alarms(Vec<AlarmMember>),
    /// Users and roles.
    Auth(auth::Answer),
    /// A login's token. Secret.
    Token(Zeroizing<String>),
    /// Nothing but a header.
    Done,
}

/// What came of an entry.
pub(crate) struct Outcome {
    /// For who waits.
    pub(crate) answer: Result<Answer, Status>,
    /// What changed of the records, all in one revision.
    pub(crate) events: Vec<Event>,
}

/// What the member cannot go on after.
#[derive(Debug, thiserror::Error)]
#[error("applying entry failed half way: {0}; the member stops")]
pub(crate) struct Broken(#[from] MvccError);

/// What readers and the apply thread share beside the records.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) leases: RwLock<Leases>,
    pub(crate) auth: RwLock<Auth>,
    pub(crate) alarms: RwLock<Alarms>,
}

/// The records' writer and the rest.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
    /// Where tokens begin and end.
    pub(crate) identities: Arc<Identities>,
    /// What is counted.
    pub(crate) figures: Figures,
}

impl Machine {
    /// Applies the request of the entry at `index` at `now`, the time since the member's start.
    pub(crate) fn apply(
        &mut self,
        entry: &EntryRequest,
        index: u64,
        now: Duration,
    ) -> Result<Outcome, Broken> {
        let request = &entry.request;
        let who = Identity { user: entry.username.clone(), revision: entry.auth_revision };
        match self.permitted(request, &who) {
            Ok(()) => {}
            Err(status) => return Ok(Outcome::refused(status)),
        }
        if let Some(outcome) = self.apply_auth(request, &who, index, now) {
            return Ok(outcome);
        }
        if let Some(outcome) = self.apply_records(request)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.apply_leases(request, now)? {
            return Ok(outcome);
        }
        Ok(match &request.alarm {
            Some(alarm) => self.apply_alarm(alarm),
            None => Outcome::answered(Answer::Done),
        })
    }

    /// Upstream asks in this order: administrators, alarms, keys.
    fn permitted(&self, request: &InternalRaftRequest, who: &Identity) -> Result<(), Status> {
        let auth = read(&self.shared.auth);
        let is_admins = request.compaction.is_some()
            || request.alarm.as_ref().is_some_and(|alarm| alarm.action != 0);
        if is_admins {
            auth.check_admin(who).map_err(status)?;
        }
        read(&self.shared.alarms).check(request).map_err(status)?;
        auth.check_operation(who, request, &read(&self.shared.leases)).map_err(status)
    }

    fn apply_auth(
        &mut self,
        request: &InternalRaftRequest,
        who: &Identity,
        index: u64,
        now: Duration,
    ) -> Option<Outcome> {
        let applied = write(&self.shared.auth).apply(who, request)?;
        Some(match applied {
            Ok(applied) => {
                self.store_changes(applied.changes);
                self.identities.log_out(&applied.logged_out);
                match (applied.answer, &request.authenticate) {
                    (auth::Answer::LogIn(who), Some(login)) => {
                        let token = self.identities.log_in(&login.simple_token, index, &who, now);
                        match token {
                            Ok(token) => Outcome::answered(Answer::Token(token)),
                            Err(refusal) => Outcome::refused(status(refusal)),
                        }
                    }
                    (answer, _) => Outcome::answered(Answer::Auth(answer)),
                }
            }
            Err(refusal) => Outcome::refused(status(refusal)),
        })
    }

    fn apply_records(&mut self, request: &InternalRaftRequest) -> Result<Option<Outcome>, Broken> {
        let shared = Arc::clone(&self.shared);
        let exists = |id: i64| read(&shared.leases).contains(id);
        let done = if let Some(put) = &request.put {
            let applied = self.store.put(put, &exists);
            applied.map(|applied| (Answer::Put(applied.response), applied.events))
        } else if let Some(delete) = &request.delete_range {
            let applied = self.store.delete_range(delete);
            applied.map(|applied| (Answer::DeleteRange(applied.response), applied.events))
        } else if let Some(txn) = &request.txn {
            let applied = self.store.txn(txn, &exists);
            applied.map(|applied| {
                self.figures.answered(&applied.response);
                (Answer::Txn(applied.response), applied.events)
            })
        } else if let Some(compaction) = &request.compaction {
            self.compact(compaction).map(|()| (Answer::Compaction, Vec::new()))
        } else {
            return Ok(None);
        };
        let (answer, events) = match done {
            Ok(done) => done,
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => return Ok(Some(Outcome::refused(status(error)))),
        };
        self.hang_on_leases(&events);
        Ok(Some(Outcome { answer: Ok(answer), events }))
    }

    fn compact(&mut self, compaction: &CompactionRequest) -> Result<(), MvccError> {
        self.store.schedule_compaction(compaction.revision)
    }

    fn apply_leases(
        &mut self,
        request: &InternalRaftRequest,
        now: Duration,
    ) -> Result<Option<Outcome>, Broken> {
        if let Some(grant) = &request.lease_grant {
            return Ok(Some(self.grant(grant, now)));
        }
        if let Some(checkpoint) = &request.lease_checkpoint {
            self.checkpoint(checkpoint, now);
            return Ok(Some(Outcome::answered(Answer::Done)));
        }
        let Some(revoke) = &request.lease_revoke else { return Ok(None) };
        let revoked = match write(&self.shared.leases).revoke(revoke.id) {
            Ok(revoked) => revoked,
            Err(refusal) => return Ok(Some(Outcome::refused(status(refusal)))),
        };
        self.figures.leases_revoked.inc();
        let applied = self.store.delete_keys(revoked.keys)?;
        self.store_changes([revoked.change]);
        Ok(Some(Outcome { answer: Ok(Answer::Done), events: applied.events }))
    }

    fn grant(&mut self, grant: &LeaseGrantRequest, now: Duration) -> Outcome {
        let granted = write(&self.shared.leases).grant(grant.id, grant.ttl, now);
        match granted {
            Ok(granted) => {
                self.store_changes([granted.change]);
                self.figures.leases_granted.inc();
                #[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
                self.figures.lease_seconds.observe(granted.ttl_seconds as f64);
                Outcome::answered(Answer::LeaseGrant(grant.id, granted.ttl_seconds))
            }
            Err(refusal) => Outcome::refused(status(refusal)),
        }
    }

    fn checkpoint(&mut self, request: &LeaseCheckpointRequest, now: Duration) {
        let mut leases = write(&self.shared.leases);
        let changes: Vec<_> = request
            .checkpoints
            .iter()
            .filter_map(|one| leases.checkpoint(one.id, one.remaining_ttl, true, now))
            .collect();
        drop(leases);
        self.store_changes(changes);
    }

    fn apply_alarm(&mut self, request: &AlarmRequest) -> Outcome {
        let (listed, change) = write(&self.shared.alarms).apply(request);
        self.store_changes(change);
        Outcome::answered(Answer::Alarms(listed))
    }

    /// A put hangs its key on its lease and on no other, a deletion takes it off.
    fn hang_on_leases(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut leases = write(&self.shared.leases);
        for event in events {
            let Some(record) = &event.kv else { continue };
            if event.r#type == EventType::Put as i32 && record.lease != 0 {
                // It was there when the request was checked.
                let _ = leases.attach(record.lease, &record.key);
            } else {
                leases.detach(&record.key);
            }
        }
    }

    /// Writes what a state machine wants stored.
    pub(crate) fn store_changes(&self, changes: impl IntoIterator<Item = BucketChange>) {
        self.store.backend().change(changes);
    }
}

impl Outcome {
    fn answered(answer: Answer) -> Outcome {
        Outcome { answer: Ok(answer), events: Vec::new() }
    }

    fn refused(status: Status) -> Outcome {
        Outcome { answer: Err(status), events: Vec::new() }
    }
}

/// An error of the core as clients see it.
pub(crate) trait OnTheWire: std::fmt::Display {
    /// The gRPC code's number.
    fn number(&self) -> i32;
}

/// The status that a client gets.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
pub(crate) fn status(error: impl OnTheWire) -> Status {
    Status::new(Code::from_i32(error.number()), error.to_string())
}

impl OnTheWire for MvccError {
    fn number(&self) -> i32 {
        self.code() as i32
    }
}

impl OnTheWire for auth::AuthError {
    fn number(&self) -> i32 {
        self.code()
    }
}

impl OnTheWire for holdfast_core::lease::LeaseError {
    fn number(&self) -> i32 {
        self.code()
    }
}

impl OnTheWire for holdfast_core::alarm::AlarmRefusal {
    fn number(&self) -> i32 {
        self.code()
    }
}

#[cfg(test)]
pub(crate) mod tests;
