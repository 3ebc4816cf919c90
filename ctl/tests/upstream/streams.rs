//! watch, lock, elect, keep-alive, make-mirror: what goes on until it is ended.

use crate::member::Member;
use crate::side::{Said, Tool, ours, theirs, words};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

fn line(member: &Member, line: &str) -> Vec<String> {
    let mut all = vec![format!("--endpoints={}", member.endpoint())];
    all.extend(words(line));
    all
}

fn ctl(member: &Member, text: &str) -> Said {
    ours(Tool::Ctl, &line(member, text), b"", &[])
}

/// Waits until a condition holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A compacted start revision ends a watch after what is there to say: a watch that ends by itself.
#[test]
fn a_watch_prints_what_upstreams_prints() {
    let member = Member::start("3.6");
    for text in ["put a 1", "put b 2", "put a 3", "del a", "put c/x 4", "compaction 3"] {
        ctl(&member, text).good();
    }
    for text in
        ["watch a --rev 1", "watch a --rev 2 -w json", "watch '' --prefix --rev 1 -w fields"]
    {
        let theirs = theirs(Tool::Ctl, "3.6", &line(&member, text), b"", &[]);
        let ours = ours(Tool::Ctl, &line(&member, text), b"", &[]);
        assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()), "{text}");
        assert_eq!(ours.errors(), theirs.errors());
        assert!(ours.err.contains("watch was canceled (etcdserver: mvcc: required revision"));
    }
    // Interactively, the end of the input ends both.
    for format in ["simple", "json", "fields"] {
        let text = format!("watch -i -w {format}");
        // Progress is told of a watch that begins now always, of one that begins in the past by
        // luck.
        let input = b"watch q\nprogress\nwatch a --rev 3 --prev-kv\n\
                      watch 'c/' --prefix --rev=3\nnonsense\n";
        // The end of the input ends both: not before all is told, in whatever order.
        let is_all = |out: &str| {
            let parts =
                [("c/x", "Yy94"), ("DELETE", "\"type\":1"), ("progress notify", "no other")];
            parts.iter().all(|(one, other)| out.contains(one) || out.contains(other))
        };
        let said = slow_reader(&member, &text, input, is_all);
        let other = upstream_slow_reader(&member, &text, input, is_all);
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines.dedup();
            lines
        };
        assert_eq!(sorted(&said), sorted(&other), "{format}");
    }
}

/// Input that stays open until the output satisfies.
struct Held {
    given: std::io::Cursor<Vec<u8>>,
    end: std::sync::mpsc::Receiver<()>,
}

impl std::io::Read for Held {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.given.read(out)?;
        if read == 0 {
            let _ = self.end.recv();
        }
        Ok(read)
    }
}

fn slow_reader(member: &Member, text: &str, input: &[u8], enough: impl Fn(&str) -> bool) -> String {
    use std::sync::{Arc, Mutex};
    let out: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (end, ended) = std::sync::mpsc::channel();
    let given = std::io::Cursor::new(input.to_vec());
    let held = Held { given, end: ended };
    let console = holdfast_ctl::Console::new(
        out.clone(),
        Arc::new(Mutex::new(Vec::new())),
        held,
        std::collections::BTreeMap::new(),
    );
    let words = line(member, text);
    let run = std::thread::spawn(move || holdfast_ctl::ctl("etcdctl", &words, &console));
    let said = || String::from_utf8_lossy(&out.lock().unwrap()).into_owned();
    until("events come", || enough(&said()));
    end.send(()).unwrap();
    assert_eq!(run.join().unwrap(), 3, "the end of the input is an error");
    said()
}

fn upstream_slow_reader(
    member: &Member,
    text: &str,
    input: &[u8],
    enough: impl Fn(&str) -> bool,
) -> String {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut process = Command::new(holdfast_peers::peer("etcdctl-3.6"))
        .args(line(member, text))
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&path).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    let said = || std::fs::read_to_string(&path).unwrap();
    until("events come", || enough(&said()));
    drop(stdin);
    assert_eq!(process.wait().unwrap().code(), Some(3));
    said()
}

#[test]
fn a_command_runs_for_each_event() {
    let member = Member::start("3.6");
    for text in ["put a 'v w'", "del a"] {
        ctl(&member, text).good();
    }
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str| {
        let path = folder.path().join(name);
        let told = "$ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE";
        (
            format!(
                "echo \"{told}\" >>{}; test $ETCD_WATCH_EVENT_TYPE = '\"PUT\"'",
                path.display()
            ),
            path,
        )
    };
    let run = |command: String| {
        let mut all = line(&member, "watch a --rev 1 --");
        all.extend(["sh".to_owned(), "-c".to_owned(), command]);
        all
    };
    let ((own, own_path), (other, other_path)) = (script("own"), script("other"));
    let own = ours(Tool::Ctl, &run(own), b"", &[]);
    let other = theirs(Tool::Ctl, "3.6", &run(other), b"", &[]);
    assert_eq!((own.code, own.text()), (other.code, other.text()), "a failing command ends it");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&own_path), read(&other_path));
    assert!(read(&own_path).contains("3 \"PUT\" \"a\" \"v w\""), "{}", read(&own_path));
}

/// Upstream's tool in the background.
struct Running(Child);

impl Running {
    fn start(member: &Member, text: &str) -> Running {
        let mut command = Command::new(holdfast_peers::peer("etcdctl-3.6"));
        command.args(line(member, text)).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lock_is_one_line_for_both_tools() {
    let member = Member::start("3.6");
    let said = ctl(&member, "lock name sh -- -c 'exit 7'");
    assert_eq!((said.code, said.errors()), (7, vec!["Error: exit status 7".to_owned()]));
    let left = ctl(&member, "get name/ --prefix").good();
    assert_eq!(left, "", "the place is left");
    let holder = Running::start(&member, "lock name --ttl 2");
    until("upstream holds it", || !ctl(&member, "get name/ --prefix").good().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held");
    let held = format!("lock name -- sh -c 'echo $ETCD_LOCK_KEY >{}'", path.display());
    let text = line(&member, &held);
    let waiting = std::thread::spawn(move || ours(Tool::Ctl, &text, b"", &[]));
    until("ours is in line", || {
        ctl(&member, "get name/ --prefix --keys-only")
            .good()
            .lines()
            .filter(|l| !l.is_empty())
            .count()
            == 2
    });
    assert!(!path.exists(), "it is upstream's turn");
    drop(holder);
    assert_eq!(waiting.join().unwrap().code, 0, "upstream's lease ended");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("name/"));
}

#[test]
fn an_election_of_upstreams_is_seen() {
    let member = Member::start("3.6");
    let candidate = Running::start(&member, "elect boss proposal");
    until("there is a leader", || ctl(&member, "get boss/ --prefix").good().contains("proposal"));
    drop(candidate);
    let mirror = Member::start("3.6");
    ctl(&member, "put m/a 1").good();
    let destination = mirror.endpoint();
    let following = Running::start(&mirror, "get nothing");
    drop(following);
    // Ours mirrors; the destination is then read with upstream's.
    let text = line(&member, &format!("make-mirror {destination} --prefix m/ --dest-prefix n/"));
    std::thread::spawn(move || ours(Tool::Ctl, &text, b"", &[]));
    let there = || theirs(Tool::Ctl, "3.6", &line(&mirror, "get n/ --prefix"), b"", &[]).text();
    until("what was there is copied", || there() == "n/a\n1\n");
    ctl(&member, "put m/b 2").good();
    ctl(&member, "del m/a").good();
    until("what changes is repeated", || there() == "n/b\n2\n");
}
