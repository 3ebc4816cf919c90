//! restore, defrag and migrate: upstream's server boots on what ours wrote, with equal contents.

use crate::member::{Member, copy_folder};
use crate::side::{Tool, ours, theirs, words};
use crate::snapshots::snapshot;
use std::path::Path;

/// Boots a version on a data directory and asks it with upstream's tool.
fn ask(version: &str, data_dir: &Path, lines: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(data_dir, &folder.path().join("data"));
    let member = Member::start_on(version, folder, &[]);
    let ask = |line: &&str| {
        let mut all = vec![format!("--endpoints={}", member.endpoint())];
        all.extend(words(line));
        theirs(Tool::Ctl, version, &all, b"", &[])
    };
    lines.iter().map(|line| format!("{:?}", (ask(line).code, ask(line).text()))).collect()
}

const CONTENTS: [&str; 4] =
    ["get '' --prefix -w fields", "lease list", "user list", "endpoint hashkv"];

/// What does not depend on the member's ports.
fn plain(said: &[String]) -> Vec<String> {
    said.iter()
        .map(|text| {
            let port = text.find("127.0.0.1:").map(|at| text[at..at + 15].to_owned());
            port.map_or(text.clone(), |port| text.replace(&port, "HERE"))
        })
        .collect()
}

#[test]
fn a_restored_member_boots_and_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot(folder.path(), "3.6");
    for (case, more) in [("plain", ""), ("bumped", "--bump-revision 1000 --mark-compacted")] {
        let cluster = "--name m --initial-cluster m=http://127.0.0.1:23800 \
                       --initial-advertise-peer-urls http://127.0.0.1:23800";
        let line = |to: &Path| {
            let (from, to) = (path.display(), to.display());
            words(&format!("snapshot restore '{from}' --data-dir '{to}' {cluster} {more}"))
        };
        let (own, other) = (
            folder.path().join(format!("own-{case}")),
            folder.path().join(format!("other-{case}")),
        );
        let said = ours(Tool::Utl, &line(&own), b"", &[]);
        assert_eq!((said.code, said.text()), (0, String::new()), "{said:?}");
        let upstream = theirs(Tool::Utl, "3.6", &line(&other), b"", &[]);
        assert_eq!((upstream.code, upstream.text()), (0, String::new()));
        let (ours_holds, theirs_holds) =
            (ask("3.6", &own, &CONTENTS), ask("3.6", &other, &CONTENTS));
        assert_eq!(plain(&ours_holds), plain(&theirs_holds), "{case}");
        let again = ours(Tool::Utl, &line(&own), b"", &[]);
        let want = format!("Error: data-dir \"{}\" not empty or could not be read", own.display());
        assert_eq!((again.code, again.errors()), (1, vec![want]));
    }
    // A log in a directory of its own, and a snapshot without its digest.
    let bytes = std::fs::read(&path).unwrap();
    let bare = folder.path().join("bare.db");
    std::fs::write(&bare, &bytes[..bytes.len() - 32]).unwrap();
    let (data, wal) = (folder.path().join("data"), folder.path().join("wal"));
    let line = format!(
        "snapshot restore '{}' --data-dir '{}' --wal-dir '{}'",
        bare.display(),
        data.display(),
        wal.display()
    );
    let refused = ours(Tool::Utl, &words(&line), b"", &[]);
    let want = "Error: snapshot missing hash but --skip-hash-check=false";
    assert_eq!((refused.code, refused.errors()), (1, vec![want.to_owned()]));
    assert!(!data.exists() && !wal.exists(), "nothing is left behind");
    let said = ours(Tool::Utl, &words(&format!("{line} --skip-hash-check")), b"", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    copy_folder(&wal, &data.join("member/wal"));
    assert!(ask("3.6", &data, &["get a"])[0].contains("a\\n3"));
}

#[test]
fn a_damaged_snapshot_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot(folder.path(), "3.6");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[9000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let to = folder.path().join("to");
    let line = format!("snapshot restore '{}' --data-dir '{}'", path.display(), to.display());
    let said = ours(Tool::Utl, &words(&line), b"", &[]);
    assert!(said.code == 1 && said.err.starts_with("Error: expected sha256"), "{said:?}");
    assert!(!to.exists());
    let cluster = format!("{line} --skip-hash-check --initial-cluster default=http://127.0.0.1:9");
    let said = ours(Tool::Utl, &words(&cluster), b"", &[]);
    assert!(said.err.contains("missing from --initial-advertise-peer-urls"), "{said:?}");
}

#[test]
fn a_defragmented_and_a_migrated_member_boot() {
    let member = Member::start("3.6");
    let run = |line: &str| {
        let mut all = vec![format!("--endpoints={}", member.endpoint())];
        all.extend(words(line));
        ours(Tool::Ctl, &all, b"", &[]).good()
    };
    for number in 0..40 {
        run(&format!("put k{} {}", number % 5, "x".repeat(4000)));
    }
    run("compaction 40 --physical");
    let in_use = format!("defrag --data-dir '{}'", member.data_dir().display());
    let said = ours(Tool::Utl, &words(&in_use), b"", &[]);
    assert!(said.code == 1 && said.err.contains("in use"), "{said:?}");
    let folder = member.stop();
    let data = folder.path().join("data");
    let db = data.join("member/snap/db");
    let (size, want) = (db.metadata().unwrap().len(), ask("3.6", &data, &CONTENTS));
    let line = format!("defrag --data-dir '{}'", data.display());
    let said = ours(Tool::Utl, &words(&line), b"", &[]);
    assert_eq!((said.code, said.text()), (0, String::new()));
    assert!(said.err.starts_with("finished defragmenting directory"), "{said:?}");
    assert!(db.metadata().unwrap().len() < size, "{size}");
    assert_eq!(plain(&ask("3.6", &data, &CONTENTS)), plain(&want));
    let migrate = |version: &str| {
        let line = format!("migrate --data-dir '{}' --target-version {version}", data.display());
        ours(Tool::Utl, &words(&line), b"", &[])
    };
    let version = || {
        let line = words(&format!("snapshot status '{}' -w json", db.display()));
        theirs(Tool::Utl, "3.6", &line, b"", &[]).good()
    };
    for (to, stored) in [("3.6", "3.6.0"), ("3.5", ""), ("3.7", "3.7.0"), ("3.6", "3.6.0")] {
        let said = migrate(to);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(version().contains(&format!("\"version\":\"{stored}\"")), "{to}: {}", version());
    }
    assert_eq!(migrate("3.8").code, 1);
    assert_eq!(plain(&ask("3.6", &data, &CONTENTS)), plain(&want));
    assert_eq!(std::fs::read_dir(data.join("member/snap")).unwrap().count(), 1, "no file is left");
}
