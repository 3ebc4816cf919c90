//! No password and no token in anything that is said.

use crate::member::Member;
use crate::side::{Tool, ours, words};

#[test]
fn passwords_are_never_said() {
    let member = Member::start("3.6");
    let run = |line: &str, variables: &[(&str, &str)], input: &str| {
        let mut all = vec![format!("--endpoints={}", member.endpoint())];
        all.extend(words(line));
        ours(Tool::Ctl, &all, input.as_bytes(), variables)
    };
    let mut said = Vec::new();
    for line in [
        "user add root:hunter2",
        "user grant-role root root",
        "role add root",
        "user grant-role root root",
        "user add u --new-user-password hunter2",
        "auth enable",
    ] {
        said.push(run(line, &[], ""));
    }
    for line in [
        "--user root:hunter2 get a",
        "--user root:hunter2x get a",
        "--user root --password hunter2 --debug put a 1",
        "--user root:hunter2 frob",
        "--user root:hunter2 get --zzz",
        "--user=root:hunter2 endpoint status",
        "--user root:hunter2 --endpoints 127.0.0.1:1 --command-timeout 100ms get a",
        "--endpoints http://root:hunter2@127.0.0.1:1 get a",
    ] {
        said.push(run(line, &[], ""));
    }
    said.push(run(
        "get a",
        &[("ETCDCTL_USER", "root:hunter2"), ("ETCDCTL_PASSWROD", "hunter2")],
        "",
    ));
    said.push(run("--user root get a", &[], "hunter2\n"));
    said.push(run("--user root:hunter2 user passwd u", &[], "hunter2\nhunter2\n"));
    said.push(run("--user root:hunter2 user passwd u", &[], "hunter2\nhunter3\n"));
    let good = said.iter().filter(|one| one.code == 0).count();
    assert!(good >= 8 && good < said.len(), "{good} of {}: {said:#?}", said.len());
    for one in said {
        assert!(!format!("{one:?}{}", one.text()).contains("hunter"), "{one:?}");
    }
}
