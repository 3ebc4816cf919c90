//! snapshot save, judged by upstream's etcdutl, and snapshot status beside it.

use crate::member::Member;
use crate::side::{Tool, ours, theirs, words};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A member's snapshot with a little history; made once for each version, since a member takes
/// seconds to note its version.
pub(crate) fn snapshot(folder: &Path, version: &'static str) -> PathBuf {
    static MADE: Mutex<BTreeMap<&str, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder.join(format!("{version}.db"));
    match made.get(version) {
        Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        None => {
            save(&path, version);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            made.insert(version, std::fs::read(&path).unwrap());
        }
    }
    path
}

fn save(path: &Path, version: &str) {
    let member = Member::start(version);
    let run = |line: &str| {
        let mut all = vec![format!("--endpoints={}", member.endpoint())];
        all.extend(words(line));
        ours(Tool::Ctl, &all, b"", &[])
    };
    for line in [
        "put a 1",
        "put b 2",
        "put a 3",
        "del b",
        "put c 4",
        "lease grant 500",
        "user add u:p",
        "compaction 4 --physical",
        "put d 5",
        "del c",
    ] {
        run(line).good();
    }
    // A member of 3.6 and later notes its version a moment after it has started; until then it
    // says 3.5.0.
    let noted = format!("\"storageVersion\":\"{version}.0\"");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while version != "3.5" && !run("endpoint status -w json").good().contains(&noted) {
        assert!(std::time::Instant::now() < deadline, "no storage version");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = run(&format!("snapshot save '{}'", path.display()));
    let text = said.clone().good();
    assert!(text.starts_with(&format!("Snapshot saved at {}\n", path.display())), "{said:?}");
    assert_eq!(text.contains("Server version"), version != "3.5", "{text}");
}

fn utl(line: &str) -> Vec<String> {
    words(line)
}

#[test]
fn saved_snapshots_are_good_and_a_flipped_byte_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["3.5", "3.6", "3.7"] {
        let path = snapshot(folder.path(), version);
        for format in ["simple", "json", "table", "fields", "protobuf", "odd"] {
            let line = utl(&format!("snapshot status '{}' -w {format}", path.display()));
            let theirs = theirs(Tool::Utl, version, &line, b"", &[]);
            let ours = ours(Tool::Utl, &line, b"", &[]);
            if version == "3.5" || (version, format) == ("3.7", "table") {
                // 3.5's tool shows no version, and 3.7 draws its tables with other lines.
                assert_eq!(ours.code, theirs.code, "{line:?}");
                continue;
            }
            assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()), "{line:?}");
        }
        let good = std::fs::read(&path).unwrap();
        for at in [5000, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let path = folder.path().join("bad.db");
            std::fs::write(&path, &bad).unwrap();
            let line = utl(&format!("snapshot status '{}'", path.display()));
            let said = ours(Tool::Utl, &line, b"", &[]);
            assert_eq!((said.code, said.text()), (1, String::new()), "{at}: {said:?}");
            assert!(said.err.starts_with("Error: expected sha256"), "{said:?}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "no part is left behind: {left:?}");
}

#[test]
fn a_snapshot_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let line = words(&format!(
        "--endpoints 127.0.0.1:1 --command-timeout 200ms snapshot save '{}'",
        path.display()
    ));
    let said = ours(Tool::Ctl, &line, b"", &[]);
    assert_eq!((said.code, said.text()), (5, String::new()), "{said:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let line = words("--endpoints 127.0.0.1:1,127.0.0.1:2 snapshot save x");
    assert_eq!(ours(Tool::Ctl, &line, b"", &[]).code, 5);
    for moved in ["snapshot status x", "snapshot restore x --data-dir y"] {
        let said = ours(Tool::Ctl, &words(moved), b"", &[]);
        assert!(said.code == 128 && said.err.contains("etcdutl"), "{said:?}");
    }
}
