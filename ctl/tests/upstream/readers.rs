//! Lines that change nothing, run by both tools on one member: then every byte must be equal.

use crate::member::Member;
use crate::side::{Said, Tool, ours, theirs, words};

const LINES: [&str; 22] = [
    "endpoint status",
    "endpoint status -w json",
    "endpoint status -w fields",
    "endpoint status -w fields --hex",
    "endpoint status -w table",
    "endpoint status --cluster",
    "endpoint hashkv -w table",
    "endpoint hashkv -w json",
    "member list -w protobuf",
    "member list -w table",
    "member list --hex -w json",
    "member list --hex -w fields",
    "get '' --prefix -w protobuf",
    "get '' --prefix -w json",
    "get '' --prefix --hex",
    "get '' --prefix -w fields --hex",
    "role get r -w protobuf",
    "user get u -w protobuf",
    "lease list -w json",
    "lease list -w fields --hex",
    "alarm list -w protobuf",
    "auth status -w protobuf",
];

/// What both say. A member writes by itself, too: what it was given a moment ago, and its version
/// some seconds after its start. That may come between the two, so they are asked again until
/// nothing does.
fn both(version: &str, line: &[String]) -> (Said, Said) {
    let upstreams = || theirs(Tool::Ctl, version, line, b"", &[]);
    let mut before = upstreams();
    for _ in 0..20 {
        let said = ours(Tool::Ctl, line, b"", &[]);
        if (said.code, &said.out) == (before.code, &before.out) {
            return (said, before);
        }
        let after = upstreams();
        if (after.code, &after.out) == (before.code, &before.out) {
            return (said, before);
        }
        before = after;
    }
    panic!("{line:?}: the member never comes to rest");
}

#[test]
fn every_byte_is_equal_on_one_member() {
    let member = Member::start("3.6");
    let endpoint = member.endpoint();
    let with = |line: &str| {
        let mut all = vec![format!("--endpoints={endpoint}")];
        all.extend(words(line));
        all
    };
    for line in [
        "put é '1\u{1}<&>'",
        "put b 2",
        "lease grant 900",
        "role add r",
        "user add u:p",
        "role grant-permission r readwrite a --prefix",
        "user grant-role u r",
    ] {
        ours(Tool::Ctl, &with(line), b"", &[]).good();
    }
    for version in ["3.6", "3.7"] {
        // 3.7 draws its tables with other lines.
        let lines = LINES.iter().filter(|line| version == "3.6" || !line.contains("-w table"));
        for line in lines {
            let (ours, theirs) = both(version, &with(line));
            assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()), "{version}: {line}");
            assert_eq!(ours.out, theirs.out, "{line}");
        }
    }
    // An endpoint where nobody is does not keep the next from answering.
    for line in ["get b", "put b 2 --prev-kv", "member list", "watch b --rev 999999 --help"] {
        let mut all = vec![format!("--endpoints=127.0.0.1:1,{endpoint}")];
        all.extend(words(line));
        let (theirs, ours) =
            (theirs(Tool::Ctl, "3.6", &all, b"", &[]), ours(Tool::Ctl, &all, b"", &[]));
        assert_eq!(ours.code, theirs.code, "{line}");
        assert!(line.contains("help") || ours.out == theirs.out, "{line}");
    }
    // A transaction that only reads.
    for format in ["json", "protobuf", "simple", "fields"] {
        let line = with(&format!("txn -w {format}"));
        let input = b"mod(\"b\") > \"0\"\n\nget b\nget \"\" --prefix --limit=1\n\n\n";
        let theirs = theirs(Tool::Ctl, "3.6", &line, input, &[]);
        let ours = ours(Tool::Ctl, &line, input, &[]);
        assert_eq!((ours.code, ours.out), (theirs.code, theirs.out), "{format}");
    }
}

#[test]
fn options_come_from_the_environment() {
    let member = Member::start("3.6");
    let endpoint = member.endpoint();
    let variables = [("ETCDCTL_ENDPOINTS", endpoint.as_str()), ("ETCDCTL_WRITE_OUT", "json")];
    let line = words("member list");
    let theirs = theirs(Tool::Ctl, "3.6", &line, b"", &variables);
    let ours = ours(Tool::Ctl, &line, b"", &variables);
    assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()));
    assert!(ours.text().starts_with("{\"header\""));
}
