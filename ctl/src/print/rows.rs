//! The answers that are tables; `simple` prints the same rows with commas.

use super::Answer;
use crate::go::size;
use holdfast_api::etcdserverpb::{Member, StatusResponse};

/// Header and rows of an answer that is a table.
pub(super) fn of(answer: &Answer<'_>) -> Option<(Vec<&'static str>, Vec<Vec<String>>)> {
    Some(match answer {
        Answer::MemberList(response) => (
            vec!["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"],
            response.members.iter().map(member).collect(),
        ),
        Answer::Health(all) => (
            vec!["endpoint", "health", "took", "error"],
            all.iter()
                .map(|health| {
                    let took = health.took();
                    let healthy = health.fault.is_empty().to_string();
                    vec![health.endpoint.clone(), healthy, took, health.fault.clone()]
                })
                .collect(),
        ),
        Answer::Status(all) => (
            vec![
                "endpoint",
                "ID",
                "version",
                "storage version",
                "db size",
                "in use",
                "percentage not in use",
                "quota",
                "is leader",
                "is learner",
                "raft term",
                "raft index",
                "raft applied index",
                "errors",
                "downgrade target version",
                "downgrade enabled",
            ],
            all.iter().map(|(endpoint, response)| status(endpoint, response)).collect(),
        ),
        Answer::HashKv(all) => (
            vec!["endpoint", "hash", "hash_revision"],
            all.iter()
                .map(|(endpoint, response)| {
                    vec![
                        endpoint.clone(),
                        response.hash.to_string(),
                        response.hash_revision.to_string(),
                    ]
                })
                .collect(),
        ),
        Answer::FileStatus(status) => (
            vec!["hash", "revision", "total keys", "total size", "version"],
            vec![vec![
                format!("{:x}", status.hash),
                status.revision.to_string(),
                status.keys.to_string(),
                size::text(status.size_bytes),
                status.version.clone(),
            ]],
        ),
        Answer::FileHash(hash) => (
            vec!["hash", "hash revision", "compact revision"],
            vec![vec![
                hash.hash.to_string(),
                hash.revision.to_string(),
                hash.compact_revision.to_string(),
            ]],
        ),
        _ => return None,
    })
}

fn member(member: &Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_urls.join(","),
        member.client_urls.join(","),
        member.is_learner.to_string(),
    ]
}

fn status(endpoint: &str, response: &StatusResponse) -> Vec<String> {
    let member_id = super::header(response.header.as_ref()).member_id;
    let size_of = |bytes: i64| size::text(u64::try_from(bytes).unwrap_or(0));
    let used = response.db_size_in_use.saturating_mul(100).checked_div(response.db_size);
    let downgrade = response.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.to_owned(),
        format!("{member_id:x}"),
        response.version.clone(),
        response.storage_version.clone(),
        size_of(response.db_size),
        size_of(response.db_size_in_use),
        format!("{}%", 100i64.saturating_sub(used.unwrap_or(100))),
        size_of(response.db_size_quota),
        (response.leader == member_id).to_string(),
        response.is_learner.to_string(),
        response.raft_term.to_string(),
        response.raft_index.to_string(),
        response.raft_applied_index.to_string(),
        response.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}
