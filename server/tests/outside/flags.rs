//! Flags that cannot be: our words beside upstream's.

use crate::process::{Server, ours, outcome, theirs, write};
use serde_json::Value;
use std::process::Command;

/// The complaint of a server that did not start, and its exit code.
fn complaint(mut command: Command) -> (String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let output = outcome(command.current_dir(folder.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or(-1);
    if code == 2 {
        return (said.lines().next().unwrap_or_default().to_owned(), 2);
    }
    let of_line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let why = line.get("error").or(line.get("environment-variable"))?;
        let level = line["level"].as_str()?;
        matches!(level, "warn" | "fatal").then(|| why.as_str().map(str::to_owned))?
    };
    let lines: Vec<String> = said.lines().filter_map(of_line).collect();
    (lines.last().cloned().unwrap_or_else(|| said.into_owned()), code)
}

/// Refused before anything is bound, by both, with the same words.
const REFUSED: &[&[&str]] = &[
    &["--nope"],
    &["--heartbeat-interval=x"],
    &["--heartbeat-interval"],
    &["--heartbeat-interval=99999999999999999999"],
    &["--heartbeat-interval=0"],
    &["--election-timeout=0"],
    &["--election-timeout=100"],
    &["--election-timeout=60000"],
    &["--pre-vote=maybe"],
    &["extra"],
    &["--=x"],
    &["---x"],
    &["--listen-client-urls", "http://foo:1"],
    &["--listen-client-urls", "foo"],
    &["--listen-client-urls", "http://127.0.0.1:1/x"],
    &["--listen-client-urls", "http://127.0.0.1:1"],
    &["--listen-client-urls", "http://127.0.0.1"],
    &["--listen-client-urls", "ftp://127.0.0.1:1"],
    &["--listen-peer-urls", "127.0.0.1:2379"],
    &["--listen-metrics-urls", "http://127.0.0.1:b"],
    &["--initial-advertise-peer-urls", "http://:1"],
    &["--advertise-client-urls", "http://:1"],
    &["--initial-cluster-state=foo"],
    &["--auto-compaction-mode", "foo"],
    &["--auto-compaction-mode="],
    &["--discovery", "http://x", "--initial-cluster", "a=http://b:1"],
    &["--discovery-token", "x"],
    &["--discovery-fallback=proxy"],
    &["--tls-min-version=TLS1.1"],
    &["--tls-min-version=TLS1.3", "--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
    &["--tls-max-version=TLS1.2", "--tls-min-version=TLS1.3"],
    &["--logger=capnslog"],
    &["--logger=x"],
    &["--log-format=foo"],
    &["--log-outputs=default,stderr"],
    &["--enable-log-rotation"],
    &["--feature-gates=foo=true"],
    &["--feature-gates=foo"],
    &["--feature-gates=AllAlpha=x"],
    &["--feature-gates=LeaseCheckpointPersist=true"],
    &["--experimental-corrupt-check-time=1s", "--corrupt-check-time=1s"],
    &["--experimental-stop-grpc-service-on-defrag", "--feature-gates=StopGRPCServiceOnDefrag=true"],
    &["--compact-hash-check-time=0s"],
    &["--v2-deprecation=not-yet"],
    &["--max-concurrent-streams=x"],
    &["--grpc-keepalive-min-time=5"],
    &["--config-file", "nope"],
    &["--warning-unary-request-duration=1s", "--experimental-warning-unary-request-duration=1s"],
];

#[test]
fn what_cannot_be_is_refused_in_upstreams_words() {
    for arguments in REFUSED {
        let (our, their) = (complaint(ours(arguments)), complaint(theirs(arguments)));
        assert_eq!(our, their, "{arguments:?}");
    }
}

#[test]
fn variables_are_judged_as_upstreams() {
    for (variable, value, arguments) in [
        ("ETCD_NAME", "b", &["--name=a"][..]),
        ("ETCD_HEARTBEAT_INTERVAL", "x", &[]),
        ("ETCD_LISTEN_CLIENT_URLS", "foo", &[]),
        ("ETCD_INITIAL_CLUSTER_STATE", "foo", &[]),
        ("ETCD_ELECTION_TIMEOUT", "1", &[]),
    ] {
        let with = |mut command: Command| {
            command.env(variable, value);
            complaint(command)
        };
        assert_eq!(with(ours(arguments)), with(theirs(arguments)), "{variable}");
    }
}

#[test]
fn what_has_no_place_here_is_told() {
    let (why, code) = complaint(ours(&["--discovery-srv=example.com"]));
    assert!(code == 1 && why.starts_with("--discovery-srv is refused: "), "{code} {why}");
    // Upstream's sample of a configuration file names it and leaves it empty.
    let flags = ["--enable-pprof", "--max-snapshots=3", "--vv", "--discovery="];
    let server = Server::start(ours, "http", &flags);
    let log = server.log();
    assert!(
        log.contains("\"flag\":\"--enable-pprof\",\"reason\":\"this is no Go program\""),
        "{log}"
    );
    assert!(
        log.contains("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.")
    );
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for key in ["level", "ts", "caller", "msg"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
}

#[test]
fn a_file_is_read_and_older_names_still_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "etcd.yaml", "name: infra\nheartbeat-interval: 0\n");
    let named = ["--config-file", file.to_str().unwrap()];
    assert_eq!(complaint(ours(&named)), complaint(theirs(&named)));
    let arguments = ["--experimental-snapshot-catchup-entries=77", "--log-level=debug"];
    let server = Server::start(ours, "http", &arguments);
    assert!(server.log().contains("\"snapshot-catchup-entries\":77"), "{}", server.log());
}

#[test]
fn a_signal_ends_the_process_as_the_signal() {
    use std::os::unix::process::ExitStatusExt;
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let mut server = Server::ours();
        assert_eq!(server.signal(name).signal(), Some(number), "{}", server.log());
        assert!(server.log().contains("received signal; shutting down"));
    }
}

#[test]
fn an_initial_cluster_without_the_member_is_refused_in_upstreams_words() {
    let told = |command: Command| {
        let (text, code) = complaint(command);
        // Upstream adds what it resolved the names to.
        (text.split(" (").next().unwrap_or_default().to_owned(), code)
    };
    let [client, peer] = holdfast_peers::free_ports();
    let urls = [
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
    ];
    let other = format!("--initial-cluster=b=http://127.0.0.1:{peer}");
    let moved = "--initial-cluster=default=http://127.0.0.1:1".to_owned();
    for cluster in [&other, &moved] {
        let mut all: Vec<&str> = urls.iter().map(String::as_str).collect();
        all.push(cluster);
        assert_eq!(told(ours(&all)), told(theirs(&all)), "{cluster}");
    }
}
