//! What is known of the source before its records are stored: the vault's `Facts`.
//!
//! What must hold: an endpoint is named without credentials; counts and digests of the records are
//! left to the vault, HashKV and the keys of encrypted values to the second pass.

use crate::member::Choice;
use crate::source::Received;
use holdfast_core::database::DatabaseFacts;
use holdfast_vault::proto::{Facts, Member};

/// The tombstone rule that the live set was judged by, as docs/FORMAT.md names it.
const TOMBSTONE_RULE: &str = "keep-at-c";

/// What the stream itself tells, kept when its spool is handed on.
pub(super) struct Stream {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) storage_version: String,
    pub(super) milliseconds: i64,
    pub(super) taken_ms: i64,
}

/// What was counted of a source's records.
pub(super) struct Counted<'a> {
    pub(super) database: &'a DatabaseFacts,
    /// C.
    pub(super) compact_revision: i64,
    pub(super) key_count: u64,
    pub(super) source_bytes: u64,
}

impl Stream {
    /// Of a stream that was asked for at `taken_ms`.
    pub(super) fn of(received: &Received, taken_ms: i64) -> Stream {
        Stream {
            bytes: received.spool.size_bytes() + received.sha256.len() as u64,
            sha256: received.sha256,
            storage_version: received.storage_version.clone(),
            milliseconds: i64::try_from(received.elapsed.as_millis()).unwrap_or(i64::MAX),
            taken_ms,
        }
    }
}

/// The facts.
pub(super) fn facts(choice: &Choice, counted: &Counted<'_>, stream: &Stream) -> Facts {
    let (database, answer) = (counted.database, &choice.answer);
    let meta = &database.meta;
    let storage_version = match &meta.storage_version {
        Some(version) => version.clone(),
        None => stream.storage_version.clone(),
    };
    Facts {
        etcd_cluster_id: answer.cluster_id,
        etcd_member_id: answer.member_id,
        endpoint: choice.endpoint.clone(),
        revision: database.revision,
        last_record_revision: database.key.last.map_or(0, |last| last.main),
        scheduled_compact_revision: meta.marks.scheduled.unwrap_or(-1),
        finished_compact_revision: meta.marks.finished.unwrap_or(-1),
        compact_revision: counted.compact_revision,
        tombstone_rule: TOMBSTONE_RULE.to_owned(),
        raft_index: meta.consistent_index,
        raft_term: meta.term,
        key_count: counted.key_count,
        source_bytes: counted.source_bytes,
        server_version: answer.version.clone(),
        cluster_version: database.cluster_version.clone().unwrap_or_default(),
        storage_version,
        taken_ms: stream.taken_ms,
        stream_ms: stream.milliseconds,
        stream_sha256: stream.sha256.to_vec().into(),
        lease_count: database.leases,
        user_count: database.users,
        role_count: database.roles,
        auth_enabled: database.auth_enabled,
        unknown_buckets: database.unknown_buckets.clone(),
        alarms: database
            .alarms
            .iter()
            .map(|alarm| format!("{} on member {:x}", alarm.name(), alarm.member_id))
            .collect(),
        members: members(database),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Facts::default()
    }
}

fn members(database: &DatabaseFacts) -> Vec<Member> {
    let members = database.members.iter();
    members
        .map(|member| Member {
            member_id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            learner: member.is_learner,
        })
        .collect()
}
