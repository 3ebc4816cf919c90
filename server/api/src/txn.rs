//! What transactions are made of, in short: comparisons and steps that more than one caller writes.

use crate::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::etcdserverpb::request_op::Request;
use crate::etcdserverpb::{Compare, RequestOp};

/// Holds if `key` was created at `revision`; 0: it does not exist.
#[must_use]
pub fn created_at(key: &[u8], revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.to_vec(),
        range_end: Vec::new(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// One step of a transaction.
#[must_use]
pub fn step(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}
