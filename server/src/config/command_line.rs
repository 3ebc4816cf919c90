//! The command line as Go's flag package reads it, then the environment.
//!
//! Must hold: `--flag=v`, `--flag v` and one dash mean the same; an error has Go's words, since
//! upstream's tests compare them. A variable beside the flag of the same name ends the start, as
//! upstream's does: nobody should have to guess which of the two counts.

use super::flags::{self, Flag};
use super::values::Values;
use super::{ConfigError, Notice};
use crate::log::Level;

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) values: Values,
    /// `-h` or `--help`.
    pub(crate) help: bool,
    /// The first argument that is no flag.
    pub(crate) stray: Option<String>,
}

/// Reads the arguments, the program's name left out.
///
/// # Errors
/// [`ConfigError::CommandLine`] with Go's words.
pub(crate) fn parse(arguments: &[String]) -> Result<Arguments, ConfigError> {
    let mut found = Arguments { values: Values::default(), help: false, stray: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let stripped = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(body) = stripped.filter(|_| argument.len() > 1) else {
            found.stray = Some(argument.clone());
            return Ok(found);
        };
        if body.is_empty() {
            // Two dashes end the flags.
            found.stray = rest.next().cloned();
            return Ok(found);
        }
        if body.starts_with(['-', '=']) {
            return Err(ConfigError::CommandLine(format!("bad flag syntax: {argument}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = flags::find(name) else {
            if matches!(name, "h" | "help") {
                found.help = true;
                return Ok(found);
            }
            let text = format!("flag provided but not defined: -{name}");
            return Err(ConfigError::CommandLine(text));
        };
        set(&mut found.values, flag, value, &mut rest)?;
    }
    Ok(found)
}

fn set<'a>(
    values: &mut Values,
    flag: &Flag,
    value: Option<String>,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    let name = flag.name;
    if flag.needs_no_value() {
        let value = value.unwrap_or_else(|| "true".to_owned());
        return values.set(flag, &value).map_err(|why| {
            ConfigError::CommandLine(format!("invalid boolean value {value:?} for -{name}: {why}"))
        });
    }
    let Some(value) = value.or_else(|| rest.next().cloned()) else {
        return Err(ConfigError::CommandLine(format!("flag needs an argument: -{name}")));
    };
    values.set(flag, &value).map_err(|why| {
        ConfigError::CommandLine(format!("invalid value {value:?} for flag -{name}: {why}"))
    })
}

/// Sets what nobody gave on the command line from `ETCD_*` variables.
///
/// # Errors
/// [`ConfigError::Shadowed`] for a variable whose flag is given too, [`ConfigError::Invalid`] for
/// a value that cannot be.
pub(crate) fn apply_environment(
    values: &mut Values,
    environment: &[(String, String)],
    notices: &mut Vec<Notice>,
) -> Result<(), ConfigError> {
    let mut wrong = None;
    let mut used = Vec::new();
    for flag in flags::all() {
        let variable = flag.variable();
        let given = environment.iter().find(|(name, text)| *name == variable && !text.is_empty());
        let Some((_, text)) = given else { continue };
        if values.is_set(flag.name) {
            continue;
        }
        used.push(variable.clone());
        match values.set(flag, text) {
            Ok(()) => notices.push(
                Notice::new(Level::Info, "recognized and used environment variable")
                    .with("variable-name", &variable)
                    .with("variable-value", text),
            ),
            Err(why) => {
                wrong = Some(format!("invalid value {text:?} for {variable}: {why}"));
            }
        }
    }
    for (name, text) in environment.iter().filter(|(name, _)| name.starts_with("ETCD_")) {
        if used.contains(name) || name == "ETCD_VERSION" {
            continue;
        }
        let flag = flags::all().iter().find(|flag| flag.variable() == *name);
        if flag.is_some_and(|flag| values.is_set(flag.name)) {
            return Err(ConfigError::Shadowed { variable: name.clone() });
        }
        notices.push(
            Notice::new(Level::Warn, "unrecognized environment variable")
                .with("environment-variable", &format!("{name}={text}")),
        );
    }
    wrong.map_or(Ok(()), |why| Err(ConfigError::Invalid(why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(arguments: &[&str]) -> Result<Arguments, String> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn both_styles_mean_the_same() {
        for style in [["--name=a", "--pre-vote"], ["-name=a", "-pre-vote=true"]] {
            assert_eq!(parsed(&style).unwrap().values.text("name"), "a");
        }
        let apart = parsed(&["--name", "a", "--force-new-cluster", "--max-wals", "7"]).unwrap();
        assert_eq!(apart.values.text("name"), "a");
        assert!(apart.values.is_on("force-new-cluster"));
        assert_eq!(apart.values.number("max-wals", 0_u32), 7);
        assert!(parsed(&["-h"]).unwrap().help && parsed(&["--help"]).unwrap().help);
        assert_eq!(parsed(&["--name=a", "gateway"]).unwrap().stray.as_deref(), Some("gateway"));
    }

    #[test]
    fn a_variable_fills_in_and_never_fights_a_flag() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let mut values = parsed(&["--name=a"]).unwrap().values;
        let mut notices = Vec::new();
        let environment = pairs(&[("ETCD_DATA_DIR", "/x"), ("ETCD_FOO", "1"), ("PATH", "/bin")]);
        apply_environment(&mut values, &environment, &mut notices).unwrap();
        assert_eq!(values.text("data-dir"), "/x");
        assert_eq!(notices.len(), 2, "one used, one unknown: {notices:?}");
        let clash = apply_environment(&mut values, &pairs(&[("ETCD_NAME", "b")]), &mut notices);
        assert!(matches!(clash, Err(ConfigError::Shadowed { .. })), "{clash:?}");
    }

    proptest! {
        #[test]
        fn any_arguments_are_survived(arguments in prop::collection::vec("-{0,3}[a-z-]{0,12}=?.{0,8}", 0..6)) {
            let _ = parse(&arguments);
        }
    }
}
