//! Validation of requests before they are proposed: upstream's rules, order and errors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::MvccError;
use super::range::{has_default_order, has_revision_filters};

/// Deepest nesting that is looked at. A level needs at least one step of `max_txn_ops`, so upstream
/// ends there, too; a message is not decoded deeper than 100 levels by either.
const MAX_DEPTH: usize = 128;

/// Checks a range.
///
/// # Errors
/// [`MvccError::EmptyKey`], [`MvccError::InvalidSortOption`].
pub fn check_range(request: &RangeRequest) -> Result<(), MvccError> {
    if request.key.is_empty() {
        return Err(MvccError::EmptyKey);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(MvccError::InvalidSortOption) }
}

/// Checks a range that is to be streamed, as 3.7 does.
///
/// # Errors
/// As [`check_range`]; an order or bounds that a stream cannot keep.
pub fn check_range_stream(request: &RangeRequest) -> Result<(), MvccError> {
    check_range(request)?;
    if !has_default_order(request) {
        return Err(MvccError::StreamOrder);
    }
    if has_revision_filters(request) {
        return Err(MvccError::StreamFilter);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// An empty key, a value or lease beside the flag that keeps the old one.
pub fn check_put(request: &PutRequest) -> Result<(), MvccError> {
    if request.key.is_empty() {
        return Err(MvccError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(MvccError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(MvccError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// [`MvccError::EmptyKey`].
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), MvccError> {
    if request.key.is_empty() { Err(MvccError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction and all inside it: first each step, then keys that are put twice or put
/// and deleted. `max_ops` holds for conditions, successes and failures each; a nested transaction
/// may have what its parent leaves of it.
///
/// # Errors
/// See [`MvccError`].
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), MvccError> {
    check_steps(request, max_ops, 0)?;
    Touched::of(&request.success)?;
    Touched::of(&request.failure)?;
    Ok(())
}

fn check_steps(request: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), MvccError> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops.checked_sub(ops).ok_or(MvccError::TooManyOps)?;
    if depth > MAX_DEPTH {
        return Err(MvccError::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(MvccError::EmptyKey);
    }
    for step in request.success.iter().chain(&request.failure) {
        match &step.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(txn)) => check_steps(txn, left, depth + 1)?,
            None => return Err(MvccError::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of steps may put and delete, whichever way its nested transactions go.
#[derive(Debug, Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals,
}

impl<'a> Touched<'a> {
    /// Upstream's order of checks: a nested transaction's puts against this level's deletes and
    /// those of nested transactions before it, then this level's puts against all of them. A nested
    /// transaction may delete what one before it put.
    fn of(steps: &'a [RequestOp]) -> Result<Touched<'a>, MvccError> {
        let mut all = Touched::default();
        for step in steps {
            if let Some(Request::RequestDeleteRange(delete)) = &step.request {
                all.deletes.insert_request(&delete.key, &delete.range_end);
            }
        }
        for step in steps {
            let Some(Request::RequestTxn(txn)) = &step.request else { continue };
            let then = Touched::of(&txn.success)?;
            let otherwise = Touched::of(&txn.failure)?;
            for key in &then.puts {
                all.put(key)?;
            }
            // Only one of both happens, so they may put the same key.
            for key in otherwise.puts.difference(&then.puts) {
                all.put(key)?;
            }
            all.deletes.insert_all(then.deletes);
            all.deletes.insert_all(otherwise.deletes);
        }
        for step in steps {
            if let Some(Request::RequestPut(put)) = &step.request {
                all.put(&put.key)?;
            }
        }
        Ok(all)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), MvccError> {
        let deleted = self.deletes.contain(key);
        if deleted || !self.puts.insert(key) { Err(MvccError::DuplicateKey) } else { Ok(()) }
    }
}

/// Disjoint intervals of keys: start to end, exclusive. A look-up is cheap however many steps a
/// hostile request holds.
#[derive(Debug, Default)]
struct Intervals(BTreeMap<Vec<u8>, Vec<u8>>);

impl Intervals {
    /// Adds what a delete names. One "from a key on" (a zero byte as the end) is empty here: so
    /// upstream reads it in this check, and takes such a transaction.
    fn insert_request(&mut self, key: &[u8], range_end: &[u8]) {
        if range_end.is_empty() {
            let mut after = key.to_vec();
            after.push(0);
            self.insert(key.to_vec(), after);
        } else {
            self.insert(key.to_vec(), range_end.to_vec());
        }
    }

    fn insert(&mut self, mut start: Vec<u8>, mut end: Vec<u8>) {
        if start >= end {
            return;
        }
        // Those that begin up to our end and reach our start become one with ours.
        while let Some((before, its_end)) = self.0.range(..=end.clone()).next_back() {
            if *its_end < start {
                break;
            }
            let before = before.clone();
            let Some(its_end) = self.0.remove(&before) else { break };
            end = end.max(its_end);
            start = start.min(before);
        }
        self.0.insert(start, end);
    }

    fn insert_all(&mut self, others: Intervals) {
        for (start, end) in others.0 {
            self.insert(start, end);
        }
    }

    fn contain(&self, key: &[u8]) -> bool {
        let before = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| key < end.as_slice())
    }
}

#[cfg(test)]
mod tests;
