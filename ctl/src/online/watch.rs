//! watch: events as they come; a command for each; and interactively several watches at once.

use super::commands::WATCH;
use super::session::{Call, Session};
use super::txn::split;
use super::watching::Watching;
use crate::args::{self, Command, Given, Wish};
use crate::failure::Failure;
use crate::go::quote;
use crate::keys;
use crate::print::Answer;
use holdfast_api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use holdfast_api::mvccpb::Event;
use std::collections::BTreeMap;
use tokio::process::Command as Program;
use tokio::sync::mpsc;

const KEY: &str = "ETCDCTL_WATCH_KEY";
const END: &str = "ETCDCTL_WATCH_RANGE_END";
const NO_COMMAND: &str = "bad number of arguments (found separator --, but no commands)";

/// What is watched, and what runs for each event.
struct Wanted {
    request: WatchCreateRequest,
    command: Vec<String>,
}

/// `watch`
pub(super) async fn run(call: &Call) -> Result<(), Failure> {
    if let (None, Some(end)) = (call.console.variable(KEY), call.console.variable(END)) {
        let words = format!("{KEY} is empty but got {END}={}", quote::text(end));
        return Err(Failure::arguments(words));
    }
    if call.given.truth("interactive") {
        return interactive(call).await;
    }
    let wanted = wanted(call, &call.given)?;
    let session = call.session()?;
    let mut watching = Watching::begin(&session.client);
    watching.add(wanted.request).await;
    loop {
        let response = watching.next().await?;
        show(&session, &response, [&wanted.command[..]].into_iter()).await?;
        if response.canceled {
            return Err(Failure::interrupted("watch is canceled by the server"));
        }
    }
}

/// What a command line asks to be watched: keys from it or from the environment, then, behind
/// `--`, the command.
fn wanted(call: &Call, given: &Given) -> Result<Wanted, Failure> {
    let before = given.before_dashes().unwrap_or(given.arguments().len());
    let (own, command) = given.arguments().split_at(before);
    if given.before_dashes().is_some() && command.is_empty() {
        return Err(Failure::arguments(NO_COMMAND));
    }
    let from_environment = call.console.variable(KEY);
    let range: Vec<&str> = match from_environment {
        Some(_) if !own.is_empty() => {
            let words = "bad number of arguments (found conflicting environment key)";
            return Err(Failure::arguments(words));
        }
        Some(key) => std::iter::once(key).chain(call.console.variable(END)).collect(),
        None => own.iter().map(String::as_str).collect(),
    };
    let prefix = given.truth("prefix");
    let (key, range_end) = match range[..] {
        [_, _] if prefix => {
            return Err(Failure::arguments("`range_end` and `--prefix` are mutually exclusive"));
        }
        [key] if prefix => keys::prefix(key.as_bytes()),
        [key] => (key.as_bytes().to_vec(), Vec::new()),
        [key, end] => (key.as_bytes().to_vec(), end.as_bytes().to_vec()),
        _ => return Err(Failure::arguments("bad number of arguments")),
    };
    let request = WatchCreateRequest {
        key,
        range_end,
        start_revision: given.int("rev"),
        progress_notify: given.truth("progress-notify"),
        prev_kv: given.truth("prev-kv"),
        ..WatchCreateRequest::default()
    };
    Ok(Wanted { request, command: command.to_vec() })
}

/// Lines from standard input start watches and ask for progress, while events are printed.
async fn interactive(call: &Call) -> Result<(), Failure> {
    let session = call.session()?;
    let (tell, mut lines) = mpsc::channel(1);
    let console = call.console.clone();
    tokio::task::spawn_blocking(move || {
        loop {
            let line = console.read_line();
            let goes_on = matches!(line, Ok(Some(_)));
            if tell.blocking_send(line).is_err() || !goes_on {
                return;
            }
        }
    });
    let mut watching = Watching::begin(&session.client);
    let mut commands: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let why = match line {
                    Some(Ok(Some(line))) => {
                        obey(call, &line, &mut watching, &mut commands).await?;
                        continue;
                    }
                    Some(Err(why)) => why.to_string(),
                    Some(Ok(None)) | None => "EOF".to_owned(),
                };
                let words = format!("error reading watch request line: {why}");
                return Err(Failure::input(words));
            }
            response = watching.next(), if !commands.is_empty() => {
                let response = response?;
                // A requested progress notification is for all watches.
                let of = commands.iter().filter(|(id, _)| {
                    response.watch_id == -1 || response.watch_id == **id
                });
                show(&session, &response, of.map(|(_, command)| &command[..])).await?;
            }
        }
    }
}

/// One line: `watch key [end] [options] [-- command]` or `progress`.
async fn obey(
    call: &Call,
    line: &str,
    watching: &mut Watching,
    commands: &mut BTreeMap<i64, Vec<String>>,
) -> Result<(), Failure> {
    static ROOT: Command = Command {
        name: "watch",
        arguments: "",
        about: "",
        more: "",
        flags: &[],
        inherited: &[],
        commands: &[WATCH],
    };
    let words = split(line)?;
    match words.first().map(String::as_str) {
        None => {
            let what = format!("Invalid command: {line} (watch and progress supported)");
            call.console.complain(what);
        }
        Some("progress") => watching.ask_progress().await,
        Some("watch") if words.len() < 2 && call.console.variable(KEY).is_none() => {
            let what = format!("Invalid command {line} (command type or key is not provided)");
            call.console.complain(what);
        }
        Some("watch") => {
            let given = match args::parse(&ROOT, "", &words) {
                Ok(Wish::Run(given)) => given,
                Ok(Wish::Help(_)) => return Ok(()),
                Err(refusal) => return Err(Failure::arguments(refusal.words)),
            };
            let wanted = wanted(call, &given)?;
            let id = watching.add(wanted.request).await;
            commands.insert(id, wanted.command);
        }
        Some(_) => {
            call.console.complain(format!("Invalid command {line} (only support watch)"));
        }
    }
    Ok(())
}

/// Prints an answer for each watch it is for, and runs their commands.
async fn show<'a>(
    session: &Session,
    response: &WatchResponse,
    commands: impl Iterator<Item = &'a [String]>,
) -> Result<(), Failure> {
    if response.created && !response.canceled {
        return Ok(());
    }
    if response.canceled {
        session.console.complain(format!("watch was canceled ({})", reason(response)));
    }
    let is_progress =
        !response.canceled && response.events.is_empty() && response.compact_revision == 0;
    for command in commands {
        if is_progress {
            let revision = response.header.map_or(0, |header| header.revision);
            session.console.line(format!("progress notify: {revision}"))?;
        }
        session.print(&Answer::Watch(response))?;
        if !command.is_empty() {
            for event in &response.events {
                obeyed(session, command, response, event).await?;
            }
        }
    }
    Ok(())
}

fn reason(response: &WatchResponse) -> String {
    if response.compact_revision != 0 {
        return "etcdserver: mvcc: required revision has been compacted".to_owned();
    }
    if response.cancel_reason.is_empty() {
        return "etcdserver: mvcc: required revision is a future revision".to_owned();
    }
    response.cancel_reason.clone()
}

/// Runs a command for an event; its fields are in the environment.
async fn obeyed(
    session: &Session,
    command: &[String],
    response: &WatchResponse,
    event: &Event,
) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let kind = if event.is_delete() { "DELETE" } else { "PUT" };
    let record = event.kv.clone().unwrap_or_default();
    let revision = response.header.map_or(0, |header| header.revision);
    let status = Program::new(program)
        .args(arguments)
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote::text(kind))
        .env("ETCD_WATCH_KEY", quote::bytes(&record.key))
        .env("ETCD_WATCH_VALUE", quote::bytes(&record.value))
        .status()
        .await;
    let why = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(why) => why.to_string(),
    };
    session.console.complain(format!("command {command:?} error ({why})"));
    Err(Failure::silent(1))
}
