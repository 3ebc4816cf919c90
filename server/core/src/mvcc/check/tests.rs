//! Requests that upstream refuses, with its texts.

use super::*;
use crate::mvcc::Code;
use holdfast_api::etcdserverpb::Compare;
use proptest::prelude::*;

const EMPTY_KEY: &str = "etcdserver: key is not provided";

fn put(key: &str) -> RequestOp {
    let put = PutRequest { key: key.into(), ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

fn delete(key: &str, end: &str) -> RequestOp {
    let delete = DeleteRangeRequest {
        key: key.into(),
        range_end: end.into(),
        ..DeleteRangeRequest::default()
    };
    RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    let txn = TxnRequest { success, failure, ..TxnRequest::default() };
    RequestOp { request: Some(Request::RequestTxn(txn)) }
}

fn verdict(success: Vec<RequestOp>) -> Option<String> {
    let txn = TxnRequest { success, ..TxnRequest::default() };
    check_txn(&txn, 128).err().map(|error| error.to_string())
}

#[test]
fn a_key_is_put_once() {
    let duplicate = Some("etcdserver: duplicate key given in txn request".to_owned());
    assert_eq!(verdict(vec![put("a"), put("b")]), None);
    assert_eq!(verdict(vec![put("a"), put("a")]), duplicate);
    assert_eq!(verdict(vec![put("a"), delete("a", "")]), duplicate);
    assert_eq!(verdict(vec![put("b"), delete("a", "c")]), duplicate);
    assert_eq!(verdict(vec![put("c"), delete("a", "c")]), None);
    assert_eq!(verdict(vec![put("a"), delete("a", "c")]), duplicate);
    assert_eq!(verdict(vec![delete("a", ""), delete("a", "b")]), None);
    assert_eq!(verdict(vec![nested(vec![delete("a", "")], vec![]), put("a")]), duplicate);
    assert_eq!(verdict(vec![delete("a", "c"), delete("b", "d")]), None);
    // Either branch may put it, but not beside another one.
    assert_eq!(verdict(vec![nested(vec![put("a")], vec![put("a")])]), None);
    assert_eq!(verdict(vec![nested(vec![put("a")], vec![]), put("a")]), duplicate);
    assert_eq!(verdict(vec![nested(vec![], vec![put("a")]), delete("a", "")]), duplicate);
    // A sibling may delete what one before it put, not the other way round.
    let (puts, deletes) = (nested(vec![put("a")], vec![]), nested(vec![delete("a", "")], vec![]));
    assert_eq!(verdict(vec![puts.clone(), deletes.clone()]), None);
    assert_eq!(verdict(vec![deletes, puts]), duplicate);
    // Upstream's hole: a delete from a key on is an empty interval here.
    assert_eq!(verdict(vec![put("b"), delete("a", "\0")]), None);
}

#[test]
fn limits_and_flags_have_upstreams_texts() {
    let text = |result: Result<(), MvccError>| result.unwrap_err().to_string();
    let txn = TxnRequest { success: vec![put("a"); 3], ..TxnRequest::default() };
    assert_eq!(text(check_txn(&txn, 2)), "etcdserver: too many operations in txn request");
    let inner = nested(vec![put("a"), put("b")], vec![]);
    let deep = TxnRequest { success: vec![inner], ..TxnRequest::default() };
    assert!(check_txn(&deep, 3).is_ok());
    assert_eq!(text(check_txn(&deep, 2)), "etcdserver: too many operations in txn request");
    assert_eq!(text(check_delete_range(&DeleteRangeRequest::default())), EMPTY_KEY);
    assert_eq!(text(check_range(&RangeRequest::default())), EMPTY_KEY);
    let empty = RequestOp { request: None };
    assert_eq!(verdict(vec![empty]).unwrap(), "etcdserver: key not found");
    assert_eq!(verdict(vec![put("")]).unwrap(), EMPTY_KEY);
    let compare = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
    assert_eq!(text(check_txn(&compare, 128)), EMPTY_KEY);
    let request = PutRequest {
        key: b"a".to_vec(),
        value: b"v".to_vec(),
        ignore_value: true,
        ..PutRequest::default()
    };
    assert_eq!(text(check_put(&request)), "etcdserver: value is provided");
    let request =
        PutRequest { key: b"a".to_vec(), lease: 1, ignore_lease: true, ..PutRequest::default() };
    assert_eq!(text(check_put(&request)), "etcdserver: lease is provided");
    let range = RangeRequest { key: b"a".to_vec(), sort_target: 5, ..RangeRequest::default() };
    assert_eq!(text(check_range(&range)), "etcdserver: invalid sort option");
    assert_eq!(check_range(&range).unwrap_err().code(), Code::InvalidArgument);
    let range = RangeRequest { key: b"a".to_vec(), sort_order: 2, ..RangeRequest::default() };
    assert_eq!(check_range_stream(&range).unwrap_err().code(), Code::Unimplemented);
}

#[test]
fn deep_nesting_ends() {
    let mut op = put("a");
    for _ in 0..300 {
        op = nested(vec![op], vec![]);
    }
    assert!(verdict(vec![op]).is_some());
}

proptest! {
    #[test]
    fn intervals_are_what_they_cover(
        added in proptest::collection::vec((0u8..40, 0u8..40), 0..30),
    ) {
        let mut intervals = Intervals::default();
        for (start, end) in &added {
            intervals.insert(vec![*start], vec![*end]);
        }
        for key in 0u8..41 {
            let covered = added.iter().any(|(start, end)| *start <= key && key < *end);
            prop_assert_eq!(intervals.contain(&[key]), covered, "{}", key);
        }
        let starts: Vec<_> = intervals.0.iter().collect();
        prop_assert!(starts.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
