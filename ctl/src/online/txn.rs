//! txn: comparisons and requests from standard input, three lists with an empty line behind each.

use super::commands::TXN_ROOT;
use super::kv;
use super::session::Call;
use crate::args::{self, Wish};
use crate::console::Console;
use crate::failure::Failure;
use crate::go::{number, quote};
use crate::print::Answer;
use holdfast_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{Compare, RequestOp, TxnRequest};

/// `txn`
pub(super) async fn run(call: &Call) -> Result<(), Failure> {
    if !call.given.arguments().is_empty() {
        return Err(Failure::arguments("txn command does not accept argument"));
    }
    let session = call.session()?;
    let prompt = |words: &str| {
        if call.given.truth("interactive") { call.console.line(words) } else { Ok(()) }
    };
    prompt("compares:")?;
    let compare = read(&call.console, parse_compare)?;
    prompt("success requests (get, put, del):")?;
    let success = read(&call.console, |line| parse_request(line, &call.console))?;
    prompt("failure requests (get, put, del):")?;
    let failure = read(&call.console, |line| parse_request(line, &call.console))?;
    let request = TxnRequest { compare, success, failure };
    session.check_size(&request)?;
    let response = session.check(session.client.kv().txn(request).await)?;
    session.print(&Answer::Txn(&response))
}

/// Reads lines up to an empty one.
fn read<T>(
    console: &Console,
    parse: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    loop {
        let line = console.read_line().map_err(|why| Failure::input(why.to_string()))?;
        let line = line.ok_or_else(|| Failure::input("EOF"))?;
        match line.trim() {
            "" => return Ok(items),
            line => items.push(parse(line)?),
        }
    }
}

/// One request, in the words of the verbs get, put and del.
fn parse_request(line: &str, console: &Console) -> Result<RequestOp, Failure> {
    let words = split(line)?;
    if words.len() < 2 {
        return Err(Failure::input(format!("invalid txn compare request: {line}")));
    }
    let Ok(Wish::Run(given)) = args::parse(&TXN_ROOT, "txn", &words) else {
        return Err(Failure::input(format!("invalid txn request: {line}")));
    };
    let request = match given.verb().as_str() {
        "get" => Request::RequestRange(kv::range_request(&given)?),
        "put" => Request::RequestPut(kv::put_request(&given, console)?),
        _ => Request::RequestDeleteRange(kv::delete_request(&given)?),
    };
    Ok(RequestOp { request: Some(request) })
}

/// Splits a line into words; quotes of either kind hold one together, double ones with escapes.
pub(super) fn split(line: &str) -> Result<Vec<String>, Failure> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        let (word, tail) = if rest.starts_with('"') {
            let wrong = || Failure::input(format!("a text in quotes does not end: {rest}"));
            let (word, tail) = quote::read(rest).ok_or_else(wrong)?;
            let text = String::from_utf8(word)
                .map_err(|_| Failure::input("a key or value that is no UTF-8 cannot stand here"))?;
            (text, tail)
        } else if let Some(inner) = rest.strip_prefix('\'') {
            let (word, tail) = inner
                .split_once('\'')
                .ok_or_else(|| Failure::input(format!("a text in quotes does not end: {rest}")))?;
            (word.to_owned(), tail)
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        words.push(word);
        rest = tail.trim_start();
    }
    Ok(words)
}

/// One comparison: `mod("key") > "0"`.
fn parse_compare(line: &str) -> Result<Compare, Failure> {
    let malformed = || Failure::input(format!("malformed comparison: {line}"));
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let (key, rest) = quote::read(rest.trim_start()).ok_or_else(malformed)?;
    let rest = rest.strip_prefix(')').ok_or_else(malformed)?.trim_start();
    let (operator, value) = rest.split_once(char::is_whitespace).ok_or_else(malformed)?;
    let (value, _) = quote::read(value.trim_start()).ok_or_else(malformed)?;
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(Failure::input(format!("Unknown result op {operator} in: {line}"))),
    };
    let number = |base| {
        let text = std::str::from_utf8(&value).ok();
        text.and_then(|text| number::int(text, base).ok())
            .ok_or_else(|| Failure::input(format!("invalid txn compare request: {line}")))
    };
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        unknown => {
            let what = format!("malformed comparison: {line} (unknown target {unknown})");
            return Err(Failure::input(what));
        }
    };
    Ok(Compare {
        result: result as i32,
        target: target as i32,
        key,
        range_end: Vec::new(),
        target_union: Some(union),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(
            line in r#"(mod|val|lease)?\(?("[^"]{0,3}"?)?\)? ?[<>=!~]{0,2} ?("\PC{0,3}"?)?"#,
            other: String,
        ) {
            let _ = (parse_compare(&line), split(&line), parse_compare(&other), split(&other));
        }
    }

    #[test]
    fn words_are_held_together_by_quotes() {
        let line = r#"put "a \"b\"\n" 'c "d"' --lease=1 é"#;
        assert_eq!(split(line).unwrap(), ["put", "a \"b\"\n", "c \"d\"", "--lease=1", "é"]);
        assert!(split("put \"a").is_err() && split("put 'a").is_err());
        assert!(split("").unwrap().is_empty());
    }

    #[test]
    fn comparisons() {
        let compare = parse_compare(r#"val("k\x00") = "v w""#).unwrap();
        assert_eq!(compare.key, b"k\0");
        assert_eq!(compare.target_union, Some(TargetUnion::Value(b"v w".to_vec())));
        let lease = parse_compare(r#"lease("k") != "1f""#).unwrap();
        assert_eq!(lease.target_union, Some(TargetUnion::Lease(31)));
        for bad in [
            "",
            "mod",
            "mod(",
            r#"mod("a")"#,
            r#"mod("a") > "x""#,
            r#"mod("a") ~ "1""#,
            r#"nod("a") = "1""#,
            r#"mod(a) = "1""#,
        ] {
            assert_eq!(parse_compare(bad).unwrap_err().code, 3, "{bad}");
        }
    }
}
