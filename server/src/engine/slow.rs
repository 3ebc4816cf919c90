//! Tells of entries and reads that took longer than `--warning-apply-duration`.
//!
//! Must hold: a line costs nothing where nothing is slow; it names keys, and no value, password or
//! token ([`text`]); each slow one is counted once, also a read whose caller went away meanwhile.

mod text;

use std::time::{Duration, Instant};

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::response_op::Response as Done;
use holdfast_core::auth::Answer as Said;
use holdfast_core::duration::GoDuration;
use holdfast_core::request::EntryRequest;
use prost::Message;
use serde_json::json;
use tonic::Status;

use super::machine::Answer;
use super::prototext;
use crate::log::{Logger, messages};
use crate::metrics::{Counter, Metrics};

/// What is told of a read whose caller went away, or whose time was over.
const GIVEN_UP: &str = "context canceled";

/// Where slow work is counted and told. A clone counts into the same.
#[derive(Clone)]
pub(crate) struct Slow {
    expected: Duration,
    cluster_id: u64,
    member_id: u64,
    count: Counter,
    logger: Logger,
}

/// A read that a line may be about.
pub(crate) trait Read {
    type Response;
    /// What stands before its kind.
    const PREFIX: &'static str;
    fn text(&self) -> String;
    fn answered(response: &Self::Response) -> String;
}

/// A read under way.
pub(crate) struct Reading<'r, R: Read> {
    slow: &'r Slow,
    request: &'r R,
    began: Instant,
    is_done: bool,
}

impl Slow {
    /// For the member of these ids (cluster and member): what takes longer than `expected`.
    pub(crate) fn new(
        expected: Duration,
        (cluster_id, member_id): (u64, u64),
        logger: Logger,
        metrics: &Metrics,
    ) -> Slow {
        let count = metrics.counter("etcd_server_slow_apply_total");
        Slow { expected, cluster_id, member_id, count, logger }
    }

    /// An entry was applied, and that gives an answer at this revision and term.
    pub(crate) fn applied(
        &self,
        took: Duration,
        entry: &EntryRequest,
        outcome: &Result<Answer, Status>,
        (revision, raft_term): (i64, u64),
    ) {
        if took <= self.expected {
            return;
        }
        let (cluster_id, member_id) = (self.cluster_id, self.member_id);
        let header = pb::ResponseHeader { cluster_id, member_id, revision, raft_term };
        let response = match outcome {
            Ok(answer) => sized(size(answer, header)),
            Err(_) => refused(&entry.request, header),
        };
        let error = outcome.as_ref().err().map(Status::message);
        self.tell(took, ("", &text::entry(entry)), &response, error);
    }

    /// An entry about the members was applied.
    pub(crate) fn noted(&self, took: Duration, entry: &EntryRequest) {
        if took > self.expected {
            self.tell(took, ("", &text::entry(entry)), "", None);
        }
    }

    /// A read begins.
    pub(crate) fn reading<'r, R: Read>(&'r self, request: &'r R) -> Reading<'r, R> {
        Reading { slow: self, request, began: Instant::now(), is_done: false }
    }

    fn tell(
        &self,
        took: Duration,
        (prefix, request): (&str, &str),
        response: &str,
        error: Option<&str>,
    ) {
        self.count.inc();
        let duration = |time: Duration| GoDuration::from(time).to_string();
        let mut fields = vec![
            ("took", json!(duration(took))),
            ("expected-duration", json!(duration(self.expected))),
            ("prefix", json!(prefix)),
            ("request", json!(request)),
            ("response", json!(response)),
        ];
        fields.extend(error.map(|error| ("error", json!(error))));
        self.logger.warn(messages::SLOW_APPLY, &fields);
    }
}

impl<R: Read> Reading<'_, R> {
    /// It is answered; the header has no ids yet.
    pub(crate) fn done(mut self, outcome: &Result<R::Response, Status>) {
        self.is_done = true;
        match outcome {
            Ok(response) => self.tell(|| R::answered(response), None),
            Err(status) => self.tell(String::new, Some(status.message())),
        }
    }

    fn tell(&self, response: impl FnOnce() -> String, error: Option<&str>) {
        let took = self.began.elapsed();
        if took > self.slow.expected {
            self.slow.tell(took, (R::PREFIX, &self.request.text()), &response(), error);
        }
    }
}

impl<R: Read> Drop for Reading<'_, R> {
    fn drop(&mut self) {
        if !self.is_done {
            self.tell(String::new, Some(GIVEN_UP));
        }
    }
}

impl Read for pb::RangeRequest {
    type Response = pb::RangeResponse;
    const PREFIX: &'static str = "read-only range ";

    fn text(&self) -> String {
        prototext::message("etcdserverpb.RangeRequest", self)
    }

    fn answered(response: &pb::RangeResponse) -> String {
        format!("range_response_count:{} {}", response.kvs.len(), sized(response.encoded_len()))
    }
}

impl Read for pb::TxnRequest {
    type Response = pb::TxnResponse;
    const PREFIX: &'static str = "read-only txn ";

    fn text(&self) -> String {
        text::txn(self)
    }

    fn answered(response: &pb::TxnResponse) -> String {
        let ranges = response.responses.iter().filter_map(|done| match &done.response {
            Some(Done::ResponseRange(range)) => {
                Some(format!("range_response_count:{}", range.kvs.len()))
            }
            _ => None,
        });
        let ranges: Vec<String> = ranges.collect();
        format!("responses:<{}> {}", ranges.join(" "), sized(response.encoded_len()))
    }
}

fn sized(bytes: usize) -> String {
    format!("size:{bytes}")
}

/// What upstream says of the answer to a refused request.
fn refused(request: &pb::InternalRaftRequest, header: pb::ResponseHeader) -> String {
    if request.lease_grant.is_some() {
        sized(0)
    } else if request.lease_revoke.is_some() {
        sized(bare_size(header))
    } else {
        String::new()
    }
}

/// Bytes of an answer as it leaves the state machine: of records and alarms without ids.
fn size(answer: &Answer, header: pb::ResponseHeader) -> usize {
    let bare = pb::ResponseHeader { revision: header.revision, ..Default::default() };
    match answer {
        Answer::Put(response) => response.encoded_len(),
        Answer::DeleteRange(response) => response.encoded_len(),
        Answer::Txn(response) => response.encoded_len(),
        Answer::Compaction => pb::CompactionResponse { header: Some(bare) }.encoded_len(),
        Answer::LeaseGrant(id, ttl) => {
            let (header, error) = (Some(header), String::new());
            pb::LeaseGrantResponse { header, id: *id, ttl: *ttl, error }.encoded_len()
        }
        Answer::Alarms(alarms) => {
            pb::AlarmResponse { header: None, alarms: alarms.clone() }.encoded_len()
        }
        Answer::Auth(said) => said_size(said, header),
        // One byte each for the field and the length.
        Answer::Token(token) => bare_size(header) + 2 + token.len(),
        Answer::Done => bare_size(header),
    }
}

/// Bytes of an answer that is a header.
fn bare_size(header: pb::ResponseHeader) -> usize {
    pb::LeaseRevokeResponse { header: Some(header) }.encoded_len()
}

fn said_size(said: &Said, bare: pb::ResponseHeader) -> usize {
    let header = Some(bare);
    match said {
        Said::Status { enabled, revision } => {
            let (enabled, auth_revision) = (*enabled, *revision);
            pb::AuthStatusResponse { header, enabled, auth_revision }.encoded_len()
        }
        Said::UserRoles(roles) => {
            pb::AuthUserGetResponse { header, roles: roles.clone() }.encoded_len()
        }
        Said::Users(users) => {
            pb::AuthUserListResponse { header, users: users.clone() }.encoded_len()
        }
        Said::Roles(roles) => {
            pb::AuthRoleListResponse { header, roles: roles.clone() }.encoded_len()
        }
        Said::Permissions(perm) => {
            pb::AuthRoleGetResponse { header, perm: perm.clone() }.encoded_len()
        }
        Said::Done | Said::LogIn(_) => bare_size(bare),
    }
}
