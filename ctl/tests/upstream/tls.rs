//! Connections: with TLS, verified or not, and ones that break.

use crate::member::Member;
use crate::side::{Tool, ours, theirs, words};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn certificates_are_checked_unless_asked_not_to() {
    let member = Member::start_on("3.6", tempfile::tempdir().unwrap(), &["--auto-tls"]);
    let endpoint = format!("https://{}", member.endpoint());
    let other = member.folder.path().join("other.pem");
    std::fs::write(&other, "no certificate").unwrap();
    let run = |options: &str| {
        let line = words(&format!("--endpoints {endpoint} --command-timeout 3s {options} put a 1"));
        let theirs = theirs(Tool::Ctl, "3.6", &line, b"", &[]);
        (ours(Tool::Ctl, &line, b"", &[]), theirs)
    };
    for options in
        ["--insecure-skip-tls-verify", "--insecure-transport=false --insecure-skip-tls-verify"]
    {
        let (ours, theirs) = run(options);
        assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()), "{options}: {ours:?}");
        assert_eq!(ours.text(), "OK\n", "{options}: {ours:?}");
    }
    let (refused, _) = run("");
    assert!(refused.code == 128 && refused.err.contains("--cacert"), "{refused:?}");
    for path in [other.display().to_string(), "/nowhere.pem".to_owned()] {
        let line = words(&format!(
            "--endpoints {endpoint} --command-timeout 1s --cacert '{path}' put a 1"
        ));
        let said = ours(Tool::Ctl, &line, b"", &[]);
        assert!(said.code != 0 && said.text().is_empty(), "{said:?}");
    }
}

/// `etcd --auto-tls` makes a certificate that is an authority itself: it is believed where it is
/// named as one, for the names that it holds.
#[test]
fn a_certificate_that_is_an_authority_itself_is_taken_where_it_is_trusted() {
    let start = || Member::start_on("3.6", tempfile::tempdir().unwrap(), &["--auto-tls"]);
    let (member, stranger) = (start(), start());
    let certificate = |of: &Member| of.data_dir().join("fixtures/client/cert.pem");
    let port = member.endpoint().rsplit(':').next().unwrap().to_owned();
    let run = |host: &str, trusted: &Member| {
        let cacert = certificate(trusted).display().to_string();
        let line = words(&format!(
            "--endpoints https://{host}:{port} --command-timeout 2s --cacert '{cacert}' put a 1"
        ));
        let theirs = theirs(Tool::Ctl, "3.6", &line, b"", &[]);
        (ours(Tool::Ctl, &line, b"", &[]), theirs)
    };
    let (taken, theirs) = run("127.0.0.1", &member);
    assert_eq!((taken.code, taken.text()), (theirs.code, theirs.text()), "{taken:?}");
    assert_eq!(taken.text(), "OK\n", "{taken:?}");
    for (host, trusted, why) in
        [("127.0.0.1", &stranger, "another's certificate"), ("localhost", &member, "another name")]
    {
        let (refused, theirs) = run(host, trusted);
        assert!(theirs.code != 0 && refused.code != 0, "{why}: {refused:?} {theirs:?}");
        assert!(refused.err.contains("certificate"), "{why}: {refused:?}");
    }
}

#[test]
fn a_watch_goes_on_where_it_broke_off() {
    let ports = holdfast_peers::free_ports();
    let first = Member::start_at("3.6", tempfile::tempdir().unwrap(), &[], ports);
    let endpoint = first.endpoint();
    let line = move |text: &str| {
        let mut all = vec![format!("--endpoints={endpoint}")];
        all.extend(words(text));
        all
    };
    let put = |value: &str| {
        ours(Tool::Ctl, &line(&format!("put a {value}")), b"", &[]).good();
    };
    put("1");
    let out: Arc<Mutex<Vec<u8>>> = Arc::default();
    let silent = Arc::new(Mutex::new(Vec::new()));
    let console = holdfast_ctl::Console::new(out.clone(), silent, std::io::empty(), [].into());
    let watch = line("watch a --rev 1");
    std::thread::spawn(move || holdfast_ctl::ctl("etcdctl", &watch, &console));
    let wait_for = |count: usize| {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let said = String::from_utf8_lossy(&out.lock().unwrap()).into_owned();
            if said.matches("PUT").count() >= count {
                return said;
            }
            assert!(Instant::now() < deadline, "{said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    put("2");
    wait_for(2);
    let folder = first.stop();
    let _second = Member::start_at("3.6", folder, &[], ports);
    put("3");
    put("4");
    let said = wait_for(4);
    assert_eq!(said, "PUT\na\n1\nPUT\na\n2\nPUT\na\n3\nPUT\na\n4\n");
}
