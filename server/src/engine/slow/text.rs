//! Requests as upstream's log prints them: protobuf's text format on one line.
//!
//! Must hold: of a value that somebody stores or compares with only its size is told; nothing at
//! all of a password, its hash, or a token (see [`message`]).

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::request_op::Request as Step;
use holdfast_core::request::EntryRequest;

use crate::engine::prototext::message;

/// A request of the log, with its header.
pub(super) fn entry(entry: &EntryRequest) -> String {
    let header = pb::RequestHeader {
        id: entry.id,
        username: entry.username.clone(),
        auth_revision: entry.auth_revision,
    };
    let header = message("etcdserverpb.RequestHeader", &header);
    let request = &entry.request;
    let told = if let Some(put) = &request.put {
        format!("put:<{}>", message("etcdserverpb.PutRequest", put))
    } else if let Some(request) = &request.txn {
        format!("txn:<{}>", txn(request))
    } else if let Some(grant) = &request.lease_grant {
        format!("lease_grant:<ttl:{}-second id:{}>", grant.ttl, hex(grant.id))
    } else if let Some(revoke) = &request.lease_revoke {
        format!("lease_revoke:<id:{}>", hex(revoke.id))
    } else if let Some(login) = &request.authenticate {
        format!("authenticate:<name:{}>", login.name)
    } else if let Some(add) = &request.auth_user_add {
        format!("auth_user_add:<name:{}>", add.name)
    } else if let Some(change) = &request.auth_user_change_password {
        format!("auth_user_change_password:<name:{}>", change.name)
    } else {
        let bare = pb::InternalRaftRequest { header: None, ..request.clone() };
        message("etcdserverpb.InternalRaftRequest", &bare)
    };
    format!("header:<{header}> {told}")
}

/// A transaction.
pub(super) fn txn(request: &pb::TxnRequest) -> String {
    let compares: Vec<String> =
        request.compare.iter().map(|one| message("etcdserverpb.Compare", one)).collect();
    let steps = |steps: &[pb::RequestOp]| {
        let steps: Vec<String> = steps.iter().map(step).collect();
        steps.join(" ")
    };
    let (success, failure) = (steps(&request.success), steps(&request.failure));
    format!("compare:<{}> success:<{success}> failure:<{failure}>", compares.join(" "))
}

fn step(step: &pb::RequestOp) -> String {
    match &step.request {
        Some(Step::RequestPut(put)) => {
            format!("request_put:<{}>", message("etcdserverpb.PutRequest", put))
        }
        Some(Step::RequestTxn(nested)) => format!("request_txn:<{}>", txn(nested)),
        _ => message("etcdserverpb.RequestOp", step),
    }
}

fn hex(id: i64) -> String {
    let sign = if id < 0 { "-" } else { "" };
    let width = 16 - sign.len();
    format!("{sign}{:0width$x}", id.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(request: pb::InternalRaftRequest) -> String {
        let (username, auth_revision) = ("root".to_owned(), 8);
        entry(&EntryRequest { id: 5, username, auth_revision, request })
    }

    /// Upstream prints a token here; whoever reads the log would be that user.
    #[test]
    fn no_secret_is_told() {
        let secret = || "hidden".to_owned();
        let login = pb::InternalAuthenticateRequest {
            name: "u".to_owned(),
            password: secret(),
            simple_token: secret(),
        };
        let add = pb::AuthUserAddRequest {
            name: "u".to_owned(),
            password: secret(),
            hashed_password: secret(),
            ..Default::default()
        };
        let change = pb::AuthUserChangePasswordRequest {
            name: "u".to_owned(),
            password: secret(),
            hashed_password: secret(),
        };
        let put = pb::PutRequest { key: b"k".into(), value: secret().into(), ..Default::default() };
        let value = pb::compare::TargetUnion::Value(secret().into());
        let compare =
            pb::Compare { key: b"c".into(), target_union: Some(value), ..Default::default() };
        let request_put = || pb::RequestOp { request: Some(Step::RequestPut(put.clone())) };
        let inner = pb::TxnRequest {
            compare: vec![compare.clone()],
            success: vec![request_put()],
            failure: vec![request_put()],
        };
        let outer = pb::TxnRequest {
            success: vec![pb::RequestOp { request: Some(Step::RequestTxn(inner.clone())) }],
            ..inner.clone()
        };
        // Also by the way that takes any message.
        let whole = pb::RequestOp { request: Some(Step::RequestTxn(outer.clone())) };
        let generic = message("etcdserverpb.RequestOp", &whole);
        let requests = [
            pb::InternalRaftRequest { authenticate: Some(login.clone()), ..Default::default() },
            pb::InternalRaftRequest { auth_user_add: Some(add.clone()), ..Default::default() },
            pb::InternalRaftRequest {
                auth_user_change_password: Some(change),
                ..Default::default()
            },
            pb::InternalRaftRequest { put: Some(put.clone()), ..Default::default() },
            pb::InternalRaftRequest { txn: Some(outer), ..Default::default() },
        ];
        let mut texts: Vec<String> = requests.into_iter().map(told).collect();
        assert_eq!(
            texts[0],
            "header:<ID:5 username:\"root\" auth_revision:8 > authenticate:<name:u>"
        );
        texts.push(generic);
        texts.push(message("etcdserverpb.InternalAuthenticateRequest", &login));
        texts.push(message("etcdserverpb.AuthUserAddRequest", &add));
        assert!(texts.iter().all(|text| !text.contains("hidden")), "{texts:#?}");
        assert!(texts[3].ends_with("put:<key:\"k\" value_size:6 >"), "{}", texts[3]);
        assert_eq!(texts[4].matches("value_size:6").count(), 5, "{}", texts[4]);
    }

    #[test]
    fn ids_of_leases_are_hexadecimal() {
        for (id, text) in [(7, "0000000000000007"), (-1, "-000000000000001")] {
            let revoke = pb::LeaseRevokeRequest { id };
            let request =
                pb::InternalRaftRequest { lease_revoke: Some(revoke), ..Default::default() };
            assert!(told(request).ends_with(&format!("lease_revoke:<id:{text}>")));
        }
    }
}
