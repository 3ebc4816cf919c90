//! The command line in the notation that upstream's tools take: `--name=value` and `--name value`,
//! options and arguments in any order, inherited options, unique prefixes of verbs.
//!
//! Must hold: what upstream's tools accept is accepted with the same meaning; what they refuse is
//! refused with the same words and exit code.

mod help;
mod parse;

pub(crate) use help::{Shape, page};
pub(crate) use parse::{Refusal, Wish, parse};

use crate::console::Console;
use crate::failure::Failure;
use crate::go::number;
use holdfast_core::duration::GoDuration;
use std::collections::BTreeMap;
use std::time::Duration;

/// A verb or a group of verbs.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its arguments, as help shows them.
    pub(crate) arguments: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// More about it; may be empty.
    pub(crate) more: &'static str,
    /// Its own options.
    pub(crate) flags: &'static [Flag],
    /// Options that its verbs have, too.
    pub(crate) inherited: &'static [Flag],
    /// Its verbs; empty for a verb.
    pub(crate) commands: &'static [Command],
}

/// A verb.
pub(crate) const fn verb(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    flags: &'static [Flag],
) -> Command {
    Command { name, arguments, about, more: "", flags, inherited: &[], commands: &[] }
}

/// A group of verbs.
pub(crate) const fn group(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    commands: &'static [Command],
) -> Command {
    Command { name, arguments, about, more: "", flags: &[], inherited: &[], commands }
}

/// An option.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its long name.
    pub(crate) name: &'static str,
    /// Its letter.
    pub(crate) letter: Option<char>,
    /// What its value is.
    pub(crate) kind: Kind,
    /// The value it has when not given.
    pub(crate) default: &'static str,
    /// What it is for, in one line.
    pub(crate) about: &'static str,
}

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// true or false; alone it means true.
    Truth,
    /// A signed number.
    Int,
    /// A number without a sign.
    Uint,
    /// A span of time.
    Span,
    /// Texts between commas; given again, it adds to them.
    List,
}

impl Flag {
    /// An option without a letter.
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        about: &'static str,
    ) -> Flag {
        Flag { name, letter: None, kind, default, about }
    }

    /// The same with a letter.
    pub(crate) const fn letter(self, letter: char) -> Flag {
        Flag { letter: Some(letter), ..self }
    }

    /// Checks a value; Go's words if it cannot be.
    fn check(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text | Kind::List => Ok(()),
            Kind::Truth => truth(value).map(|_| ()).ok_or_else(|| {
                format!(
                    "strconv.ParseBool: parsing {}: invalid syntax",
                    crate::go::quote::text(value)
                )
            }),
            Kind::Int => number::int(value, 0).map(|_| ()),
            Kind::Uint => number::uint(value, 0).map(|_| ()),
            Kind::Span => {
                GoDuration::parse_span(value).map(|_| ()).map_err(|error| error.to_string())
            }
        }
    }
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A command line that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// From the tool's root to the verb.
    path: Vec<&'static Command>,
    values: BTreeMap<&'static str, String>,
    arguments: Vec<String>,
    /// How many of the arguments stood before `--`, if there was one.
    before_dashes: Option<usize>,
}

impl Given {
    /// The verb with its groups: `member add`.
    pub(crate) fn verb(&self) -> String {
        let names: Vec<&str> = self.path.iter().skip(1).map(|command| command.name).collect();
        names.join(" ")
    }

    /// What is no option.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// How many of the arguments stood before `--`, if there was one.
    pub(crate) fn before_dashes(&self) -> Option<usize> {
        self.before_dashes
    }

    /// Whether an option was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> &str {
        if let Some(value) = self.values.get(name) {
            return value;
        }
        self.flags().find(|flag| flag.name == name).map_or("", |flag| flag.default)
    }

    /// A truth value.
    pub(crate) fn truth(&self, name: &str) -> bool {
        truth(self.text(name)).unwrap_or(false)
    }

    /// A signed number.
    pub(crate) fn int(&self, name: &str) -> i64 {
        number::int(self.text(name), 0).unwrap_or(0)
    }

    /// A number without a sign.
    pub(crate) fn uint(&self, name: &str) -> u64 {
        number::uint(self.text(name), 0).unwrap_or(0)
    }

    /// A signed number of which only those above zero mean something.
    pub(crate) fn uint_of_int(&self, name: &str) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(0)
    }

    /// A span of time.
    pub(crate) fn span(&self, name: &str) -> Duration {
        GoDuration::parse_span(self.text(name)).unwrap_or_default()
    }

    /// Texts between commas.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').map(|item| item.trim().to_owned()).collect()
    }

    /// Takes inherited options that were not given from the environment.
    ///
    /// # Errors
    /// A variable and its option contradict each other, or the value cannot be.
    pub(crate) fn take_environment(
        &mut self,
        prefix: &str,
        console: &Console,
    ) -> Result<(), Failure> {
        let depth = self.path.len().saturating_sub(1);
        let inherited: Vec<&'static Flag> =
            self.path[..depth].iter().flat_map(|command| command.inherited).collect();
        let mut known = Vec::with_capacity(inherited.len());
        for flag in inherited {
            let variable = format!("{prefix}_{}", flag.name.replace('-', "_").to_uppercase());
            if let Some(value) = console.variable(&variable) {
                if self.is_given(flag.name) {
                    return Err(Failure::error(format!(
                        "conflicting environment variable {variable} is shadowed by \
                         corresponding command-line flag (either unset environment variable or \
                         disable flag)"
                    )));
                }
                flag.check(value).map_err(|why| {
                    Failure::arguments(format!("invalid value for {variable}: {why}"))
                })?;
                self.values.insert(flag.name, value.to_owned());
            }
            known.push(variable);
        }
        for name in console.variable_names() {
            let silent = ["API", "WATCH_KEY", "WATCH_RANGE_END"];
            let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'))
            else {
                continue;
            };
            if !silent.contains(&rest) && known.iter().all(|known| known != name) {
                console.complain(format!("Warning: unrecognized environment variable {name}"));
            }
        }
        Ok(())
    }

    fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        flags_of(&self.path)
    }
}

/// The options at the end of a path: the verb's own and all inherited ones.
fn flags_of(path: &[&'static Command]) -> impl Iterator<Item = &'static Flag> {
    let own = path.last().map_or(&[][..], |command| command.flags);
    own.iter().chain(path.iter().flat_map(|command| command.inherited))
}

#[cfg(test)]
mod tests;
