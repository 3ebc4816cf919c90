//! Transactions: conditions, then one of two lists of steps.
//!
//! All conditions, those of nested transactions included, are judged before the first step, on the
//! state before; the steps' own reads see earlier steps. What can fail is checked between the two,
//! so that a transaction either runs whole or changes nothing.

use std::cmp::Ordering;

use holdfast_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
    TxnResponse,
};
use holdfast_api::mvccpb::KeyValue;

use super::index::KeyRange;
use super::range::header;
use super::store::{Handle, Store};
use super::{Applied, MvccError, Reader, WriteTxn};

/// Whether a transaction only reads, so that it need not go through raft. A nested one counts as a
/// write, as upstream counts it.
pub fn is_read_only(request: &TxnRequest) -> bool {
    steps(request).all(|step| matches!(step.request, Some(Request::RequestRange(_))))
}

/// Whether a transaction only reads, and may be answered from the member's own state.
pub fn is_serializable(request: &TxnRequest) -> bool {
    steps(request).all(|step| match &step.request {
        Some(Request::RequestRange(range)) => range.serializable,
        _ => false,
    })
}

fn steps(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}

impl Store {
    /// Applies a transaction. `lease_exists` says whether a lease is there.
    ///
    /// # Errors
    /// Before anything changed: a range at a revision that is compacted or to come, an unknown
    /// lease, a flag that needs a record that is not there. Later: fatal ones only.
    pub fn txn(
        &mut self,
        request: &TxnRequest,
        lease_exists: &dyn Fn(i64) -> bool,
    ) -> Result<Applied<TxnResponse>, MvccError> {
        let mut txn = self.write()?;
        let path = decide(txn.reader(), request)?;
        Check { reader: txn.reader(), lease_exists, deleted_from: None }
            .run(request, &mut path.iter())?;
        let mut run = Run::Write(&mut txn);
        let executed = execute(&mut run, request, &mut path.iter());
        let mut response = executed.map_err(|error| match error {
            error if error.is_fatal() => error,
            error => MvccError::HalfWay { reason: error.to_string() },
        })?;
        response.header = header(txn.reader().revision());
        Ok(txn.finish(response))
    }
}

impl Handle {
    /// Answers a transaction that [only reads](is_read_only), at the current point.
    ///
    /// # Errors
    /// A range at a revision that is compacted or to come; the database fails.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, MvccError> {
        self.read(|reader| {
            let path = decide(reader, request)?;
            Check { reader, lease_exists: &|_| true, deleted_from: None }
                .run(request, &mut path.iter())?;
            let mut response = execute(&mut Run::Read(reader), request, &mut path.iter())?;
            response.header = header(reader.revision());
            Ok(response)
        })
    }
}

/// Which way each transaction goes, in the order in which they are met.
fn decide(reader: &Reader, request: &TxnRequest) -> Result<Vec<bool>, MvccError> {
    let mut path = Vec::new();
    decide_into(reader, request, &mut path)?;
    Ok(path)
}

fn decide_into(
    reader: &Reader,
    request: &TxnRequest,
    path: &mut Vec<bool>,
) -> Result<(), MvccError> {
    let mut holds = true;
    for compare in &request.compare {
        if !compare_holds(reader, compare)? {
            holds = false;
            break;
        }
    }
    path.push(holds);
    for step in branch(request, holds) {
        if let Some(Request::RequestTxn(nested)) = &step.request {
            decide_into(reader, nested, path)?;
        }
    }
    Ok(())
}

fn branch(request: &TxnRequest, holds: bool) -> &[RequestOp] {
    if holds { &request.success } else { &request.failure }
}

/// Whether all keys of a range satisfy a condition. A key that does not exist has only zeros, and
/// no value: no condition on a value holds for it.
fn compare_holds(reader: &Reader, compare: &Compare) -> Result<bool, MvccError> {
    let range = KeyRange::of_request(&compare.key, &compare.range_end);
    let found = reader.find(range, 0, 0, true)?;
    if found.revisions.is_empty() {
        let of_value = compare.target == i32::from(CompareTarget::Value);
        return Ok(!of_value && satisfies(compare, &KeyValue::default()));
    }
    for revision in found.revisions {
        if !satisfies(compare, &reader.record(revision)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A target without its operand compares with zero, as upstream has it.
fn satisfies(compare: &Compare, kv: &KeyValue) -> bool {
    let with = compare.target_union.as_ref();
    let order = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let value = match with {
                Some(TargetUnion::Value(value)) => value.as_slice(),
                _ => &[],
            };
            (*kv.value).cmp(value)
        }
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match with {
            Some(TargetUnion::CreateRevision(number)) => *number,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match with {
            Some(TargetUnion::ModRevision(number)) => *number,
            _ => 0,
        }),
        Ok(CompareTarget::Version) => kv.version.cmp(&match with {
            Some(TargetUnion::Version(number)) => *number,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match with {
            Some(TargetUnion::Lease(number)) => *number,
            _ => 0,
        }),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order.is_eq(),
        Ok(CompareResult::NotEqual) => order.is_ne(),
        Ok(CompareResult::Greater) => order.is_gt(),
        Ok(CompareResult::Less) => order.is_lt(),
        Err(_) => true,
    }
}

/// Finds what would fail, before anything runs.
struct Check<'c> {
    reader: &'c Reader,
    lease_exists: &'c dyn Fn(i64) -> bool,
    /// From here on all keys are deleted by an earlier step. Other deletes never meet a put of the
    /// same transaction: [`super::check_txn`] refuses that, but like upstream's it does not see
    /// deletes from a key on. (Upstream 3.6.16 stops for ever where such a put wants to keep the
    /// value that is gone.)
    deleted_from: Option<&'c [u8]>,
}

impl<'c> Check<'c> {
    fn run(
        &mut self,
        request: &'c TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
    ) -> Result<(), MvccError> {
        for step in branch(request, path.next().copied().unwrap_or(false)) {
            match &step.request {
                Some(Request::RequestRange(range)) => self.range(range)?,
                Some(Request::RequestPut(put)) => self.put(put)?,
                Some(Request::RequestTxn(nested)) => self.run(nested, path)?,
                Some(Request::RequestDeleteRange(delete)) if delete.range_end == [0] => {
                    let from = delete.key.as_slice();
                    self.deleted_from = Some(self.deleted_from.map_or(from, |so| so.min(from)));
                }
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn range(&self, range: &RangeRequest) -> Result<(), MvccError> {
        match range.revision {
            0 => Ok(()),
            revision if revision > self.reader.revision() => Err(MvccError::FutureRevision),
            revision if revision < self.reader.compacted() => Err(MvccError::Compacted),
            _ => Ok(()),
        }
    }

    fn put(&self, put: &PutRequest) -> Result<(), MvccError> {
        if put.ignore_value || put.ignore_lease {
            let deleted = self.deleted_from.is_some_and(|from| from <= put.key.as_slice());
            if deleted || self.reader.get(&put.key, 0)?.is_none() {
                return Err(MvccError::KeyNotFound);
            }
        }
        if put.lease != 0 && !(self.lease_exists)(put.lease) {
            return Err(MvccError::LeaseNotFound);
        }
        Ok(())
    }
}

/// Who runs the steps.
enum Run<'r, 's> {
    Read(&'r Reader),
    Write(&'r mut WriteTxn<'s>),
}

impl<'s> Run<'_, 's> {
    fn reader(&self) -> &Reader {
        match self {
            Run::Read(reader) => reader,
            Run::Write(txn) => txn.reader(),
        }
    }

    fn writer(&mut self) -> Result<&mut WriteTxn<'s>, MvccError> {
        match self {
            Run::Read(_) => {
                let reason = "a transaction that only reads came to a write".to_owned();
                Err(MvccError::HalfWay { reason })
            }
            Run::Write(txn) => Ok(txn),
        }
    }
}

/// Runs the steps that the path chose. A nested answer has an empty header, as upstream's.
fn execute(
    run: &mut Run<'_, '_>,
    request: &TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<TxnResponse, MvccError> {
    let succeeded = path.next().copied().unwrap_or(false);
    let mut responses = Vec::new();
    for step in branch(request, succeeded) {
        let response = match &step.request {
            Some(Request::RequestRange(range)) => {
                Some(Response::ResponseRange(run.reader().range(range)?))
            }
            Some(Request::RequestTxn(nested)) => {
                Some(Response::ResponseTxn(execute(run, nested, path)?))
            }
            Some(Request::RequestPut(put)) => {
                Some(Response::ResponsePut(run.writer()?.put_request(put)?))
            }
            Some(Request::RequestDeleteRange(delete)) => {
                Some(Response::ResponseDeleteRange(run.writer()?.delete_request(delete)?))
            }
            None => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
}
