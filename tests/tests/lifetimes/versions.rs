//! Upstream's etcdctl of three versions says the same to our server as to upstream's: the usual
//! verbs, on a member each, one after the other.

use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::peers::peer;
use std::io::Write;
use std::process::{Command, Stdio};

/// A member, and what in the tool's words is its own.
struct Side {
    etcd: Etcd,
    tool: std::path::PathBuf,
    /// What stands for what: ids, ports, the lease.
    names: Vec<(String, String)>,
    lease: String,
}

impl Side {
    async fn new(server: &str, tool: &str) -> Side {
        let etcd = Etcd::start(server).await;
        let tool = peer(&format!("etcdctl-{tool}"));
        let mut side = Side { etcd, tool, names: Vec::new(), lease: String::new() };
        let (_, list) = side.run("member list -w json", "");
        for (mark, name) in [("\"cluster_id\":", "CLUSTER"), ("\"ID\":", "MEMBER")] {
            let at = list.find(mark).unwrap() + mark.len();
            let id: u64 = list[at..].split([',', '}']).next().unwrap().parse().unwrap();
            side.names.push((id.to_string(), name.to_owned()));
            side.names.push((format!("{id:x}"), name.to_owned()));
        }
        for url in list.split('"').filter(|part| part.starts_with("http://")) {
            side.names.push((url.to_owned(), "URL".to_owned()));
        }
        side
    }

    fn own(&self, name: &str) -> &str {
        let (own, _) = self.names.iter().find(|(_, stands)| stands == name).unwrap();
        own
    }

    /// Runs a line; what it ends with, and both streams.
    fn run(&mut self, line: &str, input: &str) -> (Option<i32>, String) {
        let mut command = Command::new(&self.tool);
        command.arg("--endpoints").arg(self.etcd.endpoint());
        for word in line.split(' ') {
            command.arg(match word {
                "LEASE" => self.lease.clone(),
                "MEMBER" => format!("{:x}", self.own("MEMBER").parse::<u64>().unwrap()),
                word => word.to_owned(),
            });
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(id) = said.strip_prefix("lease ").filter(|_| line.starts_with("lease grant")) {
            id.split(' ').next().unwrap().clone_into(&mut self.lease);
            let decimal = i64::from_str_radix(&self.lease, 16).unwrap().to_string();
            self.names.push((self.lease.clone(), "LEASE".to_owned()));
            self.names.push((decimal, "LEASE".to_owned()));
        }
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        let complaints = complaints.lines().filter(|line| !line.starts_with('{'));
        let all: Vec<&str> = said.lines().chain(complaints).collect();
        (output.status.code(), all.join("\n"))
    }

    /// The same with names in the place of what is this side's own, and without times.
    fn named(&mut self, line: &str, input: &str) -> (Option<i32>, String) {
        let (code, mut said) = self.run(line, input);
        for (own, name) in &self.names {
            said = said.replace(own, name);
        }
        let timeless = said.lines().map(|line| {
            let cut = line.find("took ").or_else(|| line.find("remaining(")).unwrap_or(line.len());
            squeezed(&line[..cut])
        });
        (code, timeless.collect::<Vec<_>>().join("\n"))
    }
}

/// A line without what depends on how long an id is: runs of blanks, and a table's rules.
fn squeezed(line: &str) -> String {
    let mut out = String::new();
    for letter in line.trim_end().chars() {
        if !(matches!(letter, ' ' | '-' | '─') && out.ends_with(letter)) {
            out.push(letter);
        }
    }
    out
}

/// Ids of fewer digits than sixteen are rare, and etcdctl 3.7 draws its rules with another letter.
#[test]
fn an_id_of_fewer_digits_makes_no_difference() {
    let table = |id: &str, rule: &str| {
        let rules = rule.repeat(id.len() + 2);
        format!("┌{rules}┐\n│ {id:^20} │\n").replace(id, "MEMBER")
    };
    let squeeze = |table: &str| table.lines().map(squeezed).collect::<Vec<_>>();
    for rule in ["-", "─"] {
        let (long, short) = (table("8e9e05c52164694d", rule), table("91bc3c398fb3c14", rule));
        assert_ne!(long, short);
        assert_eq!(squeeze(&long), squeeze(&short));
    }
}

async fn compare(tool: &str) {
    let (mut theirs, mut ours) = tokio::join!(Side::new("3.6", tool), Side::new(BUNDLED, tool));
    let mut complaints = Vec::new();
    let table = include_str!("verbs.txt");
    for line in table.lines() {
        let (line, input) = line.split_once(" <<< ").unwrap_or((line, ""));
        let input = input.replace("\\n", "\n");
        let (want, got) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| theirs.named(line, &input));
            let got = ours.named(line, &input);
            (theirs.join().unwrap(), got)
        });
        if want != got {
            complaints.push(format!("{line}\n  upstream's {want:?}\n  ours       {got:?}"));
        }
    }
    assert!(table.lines().count() > 60, "the table is read");
    assert!(complaints.is_empty(), "etcdctl {tool}:\n{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_etcdctl_of_three_versions_sees_no_difference() {
    for tool in holdfast_peers::VERSIONS {
        compare(tool).await;
    }
}
