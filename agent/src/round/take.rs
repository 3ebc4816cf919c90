//! The first half of a round: everything that is asked of etcd.
//!
//! What must hold: one stream of one member, spooled encrypted; HashKV is asked of the member that
//! gave it; what is taken needs etcd no more, and is gone when it is dropped.

use super::facts::{self, Stream};
use super::{Round, RoundError};
use crate::hash::{self, Answered};
use crate::member::{self, Choice, Survey};
use crate::reader::{Scan, Spooled};
use crate::source::{self, Deadlines, Received};
use crate::spool::{Spool, SpoolWriter};
use crate::stop::{Stop, StopOnDrop};
use crate::survey;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::SnapshotRequest;
use holdfast_bolt::Db;
use holdfast_vault::proto::HashKv;
use std::sync::{Arc, OnceLock};

/// What arrived, ready to be stored; lies encrypted in the spool until it is dropped.
pub struct Taken {
    pub(super) client: Client,
    pub(super) spooled: Arc<Spooled<Spool>>,
    pub(super) choice: Choice,
    pub(super) linearizable: bool,
    /// It has all that was committed when the quorum was read.
    pub(super) reached: bool,
    stream_bytes: u64,
    revision: i64,
    taken_ms: i64,
    pub(super) stop: Stop,
    pub(super) guard: StopOnDrop,
}

impl Taken {
    /// The member's revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// When its stream began, milliseconds since 1970.
    pub fn taken_ms(&self) -> i64 {
        self.taken_ms
    }

    /// Length of the stream.
    pub fn stream_bytes(&self) -> u64 {
        self.stream_bytes
    }
}

impl Round<'_> {
    /// Everything that is asked of etcd before the vault has its turn.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn take(&self) -> Result<Taken, RoundError> {
        let stop = Stop::default();
        let guard = StopOnDrop(stop.clone());
        let client = survey::connect(&self.config.etcd)?;
        let survey = self.timed("member", survey::survey(&client)).await;
        let choice = member::choose(&survey)?;
        tell(&survey, &choice);
        let received = self.timed("stream", self.stream(&client, &choice)).await?;
        let stream = Stream::of(&received, self.now_ms);
        let (db, scan) = self.timed("scan", scan(received.spool, stop.clone())).await?;
        let revision = scan.facts.revision;
        let asked = self.timed("hash", ask_hash(&client, &choice, &scan)).await;
        let facts = facts::facts(&choice, &scan, &stream);
        let reached = survey.is_reached(&choice, facts.revision, facts.raft_index);
        tracing::info!(
            revision,
            stream_bytes = stream.bytes,
            records = scan.liveness.records(),
            "the stream is whole"
        );
        let prefixes = self.config.vault.sensitive_prefixes.iter();
        let spooled = Spooled {
            db,
            scan,
            facts,
            asked,
            sensitive_prefixes: prefixes.map(|prefix| prefix.clone().into_bytes()).collect(),
            stop: stop.clone(),
            computed: OnceLock::new(),
        };
        Ok(Taken {
            client,
            spooled: Arc::new(spooled),
            choice,
            linearizable: survey.quorum_revision.is_some(),
            reached,
            stream_bytes: stream.bytes,
            revision,
            taken_ms: self.now_ms,
            stop,
            guard,
        })
    }

    async fn stream(&self, client: &Client, choice: &Choice) -> Result<Received, RoundError> {
        let directory = self.config.spool_directory();
        let spool = SpoolWriter::create(directory, self.config.spool.size_limit.bytes());
        let spool = spool.map_err(source::SourceError::from)?;
        let member = client.member(&choice.endpoint)?;
        let answer = member.maintenance().snapshot(SnapshotRequest {}).await;
        let stream = member.check("Snapshot", answer)?;
        let etcd = &self.config.etcd;
        let deadlines = Deadlines { stall: etcd.stall_timeout, whole: etcd.snapshot_timeout };
        Ok(source::receive(stream, spool, deadlines).await?)
    }
}

fn tell(survey: &Survey, choice: &Choice) {
    for other in &choice.others {
        tracing::debug!(endpoint = other.endpoint, reason = other.reason, "not asked");
    }
    let (endpoint, reason) = (&choice.endpoint, &choice.reason);
    if survey.quorum_revision.is_none() {
        tracing::warn!(endpoint, reason, "the quorum cannot be read: taking what this member has");
    } else {
        tracing::info!(endpoint, reason, "asking this member");
    }
}

/// Opens the database and makes the first pass, on a thread that may block.
async fn scan(spool: Spool, stop: Stop) -> Result<(Db<Spool>, Scan), RoundError> {
    let work = move || {
        let db = Db::open(spool)?;
        let scan = Scan::read(&db, &stop)?;
        Ok((db, scan))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RoundError::Thread(error.to_string()))?.map_err(RoundError::Database)
}

/// The hash of the member that gave the stream; of another only if that one has no usable answer.
async fn ask_hash(client: &Client, choice: &Choice, scan: &Scan) -> Option<HashKv> {
    let mut endpoints = vec![choice.endpoint.clone()];
    endpoints.extend(choice.others.iter().filter(|one| one.usable).map(|one| one.endpoint.clone()));
    match hash::ask(client, &endpoints, scan.facts.revision, scan.compact_revision()).await {
        Answered::Hash { hash, endpoint } => {
            tracing::debug!(endpoint, revision = hash.revision, "HashKV answered");
            Some(hash)
        }
        Answered::Nobody(reason) => {
            tracing::warn!(reason, "HashKV cannot be compared this time");
            None
        }
    }
}
