//! What can be refused by looking at the request alone: empty keys, odd sort orders, fields that
//! exclude one another, too many operations, a key that a transaction puts twice.
//!
//! A transaction nests; each level takes its own count of operations from what is left, so the
//! depth is bounded too. The rule for duplicate keys: within a branch a key is put once and no
//! delete of the same list covers a put; the two branches of a nested transaction exclude each
//! other and may put the same key. Deletes count for puts that come after them in nesting order.

use super::Refusal;
use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use std::collections::BTreeSet;

/// Checks a range.
///
/// # Errors
/// The key is empty, or the sort order or target is none.
pub fn range(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err()
        || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(Refusal::InvalidSortOption);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// The key is empty, or a value or lease stands beside the wish to keep the present one.
pub fn put(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// The key is empty.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction with all below it; `most_ops` is `--max-txn-ops`.
///
/// # Errors
/// Those of its operations, too many of them, or a key put twice.
pub fn txn(request: &TxnRequest, most_ops: usize) -> Result<(), Refusal> {
    operations(request, most_ops)?;
    // Only what is known to be small is looked at for duplicates.
    for branch in [&request.success, &request.failure] {
        writes(branch)?;
    }
    Ok(())
}

fn operations(request: &TxnRequest, most_ops: usize) -> Result<(), Refusal> {
    let counts = [request.compare.len(), request.success.len(), request.failure.len()];
    let count = counts.into_iter().max().unwrap_or(0);
    let Some(left) = most_ops.checked_sub(count) else { return Err(Refusal::TooManyOps) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => operations(request, left)?,
            // Upstream's word for an operation that is none.
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// Keys that a list of operations puts, and ranges that it deletes.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<(&'a [u8], &'a [u8])>,
}

impl Writes<'_> {
    /// Whether a delete covers the key: alone or up to an end. An end of `\0`, which deletes all
    /// from the first key on, covers nothing here: upstream lets such a transaction pass, and its
    /// delete then meets the put.
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|(first, end)| match *end {
            [] => key == *first,
            end => key >= *first && key < end,
        })
    }
}

fn writes(branch: &[RequestOp]) -> Result<Writes<'_>, Refusal> {
    let mut found = Writes::default();
    for operation in branch {
        if let Some(Request::RequestDeleteRange(delete)) = &operation.request {
            found.deletes.push((&delete.key, &delete.range_end));
        }
    }
    for operation in branch {
        let Some(Request::RequestTxn(inner)) = &operation.request else { continue };
        let (then, otherwise) = (writes(&inner.success)?, writes(&inner.failure)?);
        let covered =
            |found: &Writes<'_>, side: &Writes<'_>| side.puts.iter().any(|key| found.deletes(key));
        let twice = then.puts.iter().any(|key| found.puts.contains(key))
            || otherwise
                .puts
                .iter()
                .any(|key| found.puts.contains(key) && !then.puts.contains(key));
        if twice || covered(&found, &then) || covered(&found, &otherwise) {
            return Err(Refusal::DuplicateKey);
        }
        for side in [then, otherwise] {
            found.puts.extend(side.puts);
            found.deletes.extend(side.deletes);
        }
    }
    for operation in branch {
        let Some(Request::RequestPut(put)) = &operation.request else { continue };
        let key: &[u8] = &put.key;
        if found.deletes(key) || !found.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::etcdserverpb::Compare;

    fn a_put(key: &str) -> RequestOp {
        let put = PutRequest { key: key.as_bytes().to_vec(), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn a_delete(key: &str, end: &str) -> RequestOp {
        let delete = DeleteRangeRequest {
            key: key.as_bytes().to_vec(),
            range_end: end.as_bytes().to_vec(),
            ..DeleteRangeRequest::default()
        };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn a_txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let txn = TxnRequest { compare: Vec::new(), success, failure };
        RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    fn judged(success: Vec<RequestOp>) -> Result<(), Refusal> {
        txn(&TxnRequest { compare: Vec::new(), success, failure: Vec::new() }, 128)
    }

    #[test]
    fn a_key_is_put_once() {
        assert_eq!(judged(vec![a_put("a"), a_put("b")]), Ok(()));
        let duplicate = Err(Refusal::DuplicateKey);
        assert_eq!(judged(vec![a_put("a"), a_put("a")]), duplicate);
        assert_eq!(judged(vec![a_put("b"), a_delete("a", "c")]), duplicate);
        assert_eq!(judged(vec![a_put("b"), a_delete("a", "\0")]), Ok(()), "upstream's gap");
        assert_eq!(judged(vec![a_put("c"), a_delete("a", "c")]), Ok(()), "the end is open");
        assert_eq!(judged(vec![a_put("a"), a_delete("a", "c")]), duplicate, "the begin is not");
        assert_eq!(judged(vec![a_delete("a", ""), a_delete("a", "b")]), Ok(()));
        assert_eq!(judged(vec![a_put("a"), a_txn(vec![a_put("a")], vec![])]), duplicate);
        let branches = a_txn(vec![a_put("a")], vec![a_put("a")]);
        assert_eq!(judged(vec![branches.clone()]), Ok(()), "branches exclude each other");
        assert_eq!(judged(vec![branches.clone(), branches]), duplicate);
        let deletes_then_puts = vec![a_txn(vec![a_delete("a", "")], vec![]), a_put("a")];
        assert_eq!(judged(deletes_then_puts), duplicate);
        let puts_then_deletes =
            vec![a_txn(vec![a_put("a")], vec![]), a_txn(vec![a_delete("a", "")], vec![])];
        assert_eq!(judged(puts_then_deletes), Ok(()), "upstream looks at earlier deletes only");
    }

    #[test]
    fn operations_are_counted_by_level_and_depth() {
        let keys: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        let puts: Vec<RequestOp> = keys.iter().map(|key| a_put(key)).collect();
        let wide = TxnRequest { success: puts.clone(), ..TxnRequest::default() };
        assert_eq!(txn(&wide, 5), Ok(()));
        assert_eq!(txn(&wide, 4), Err(Refusal::TooManyOps));
        let deep = TxnRequest { success: vec![a_txn(puts, vec![])], ..TxnRequest::default() };
        assert_eq!(txn(&deep, 6), Ok(()));
        assert_eq!(txn(&deep, 5), Err(Refusal::TooManyOps));
        let compare = vec![Compare::default()];
        let no_key = TxnRequest { compare, ..TxnRequest::default() };
        assert_eq!(txn(&no_key, 5), Err(Refusal::EmptyKey));
        let nothing = TxnRequest { success: vec![RequestOp::default()], ..TxnRequest::default() };
        assert_eq!(txn(&nothing, 5), Err(Refusal::KeyNotFound));
    }

    #[test]
    fn fields_exclude_one_another() {
        let key = || b"k".to_vec();
        assert_eq!(range(&RangeRequest::default()), Err(Refusal::EmptyKey));
        let odd = RangeRequest { key: key(), sort_target: 9, ..RangeRequest::default() };
        assert_eq!(range(&odd), Err(Refusal::InvalidSortOption));
        let both =
            PutRequest { key: key(), value: key(), ignore_value: true, ..PutRequest::default() };
        assert_eq!(put(&both), Err(Refusal::ValueProvided));
        let lease =
            PutRequest { key: key(), lease: 1, ignore_lease: true, ..PutRequest::default() };
        assert_eq!(put(&lease), Err(Refusal::LeaseProvided));
        assert_eq!(delete_range(&DeleteRangeRequest::default()), Err(Refusal::EmptyKey));
    }
}
