//! Finds the verb, then reads all options by what the verb and its groups know.

use super::{Command, Flag, Given, Kind, flags_of};
use std::collections::BTreeMap;

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// To run a verb.
    Run(Given),
    /// To be told about a command.
    Help(Vec<&'static Command>),
}

/// A command line that was not understood.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What is wrong.
    pub(crate) words: String,
    /// The command whose help is shown; `None` if only a hint is.
    pub(crate) page_of: Option<Vec<&'static Command>>,
}

/// Reads the arguments behind the tool's name. `program` is how messages name the tool.
///
/// # Errors
/// Unknown verbs and options, and values that cannot be.
pub(crate) fn parse(
    root: &'static Command,
    program: &str,
    arguments: &[String],
) -> Result<Wish, Refusal> {
    let mut left: Vec<String> = arguments.to_vec();
    let mut asks_help = false;
    if first_word(&[root], &left).is_some_and(|at| left[at] == "help") {
        let at = first_word(&[root], &left).unwrap_or(0);
        left.remove(at);
        asks_help = true;
    }
    let path = find(root, program, &mut left)?;
    let wrong = |words: String| Refusal { words, page_of: Some(path.clone()) };
    let mut given = Given {
        path: path.clone(),
        values: BTreeMap::new(),
        arguments: Vec::new(),
        before_dashes: None,
    };
    asks_help |= read(&mut given, &left).map_err(wrong)?;
    let command = path.last().copied().unwrap_or(root);
    if asks_help {
        return Ok(Wish::Help(path));
    }
    if !command.commands.is_empty() {
        return match given.arguments.first() {
            None => Ok(Wish::Help(path)),
            Some(unknown) => Err(Refusal {
                words: format!("unknown command \"{unknown}\" for \"{}\"", name_of(program, &path)),
                page_of: None,
            }),
        };
    }
    Ok(Wish::Run(given))
}

/// How a command is called: the program and the names below it.
pub(crate) fn name_of(program: &str, path: &[&'static Command]) -> String {
    let names = path.iter().skip(1).map(|command| command.name);
    std::iter::once(program).chain(names).collect::<Vec<_>>().join(" ")
}

/// Goes down from the root as far as words name commands, and takes these words out.
fn find(
    root: &'static Command,
    program: &str,
    left: &mut Vec<String>,
) -> Result<Vec<&'static Command>, Refusal> {
    let mut path = vec![root];
    loop {
        let here = *path.last().unwrap_or(&root);
        if here.commands.is_empty() {
            return Ok(path);
        }
        let Some(at) = first_word(&path, left) else { return Ok(path) };
        let word = left[at].as_str();
        let exact = here.commands.iter().find(|command| command.name == word);
        let mut similar = here.commands.iter().filter(|command| command.name.starts_with(word));
        let only = similar.next().filter(|_| similar.next().is_none());
        let Some(next) = exact.or(only.filter(|_| !word.is_empty())) else {
            if path.len() > 1 {
                // Its options may still be wrong in themselves, or help be asked for.
                return Ok(path);
            }
            let words = format!("unknown command \"{word}\" for \"{program}\"");
            return Err(Refusal { words, page_of: None });
        };
        left.remove(at);
        path.push(next);
    }
}

/// Where the first word stands that is no option and no option's value.
fn first_word(path: &[&'static Command], words: &[String]) -> Option<usize> {
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_str();
        if word == "--" {
            return None;
        }
        let takes_next = if let Some(long) = word.strip_prefix("--") {
            let flag = flags_of(path).find(|flag| flag.name == long);
            !long.contains('=')
                && long != "help"
                && flag.is_none_or(|flag| flag.kind != Kind::Truth)
        } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
            let flag = flags_of(path).find(|flag| flag.letter == short.chars().next());
            short.chars().count() == 1
                && short != "h"
                && flag.is_none_or(|flag| flag.kind != Kind::Truth)
        } else {
            return Some(at);
        };
        at += if takes_next { 2 } else { 1 };
    }
    None
}

/// Reads options and arguments; whether help was asked for.
fn read(given: &mut Given, words: &[String]) -> Result<bool, String> {
    let mut words = words.iter();
    let mut asks_help = false;
    while let Some(word) = words.next() {
        if word == "--" {
            given.before_dashes = Some(given.arguments.len());
            given.arguments.extend(words.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            asks_help |= read_long(given, long, &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
            asks_help |= read_letters(given, letters, &mut words)?;
        } else {
            given.arguments.push(word.clone());
        }
    }
    Ok(asks_help)
}

fn read_long<'a>(
    given: &mut Given,
    long: &str,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<bool, String> {
    if long.is_empty() || long.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: --{long}"));
    }
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    if name == "help" {
        return Ok(value.is_none_or(|value| super::truth(value) == Some(true)));
    }
    let flag = given.flags().find(|flag| flag.name == name);
    let flag = flag.ok_or_else(|| format!("unknown flag: --{name}"))?;
    let value = match (value, flag.kind) {
        (Some(value), _) => value,
        (None, Kind::Truth) => "true",
        (None, _) => {
            words.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?.as_str()
        }
    };
    set(given, flag, value)?;
    Ok(false)
}

fn read_letters<'a>(
    given: &mut Given,
    letters: &str,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<bool, String> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        if letter == 'h' {
            return Ok(true);
        }
        let flag = given.flags().find(|flag| flag.letter == Some(letter));
        let flag =
            flag.ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{letters}"))?;
        let tail = rest.as_str();
        if let Some(value) = tail.strip_prefix('=') {
            set(given, flag, value)?;
            break;
        }
        if flag.kind == Kind::Truth {
            set(given, flag, "true")?;
            continue;
        }
        let missing = || format!("flag needs an argument: '{letter}' in -{letters}");
        let value = if tail.is_empty() { words.next().ok_or_else(missing)? } else { tail };
        set(given, flag, value)?;
        break;
    }
    Ok(false)
}

fn set(given: &mut Given, flag: &'static Flag, value: &str) -> Result<(), String> {
    flag.check(value).map_err(|why| {
        let letter = flag.letter.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let shown = crate::go::quote::text(value);
        format!("invalid argument {shown} for \"{letter}--{}\" flag: {why}", flag.name)
    })?;
    let before = given.values.get(flag.name).filter(|_| flag.kind == Kind::List);
    let value = before.map_or(value.to_owned(), |before| format!("{before},{value}"));
    given.values.insert(flag.name, value);
    Ok(())
}
