//! What an operation touches, and who may do it.

use std::time::Duration;

use holdfast_api::etcdserverpb::request_op::Request;

use super::*;
use crate::lease::{LeaseConfig, Leases};

fn put(key: &[u8], prev_kv: bool, lease: i64) -> PutRequest {
    PutRequest { key: key.into(), prev_kv, lease, ..Default::default() }
}

fn range(key: &[u8], range_end: &[u8]) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn delete(key: &[u8], range_end: &[u8], prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv }
}

fn txn(compare: &[u8], success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare: vec![Compare { key: compare.into(), ..Default::default() }],
        success: success.into_iter().map(op).collect(),
        failure: failure.into_iter().map(op).collect(),
    }
}

/// A transaction with a step two levels below.
fn deep(inner: Request) -> InternalRaftRequest {
    let lower = Request::RequestTxn(txn(b"y", vec![inner], vec![]));
    let middle = Request::RequestTxn(txn(b"r", vec![], vec![lower]));
    request!(txn: txn(b"r", vec![middle], vec![]))
}

/// Operations, and whether a user who reads [r, s), writes [w, x) and both from y on may: lease 1
/// holds a key that it writes, lease 2 one that it does not.
fn operations() -> Vec<(InternalRaftRequest, bool)> {
    use Request::{RequestDeleteRange, RequestPut, RequestRange};
    vec![
        (request!(range: range(b"r", b"")), true),
        (request!(range: range(b"r", b"s")), true),
        (request!(range: range(b"r", b"s\0")), false),
        (request!(range: range(b"w", b"")), false),
        (request!(range: range(b"z", b"\0")), true),
        (request!(range: range(b"r", b"\0")), false),
        (request!(put: put(b"w", false, 0)), true),
        (request!(put: put(b"w", true, 0)), false),
        (request!(put: put(b"y", true, 0)), true),
        (request!(put: put(b"r", false, 0)), false),
        (request!(put: put(b"w", false, 1)), true),
        (request!(put: put(b"w", false, 2)), false),
        (request!(put: put(b"w", false, 77)), true),
        (request!(delete_range: delete(b"w", b"x", false)), true),
        (request!(delete_range: delete(b"w", b"x", true)), false),
        (request!(delete_range: delete(b"y", b"\0", true)), true),
        (request!(delete_range: delete(b"r", b"", false)), false),
        (request!(lease_revoke: LeaseRevokeRequest { id: 1 }), true),
        (request!(lease_revoke: LeaseRevokeRequest { id: 2 }), false),
        (request!(lease_revoke: LeaseRevokeRequest { id: 77 }), true),
        (request!(txn: txn(b"w", vec![], vec![])), false),
        (request!(txn: txn(b"r", vec![RequestPut(put(b"w", false, 0))], vec![])), true),
        (request!(txn: txn(b"r", vec![], vec![RequestPut(put(b"r", false, 0))])), false),
        (deep(RequestPut(put(b"y", true, 1))), true),
        (deep(RequestPut(put(b"w", true, 1))), false),
        (deep(RequestRange(range(b"a", b""))), false),
        (deep(RequestDeleteRange(delete(b"w", b"", true))), false),
        (request!(compaction: CompactionRequest::default()), true),
        (request!(lease_grant: LeaseGrantRequest::default()), true),
    ]
}

#[test]
fn what_an_operation_touches_must_be_open() {
    let mut world = World::enabled();
    world.by_root(grant("reader", Type::Read, b"r", b"s")).unwrap();
    world.by_root(grant("reader", Type::Write, b"w", b"x")).unwrap();
    world.by_root(grant("reader", Type::Readwrite, b"y", b"\0")).unwrap();
    let mut leases = Leases::new(LeaseConfig::default());
    for (lease, key) in [(1, &b"w1"[..]), (2, b"a"), (2, b"w2")] {
        let _ = leases.grant(lease, 60, Duration::ZERO);
        leases.attach(lease, key).unwrap();
    }
    let (alice, root) = (world.alice(), world.auth.server_identity());
    for (request, allowed) in operations() {
        let expected = if allowed { Ok(()) } else { Err(AuthError::PermissionDenied) };
        assert_eq!(world.auth.check_operation(&alice, &request, &leases), expected, "{request:?}");
        assert_eq!(world.auth.check_operation(&root, &request, &leases), Ok(()));
    }
    let nobody = Identity::default();
    let read = request!(range: range(b"r", b""));
    assert_eq!(world.auth.check_operation(&nobody, &read, &leases), Err(AuthError::UserEmpty));
    let unknown = world.auth.certificate_identity("mallory");
    let denied = Err(AuthError::PermissionDenied);
    assert_eq!(world.auth.check_operation(&unknown, &read, &leases), denied);
    assert_eq!(world.auth.check_lease(&alice, &leases, 1, Access::Read), denied);
    assert_eq!(world.auth.check_somebody(&nobody), Err(AuthError::UserEmpty));
    assert_eq!(world.auth.check_somebody(&unknown), Ok(()), "whoever it is");
    world.by_root(disable()).unwrap();
    assert_eq!(world.auth.check_operation(&nobody, &read, &leases), Ok(()), "off: all may");
    assert_eq!(world.auth.check_admin(&nobody), Ok(()));
    assert_eq!(world.auth.server_identity(), nobody);
}
