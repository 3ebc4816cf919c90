//! The format for people: keys and values line by line, sentences, rows with commas.

use super::{Answer, Health, Printer, header, rows};
use crate::console::Console;
use crate::failure::Failure;
use crate::keys;
use holdfast_api::authpb::Permission;
use holdfast_api::authpb::permission::Type;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    AlarmMember, AlarmType, DeleteRangeResponse, LeaseTimeToLiveResponse, MemberAddResponse,
    PutResponse, RangeResponse, TxnResponse,
};
use holdfast_api::mvccpb::{Event, KeyValue};
use std::fmt::Write;

/// The healthy go to standard output, the others to standard error.
pub(super) fn health(console: &Console, all: &[Health]) -> Result<(), Failure> {
    for health in all {
        let took = health.took();
        let endpoint = &health.endpoint;
        if health.fault.is_empty() {
            console.line(format!(
                "{endpoint} is healthy: successfully committed proposal: took = {took}"
            ))?;
        } else {
            console.complain(format!(
                "{endpoint} is unhealthy: failed to commit proposal: {}",
                health.fault
            ));
        }
    }
    Ok(())
}

/// An answer, with line ends. Keys and values are bytes: what is no UTF-8 is printed as it is.
pub(super) fn text(printer: Printer, answer: &Answer<'_>) -> Vec<u8> {
    let mut out = Lines { printer, bytes: Vec::new() };
    match answer {
        Answer::Range(response) => out.range(response),
        Answer::Put(response) => out.put(response),
        Answer::Delete(response) => out.delete(response),
        Answer::Txn(response) => out.txn(response),
        Answer::Watch(response) => response.events.iter().for_each(|event| out.event(event)),
        Answer::Done { words, .. }
        | Answer::MemberChange { words, .. }
        | Answer::Downgrade { words, .. } => out.line(words),
        Answer::Grant(lease) => {
            out.line(format!("lease {:016x} granted with TTL({}s)", lease.id, lease.ttl));
        }
        Answer::KeepAlive(lease) => {
            out.line(format!("lease {:016x} keepalived with TTL({})", lease.id, lease.ttl));
        }
        Answer::TimeToLive { response, with_keys } => out.time_to_live(response, *with_keys),
        Answer::Leases(response) => {
            out.line(format!("found {} leases", response.leases.len()));
            response.leases.iter().for_each(|lease| out.line(format!("{:016x}", lease.id)));
        }
        Answer::MemberAdd(response) => out.member_add(response),
        Answer::Alarm(response) => response.alarms.iter().for_each(|alarm| out.alarm(alarm)),
        Answer::RoleGet { role, response } => out.role(role, &response.perm),
        Answer::RoleList(response) => response.roles.iter().for_each(|role| out.line(role)),
        Answer::UserGet { user, response } => {
            out.line(format!("User: {user}"));
            let roles: String = response.roles.iter().map(|role| format!(" {role}")).collect();
            out.line(format!("Roles:{roles}"));
        }
        Answer::UserList(response) => response.users.iter().for_each(|user| out.line(user)),
        Answer::AuthStatus(response) => {
            out.line(format!("Authentication Status: {}", response.enabled));
            out.line(format!("AuthRevision: {}", response.auth_revision));
        }
        Answer::MemberList(_)
        | Answer::Status(_)
        | Answer::HashKv(_)
        | Answer::Health(_)
        | Answer::FileStatus(_)
        | Answer::FileHash(_) => {
            let rows = rows::of(answer).map(|(_, rows)| rows).unwrap_or_default();
            rows.iter().for_each(|row| out.line(row.join(", ")));
        }
    }
    out.bytes
}

struct Lines {
    printer: Printer,
    bytes: Vec<u8>,
}

impl Lines {
    fn line(&mut self, bytes: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(bytes.as_ref());
        self.bytes.push(b'\n');
    }

    fn shown(&mut self, bytes: &[u8]) {
        if self.printer.hex {
            self.line(bytes.iter().fold(String::new(), |mut out, byte| {
                let _ = write!(out, "\\x{byte:02x}");
                out
            }));
        } else {
            self.line(bytes);
        }
    }

    fn record(&mut self, record: &KeyValue) {
        if !self.printer.value_only {
            self.shown(&record.key);
        }
        self.shown(&record.value);
    }

    fn range(&mut self, response: &RangeResponse) {
        response.kvs.iter().for_each(|record| self.record(record));
    }

    fn put(&mut self, response: &PutResponse) {
        self.line("OK");
        if let Some(before) = &response.prev_kv {
            self.record(before);
        }
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.line(response.deleted.to_string());
        response.prev_kvs.iter().for_each(|record| self.record(record));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" });
        for inner in &response.responses {
            self.line("");
            match &inner.response {
                Some(Response::ResponseRange(response)) => self.range(response),
                Some(Response::ResponsePut(response)) => self.put(response),
                Some(Response::ResponseDeleteRange(response)) => self.delete(response),
                Some(Response::ResponseTxn(response)) => self.txn(response),
                None => self.line("unexpected response"),
            }
        }
    }

    fn event(&mut self, event: &Event) {
        self.line(if event.is_delete() { "DELETE" } else { "PUT" });
        for record in event.prev_kv.iter().chain(&event.kv) {
            self.record(record);
        }
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse, with_keys: bool) {
        let id = response.id;
        if response.granted_ttl == 0 && response.ttl == -1 {
            return self.line(format!("lease {id:016x} already expired"));
        }
        let (granted, left) = (response.granted_ttl, response.ttl);
        let mut line = format!("lease {id:016x} granted with TTL({granted}s), remaining({left}s)");
        let mut bytes = std::mem::take(&mut line).into_bytes();
        if with_keys {
            bytes.extend_from_slice(b", attached keys([");
            bytes.extend_from_slice(&response.keys.join(&b' '));
            bytes.extend_from_slice(b"])");
        }
        self.line(bytes);
    }

    fn member_add(&mut self, response: &MemberAddResponse) {
        let member = response.member.clone().unwrap_or_default();
        let learner = if member.is_learner { " as learner " } else { " " };
        let cluster = header(response.header.as_ref()).cluster_id;
        self.line(format!("Member {:16x} added{learner}to cluster {cluster:16x}", member.id));
    }

    fn alarm(&mut self, alarm: &AlarmMember) {
        let name = AlarmType::try_from(alarm.alarm).map_or("", |kind| kind.as_str_name());
        self.line(format!("memberID:{} alarm:{name} ", alarm.member_id));
    }

    fn role(&mut self, role: &str, permissions: &[Permission]) {
        self.line(format!("Role {role}"));
        if role == "root" && permissions.is_empty() {
            for title in ["KV Read:", "KV Write:"] {
                self.line(title);
                self.line("\t[, <open ended>");
            }
            return;
        }
        for (title, other) in [("KV Read:", Type::Write), ("KV Write:", Type::Read)] {
            self.line(title);
            let granted = permissions.iter().filter(|one| one.perm_type != other as i32);
            granted.for_each(|permission| self.permission(permission));
        }
    }

    fn permission(&mut self, permission: &Permission) {
        let (key, end) = (&permission.key[..], &permission.range_end[..]);
        let mut line = b"\t".to_vec();
        match end {
            b"" => line.extend_from_slice(key),
            b"\0" => line.extend_from_slice(&[b"[", key, b", <open ended>"].concat()),
            end => line.extend_from_slice(&[b"[", key, b", ", end, b")"].concat()),
        }
        if !end.is_empty() && !key.is_empty() && keys::prefix_end(key) == end {
            line.extend_from_slice(&[b" (prefix ", key, b")"].concat());
        }
        self.line(line);
    }
}
