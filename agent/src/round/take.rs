//! The first half of a round: everything that is asked of etcd.
//!
//! What must hold: one stream of one member, spooled encrypted (or, where a member of ours tells
//! changes only, `changes.rs`); HashKV is asked of the member that
//! gave it; what is taken needs etcd no more, and is gone when it is dropped.

use super::facts::{self, Counted, Stream};
use super::{Round, RoundError};
use crate::changes::{Changed, ChangesReader};
use crate::contested::Streamed;
use crate::hash::{self, Answered};
use crate::member::{self, Choice, Survey};
use crate::reader::{Scan, SpoolReader, Spooled};
use crate::source::{self, Deadlines, Received};
use crate::spool::{Spool, SpoolWriter};
use crate::stop::{Stop, StopOnDrop};
use crate::survey;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::SnapshotRequest;
use holdfast_bolt::Db;
use holdfast_vault::proto::HashKv;
use holdfast_vault::snapshot::Source;
use std::sync::{Arc, OnceLock};

/// What arrived, ready to be stored; lies in memory, or encrypted in the spool, until it is
/// dropped.
pub struct Taken {
    pub(super) client: Client,
    pub(super) content: Content,
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

/// What a member gave.
#[derive(Clone)]
pub(super) enum Content {
    /// All of its database.
    Whole(Arc<Spooled<Spool>>),
    /// What the vault did not have.
    Changes(Arc<Changed>),
}

impl Content {
    /// As the vault reads it.
    pub(super) fn source(&self) -> Box<dyn Source> {
        match self {
            Content::Whole(spooled) => Box::new(SpoolReader::new(Arc::clone(spooled))),
            Content::Changes(changed) => Box::new(ChangesReader::new(Arc::clone(changed))),
        }
    }

    /// HashKV as the member answered it, and as it was computed from what it gave.
    pub(super) fn hashes(&self) -> Option<(HashKv, u32)> {
        match self {
            Content::Whole(spooled) => spooled.asked.zip(spooled.computed.get().copied()),
            Content::Changes(changed) => changed.asked.map(|asked| (asked, changed.computed.hash)),
        }
    }

    /// One record that it gave.
    pub(super) fn record(&self, revision: (i64, i64)) -> Option<Streamed> {
        match self {
            Content::Whole(spooled) => spooled.record(revision),
            Content::Changes(changed) => changed.record(revision),
        }
    }
}

/// Which member is asked, and what is known of the others.
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) survey: Survey,
    pub(super) choice: Choice,
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

    /// Whether it is all of the member's database, read by nobody but us.
    pub fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    /// Ends the asking with what came of it.
    pub(super) fn of(asking: Asking, content: Content, stream: &Stream, stop: Stop) -> Taken {
        let Asking { client, survey, choice } = asking;
        let facts = match &content {
            Content::Whole(spooled) => &spooled.facts,
            Content::Changes(changed) => &changed.facts,
        };
        let (revision, raft_index) = (facts.revision, facts.raft_index);
        Taken {
            reached: survey.is_reached(&choice, revision, raft_index),
            linearizable: survey.quorum_revision.is_some(),
            client,
            content,
            choice,
            stream_bytes: stream.bytes,
            revision,
            taken_ms: stream.taken_ms,
            guard: StopOnDrop(stop.clone()),
            stop,
        }
    }
}

impl Round<'_> {
    /// Everything that is asked of etcd before the vault has its turn: all of a member's database.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn take(&self) -> Result<Taken, RoundError> {
        let asking = self.choose().await?;
        self.take_whole(asking).await
    }

    /// Looks at the members and chooses one.
    pub(super) async fn choose(&self) -> Result<Asking, RoundError> {
        let client = survey::connect(&self.config.etcd)?;
        let survey = self.timed("member", survey::survey(&client)).await;
        let choice = member::choose(&survey)?;
        tell(&survey, &choice);
        Ok(Asking { client, survey, choice })
    }

    pub(super) async fn take_whole(&self, asking: Asking) -> Result<Taken, RoundError> {
        let stop = Stop::default();
        // Leaving this future ends the thread that reads.
        let _guard = StopOnDrop(stop.clone());
        let (client, choice) = (&asking.client, &asking.choice);
        let received = self.timed("stream", self.stream(client, choice)).await?;
        let stream = Stream::of(&received, self.now_ms);
        let (db, scan) = self.timed("scan", scan(received.spool, stop.clone())).await?;
        let (revision, compacted) = (scan.facts.revision, scan.compact_revision());
        let asked = self.timed("hash", ask_hash(client, choice, revision, compacted)).await;
        let counted = Counted {
            database: &scan.facts,
            compact_revision: compacted,
            key_count: scan.liveness.alive_keys(),
            source_bytes: stream.bytes,
        };
        let facts = facts::facts(choice, &counted, &stream);
        let records = scan.liveness.records();
        tracing::info!(revision, stream_bytes = stream.bytes, records, "the stream is whole");
        let stop = Stop::default();
        let spooled = Spooled {
            db,
            scan,
            facts,
            asked,
            sensitive_prefixes: self.sensitive_prefixes(),
            stop: stop.clone(),
            computed: OnceLock::new(),
        };
        Ok(Taken::of(asking, Content::Whole(Arc::new(spooled)), &stream, stop))
    }

    pub(super) fn sensitive_prefixes(&self) -> Vec<Vec<u8>> {
        let prefixes = self.config.vault.sensitive_prefixes.iter();
        prefixes.map(|prefix| prefix.clone().into_bytes()).collect()
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        let etcd = &self.config.etcd;
        Deadlines { stall: etcd.stall_timeout, whole: etcd.snapshot_timeout }
    }

    async fn stream(&self, client: &Client, choice: &Choice) -> Result<Received, RoundError> {
        let directory = self.config.spool_directory();
        let spool = SpoolWriter::create(directory, self.config.spool.size_limit.bytes());
        let spool = spool.map_err(source::SourceError::from)?;
        let member = client.member(&choice.endpoint)?;
        let answer = member.maintenance().snapshot(SnapshotRequest {}).await;
        let stream = member.check("Snapshot", answer)?;
        Ok(source::receive(stream, spool, self.deadlines()).await?)
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
pub(super) async fn ask_hash(
    client: &Client,
    choice: &Choice,
    revision: i64,
    compacted: i64,
) -> Option<HashKv> {
    let mut endpoints = vec![choice.endpoint.clone()];
    endpoints.extend(choice.others.iter().filter(|one| one.usable).map(|one| one.endpoint.clone()));
    match hash::ask(client, &endpoints, revision, compacted).await {
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
