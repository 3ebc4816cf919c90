//! The table of flags: every flag of etcd 3.6, what its value is, and what becomes of it here.
//!
//! Must hold: a test reads upstream's own `--help` and finds each of its flags here. What is not
//! honoured says so at start ([`Treatment::Accepted`]) or ends the start ([`Treatment::Refused`]):
//! no flag is swallowed silently.

mod experimental;
mod member;
mod operation;
mod security;

use std::sync::OnceLock;

/// What a flag's value is, as Go's flag package would read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// `1`, `t`, `true`, `0`, `f`, `false` and their capitals; no value means true.
    Bool,
    /// A number without sign, of 64 bits.
    Unsigned,
    /// The same of 32 bits, with the wording of Go's strconv.
    Unsigned32,
    /// A number with sign.
    Signed,
    /// `1h2m3.5s`.
    Duration,
    /// URLs, separated by commas, each kept once.
    Urls,
    /// URLs or `*`.
    Origins,
    /// Texts, separated by commas, sorted, each kept once.
    Set,
    /// Texts, separated by commas, in the order given.
    List,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Some of these, separated by commas.
    SomeOf(&'static [&'static str]),
    /// `Feature=true,…`.
    Gates,
    /// Whatever; it has had no meaning for years.
    Nothing,
}

/// What becomes of a flag that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// It does what upstream's does.
    Honoured,
    /// It is taken, and a warning says why it changes nothing.
    Accepted(&'static str),
    /// The server does not start; why.
    Refused(&'static str),
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without dashes.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// The value when it is not set, as text.
    pub(crate) default: &'static str,
    /// What becomes of it.
    pub(crate) treatment: Treatment,
    /// The flag that took its place.
    pub(crate) alias_of: Option<&'static str>,
    /// The feature gate that took its place.
    pub(crate) gate: Option<&'static str>,
    /// What a warning says when it is used, word for word as upstream: tests look for it.
    pub(crate) deprecated: Option<&'static str>,
    /// One line of `--help`.
    pub(crate) help: &'static str,
}

/// A section of `--help`.
pub(crate) struct Section {
    /// Its title.
    pub(crate) title: &'static str,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    let treatment = Treatment::Honoured;
    Flag { name, kind, default, treatment, alias_of: None, gate: None, deprecated: None, help }
}

impl Flag {
    const fn accepted(self, why: &'static str) -> Flag {
        Flag { treatment: Treatment::Accepted(why), ..self }
    }

    const fn refused(self, why: &'static str) -> Flag {
        Flag { treatment: Treatment::Refused(why), ..self }
    }

    const fn alias_of(self, name: &'static str) -> Flag {
        Flag { alias_of: Some(name), ..self }
    }

    const fn gate(self, feature: &'static str) -> Flag {
        Flag { gate: Some(feature), ..self }
    }

    const fn deprecated(self, warning: &'static str) -> Flag {
        Flag { deprecated: Some(warning), ..self }
    }

    /// Whether it may stand without a value.
    pub(crate) fn needs_no_value(&self) -> bool {
        matches!(self.kind, Kind::Bool | Kind::Nothing)
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// The sections of `--help`.
pub(crate) const SECTIONS: [Section; 6] = [
    Section { title: "Member", flags: member::MEMBER },
    Section { title: "Clustering", flags: member::CLUSTERING },
    Section { title: "Security", flags: security::SECURITY },
    Section { title: "Operation and logs", flags: operation::OPERATION },
    Section { title: "Older names, until etcd 3.7", flags: experimental::EXPERIMENTAL },
    Section { title: "Without meaning for years", flags: experimental::IGNORED },
];

/// All flags, in the order of their names: the order in which variables are read.
pub(crate) fn all() -> &'static [Flag] {
    static ALL: OnceLock<Vec<Flag>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut flags: Vec<Flag> =
            SECTIONS.iter().flat_map(|section| section.flags.iter().copied()).collect();
        flags.sort_by_key(|flag| flag.name);
        flags
    })
}

/// The flag of that name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    let flags = all();
    flags.binary_search_by_key(&name, |flag| flag.name).ok().map(|at| &flags[at])
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| !section.title.starts_with("Without")) {
        text.push_str(&format!("\n{}:\n", section.title));
        for flag in section.flags {
            text.push_str(&format!("  --{} '{}'\n    {}", flag.name, flag.default, flag.help));
            match flag.treatment {
                Treatment::Honoured => {}
                Treatment::Accepted(why) => {
                    text.push_str(&format!(" Changes nothing here: {why}."));
                }
                Treatment::Refused(why) => text.push_str(&format!(" Refused here: {why}.")),
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::Command;

    fn names_in(help: &str) -> BTreeSet<String> {
        let lines = help.lines().filter_map(|line| line.strip_prefix("  --"));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_flag_of_upstream_is_there_with_its_default() {
        let output = Command::new(holdfast_peers::peer("etcd-3.6")).arg("--help").output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        let names = names_in(&theirs);
        assert!(names.len() > 100, "{theirs}");
        let missing: Vec<&String> = names.iter().filter(|name| find(name).is_none()).collect();
        assert!(missing.is_empty(), "flags of upstream that we do not know: {missing:?}");
        let ours = names_in(&help());
        let extra: Vec<&String> = ours.difference(&names).collect();
        // Two that upstream leaves out of its help.
        assert_eq!(extra, ["config-file", "version"], "flags that upstream does not have");
        for line in theirs.lines().filter_map(|line| line.strip_prefix("  --")) {
            let Some((name, default)) = line.split_once(' ') else { continue };
            let default = default.trim_matches('\'');
            let known = find(name).unwrap().default;
            // Upstream's help says these in other words.
            let same =
                matches!(name, "data-dir" | "backend-batch-interval" | "max-concurrent-streams")
                    || known == default;
            assert!(same, "--{name}: {known:?} here, {default:?} there");
        }
    }

    #[test]
    fn names_are_told_apart() {
        let names: BTreeSet<&str> = all().iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), all().len());
        for flag in all() {
            assert!(flag.alias_of.is_none_or(|name| find(name).is_some()), "{}", flag.name);
            assert!(!flag.help.is_empty() || flag.kind == Kind::Nothing, "{}", flag.name);
        }
        assert_eq!(find("name").unwrap().variable(), "ETCD_NAME");
        assert_eq!(find("wal-dir").unwrap().variable(), "ETCD_WAL_DIR");
    }
}
