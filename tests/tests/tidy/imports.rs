//! The import table: which of our crates may use which, and what the pure ones may not even reach.

use super::source::repository;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A row of the table.
pub(crate) struct Row {
    /// Folder; empty for the binary.
    pub(crate) folder: &'static str,
    /// Package.
    pub(crate) package: &'static str,
    /// Packages of ours that it may use in what ships. Tests may use more.
    may_use: &'static [&'static str],
}

const fn row(folder: &'static str, package: &'static str, may_use: &'static [&'static str]) -> Row {
    Row { folder, package, may_use }
}

const API: &str = "holdfast-api";
const BOLT: &str = "holdfast-bolt";
const CORE: &str = "holdfast-core";
const CTL: &str = "holdfast-ctl";
const KMS: &str = "holdfast-kms";
const POLICIES: &str = "holdfast-policies";
const RESTORE: &str = "holdfast-restore";
const VAULT: &str = "holdfast-vault";
const AGENT: &str = "holdfast-agent";
const SERVER: &str = "holdfast-server";
const PEERS: &str = "holdfast-peers";

/// The table, as in docs/ARCHITECTURE.md.
pub(crate) const CRATES: [Row; 13] = [
    row("", "holdfast", &[AGENT, API, BOLT, CORE, CTL, KMS, POLICIES, RESTORE, SERVER, VAULT]),
    row("policies", POLICIES, &[]),
    row("vault", VAULT, &[POLICIES]),
    row("vault/kms", KMS, &[VAULT]),
    row("server/api", API, &[]),
    row("server/bolt", BOLT, &[]),
    row("server/core", CORE, &[API, BOLT]),
    row("server", SERVER, &[API, BOLT, CORE]),
    row("ctl", CTL, &[API, BOLT, CORE]),
    row("restore", RESTORE, &[API, BOLT, CORE, POLICIES, VAULT]),
    row("agent", AGENT, &[API, BOLT, CORE, POLICIES, RESTORE, VAULT]),
    row("tests", "holdfast-tests", &[AGENT, API, BOLT, CORE, KMS, PEERS, POLICIES, RESTORE, VAULT]),
    row("tests/peers", PEERS, &[]),
];

/// Crates that decide and format, and never wait or talk.
const PURE: [&str; 4] = [POLICIES, API, BOLT, CORE];
/// What waits or talks.
const WORLDLY: [&str; 7] =
    ["tokio", "tonic", "object_store", "hyper", "reqwest", "rustls", "async-std"];
/// What the vault must not know.
const NOT_UNDER_VAULT: [&str; 5] = ["tonic", BOLT, API, CORE, KMS];

/// What cargo knows of the workspace and all it depends on.
pub(crate) fn metadata() -> Value {
    let text = cargo(&["metadata", "--format-version", "1", "--locked"]);
    serde_json::from_str(&text).unwrap()
}

/// Breaches of the table.
pub(crate) fn breaches(metadata: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in members(metadata) {
        let name = text(&package["name"]);
        let Some(row) = CRATES.iter().find(|row| row.package == name) else {
            complaints.push(format!("{name} is not in the table"));
            continue;
        };
        let folder = Path::new(text(&package["manifest_path"])).parent().unwrap().to_owned();
        if folder != repository().join(row.folder).components().as_path() {
            complaints.push(format!("{name} lies in {}, not in {}", folder.display(), row.folder));
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = text(&dependency["name"]);
            let is_ours = used.starts_with("holdfast");
            let ships = dependency["kind"].as_str() != Some("dev");
            if is_ours && ships && !row.may_use.contains(&used) {
                complaints.push(format!("{name} must not use {used}"));
            }
        }
    }
    complaints
}

/// What the pure crates reach and must not.
pub(crate) fn impurities() -> Vec<String> {
    let mut complaints = Vec::new();
    for krate in PURE {
        complaints.extend(reached(krate, &WORLDLY));
    }
    complaints.extend(reached(VAULT, &NOT_UNDER_VAULT));
    complaints
}

/// Members' dependencies that state a version of their own.
pub(crate) fn own_versions() -> Vec<String> {
    let mut complaints = Vec::new();
    for row in CRATES {
        let path = repository().join(row.folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(path).unwrap();
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]") && !line.contains("workspace");
            } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
                let from_workspace = line.contains("workspace = true");
                if !from_workspace {
                    complaints.push(format!("{}: {line}", row.package));
                }
            }
        }
    }
    complaints
}

fn reached(krate: &str, forbidden: &[&str]) -> Vec<String> {
    let tree = cargo(&["tree", "--locked", "-p", krate, "-e", "normal", "--prefix", "none"]);
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&krate), "cargo tree shows {krate} itself: {tree}");
    let found = forbidden.iter().filter(|name| names.contains(name));
    found.map(|name| format!("{krate} reaches {name}")).collect()
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let members = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| members.contains(&package["id"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn cargo(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(args).current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
