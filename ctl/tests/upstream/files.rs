//! etcdutl's verbs on one file: hashkv, and arguments that make no sense.

use crate::side::{Tool, ours, theirs, words};
use crate::snapshots::snapshot;

#[test]
fn the_hash_is_upstreams_and_the_file_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot(folder.path(), "3.6");
    let before = std::fs::read(&path).unwrap();
    // Upstream's writes to what it looks at.
    let copy = folder.path().join("copy.db");
    for rev in ["", "--rev 4", "--rev 6", "--rev 2", "--rev 99"] {
        for format in ["simple", "json", "table", "fields", "protobuf"] {
            std::fs::write(&copy, &before).unwrap();
            let line = |path: &std::path::Path| {
                words(&format!("hashkv '{}' {rev} -w {format}", path.display()))
            };
            let theirs = theirs(Tool::Utl, "3.6", &line(&copy), b"", &[]);
            let ours = ours(Tool::Utl, &line(&path), b"", &[]);
            let got = (ours.code, ours.text(), ours.errors());
            assert_eq!(got, (theirs.code, theirs.text(), theirs.errors()), "{rev} {format}");
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn refusals_are_upstreams() {
    for line in [
        "foo",
        "version",
        "snapshot status",
        "snapshot status nowhere",
        "hashkv",
        "hashkv nowhere",
        "defrag",
        "defrag --data-dir nowhere",
        "migrate --data-dir nowhere",
        "migrate --data-dir nowhere --target-version 3.6",
        "migrate --data-dir nowhere --target-version 3.4",
        "migrate --data-dir nowhere --target-version x",
        "migrate --data-dir nowhere --target-version 3.6.1",
        "snapshot restore",
        "snapshot restore nowhere --data-dir there",
        "snapshot restore x --bump-revision 5",
        "snapshot restore x --mark-compacted",
        "snapshot status --zzz",
    ] {
        let theirs = theirs(Tool::Utl, "3.6", &words(line), b"", &[]);
        let ours = ours(Tool::Utl, &words(line), b"", &[]);
        let got = (ours.code, ours.text(), ours.errors());
        assert_eq!(got, (theirs.code, theirs.text(), theirs.errors()), "{line}");
    }
    assert!(!std::path::Path::new("there").exists());
}

#[test]
fn completion_scripts_complete() {
    for (tool, name, line, want) in [
        (Tool::Ctl, "etcdctl", "etcdctl member ''", "add list promote remove update"),
        (Tool::Ctl, "etcdctl", "etcdctl -w json get --pre", "--prefix"),
        (Tool::Utl, "etcdutl", "etcdutl snapshot ''", "restore status"),
    ] {
        let script = ours(tool, &words("completion bash"), b"", &[]).good();
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _{name}; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = std::process::Command::new("bash");
        let said = holdfast_peers::run(bash.args(["-c", &ask]));
        assert!(said.starts_with(want), "{line}: {said}");
    }
    assert_eq!(ours(Tool::Ctl, &words("completion tcsh"), b"", &[]).code, 1);
}
