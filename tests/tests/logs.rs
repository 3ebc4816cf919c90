//! The agent logs as its configuration says, and a flag wins over it.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::holdfast::refuse;
use holdfast_tests::site::{Provider, encryption_config};
use serde_json::Value;
use std::fs;

#[test]
fn the_configuration_says_how_the_agent_logs() {
    let folder = tempfile::tempdir().unwrap();
    let (config, keys) = (folder.path().join("agent.yaml"), folder.path().join("keys.yaml"));
    fs::write(&keys, encryption_config(&[Provider::aesgcm()])).unwrap();
    let vault = folder.path().join("no-vault");
    let text = format!(
        "etcd:\n  endpoints: [\"http://127.0.0.1:1\"]\nvault:\n  url: file://{}\n  \
         encryptionConfig: keys.yaml\nstateDirectory: state\nlog:\n  format: json\n  level: trace\n",
        vault.display()
    );
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(&config, text).unwrap();
    let config = config.to_string_lossy().into_owned();

    let said = refuse(&["agent", "--once", "--config", &config]);
    let logged: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!logged.is_empty(), "nothing was logged as JSON:\n{said}");
    for line in logged {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }

    let said = refuse(&["agent", "--once", "--config", &config, "--log-format", "text"]);
    assert!(!said.lines().any(|line| line.starts_with('{')), "the flag did not win:\n{said}");
    let said = refuse(&["agent", "--once", "--config", &config, "--log-level", "off"]);
    assert!(!said.lines().any(|line| line.starts_with('{')), "the flag did not win:\n{said}");
}
