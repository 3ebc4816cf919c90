//! get, put, del: from options to requests; transactions read their requests the same way.

use super::session::Call;
use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use crate::go::{number, quote};
use crate::keys;
use crate::print::{Answer, Format};
use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use std::time::Duration;

/// How long a range can still be kept from being deleted.
const REGRET: Duration = Duration::from_secs(2);
const BOTH_RANGES: &str = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
const RANGE_AND_END: &str =
    "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";

/// `get`
pub(super) async fn get(call: &Call) -> Result<(), Failure> {
    let request = range_request(&call.given)?;
    let mut session = call.session()?;
    let response = session.check(session.client.kv().range(request).await)?;
    let format = session.printer.format;
    if call.given.truth("count-only") && format != Format::Fields {
        return Err(Failure::arguments("--count-only is only for `--write-out=fields`"));
    }
    if call.given.truth("print-value-only") {
        if format != Format::Simple {
            return Err(Failure::arguments("print-value-only is only for `--write-out=simple`"));
        }
        session.printer.value_only = true;
    }
    session.print(&Answer::Range(&response))
}

/// `put`
pub(super) async fn put(call: &Call) -> Result<(), Failure> {
    let request = put_request(&call.given, &call.console)?;
    let session = call.session()?;
    session.check_size(&request)?;
    let response = session.check(session.client.kv().put(request).await)?;
    session.print(&Answer::Put(&response))
}

/// `del`
pub(super) async fn del(call: &Call) -> Result<(), Failure> {
    let request = delete_request(&call.given)?;
    let arguments = call.given.arguments();
    if arguments.len() > 1 && !call.given.truth("range") {
        let (from, to) = (quote::text(&arguments[0]), quote::text(&arguments[1]));
        call.console.complain(format!(
            "Warning: Keys between {from} and {to} will be deleted. Please interrupt the command \
             within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay."
        ));
        tokio::time::sleep(REGRET).await;
    }
    let session = call.session()?;
    let response = session.check(session.client.kv().delete_range(request).await)?;
    session.print(&Answer::Delete(&response))
}

/// What `get` asks for.
pub(super) fn range_request(given: &Given) -> Result<RangeRequest, Failure> {
    let arguments = given.arguments();
    if arguments.is_empty() {
        return Err(Failure::arguments(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    }
    if given.truth("prefix") && given.truth("from-key") {
        return Err(Failure::arguments(BOTH_RANGES));
    }
    if given.truth("keys-only") && given.truth("count-only") {
        let words = "`--keys-only` and `--count-only` cannot be set at the same time, choose one";
        return Err(Failure::arguments(words));
    }
    let serializable = is_serializable(given.text("consistency"))?;
    let (key, range_end) = key_range(given)?;
    let (sort_order, sort_target) = sorting(given)?;
    let request = RangeRequest {
        key,
        range_end,
        limit: given.int("limit"),
        revision: given.int("rev").max(0),
        sort_order: sort_order as i32,
        sort_target: sort_target as i32,
        serializable,
        keys_only: given.truth("keys-only"),
        count_only: given.truth("count-only"),
        min_mod_revision: given.int("min-mod-rev").max(0),
        max_mod_revision: given.int("max-mod-rev").max(0),
        min_create_revision: given.int("min-create-rev").max(0),
        max_create_revision: given.int("max-create-rev").max(0),
    };
    let contradiction = |name: &str, least: i64, most: i64| {
        let words = format!("getMin{name}Rev(={least}) > getMax{name}Rev(={most})");
        if most > 0 && least > most { Err(Failure::feature(words)) } else { Ok(()) }
    };
    contradiction("Create", request.min_create_revision, request.max_create_revision)?;
    contradiction("Mod", request.min_mod_revision, request.max_mod_revision)?;
    Ok(request)
}

/// Whether an answer may come from the member alone.
pub(super) fn is_serializable(consistency: &str) -> Result<bool, Failure> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => Err(Failure::feature(format!("unknown consistency flag {}", quote::text(other)))),
    }
}

/// Key and end by `--prefix`, `--from-key` or a second argument.
fn key_range(given: &Given) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let arguments = given.arguments();
    let key = arguments.first().map_or(&b""[..], |key| key.as_bytes());
    let (prefix, from_key) = (given.truth("prefix"), given.truth("from-key"));
    if arguments.len() > 1 && (prefix || from_key) {
        return Err(Failure::arguments(RANGE_AND_END));
    }
    Ok(match arguments.get(1) {
        _ if prefix => keys::prefix(key),
        _ if from_key => keys::from_key(key),
        Some(end) => (key.to_vec(), end.clone().into_bytes()),
        None => (key.to_vec(), Vec::new()),
    })
}

fn sorting(given: &Given) -> Result<(SortOrder, SortTarget), Failure> {
    let order = match given.text("order").to_uppercase().as_str() {
        "" => SortOrder::None,
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        _ => return Err(Failure::feature(format!("bad sort order {}", given.text("order")))),
    };
    let target = match given.text("sort-by").to_uppercase().as_str() {
        "" | "KEY" => SortTarget::Key,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(Failure::feature(format!("bad sort target {}", given.text("sort-by")))),
    };
    // Keys come in ascending order anyway.
    if (order, target) == (SortOrder::Ascend, SortTarget::Key) {
        return Ok((SortOrder::None, target));
    }
    Ok((order, target))
}

/// What `put` asks for; a value that is not given is read from standard input.
pub(super) fn put_request(given: &Given, console: &Console) -> Result<PutRequest, Failure> {
    const NO_VALUE: &str = "put command needs 1 argument and input from stdin or 2 arguments";
    let arguments = given.arguments();
    let key = arguments.first().ok_or_else(|| Failure::arguments(NO_VALUE))?;
    let ignore_value = given.truth("ignore-value");
    if ignore_value && arguments.len() > 1 {
        let words = "put command needs only 1 argument when 'ignore-value' is set";
        return Err(Failure::arguments(words));
    }
    let value = match arguments.get(1) {
        _ if ignore_value => Vec::new(),
        Some(value) => value.clone().into_bytes(),
        None => match console.read_all() {
            Ok(value) if !value.is_empty() => value,
            _ => return Err(Failure::arguments(NO_VALUE)),
        },
    };
    let lease = number::int(given.text("lease"), 16)
        .map_err(|why| Failure::arguments(format!("bad lease ID ({why}), expecting ID in Hex")))?;
    Ok(PutRequest {
        key: key.clone().into_bytes(),
        value,
        lease,
        prev_kv: given.truth("prev-kv"),
        ignore_value,
        ignore_lease: given.truth("ignore-lease"),
    })
}

/// What `del` asks for.
pub(super) fn delete_request(given: &Given) -> Result<DeleteRangeRequest, Failure> {
    if !(1..=2).contains(&given.arguments().len()) {
        return Err(Failure::arguments(
            "del command needs one argument as key and an optional argument as range_end",
        ));
    }
    if given.truth("prefix") && given.truth("from-key") {
        return Err(Failure::arguments(BOTH_RANGES));
    }
    let (key, range_end) = key_range(given)?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: given.truth("prev-kv") })
}
