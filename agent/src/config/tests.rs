//! Every file under etc/ is read; mistakes are named with their place.

use super::*;

const SMALL: &str = "
etcd:
  endpoints: [http://127.0.0.1:2379]
vault:
  url: file:///srv/vault
  encryptionConfig: encryption.yaml
stateDirectory: state
";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/holdfast/agent.yaml"))
}

#[test]
fn the_smallest_file_and_its_defaults() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.state_directory, Path::new("/etc/holdfast/state"));
    assert_eq!(config.spool_directory(), config.state_directory);
    assert_eq!(
        config.vault.encryption_config.as_deref(),
        Some(Path::new("/etc/holdfast/encryption.yaml"))
    );
    assert_eq!(config.vault.sensitive_prefixes, ["/registry/secrets/"]);
    assert_eq!(config.retention, RetentionPolicy::default());
    assert_eq!(config.prune.grace, Duration::from_secs(72 * 3600));
    assert_eq!(config.rounds("cp-1").line(), "@hourly");
    assert!(config.drill.is_none() && config.listen.is_none());
    assert!(config.rounds("cp-1").jitter() < Duration::from_secs(600));
}

#[test]
fn a_bare_server_binary_is_left_to_path() {
    for (given, meant) in [
        ("etcd", "etcd"),
        ("./etcd", "/etc/holdfast/./etcd"),
        ("bin/etcd", "/etc/holdfast/bin/etcd"),
        ("/opt/etcd", "/opt/etcd"),
    ] {
        let drill = format!("drill: {{schedule: '@daily', serverBinary: {given}, directory: d}}\n");
        let drill = parse(&format!("{SMALL}{drill}")).unwrap().drill.unwrap();
        assert_eq!(drill.server_binary.as_deref(), Some(Path::new(meant)));
        assert_eq!(drill.directory, Path::new("/etc/holdfast/d"));
    }
    let bundled = parse(&format!("{SMALL}drill: {{schedule: '@daily', directory: d}}\n"));
    assert_eq!(bundled.unwrap().drill.unwrap().server_binary, None);
}

#[test]
fn two_clusters_or_machines_do_not_run_at_the_same_second() {
    let other = SMALL.replace("127.0.0.1", "127.0.0.2");
    let jitter = |text: &str, machine: &str| parse(text).unwrap().rounds(machine).jitter();
    assert_ne!(jitter(SMALL, "cp-1"), jitter(&other, "cp-1"));
    // Every control plane asks its own 127.0.0.1.
    assert_ne!(jitter(SMALL, "cp-1"), jitter(SMALL, "cp-2"));
    assert_eq!(jitter(SMALL, "cp-2"), jitter(SMALL, "cp-2"));
    let cycle = |machine| parse(SMALL).unwrap().cycle(machine).rounds.jitter();
    assert_eq!(cycle("cp-2"), jitter(SMALL, "cp-2"), "the loop ticks as the pages say");
}

#[test]
fn every_example_is_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    let mut agents = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("kind: EncryptionConfiguration") {
            serde_yaml::from_str::<serde_yaml::Value>(&text).unwrap();
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        agents += 1;
        if path.ends_with("agent.yaml") {
            let certificate = Path::new("/etc/kubernetes/pki/etcd/healthcheck-client.crt");
            assert_eq!(config.etcd.cert_file.as_deref(), Some(certificate));
            let beside = config.vault.encryption_config.unwrap();
            assert!(beside.is_file(), "{} is not there", beside.display());
        }
    }
    assert!(agents >= 1);
}

#[test]
fn the_full_example_leaves_no_field_out() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/agent.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    for field in [
        "endpoints",
        "caFile",
        "certFile",
        "keyFile",
        "serverName",
        "user",
        "passwordFile",
        "requestTimeout",
        "snapshotTimeout",
        "stallTimeout",
        "hashTimeout",
        "url",
        "clusterId",
        "encryptionConfig",
        "sealing",
        "sensitivePrefixes",
        "uploadLimit",
        "compressionLevel",
        "rounds",
        "timeZone",
        "jitter",
        "retryAfter",
        "longestRetry",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "yearly",
        "last",
        "within",
        "enabled",
        "grace",
        "schedule",
        "serverBinary",
        "directory",
        "timeout",
        "sizeLimit",
        "stateDirectory",
        "listen",
        "format",
        "level",
        "shutdownGrace",
    ] {
        assert!(text.contains(&format!("{field}:")), "etc/agent.yaml does not show {field}");
    }
}

#[test]
fn mistakes_have_a_place() {
    for (change, place, says) in [
        ("  endpoint: [x]\n", "3:3", "unknown field `endpoint`"),
        ("  endpoints: 7\n", "3:14", "invalid type"),
    ] {
        let text = SMALL.replace("  endpoints: [http://127.0.0.1:2379]\n", change);
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(place), "{error}");
        assert!(error.starts_with("/etc/holdfast/agent.yaml:"), "{error}");
        assert!(!error.contains("at line"), "{error}");
    }
    for (more, says) in [
        ("schedule: {rounds: '61 * * * *'}\n", ":8:"),
        ("schedule: {timeZone: Mars/Olympus}\n", "IANA"),
        ("schedule: {jitter: 10}\n", ":8:"),
        ("retention: {hourly: 0}\n", "keeps nothing"),
        ("spool: {sizeLimit: 16G}\n", "GiB"),
        ("listen: localhost\n", ":8:"),
        ("log: {format: xml}\n", "xml"),
        ("drill: {schedule: '@daily'}\n", "directory"),
        ("surprise: 1\n", "unknown field `surprise`"),
        ("stateDirectory: twice\n", "duplicate"),
        (": [\n", ":8:"),
    ] {
        let error = parse(&format!("{SMALL}{more}")).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn contradictions_name_the_field() {
    for (from, to, field) in [
        ("[http://127.0.0.1:2379]", "[]", "etcd.endpoints"),
        ("[http://127.0.0.1:2379]", "[https://127.0.0.1:2379]", "etcd.caFile"),
        ("[http://127.0.0.1:2379]", "[x]\n  certFile: a", "etcd.certFile"),
        ("[http://127.0.0.1:2379]", "[x]\n  user: root", "etcd.user"),
        ("[http://127.0.0.1:2379]", "[x]\n  stallTimeout: 0s", "etcd.stallTimeout"),
        ("[http://127.0.0.1:2379]", "[x]\n  snapshotTimeout: 5h", "etcd.snapshotTimeout"),
        ("  encryptionConfig: encryption.yaml\n", "", "vault.encryptionConfig"),
        ("encryption.yaml", "e\n  compressionLevel: 22", "vault.compressionLevel"),
        ("encryption.yaml", "e\n  sensitivePrefixes: ['']", "vault.sensitivePrefixes"),
        ("encryption.yaml", "e\n  uploadLimit: 1KiB", "vault.uploadLimit"),
        ("state\n", "state\nprune: {grace: 5m}\n", "prune.grace"),
        ("state\n", "state\nschedule: {jitter: 2d}\n", "schedule.jitter"),
        ("state\n", "state\nschedule: {longestRetry: 1s}\n", "schedule.longestRetry"),
    ] {
        match parse(&SMALL.replace(from, to)) {
            Err(ConfigError::Contradiction { field: found, .. }) if found == field => {}
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/agent.yaml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/agent.yaml"), "{error}");
}
