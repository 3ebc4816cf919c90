//! The units under `systemd/`: systemd accepts them, they are as closed as they say, their commands
//! exist, and they fit the example configuration.
//!
//! systemd only reads copies here; nothing is installed or started.

use holdfast_policies::duration;
use holdfast_tests::holdfast;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The worst exposure that `systemd-analyze security` may find, in tenths; 100 is unconfined.
const EXPOSURE_LIMIT: &str = "25";
/// Where the units expect the binary. The copies name a program that every machine has.
const BINARY: &str = "/usr/local/bin/holdfast";
const STAND_IN: &str = "/bin/true";

struct Unit {
    name: String,
    text: String,
}

impl Unit {
    /// The values of a setting, comments left out.
    fn values(&self, setting: &str) -> Vec<&str> {
        let lines = self.text.lines();
        lines.filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

fn units() -> Vec<Unit> {
    let mut units = Vec::new();
    for entry in fs::read_dir(repository().join("systemd")).expect("systemd/ is there") {
        let entry = entry.expect("systemd/ can be listed");
        let text = fs::read_to_string(entry.path()).expect("a unit is a text");
        units.push(Unit { name: entry.file_name().to_string_lossy().into_owned(), text });
    }
    units.sort_by(|one, other| one.name.cmp(&other.name));
    units
}

fn services() -> Vec<Unit> {
    units().into_iter().filter(|unit| unit.name.ends_with(".service")).collect()
}

/// Copies of the units in a folder of their own.
fn copies(folder: &str, units: &[Unit]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("cargo's folder for tests takes files");
    let copy = |unit: &Unit| {
        let path = folder.join(&unit.name);
        let text = unit.text.replace(BINARY, STAND_IN);
        fs::write(&path, text).expect("cargo's folder for tests takes files");
        path
    };
    units.iter().map(copy).collect()
}

/// What systemd complains about; nothing when all is well.
fn complaints(verb: &[&str], files: &[PathBuf]) -> String {
    let output = Command::new("systemd-analyze")
        .args(verb)
        .args(files)
        .env("SYSTEMD_LOG_LEVEL", "notice")
        .output()
        .unwrap_or_else(|error| {
            panic!("systemd-analyze: {error}; install the package systemd, as `make check` does")
        });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        said
    } else {
        format!("{}: {said}{}", output.status, String::from_utf8_lossy(&output.stdout))
    }
}

#[test]
fn systemd_accepts_every_unit() {
    let units = units();
    assert!(units.iter().any(|unit| unit.name == "holdfast-agent.service"));
    for unit in &units {
        let known = unit.name.ends_with(".service") || unit.name.ends_with(".timer");
        assert!(known, "systemd/{}: neither a service nor a timer", unit.name);
    }
    assert_eq!(complaints(&["verify"], &copies("accepted", &units)), "");
}

#[test]
fn a_spoiled_unit_is_noticed() {
    for (good, bad) in [
        ("WatchdogSec=60s", "WatchdogSec=soon"),
        ("LimitCORE=0", "LimitCORE=none of it"),
        ("ProtectHome=yes", "ProtectHouse=yes"),
        (BINARY, "/nowhere/holdfast"),
        ("Type=notify", "Type=notifying"),
    ] {
        let mut units = units();
        units.retain(|unit| unit.name == "holdfast-agent.service");
        assert!(units[0].text.contains(good), "{good} stands in the unit");
        units[0].text = units[0].text.replace(good, bad);
        assert_ne!(complaints(&["verify"], &copies("spoiled", &units)), "", "{bad} passes");
    }
}

#[test]
fn services_are_closed_and_leave_no_core() {
    let services = services();
    for unit in &services {
        for (setting, value) in [
            ("LimitCORE", "0"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("UMask", "0077"),
            ("StateDirectoryMode", "0700"),
        ] {
            assert_eq!(unit.values(setting), [value], "{}: {setting}", unit.name);
        }
    }
    let threshold = format!("--threshold={EXPOSURE_LIMIT}");
    for copy in copies("closed", &services) {
        let verb = ["security", "--offline=yes", "--no-pager", &threshold];
        assert_eq!(complaints(&verb, std::slice::from_ref(&copy)), "", "{}", copy.display());
    }
}

#[test]
fn the_binary_knows_each_command() {
    for unit in services() {
        let commands = unit.values("ExecStart");
        assert_eq!(commands.len(), 1, "{}", unit.name);
        let mut words = commands[0].split_whitespace();
        assert_eq!(words.next(), Some(BINARY), "{}", unit.name);
        let verb = words.next().expect("a verb");
        let help = holdfast::succeed(&[verb, "--help"]);
        for flag in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{}: `holdfast {verb}` has no {flag}", unit.name);
        }
    }
}

#[test]
fn the_agent_fits_the_example_configuration() {
    let units = units();
    let unit = units.iter().find(|unit| unit.name == "holdfast-agent.service").unwrap();
    let config = fs::read_to_string(repository().join("etc/agent.yaml")).unwrap();
    let field = |name: &str| {
        let value =
            config.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        let value = value.unwrap_or_else(|| panic!("etc/agent.yaml has no {name}"));
        value.split('#').next().unwrap_or_default().trim().to_owned()
    };
    let state = format!("/var/lib/{}", unit.values("StateDirectory")[0]);
    assert_eq!(field("stateDirectory"), state);
    for path in config.lines().filter_map(|line| line.trim().strip_prefix("directory:")) {
        assert!(path.trim().starts_with(&state), "the unit may not write to {path}");
    }
    let seconds = |setting| duration::parse(unit.values(setting)[0]).unwrap();
    let grace = duration::parse(&field("shutdownGrace")).unwrap();
    assert!(seconds("TimeoutStopSec") > grace, "systemd kills a round that may still finish");
    assert!(
        seconds("WatchdogSec") >= Duration::from_secs(30),
        "a busy machine is not a dead agent"
    );
}
