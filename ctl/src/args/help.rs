//! Help in the shape of upstream's two tools: etcdctl's own page, and that of its library for
//! etcdutl.

use super::parse::name_of;
use super::{Command, Flag, Kind};
use std::fmt::Write;

/// Which of the two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// etcdctl's: `NAME:`, `USAGE:`, `COMMANDS:`, `OPTIONS:`.
    Sections,
    /// etcdutl's: `Usage:`, `Available Commands:`, `Flags:`.
    Plain,
}

/// A tab's columns, and what the first column of a page is a multiple of.
const TAB: usize = 8;

/// The page about a command.
pub(crate) fn page(program: &str, path: &[&'static Command], shape: Shape) -> String {
    let Some(command) = path.last() else { return String::new() };
    let name = name_of(program, path);
    match shape {
        Shape::Sections => sections(&name, path, command),
        Shape::Plain => plain(&name, path, command),
    }
}

fn inherited_by(path: &[&'static Command]) -> Vec<&'static Flag> {
    let groups = &path[..path.len().saturating_sub(1)];
    groups.iter().flat_map(|command| command.inherited).collect()
}

/// A command's own options and `--help`, by name.
fn own(command: &'static Command) -> Vec<&'static Flag> {
    static HELP: Flag = Flag::new("help", Kind::Truth, "false", "show this page").letter('h');
    let mut flags: Vec<&Flag> = command.flags.iter().chain(command.inherited).collect();
    flags.push(&HELP);
    flags.sort_unstable_by_key(|flag| flag.name);
    flags
}

fn usage(name: &str, command: &Command) -> String {
    let arguments = if command.arguments.is_empty() {
        String::new()
    } else {
        format!(" {}", command.arguments)
    };
    format!("{name}{arguments} [flags]")
}

fn sections(name: &str, path: &[&'static Command], command: &'static Command) -> String {
    let short = if path.len() > 1 {
        path.iter().skip(1).map(|command| command.name).collect::<Vec<_>>().join(" ")
    } else {
        name.to_owned()
    };
    let mut out = format!("NAME:\n  {short} - {}\n", command.about);
    let _ = write!(out, "\nUSAGE:\n  {}\n", usage(name, command));
    if path.len() == 1 {
        let _ = write!(out, "\nVERSION:\n  {}\n", crate::VERSION);
    }
    if !command.commands.is_empty() {
        let _ = write!(out, "\nAPI VERSION:\n  {}\n\n\nCOMMANDS:\n", crate::API_VERSION);
        let mut rows = Vec::new();
        collect(command, "", &mut rows);
        out.push_str(&columns(&rows));
    }
    if !command.more.is_empty() {
        out.push_str("\nDESCRIPTION:\n");
        command.more.trim().lines().for_each(|line| {
            let _ = writeln!(out, "  {line}");
        });
    }
    let _ = write!(out, "\nOPTIONS:\n{}", columns(&option_rows(&own(command))));
    let mut global = inherited_by(path);
    global.sort_unstable_by_key(|flag| flag.name);
    if !global.is_empty() {
        let _ = write!(out, "\nGLOBAL OPTIONS:\n{}", columns(&option_rows(&global)));
    }
    out.push('\n');
    out
}

/// All verbs below a command, with the groups they stand in.
fn collect(command: &'static Command, within: &str, rows: &mut Vec<(String, String)>) {
    let mut commands: Vec<&Command> = command.commands.iter().collect();
    commands.sort_unstable_by_key(|command| command.name);
    for inner in commands {
        let name = format!("{within}{}", inner.name);
        if inner.commands.is_empty() {
            rows.push((format!("  {name}"), inner.about.to_owned()));
        }
        collect(inner, &format!("{name} "), rows);
    }
}

fn option_rows(flags: &[&Flag]) -> Vec<(String, String)> {
    flags
        .iter()
        .map(|flag| {
            let letter = flag.letter.map_or("      ".to_owned(), |letter| format!("  -{letter}, "));
            let value = match flag.kind {
                Kind::Truth => format!("[={}]", flag.default),
                Kind::Text => format!("={}", crate::go::quote::text(flag.default)),
                Kind::List => format!("=[{}]", flag.default),
                Kind::Int | Kind::Uint | Kind::Span => format!("={}", flag.default),
            };
            (format!("{letter}--{}{value}", flag.name), flag.about.to_owned())
        })
        .collect()
}

/// Two columns; the first ends at a tab stop behind its longest text, and is filled with tabs.
fn columns(rows: &[(String, String)]) -> String {
    let widest = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    let stop = (widest + 1).next_multiple_of(TAB);
    let mut out = String::new();
    for (left, right) in rows {
        let tabs = (stop - left.chars().count()).div_ceil(TAB);
        let _ = writeln!(out, "{left}{}{right}", "\t".repeat(tabs));
    }
    out
}

fn plain(name: &str, path: &[&'static Command], command: &'static Command) -> String {
    let mut out = String::new();
    if !command.commands.is_empty() {
        let _ = writeln!(out, "Usage:\n  {name} [command]\n\nAvailable Commands:");
        let mut commands: Vec<&Command> = command.commands.iter().collect();
        commands.sort_unstable_by_key(|command| command.name);
        let widest = commands.iter().map(|command| command.name.len()).max().unwrap_or(0).max(11);
        for inner in commands {
            let _ = writeln!(out, "  {:widest$} {}", inner.name, inner.about);
        }
    } else {
        let _ = writeln!(out, "Usage:\n  {}", usage(name, command));
    }
    if !command.more.is_empty() {
        let _ = writeln!(out, "\n{}", command.more.trim());
    }
    let _ = write!(out, "\nFlags:\n{}", plain_rows(&own(command)));
    let inherited = inherited_by(path);
    if !inherited.is_empty() {
        let _ = write!(out, "\nGlobal Flags:\n{}", plain_rows(&inherited));
    }
    if !command.commands.is_empty() {
        let what = "for more information about a command.";
        let _ = write!(out, "\nUse \"{name} [command] --help\" {what}\n");
    }
    out
}

fn plain_rows(flags: &[&Flag]) -> String {
    let left = |flag: &Flag| {
        let letter = flag.letter.map_or("      ".to_owned(), |letter| format!("  -{letter}, "));
        let kind = match flag.kind {
            Kind::Text => " string",
            Kind::Truth => "",
            Kind::Int => " int",
            Kind::Uint => " uint",
            Kind::Span => " duration",
            Kind::List => " strings",
        };
        format!("{letter}--{}{kind}", flag.name)
    };
    let widest = flags.iter().map(|flag| left(flag).len()).max().unwrap_or(0);
    let mut out = String::new();
    for flag in flags {
        let shown = match flag.default {
            "" | "false" | "0" => String::new(),
            text if flag.kind == Kind::Text => {
                format!(" (default {})", crate::go::quote::text(text))
            }
            other => format!(" (default {other})"),
        };
        let _ = writeln!(out, "{:widest$}   {}{shown}", left(flag), flag.about);
    }
    out
}
