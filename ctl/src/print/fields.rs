//! One field a line, `"Name" : value`.

use super::{Answer, FileHash, FileStatus, Printer, header};
use crate::go::quote;
use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    AlarmType, AuthRoleGetResponse, DeleteRangeResponse, HashKvResponse, LeaseTimeToLiveResponse,
    Member, PutResponse, RangeResponse, ResponseHeader, StatusResponse, TxnResponse, WatchResponse,
};
use holdfast_api::mvccpb::KeyValue;
use std::fmt::{Display, Write};

/// An answer, with line ends; `None` for those that have no such form.
pub(super) fn text(printer: Printer, answer: &Answer<'_>) -> Option<String> {
    let mut out = Fields { hex: printer.hex, text: String::new() };
    match answer {
        Answer::Range(response) => out.range(response),
        Answer::Put(response) => out.put(response),
        Answer::Delete(response) => out.delete(response),
        Answer::Txn(response) => out.txn(response),
        Answer::Watch(response) => out.watch(response),
        Answer::Done { header, has_fields: true, .. } => out.header(header.as_ref()),
        Answer::Grant(response) => {
            out.header(response.header.as_ref());
            out.lease(response.id);
            out.field("TTL", response.ttl);
        }
        Answer::KeepAlive(response) => {
            out.header(response.header.as_ref());
            out.lease(response.id);
            out.field("TTL", response.ttl);
        }
        Answer::TimeToLive { response, .. } => out.time_to_live(response),
        Answer::Leases(response) => {
            out.header(response.header.as_ref());
            response.leases.iter().for_each(|lease| out.lease(lease.id));
        }
        Answer::MemberList(response) => {
            out.header(response.header.as_ref());
            response.members.iter().for_each(|member| out.member(member));
        }
        Answer::Health(all) => {
            for health in *all {
                out.field("Endpoint", quote::text(&health.endpoint));
                out.field("Health", health.fault.is_empty());
                out.field("Took", health.took());
                out.field("Error", &health.fault);
                out.text.push('\n');
            }
        }
        Answer::Status(all) => {
            all.iter().for_each(|(endpoint, response)| out.status(endpoint, response));
        }
        Answer::HashKv(all) => {
            all.iter().for_each(|(endpoint, response)| out.hash_kv(endpoint, response));
        }
        Answer::Alarm(response) => {
            out.header(response.header.as_ref());
            for alarm in &response.alarms {
                out.id("MemberID", alarm.member_id);
                let kind = AlarmType::try_from(alarm.alarm).map_or("", |kind| kind.as_str_name());
                out.field("AlarmType", kind);
                out.text.push('\n');
            }
        }
        Answer::RoleGet { response, .. } => out.role(response),
        Answer::RoleList(response) => {
            out.header(response.header.as_ref());
            let roles = response.roles.iter().map(|role| format!(" {}", quote::text(role)));
            let _ = writeln!(out.text, "\"Roles\" :{}", roles.collect::<String>());
        }
        Answer::FileStatus(status) => out.file_status(status),
        Answer::FileHash(hash) => out.file_hash(hash),
        _ => return None,
    }
    Some(out.text)
}

struct Fields {
    hex: bool,
    text: String,
}

impl Fields {
    fn field(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.text, "\"{name}\" : {value}");
    }

    /// A member's or cluster's id.
    fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.field(name, format!("{id:x}")) } else { self.field(name, id) }
    }

    fn lease(&mut self, id: i64) {
        if self.hex { self.field("ID", format!("{id:016x}")) } else { self.field("ID", id) }
    }

    fn header(&mut self, given: Option<&ResponseHeader>) {
        let header = header(given);
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    fn record(&mut self, prefix: &str, record: &KeyValue) {
        let named = |name: &str| format!("{prefix}{name}");
        self.field(&named("Key"), quote::bytes(&record.key));
        self.field(&named("CreateRevision"), record.create_revision);
        self.field(&named("ModRevision"), record.mod_revision);
        self.field(&named("Version"), record.version);
        self.field(&named("Value"), quote::bytes(&record.value));
        if self.hex {
            self.field(&named("Lease"), format!("{:016x}", record.lease));
        } else {
            self.field(&named("Lease"), record.lease);
        }
    }

    fn range(&mut self, response: &RangeResponse) {
        self.header(response.header.as_ref());
        response.kvs.iter().for_each(|record| self.record("", record));
        self.field("More", response.more);
        self.field("Count", response.count);
    }

    fn put(&mut self, response: &PutResponse) {
        self.header(response.header.as_ref());
        response.prev_kv.iter().for_each(|record| self.record("Prev", record));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.header(response.header.as_ref());
        self.field("Deleted", response.deleted);
        response.prev_kvs.iter().for_each(|record| self.record("Prev", record));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.header(response.header.as_ref());
        self.field("Succeeded", response.succeeded);
        for inner in &response.responses {
            match &inner.response {
                Some(Response::ResponseRange(response)) => self.range(response),
                Some(Response::ResponsePut(response)) => self.put(response),
                Some(Response::ResponseDeleteRange(response)) => self.delete(response),
                Some(Response::ResponseTxn(response)) => self.txn(response),
                None => self.field("Unknown", "\"\""),
            }
        }
    }

    fn role(&mut self, response: &AuthRoleGetResponse) {
        self.header(response.header.as_ref());
        for permission in &response.perm {
            let kind = Type::try_from(permission.perm_type).map_or("", |kind| kind.as_str_name());
            // Two spaces, as upstream.
            self.field("PermType", format!(" {kind}"));
            self.field("Key", quote::bytes(&permission.key));
            self.field("RangeEnd", quote::bytes(&permission.range_end));
        }
    }

    fn watch(&mut self, response: &WatchResponse) {
        self.header(response.header.as_ref());
        for event in &response.events {
            let deleted = event.is_delete();
            self.field("Type", if deleted { "DELETE" } else { "PUT" });
            event.prev_kv.iter().for_each(|record| self.record("Prev", record));
            event.kv.iter().for_each(|record| self.record("", record));
        }
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse) {
        self.header(response.header.as_ref());
        self.lease(response.id);
        self.field("TTL", response.ttl);
        self.field("GrantedTTL", response.granted_ttl);
        response.keys.iter().for_each(|key| self.field("Key", quote::bytes(key)));
    }

    fn member(&mut self, member: &Member) {
        self.id("ID", member.id);
        self.field("Name", quote::text(&member.name));
        member.peer_urls.iter().for_each(|url| self.field("PeerURL", quote::text(url)));
        member.client_urls.iter().for_each(|url| self.field("ClientURL", quote::text(url)));
        self.field("IsLearner", member.is_learner);
        self.text.push('\n');
    }

    fn status(&mut self, endpoint: &str, response: &StatusResponse) {
        let downgrade = response.downgrade_info.clone().unwrap_or_default();
        self.header(response.header.as_ref());
        self.field("Version", quote::text(&response.version));
        self.field("StorageVersion", quote::text(&response.storage_version));
        self.field("DBSize", response.db_size);
        self.field("DBSizeInUse", response.db_size_in_use);
        self.field("DBSizeQuota", response.db_size_quota);
        self.field("Leader", response.leader);
        self.field("IsLearner", response.is_learner);
        self.field("RaftIndex", response.raft_index);
        self.field("RaftAppliedIndex", response.raft_applied_index);
        self.field("Errors", format!("[{}]", response.errors.join(" ")));
        self.field("Endpoint", quote::text(endpoint));
        self.field("DowngradeTargetVersion", quote::text(&downgrade.target_version));
        self.field("DowngradeEnabled", downgrade.enabled);
        self.text.push('\n');
    }

    fn hash_kv(&mut self, endpoint: &str, response: &HashKvResponse) {
        self.header(response.header.as_ref());
        self.field("Endpoint", quote::text(endpoint));
        self.field("Hash", response.hash);
        self.field("HashRevision", response.hash_revision);
        self.text.push('\n');
    }

    fn file_status(&mut self, status: &FileStatus) {
        self.field("Hash", status.hash);
        self.field("Revision", status.revision);
        self.field("Keys", status.keys);
        self.field("Size", status.size_bytes);
        self.field("Version", &status.version);
    }

    fn file_hash(&mut self, hash: &FileHash) {
        self.field("Hash", hash.hash);
        self.field("Hash revision", hash.revision);
        self.field("Compact revision", hash.compact_revision);
    }
}
