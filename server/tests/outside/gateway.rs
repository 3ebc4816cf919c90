//! The JSON gateway beside upstream's.

use crate::process::{Page, Server};
use serde_json::Value;

/// Upstream's encoder puts blanks at random; what is between them counts.
fn parsed(page: &Page) -> Value {
    serde_json::from_str(&page.body).unwrap_or_else(|error| panic!("{error}: {page:?}"))
}

fn kinds(page: &Page) -> (u16, Option<&str>, Option<&str>) {
    (page.status, page.header("content-type"), page.header("grpc-metadata-content-type"))
}

#[test]
fn refusals_are_upstreams_to_the_letter() {
    let (our, their) = (Server::ours(), Server::theirs());
    for (verb, path, body) in [
        ("POST", "/v3/kv/range", r#"{"key":""}"#),
        ("POST", "/v3/kv/range", ""),
        ("POST", "/v3/kv/range", r#"{"key":"Zg==","sort_order":7}"#),
        ("POST", "/v3/kv/range", r#"{"key":"Zg==","sort_target":-1}"#),
        ("POST", "/v3/kv/put", r#"{"lease":"99"}"#),
        ("POST", "/v3/kv/put", r#"{"key":"Zg==","value":"Zg==","ignore_value":true}"#),
        ("POST", "/v3/kv/put", r#"{"key":"Zg==","lease":"1","ignoreLease":true}"#),
        ("POST", "/v3/kv/deleterange", "{}"),
        ("POST", "/v3/kv/txn", r#"{"success":[{}]}"#),
        ("POST", "/v3/kv/txn", r#"{"compare":[{}]}"#),
        (
            "POST",
            "/v3/kv/txn",
            r#"{"success":[{"request_put":{"key":"Zg=="}},{"requestPut":{"key":"Zg=="}}]}"#,
        ),
        (
            "POST",
            "/v3/kv/txn",
            r#"{"success":[{"request_put":{"key":"Zg=="}},{"request_delete_range":{"key":"YQ==","range_end":"eg=="}}]}"#,
        ),
        (
            "POST",
            "/v3/kv/txn",
            r#"{"success":[{"request_put":{"key":"Zg=="}},{"request_txn":{"success":[{"request_delete_range":{"key":"Zg=="}}]}}]}"#,
        ),
        ("POST", "/v3/kv/compaction", r#"{"revision":"99"}"#),
        ("GET", "/v3/kv/range", ""),
        ("POST", "/v3/kv/nope", "{}"),
        ("POST", "/v3/kv/rangestream", "{}"),
        ("POST", "/v3/", "{}"),
        ("POST", "/v3beta/kv/range", "{}"),
    ] {
        let (our, their) = (our.ask(verb, path, body), their.ask(verb, path, body));
        assert_eq!(parsed(&our), parsed(&their), "{verb} {path} {body}");
        assert_eq!(kinds(&our), kinds(&their), "{verb} {path} {body}");
    }
}

#[test]
fn what_upstream_takes_is_taken() {
    let (our, their) = (Server::ours(), Server::theirs());
    for (path, body) in [
        ("/v3/kv/range", r#"{"key":"Zm9v"}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","rangeEnd":"YmFy","limit":"5","sort_order":"DESCEND"}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","range_end":"AA==","limit":5,"sort_order":2}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","unknown":{"a":[1]}}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","sort_order":"FOO"}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v"} {"x":1}"#),
        ("/v3/kv/range", r#"{"key":"Zm9","limit":null}"#),
        ("/v3/kv/range", r#"{"key":"_-8="}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","limit":5.0,"serializable":true}"#),
        ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
        (
            "/v3/kv/txn",
            r#"{"compare":[{"key":"Zm9v","target":"CREATE","createRevision":"0"}],"success":[{"requestPut":{"key":"Zm9v"}}]}"#,
        ),
    ] {
        let (our, their) = (our.ask("POST", path, body), their.ask("POST", path, body));
        assert_eq!(kinds(&our), kinds(&their), "{path} {body}: {our:?} {their:?}");
        let header = |page: &Page| -> Vec<String> {
            let header = parsed(page)["header"].clone();
            let texts = header.as_object().unwrap().iter().filter(|(_, value)| value.is_string());
            texts.map(|(key, _)| key.clone()).collect()
        };
        assert_eq!(header(&our), header(&their), "{path} {body}");
    }
}

#[test]
fn what_is_no_message_is_refused_with_upstreams_codes() {
    let (our, their) = (Server::ours(), Server::theirs());
    for body in [
        r#"{"key":5}"#,
        r#"{"key":"Z!"}"#,
        "{bad",
        r#"{"key":"Zm9v""#,
        "[]",
        r#"{"limit":"x"}"#,
        r#"{"limit":1.5}"#,
        r#"{"limit":"99999999999999999999"}"#,
        r#"{"serializable":"yes"}"#,
    ] {
        let (our, their) =
            (our.ask("POST", "/v3/kv/range", body), their.ask("POST", "/v3/kv/range", body));
        assert_eq!(kinds(&our), kinds(&their), "{body}");
        assert_eq!(parsed(&our)["code"], parsed(&their)["code"], "{body}");
        assert!(parsed(&our)["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn a_watch_answers_line_by_line() {
    let (our, their) = (Server::ours(), Server::theirs());
    let body = r#"{"create_request":{"key":"Zm9v"}}"#;
    let (our, their) = (our.ask("POST", "/v3/watch", body), their.ask("POST", "/v3/watch", body));
    assert_eq!(kinds(&our), kinds(&their));
    let first = |page: &Page| -> Value {
        let line = page.body.lines().next().unwrap_or_default();
        let mut value: Value = serde_json::from_str(line).unwrap();
        value["result"]["header"] = Value::Null;
        value
    };
    assert_eq!(first(&our), first(&their));
    assert!(our.body.starts_with("{\"result\":{\"header\":{\"cluster_id\":\""), "{}", our.body);
}

#[test]
fn a_gateway_can_be_left_out() {
    let arguments = ["--enable-grpc-gateway=false"];
    let server = Server::start(crate::process::ours, "http", &arguments);
    assert_eq!(server.ask("POST", "/v3/kv/range", "{}").status, 404);
}
