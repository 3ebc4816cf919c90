//! A restore is cut at every step; whatever is found afterwards must be the old or the whole new
//! one.

use super::place::is_mount_point;
use super::*;
use std::collections::BTreeMap;

/// Does the first `left` things, then nothing any more, as a machine that lost power.
struct CrashAfter {
    left: usize,
}

impl CrashAfter {
    fn step(&mut self) -> io::Result<()> {
        if self.left == 0 {
            return Err(io::Error::other("power lost"));
        }
        self.left -= 1;
        Ok(())
    }
}

impl Names for CrashAfter {
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        DurableNames.rename(from, to)
    }

    fn replace_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        DurableNames.replace_file(path, bytes)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        DurableNames.remove_file(path)
    }

    fn remove_tree(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        DurableNames.remove_tree(path)
    }
}

const NOW: i64 = 1_800_000_000_000;

struct Fixture {
    root: tempfile::TempDir,
    mounted: bool,
}

impl Fixture {
    fn new(mounted: bool, existing: bool) -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let fixture = Fixture { root, mounted };
        let data_dir = fixture.data_dir();
        if existing {
            fill(&data_dir, "old");
        } else if mounted {
            fs::create_dir_all(&data_dir).unwrap();
        }
        fixture
    }

    fn data_dir(&self) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join("etcd")
    }

    fn place(&self) -> Place {
        Place::with_layout(self.data_dir(), self.mounted).unwrap()
    }

    /// One whole restore that writes `content`.
    fn restore(&self, content: &str, names: &mut dyn Names) -> Result<Option<PathBuf>, SwapError> {
        settle(&self.place(), names)?;
        let workplace = Workplace::prepare(&self.place(), names)?;
        fill(workplace.build_dir(), content);
        workplace.swap_in(names, NOW)
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(self.data_dir().join("member/snap/db")).ok()
    }

    /// Every database there is, by its path below the root.
    fn databases(&self) -> BTreeMap<String, String> {
        fn walk(dir: &Path, root: &Path, out: &mut BTreeMap<String, String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, out);
                } else if path.ends_with("snap/db") {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    out.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        let mut out = BTreeMap::new();
        walk(self.root.path(), self.root.path(), &mut out);
        out
    }
}

fn fill(data_dir: &Path, content: &str) {
    fs::create_dir_all(data_dir.join("member/snap")).unwrap();
    fs::create_dir_all(data_dir.join("member/wal")).unwrap();
    fs::write(data_dir.join("member/snap/db"), content).unwrap();
}

#[test]
fn a_restore_cut_at_any_step_leaves_the_old_or_the_new() {
    for (mounted, existing) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut steps = 0;
        loop {
            let fixture = Fixture::new(mounted, existing);
            let outcome = fixture.restore("new", &mut CrashAfter { left: steps });
            let finished = outcome.is_ok();
            drop(outcome);
            let settled = settle(&fixture.place(), &mut DurableNames);
            assert!(settled.is_ok(), "cut after {steps}: {settled:?}");
            let content = fixture.content();
            let old = existing.then(|| "old".to_owned());
            let new = Some("new".to_owned());
            assert!(content == old || content == new, "cut after {steps}: {content:?}");
            assert!(!finished || content == new);
            let all = fixture.databases();
            assert_eq!(existing, all.values().any(|content| content == "old"), "{steps}: {all:?}");
            assert!(!exists(&fixture.place().build_dir));
            assert_eq!(settle(&fixture.place(), &mut DurableNames).unwrap(), Settled::Clean);
            // The next restore and its undo work from there.
            fixture.restore("newer", &mut DurableNames).unwrap();
            assert_eq!(fixture.content().as_deref(), Some("newer"));
            undo(&fixture.place(), &mut DurableNames, NOW).unwrap();
            assert_eq!(fixture.content(), content);
            if finished {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 4, "only {steps} steps were cut");
    }
}

#[test]
fn a_settle_cut_at_any_step_can_be_repeated() {
    for first_cut in 0..8 {
        for second_cut in 0..6 {
            let fixture = Fixture::new(false, true);
            let _ = fixture.restore("new", &mut CrashAfter { left: first_cut });
            let _ = settle(&fixture.place(), &mut CrashAfter { left: second_cut });
            settle(&fixture.place(), &mut DurableNames).unwrap();
            assert!(fixture.databases().values().any(|content| content == "old"));
            assert!(fixture.content().is_some());
        }
    }
}

#[test]
fn an_undo_cut_at_any_step_keeps_both() {
    for existing in [true, false] {
        for steps in 0.. {
            let fixture = Fixture::new(false, existing);
            fixture.restore("new", &mut DurableNames).unwrap();
            let finished = undo(&fixture.place(), &mut CrashAfter { left: steps }, NOW).is_ok();
            settle(&fixture.place(), &mut DurableNames).unwrap();
            let all = fixture.databases();
            assert!(all.values().any(|content| content == "new"), "{all:?}");
            assert_eq!(all.len(), 1 + usize::from(existing));
            let before = existing.then(|| "old".to_owned());
            assert!(fixture.content() == before || fixture.content().as_deref() == Some("new"));
            if finished {
                assert_eq!(fixture.content(), before);
                break;
            }
        }
    }
}

#[test]
fn undo_goes_back_step_by_step_and_then_refuses() {
    let fixture = Fixture::new(false, true);
    fixture.restore("second", &mut DurableNames).unwrap();
    fixture.restore("third", &mut DurableNames).unwrap();
    assert_eq!(fixture.databases().len(), 3, "two restores within one second");
    assert!(undo(&fixture.place(), &mut DurableNames, NOW).unwrap().put_back);
    assert_eq!(fixture.content().as_deref(), Some("second"));
    undo(&fixture.place(), &mut DurableNames, NOW).unwrap();
    assert_eq!(fixture.content().as_deref(), Some("old"));
    let error = undo(&fixture.place(), &mut DurableNames, NOW).unwrap_err();
    assert!(matches!(error, SwapError::NothingToUndo(_)));
    assert!(!exists(&fixture.place().journal_path()));
    assert_eq!(fixture.databases().len(), 3, "nothing is ever deleted");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let fixture = Fixture::new(false, true);
    let place = fixture.place();
    fill(&place.build_dir, "somebody's");
    let error = fixture.restore("new", &mut DurableNames).unwrap_err();
    assert!(matches!(error, SwapError::NotOurs(_)), "{error}");
    assert_eq!(fixture.databases().len(), 2);
    fs::remove_dir_all(&place.build_dir).unwrap();

    fs::write(place.journal_path(), b"{\"version\":1,\"done\":[],\"pend").unwrap();
    assert!(matches!(fixture.restore("new", &mut DurableNames), Err(SwapError::Journal { .. })));
    fs::write(place.journal_path(), b"{\"version\":9,\"done\":[],\"pending\":null}").unwrap();
    assert!(matches!(fixture.restore("new", &mut DurableNames), Err(SwapError::Journal { .. })));
    fs::remove_file(place.journal_path()).unwrap();

    // Somebody moved things around between a crash and now.
    let _ = fixture.restore("new", &mut CrashAfter { left: 3 });
    assert!(!exists(&place.target));
    fs::remove_dir_all(&place.build_dir).unwrap();
    assert!(matches!(settle(&place, &mut DurableNames), Err(SwapError::Confused { .. })));
}

#[test]
fn running_servers_and_other_restores_are_noticed() {
    use rustix::fs::{FlockOperation, flock};
    let fixture = Fixture::new(false, true);
    let database = File::open(fixture.data_dir().join("member/snap/db")).unwrap();
    flock(&database, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = fixture.restore("new", &mut DurableNames).unwrap_err();
    assert!(matches!(error, SwapError::Running(_)), "{error}");
    drop(database);
    settle(&fixture.place(), &mut DurableNames).unwrap();
    let workplace = Workplace::prepare(&fixture.place(), &mut DurableNames).unwrap();
    let error = fixture.restore("new", &mut DurableNames).unwrap_err();
    assert!(matches!(error, SwapError::Busy(_)), "{error}");
    workplace.discard(&mut DurableNames).unwrap();
    assert_eq!(fixture.content().as_deref(), Some("old"));
    fixture.restore("new", &mut DurableNames).unwrap();
}

#[test]
fn odd_paths_are_errors_and_links_are_followed() {
    let fixture = Fixture::new(false, true);
    let link = fixture.root.path().join("link");
    std::os::unix::fs::symlink(fixture.data_dir(), &link).unwrap();
    assert_eq!(Place::look(&link).unwrap().data_dir, fixture.data_dir());
    assert!(Place::look(Path::new("/")).is_err());
    assert!(Place::look(&fixture.root.path().join("no/such")).is_err());
    assert!(Place::look(&fixture.data_dir().join("member/snap/db")).is_err());
    assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(&fixture.data_dir()));
}
