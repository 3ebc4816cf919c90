//! Requests and answers on keys and values as upstream's JSON gateway has them: 64-bit numbers as
//! texts, bytes in base64, zero values left out of answers.

use crate::peers::base64;
use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::response_op::Response;
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use holdfast_api::mvccpb::{Event, KeyValue};
use serde_json::{Map, Value, json};

pub(crate) fn put(put: &PutRequest) -> Value {
    json!({
        "key": base64(&put.key), "value": base64(&put.value), "lease": put.lease.to_string(),
        "prev_kv": put.prev_kv, "ignore_value": put.ignore_value, "ignore_lease": put.ignore_lease,
    })
}

pub(crate) fn delete(delete: &DeleteRangeRequest) -> Value {
    json!({
        "key": base64(&delete.key), "range_end": base64(&delete.range_end),
        "prev_kv": delete.prev_kv,
    })
}

pub(crate) fn range(range: &RangeRequest) -> Value {
    json!({
        "key": base64(&range.key), "range_end": base64(&range.range_end),
        "limit": range.limit.to_string(), "revision": range.revision.to_string(),
        "sort_order": range.sort_order, "sort_target": range.sort_target,
        "serializable": range.serializable,
        "keys_only": range.keys_only, "count_only": range.count_only,
        "min_mod_revision": range.min_mod_revision.to_string(),
        "max_mod_revision": range.max_mod_revision.to_string(),
        "min_create_revision": range.min_create_revision.to_string(),
        "max_create_revision": range.max_create_revision.to_string(),
    })
}

pub(crate) fn txn(request: &TxnRequest) -> Value {
    let compares = request.compare.iter().map(|compare| {
        let (name, operand) = match compare.target_union.as_ref().unwrap() {
            TargetUnion::Version(number) => ("version", number.to_string()),
            TargetUnion::CreateRevision(number) => ("create_revision", number.to_string()),
            TargetUnion::ModRevision(number) => ("mod_revision", number.to_string()),
            TargetUnion::Value(value) => ("value", base64(value)),
            TargetUnion::Lease(number) => ("lease", number.to_string()),
        };
        json!({
            "result": compare.result, "target": compare.target, "key": base64(&compare.key),
            "range_end": base64(&compare.range_end), name: operand,
        })
    });
    let steps = |steps: &[holdfast_api::etcdserverpb::RequestOp]| -> Vec<Value> {
        let step = |request: &Request| match request {
            Request::RequestRange(request) => json!({"request_range": range(request)}),
            Request::RequestPut(request) => json!({"request_put": put(request)}),
            Request::RequestDeleteRange(request) => {
                json!({"request_delete_range": delete(request)})
            }
            Request::RequestTxn(request) => json!({"request_txn": txn(request)}),
        };
        steps.iter().map(|op| op.request.as_ref().map_or(json!({}), step)).collect()
    };
    json!({
        "compare": compares.collect::<Vec<_>>(),
        "success": steps(&request.success), "failure": steps(&request.failure),
    })
}

/// An object without its zero values.
fn object(fields: &[(&str, Value)]) -> Value {
    let is_zero = |value: &Value| {
        *value == json!("") || *value == json!("0") || *value == json!(false) || *value == json!([])
    };
    let kept = fields.iter().filter(|(_, value)| !value.is_null() && !is_zero(value));
    Value::Object(
        kept.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>(),
    )
}

pub(crate) fn kv(kv: &KeyValue) -> Value {
    object(&[
        ("key", json!(base64(&kv.key))),
        ("create_revision", json!(kv.create_revision.to_string())),
        ("mod_revision", json!(kv.mod_revision.to_string())),
        ("version", json!(kv.version.to_string())),
        ("value", json!(base64(&kv.value))),
        ("lease", json!(kv.lease.to_string())),
    ])
}

pub(crate) fn event(event: &Event) -> Value {
    let kind = if event.r#type == 0 { Value::Null } else { json!("DELETE") };
    object(&[("type", kind), ("kv", event.kv.as_ref().map_or(Value::Null, kv))])
}

fn header(header: Option<&ResponseHeader>) -> Value {
    object(&[("revision", json!(header.unwrap().revision.to_string()))])
}

pub(crate) fn put_answer(answer: &PutResponse) -> Value {
    let previous = answer.prev_kv.as_ref().map_or(Value::Null, kv);
    object(&[("header", header(answer.header.as_ref())), ("prev_kv", previous)])
}

pub(crate) fn delete_answer(answer: &DeleteRangeResponse) -> Value {
    object(&[
        ("header", header(answer.header.as_ref())),
        ("deleted", json!(answer.deleted.to_string())),
        ("prev_kvs", answer.prev_kvs.iter().map(kv).collect()),
    ])
}

pub(crate) fn range_answer(answer: &RangeResponse) -> Value {
    object(&[
        ("header", header(answer.header.as_ref())),
        ("kvs", answer.kvs.iter().map(kv).collect()),
        ("more", json!(answer.more)),
        ("count", json!(answer.count.to_string())),
    ])
}

pub(crate) fn txn_answer(answer: &TxnResponse) -> Value {
    let step = |response: &Response| match response {
        Response::ResponseRange(answer) => json!({"response_range": range_answer(answer)}),
        Response::ResponsePut(answer) => json!({"response_put": put_answer(answer)}),
        Response::ResponseDeleteRange(answer) => {
            json!({"response_delete_range": delete_answer(answer)})
        }
        Response::ResponseTxn(answer) => json!({"response_txn": txn_answer(answer)}),
    };
    let steps = answer.responses.iter().map(|op| op.response.as_ref().map_or(json!({}), step));
    object(&[
        ("header", header(answer.header.as_ref())),
        ("succeeded", json!(answer.succeeded)),
        ("responses", steps.collect()),
    ])
}
