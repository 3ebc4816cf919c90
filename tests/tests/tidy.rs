//! The house's rules as tests: who may import whom, what a file looks like, which licences we take.
//!
//! One rule a test; each failure lists every place at once. `docs/ARCHITECTURE.md` explains the
//! rules.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, repository, sources};

/// Longest line, in characters.
const MAX_COLUMNS: usize = 100;
/// Longest line with a text in it: rustfmt does not cut texts, and a message is looked for as a
/// whole.
const MAX_TEXT_COLUMNS: usize = 160;
/// Longest file, in lines without its tests.
const MAX_LINES: usize = 800;
/// From here on a file is named as a candidate for a split.
const LONG_LINES: usize = 400;
/// `expect("why it holds")` for each 1,000 lines of a crate without tests.
const EXPECTS_PER_THOUSAND: usize = 3;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"];
/// Words of unfinished work.
const UNFINISHED: [&str; 7] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
    concat!("simpl", "ified"),
    concat!("for ", "now"),
    concat!("FIX", "ME"),
];

/// Fails with all complaints at once.
fn none(rule: &str, complaints: &[String]) {
    let count = complaints.len();
    assert!(complaints.is_empty(), "{rule}: {count} places\n  {}", complaints.join("\n  "));
}

/// Complaints about single lines: `judge` sees code and comments.
fn lines_that(sources: &[Source], judge: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if judge(source, line) {
                complaints.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    complaints
}

#[test]
fn the_rules_see_the_whole_house() {
    let sources = sources();
    for crate_folder in imports::CRATES.map(|row| row.folder) {
        let own = sources.iter().filter(|source| source.krate == crate_folder).count();
        assert!(own > 0, "no source of {crate_folder:?} is looked at");
    }
    assert!(sources.iter().any(|source| source.is_test), "tests are told apart");
}

#[test]
fn every_file_begins_with_what_it_is() {
    let missing = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    let missing: Vec<String> = missing.map(|source| source.name).collect();
    none("a file begins with `//! what it is`", &missing);
}

#[test]
fn lines_are_not_too_long() {
    let long = lines_that(&sources(), |_, line| {
        let holds_text = line.contains('"') && !line.trim_start().starts_with("//");
        let limit = if holds_text { MAX_TEXT_COLUMNS } else { MAX_COLUMNS };
        line.chars().count() > limit
    });
    none(&format!("lines have at most {MAX_COLUMNS} columns"), &long);
}

#[test]
fn files_are_not_too_long() {
    let mut too_long = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let lines = source.product().lines().count();
        if lines > MAX_LINES {
            too_long.push(format!("{}: {lines} lines", source.name));
        } else if lines > LONG_LINES {
            println!("long, think about a split: {}: {lines} lines", source.name);
        }
    }
    none(&format!("files have at most {MAX_LINES} lines without tests"), &too_long);
}

#[test]
fn no_file_is_dead() {
    none("every file is a module of its crate", &source::unreachable_files());
}

#[test]
fn names_say_something() {
    let empty = |name: &str| name.split('_').any(|word| EMPTY_NAMES.contains(&word));
    let mut complaints = lines_that(&sources(), |_, line| {
        source::defined_name(line).is_some_and(|name| empty(&name))
    });
    for source in sources() {
        if source.name.trim_end_matches(".rs").split('/').any(empty) {
            complaints.push(source.name);
        }
    }
    none("files, modules and types have names of the field", &complaints);
}

#[test]
fn nothing_is_left_for_later() {
    // A test that another test starts as a process of its own is not left out.
    let found = lines_that(&sources(), |_, line| {
        UNFINISHED.iter().any(|word| line.contains(word)) && !line.contains("\"started by ")
    });
    none("what is there is finished", &found);
}

#[test]
fn unsafe_code_stands_in_bolt_only() {
    let words = ["{", "fn ", "impl ", "extern "].map(|next| format!("un{}{next}", "safe "));
    let found = lines_that(&sources(), |source, line| {
        source.krate != "server/bolt"
            && !line.trim_start().starts_with("//")
            && words.iter().any(|word| line.contains(word))
    });
    none("only server/bolt holds unsafe code", &found);
}

#[test]
fn products_do_not_unwrap() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        for (number, line) in source.product().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(".unwrap()") {
                found.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    none("unwrap() stands in tests only", &found);
}

#[test]
fn products_expect_rarely() {
    let mut complaints = Vec::new();
    for folder in imports::CRATES.map(|row| row.folder).iter().filter(|folder| **folder != "tests")
    {
        let (mut lines, mut expects) = (0, Vec::new());
        for source in sources().iter().filter(|s| s.krate == *folder && !s.is_test) {
            lines += source.product().lines().count();
            let with = source.product().lines().filter(|line| line.contains(".expect(")).count();
            expects.extend((with > 0).then(|| format!("{} ({with})", source.name)));
        }
        let count: usize = sources()
            .iter()
            .filter(|s| s.krate == *folder && !s.is_test)
            .map(|s| s.product().matches(".expect(").count())
            .sum();
        let budget = (lines * EXPECTS_PER_THOUSAND).div_ceil(1000).max(3);
        if count > budget {
            complaints.push(format!("{folder}: {count}, {budget} allowed: {}", expects.join(", ")));
        }
    }
    none("expect() is rare", &complaints);
}

#[test]
fn the_import_table_holds() {
    none("who may import whom", &imports::breaches(&imports::metadata()));
}

#[test]
fn the_pure_crates_are_pure() {
    none("no runtime, transport or store under the pure crates", &imports::impurities());
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let of_others =
        |line: &&str| line.contains('=') && !line.starts_with('#') && !line.contains("path =");
    let bare: Vec<String> = section
        .lines()
        .filter(of_others)
        .filter(|line| line.rsplit_once('#').is_none_or(|(_, reason)| reason.trim().len() < 4))
        .map(str::to_owned)
        .collect();
    none("a dependency's line ends with the reason it is here", &bare);
    none("a crate takes its dependencies from the workspace", &imports::own_versions());
}

#[test]
fn licences_are_ones_we_take() {
    let allowed = licences::allowed(&repository().join("deny.toml"));
    none("licences", &licences::refused(&imports::metadata(), &allowed));
}
