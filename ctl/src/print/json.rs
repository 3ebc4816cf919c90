//! The answers as the JSON that Go's encoder makes of upstream's types: fields in their order, zero
//! values left out where their types say so, some answers with their header spread flat.

use super::{Answer, Health, Printer, header};
use crate::go::json::{self, Object};
use holdfast_api::authpb::Permission;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    AlarmMember, DeleteRangeResponse, HashKvResponse, LeaseTimeToLiveResponse, Member,
    MemberListResponse, PutResponse, RangeResponse, ResponseHeader, ResponseOp, StatusResponse,
    TxnResponse, WatchResponse,
};
use holdfast_api::mvccpb::{Event, KeyValue};

/// An answer in one line.
pub(super) fn text(printer: Printer, answer: &Answer<'_>) -> String {
    match answer {
        Answer::Range(response) => range(response),
        Answer::Put(response) => put(response),
        Answer::Delete(response) => delete(response),
        Answer::Txn(response) => txn(response),
        Answer::Watch(response) => watch(response),
        Answer::Done { header, .. } => with(header.as_ref()).end(),
        Answer::Grant(response) => flat(response.header.as_ref())
            .raw("ID", response.id)
            .raw("TTL", response.ttl)
            .raw("Error", json::text(&response.error))
            .end(),
        Answer::KeepAlive(response) => {
            flat(response.header.as_ref()).raw("ID", response.id).raw("TTL", response.ttl).end()
        }
        Answer::TimeToLive { response, .. } => time_to_live(response),
        Answer::Leases(response) => {
            let each = |lease: &holdfast_api::etcdserverpb::LeaseStatus| {
                Object::new().raw("id", lease.id).end()
            };
            flat(response.header.as_ref()).raw("leases", json::list(&response.leases, each)).end()
        }
        Answer::MemberAdd(response) => with(response.header.as_ref())
            .some("member", response.member.as_ref().map(member))
            .list("members", &response.members, member)
            .end(),
        Answer::MemberChange { response, .. } => members(response),
        Answer::MemberList(response) if printer.hex => members_in_hex(response),
        Answer::MemberList(response) => members(response),
        Answer::Health(all) => json::list(all, health),
        Answer::Status(all) => null_or(all, |(endpoint, response)| {
            let endpoint = json::text(endpoint);
            Object::new().raw("Endpoint", endpoint).raw("Status", status(response)).end()
        }),
        Answer::HashKv(all) => null_or(all, |(endpoint, response)| {
            let endpoint = json::text(endpoint);
            Object::new().raw("Endpoint", endpoint).raw("HashKV", hash_kv(response)).end()
        }),
        Answer::Downgrade { response, .. } => {
            with(response.header.as_ref()).text("version", &response.version).end()
        }
        Answer::Alarm(response) => {
            with(response.header.as_ref()).list("alarms", &response.alarms, alarm).end()
        }
        Answer::RoleGet { response, .. } => {
            with(response.header.as_ref()).list("perm", &response.perm, permission).end()
        }
        Answer::RoleList(response) => names(response.header.as_ref(), "roles", &response.roles),
        Answer::UserGet { response, .. } => {
            names(response.header.as_ref(), "roles", &response.roles)
        }
        Answer::UserList(response) => names(response.header.as_ref(), "users", &response.users),
        Answer::AuthStatus(response) => with(response.header.as_ref())
            .truth("enabled", response.enabled)
            .number("authRevision", response.auth_revision)
            .end(),
        Answer::FileStatus(status) => Object::new()
            .raw("hash", status.hash)
            .raw("revision", status.revision)
            .raw("totalKey", status.keys)
            .raw("totalSize", status.size_bytes)
            .raw("version", json::text(&status.version))
            .end(),
        Answer::FileHash(hash) => Object::new()
            .raw("hash", hash.hash)
            .raw("hashRevision", hash.revision)
            .raw("compactRevision", hash.compact_revision)
            .end(),
    }
}

fn health(health: &Health) -> String {
    Object::new()
        .raw("endpoint", json::text(&health.endpoint))
        .raw("health", health.fault.is_empty())
        .raw("took", json::text(&health.took()))
        .text("error", &health.fault)
        .end()
}

/// A list that Go never made is `null`.
fn null_or<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    if items.is_empty() { "null".to_owned() } else { json::list(items, each) }
}

/// An object that begins with a header's fields.
fn flat(given: Option<&ResponseHeader>) -> Object {
    let header = header(given);
    Object::new()
        .number("cluster_id", header.cluster_id)
        .number("member_id", header.member_id)
        .number("revision", header.revision)
        .number("raft_term", header.raft_term)
}

/// An object that begins with a header.
fn with(header: Option<&ResponseHeader>) -> Object {
    Object::new().some("header", header.map(|header| flat(Some(header)).end()))
}

fn names(header: Option<&ResponseHeader>, name: &str, names: &[String]) -> String {
    with(header).list(name, names, |one| json::text(one)).end()
}

fn record(record: &KeyValue) -> String {
    Object::new()
        .bytes("key", &record.key)
        .number("create_revision", record.create_revision)
        .number("mod_revision", record.mod_revision)
        .number("version", record.version)
        .bytes("value", &record.value)
        .number("lease", record.lease)
        .end()
}

fn range(response: &RangeResponse) -> String {
    with(response.header.as_ref())
        .list("kvs", &response.kvs, record)
        .truth("more", response.more)
        .number("count", response.count)
        .end()
}

fn put(response: &PutResponse) -> String {
    with(response.header.as_ref()).some("prev_kv", response.prev_kv.as_ref().map(record)).end()
}

fn delete(response: &DeleteRangeResponse) -> String {
    with(response.header.as_ref())
        .number("deleted", response.deleted)
        .list("prev_kvs", &response.prev_kvs, record)
        .end()
}

fn txn(response: &TxnResponse) -> String {
    with(response.header.as_ref())
        .truth("succeeded", response.succeeded)
        .list("responses", &response.responses, operation)
        .end()
}

fn operation(operation: &ResponseOp) -> String {
    let (name, inner) = match &operation.response {
        Some(Response::ResponseRange(response)) => ("response_range", range(response)),
        Some(Response::ResponsePut(response)) => ("response_put", put(response)),
        Some(Response::ResponseDeleteRange(response)) => {
            ("response_delete_range", delete(response))
        }
        Some(Response::ResponseTxn(response)) => ("response_txn", txn(response)),
        None => return Object::new().raw("Response", "null").end(),
    };
    Object::new().raw("Response", Object::new().raw(name, inner).end()).end()
}

fn watch(response: &WatchResponse) -> String {
    let each = |event: &Event| {
        Object::new()
            .number("type", event.r#type)
            .some("kv", event.kv.as_ref().map(record))
            .some("prev_kv", event.prev_kv.as_ref().map(record))
            .end()
    };
    Object::new()
        .raw("Header", flat(response.header.as_ref()).end())
        .raw("Events", json::list(&response.events, each))
        .raw("CompactRevision", response.compact_revision)
        .raw("Canceled", response.canceled)
        .raw("Created", response.created)
        .end()
}

fn time_to_live(response: &LeaseTimeToLiveResponse) -> String {
    flat(response.header.as_ref())
        .raw("id", response.id)
        .raw("ttl", response.ttl)
        .raw("granted-ttl", response.granted_ttl)
        .raw("keys", null_or(&response.keys, |key| json::bytes(key)))
        .end()
}

fn members(response: &MemberListResponse) -> String {
    with(response.header.as_ref()).list("members", &response.members, member).end()
}

fn member(member: &Member) -> String {
    Object::new()
        .number("ID", member.id)
        .text("name", &member.name)
        .list("peerURLs", &member.peer_urls, |url| json::text(url))
        .list("clientURLs", &member.client_urls, |url| json::text(url))
        .truth("isLearner", member.is_learner)
        .end()
}

/// Members with ids as hexadecimal texts; unlike upstream's, names are escaped and learners said.
fn members_in_hex(response: &MemberListResponse) -> String {
    let hex = |id: u64| format!("\"{id:x}\"");
    let list_or_null = |urls: &[String]| null_or(urls, |url| json::text(url));
    let each = |member: &Member| {
        Object::new()
            .raw("ID", hex(member.id))
            .raw("name", json::text(&member.name))
            .raw("peerURLs", list_or_null(&member.peer_urls))
            .raw("clientURLs", list_or_null(&member.client_urls))
            .truth("isLearner", member.is_learner)
            .end()
    };
    let header = header(response.header.as_ref());
    let head = Object::new()
        .raw("cluster_id", hex(header.cluster_id))
        .raw("member_id", hex(header.member_id))
        .raw("raft_term", header.raft_term);
    Object::new().raw("header", head.end()).list("members", &response.members, each).end()
}

fn status(response: &StatusResponse) -> String {
    let downgrade = response.downgrade_info.as_ref().map(|info| {
        Object::new()
            .truth("enabled", info.enabled)
            .text("targetVersion", &info.target_version)
            .end()
    });
    with(response.header.as_ref())
        .text("version", &response.version)
        .number("dbSize", response.db_size)
        .number("leader", response.leader)
        .number("raftIndex", response.raft_index)
        .number("raftTerm", response.raft_term)
        .number("raftAppliedIndex", response.raft_applied_index)
        .list("errors", &response.errors, |error| json::text(error))
        .number("dbSizeInUse", response.db_size_in_use)
        .truth("isLearner", response.is_learner)
        .text("storageVersion", &response.storage_version)
        .number("dbSizeQuota", response.db_size_quota)
        .some("downgradeInfo", downgrade)
        .end()
}

fn hash_kv(response: &HashKvResponse) -> String {
    with(response.header.as_ref())
        .number("hash", response.hash)
        .number("compact_revision", response.compact_revision)
        .number("hash_revision", response.hash_revision)
        .end()
}

fn alarm(alarm: &AlarmMember) -> String {
    Object::new().number("memberID", alarm.member_id).number("alarm", alarm.alarm).end()
}

fn permission(permission: &Permission) -> String {
    Object::new()
        .number("permType", permission.perm_type)
        .bytes("key", &permission.key)
        .bytes("range_end", &permission.range_end)
        .end()
}
