//! The licences of all that is linked or built with, against the list in deny.toml (which
//! cargo-deny reads too, where it is installed).

use serde_json::Value;
use std::path::Path;

/// The identifiers under `[licenses]` `allow`.
pub(crate) fn allowed(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let list = text.split("allow = [").nth(1).expect("deny.toml has an allow list");
    let list = list.split(']').next().unwrap_or_default();
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default());
    let quoted = |line: &str| line.trim().trim_end_matches(',').trim_matches('"').to_owned();
    lines.map(quoted).filter(|identifier| !identifier.is_empty()).collect()
}

/// Packages whose licence the list does not allow.
pub(crate) fn refused(metadata: &Value, allowed: &[String]) -> Vec<String> {
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "cargo metadata lists what we depend on");
    let mut refused = Vec::new();
    for package in packages {
        let expression = package["license"].as_str().unwrap_or("(none stated)");
        if !holds(expression, allowed) {
            refused.push(format!("{} {}: {expression}", package["name"], package["version"]));
        }
    }
    refused
}

/// Whether an SPDX expression can be satisfied with allowed licences. AND binds tighter than OR;
/// the old `A/B` means OR.
fn holds(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut holds = both(rest, allowed);
    while take(rest, "OR") {
        // Both sides are read, whatever the first one is.
        holds = both(rest, allowed) || holds;
    }
    holds
}

fn both(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut holds = one(rest, allowed);
    while take(rest, "AND") {
        holds = one(rest, allowed) && holds;
    }
    holds
}

fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    if take(rest, "(") {
        let holds = either(rest, allowed);
        return take(rest, ")") && holds;
    }
    let Some((identifier, after)) = rest.split_first() else { return false };
    *rest = after;
    let mut licence = (*identifier).to_owned();
    if take(rest, "WITH")
        && let Some((exception, after)) = rest.split_first()
    {
        *rest = after;
        licence = format!("{licence} WITH {exception}");
    }
    allowed.contains(&licence)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("MIT OR GPL-3.0 AND GPL-2.0", true),
        ("(MIT OR GPL-3.0) AND GPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("", false),
        ("(none stated)", false),
    ] {
        assert_eq!(holds(expression, &allowed), expected, "{expression}");
    }
}
