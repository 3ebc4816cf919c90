//! Lines for etcdctl, run by upstream's on one member and by ours on another, one after the other,
//! so that both stores stay equal.

use crate::member::Member;
use crate::side::{Said, Tool, ours, theirs, words};

/// A tool, its member, and what in its output is its own.
struct Side {
    member: Member,
    version: Option<&'static str>,
    /// What stands for what: ids, ports, leases.
    names: Vec<(String, String)>,
    lease: String,
    /// The member added last.
    added: String,
}

impl Side {
    /// A member whose ids have all their digits: tables are as wide as they are.
    fn new(server: &str, version: Option<&'static str>) -> Side {
        for _ in 0..8 {
            let side = Side::with(Member::start(server), version);
            if side.names.iter().all(|(own, name)| !name.starts_with('X') || own.len() == 16) {
                return side;
            }
        }
        panic!("eight members in a row have short ids");
    }

    fn with(member: Member, version: Option<&'static str>) -> Side {
        let (names, lease, added) = (Vec::new(), "0".to_owned(), "0".to_owned());
        let mut side = Side { member, version, names, lease, added };
        let list = side.run("member list -w json", "").good();
        let number = |name: &str| {
            let at = list.find(name).unwrap() + name.len();
            list[at..].chars().take_while(char::is_ascii_digit).collect::<String>()
        };
        for (name, id) in [("CLUSTER", number("\"cluster_id\":")), ("MEMBER", number("\"ID\":"))] {
            let hex = format!("{:x}", id.parse::<u64>().unwrap());
            side.names.push((id, name.to_owned()));
            side.names.push((hex, format!("{name:X>16}")));
        }
        for (name, port) in [("11111", side.member.client_port), ("22222", side.member.peer_port)] {
            side.names.push((format!(":{port}"), format!(":{name}")));
        }
        side
    }

    /// Runs a line; `LEASE` in it is the lease granted last, `MEMBER_ID` the member, `ADDED` the
    /// one added last.
    fn run(&mut self, line: &str, input: &str) -> Said {
        let member_id = self.names.get(3).map_or("", |(hex, _)| hex).to_owned();
        let line = line.replace("LEASE", &self.lease).replace("MEMBER_ID", &member_id);
        let line = line.replace("ADDED", &self.added);
        let endpoint = self.member.endpoint();
        let mut all = vec!["--endpoints".to_owned(), endpoint];
        if line.contains("--endpoints") {
            all.clear();
        }
        all.extend(words(&line));
        let said = match self.version {
            None => ours(Tool::Ctl, &all, input.as_bytes(), &[]),
            Some(version) => theirs(Tool::Ctl, version, &all, input.as_bytes(), &[]),
        };
        if line.contains("lease grant") && said.code == 0 {
            self.note_lease(&said.text());
        }
        if let Some((id, _)) = said.text().split_once(" added") {
            let id = id.trim_start_matches("Member").trim();
            let number = u64::from_str_radix(id, 16).unwrap();
            self.added = id.to_owned();
            self.names.push((format!("{number:16x}"), "A".repeat(16)));
            self.names.push((number.to_string(), "ADDED".to_owned()));
        }
        said
    }

    fn note_lease(&mut self, said: &str) {
        let after = |mark: &str| {
            let at = said.find(mark)? + mark.len();
            Some(said[at..].chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
        };
        let id = match (after("lease "), after("\"ID\":"), after("\"ID\" : ")) {
            (Some(hex), ..) => i64::from_str_radix(&hex, 16).unwrap(),
            (_, Some(decimal), _) | (_, _, Some(decimal)) => decimal.parse().unwrap(),
            _ => return,
        };
        self.lease = format!("{id:x}");
        self.names.push((format!("{id:016x}"), "L".repeat(16)));
        self.names.push((id.to_string(), "LEASE".to_owned()));
    }

    /// An output with names in the place of what is this side's own.
    fn named(&self, said: &Said) -> (i32, Vec<u8>, Vec<String>) {
        let mut out = said.text();
        let mut errors = said.errors().join("\n");
        for (own, name) in &self.names {
            out = out.replace(own, name);
            errors = errors.replace(own, name);
        }
        if self.added != "0" && (out.contains("ADDED") || out.contains("ETCD_NAME")) {
            // Members are in the order of their ids, which are made of the time.
            let mut parts: Vec<&str> = out.split(['{', '}', ',', '"', '\n']).collect();
            parts.sort_unstable();
            out = parts.join("|");
        }
        if out.starts_with("NAME:\n") {
            // A page of help is in our own words.
            out.truncate(5);
        }
        (said.code, timeless(&out).into_bytes(), vec![errors])
    }
}

/// Takes spans of time out, and the seconds that a lease has left: a second may end between the two
/// tools' questions.
fn timeless(text: &str) -> String {
    let text = ["remaining(", "\"ttl\":"]
        .iter()
        .fold(text.to_owned(), |text, mark| without_numbers_behind(&text, mark));
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let cut = ["took = ", "took ", "\"Took\" : ", "\"took\":\""]
            .iter()
            .find_map(|mark| line.find(mark).map(|at| at + mark.len()));
        match cut {
            Some(at) => {
                let rest = line[at..].find(['"', '\n']).map_or("", |end| &line[at + end..]);
                out.push_str(&line[..at]);
                out.push_str(rest);
            }
            None => out.push_str(line),
        }
    }
    out
}

/// Without the number behind each mark; one below zero stays.
fn without_numbers_behind(text: &str, mark: &str) -> String {
    let mut pieces = text.split(mark);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(mark);
        out.push_str(piece.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    out
}

#[test]
fn seconds_that_are_left_make_no_difference() {
    for (one, other) in [
        ("TTL(300s), remaining(299s), keys", "TTL(300s), remaining(298s), keys"),
        ("{\"ttl\":100,\"granted-ttl\":100}", "{\"ttl\":99,\"granted-ttl\":100}"),
    ] {
        assert_eq!(timeless(one), timeless(other));
    }
    for (one, other) in [
        ("TTL(300s), remaining(299s)", "TTL(301s), remaining(299s)"),
        ("{\"ttl\":100,\"granted-ttl\":100}", "{\"ttl\":100,\"granted-ttl\":99}"),
        ("{\"ttl\":1}", "{\"ttl\":-1}"),
    ] {
        assert_ne!(timeless(one), timeless(other));
    }
}

/// Runs every line on both sides and complains of all that differ.
fn compare(server: &str, table: &str) {
    let (mut upstream, mut own) = (Side::new(server, Some("3.6")), Side::new(server, None));
    let mut complaints = Vec::new();
    let mut count = 0;
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, input) = line.split_once(" <<< ").unwrap_or((line, ""));
        let input = input.replace("\\n", "\n");
        let (their_said, our_said) = (upstream.run(line, &input), own.run(line, &input));
        let (want, got) = (upstream.named(&their_said), own.named(&our_said));
        count += 1;
        if want != got {
            let show = |(code, out, errors): &(i32, Vec<u8>, Vec<String>)| {
                format!("{code} {:?} {errors:?}", String::from_utf8_lossy(out))
            };
            complaints.push(format!("{line}\n  theirs {}\n  ours   {}", show(&want), show(&got)));
        }
    }
    assert!(count > 10, "the table is read");
    let differ = complaints.len();
    assert!(complaints.is_empty(), "{differ} of {count} lines:\n{}", complaints.join("\n"));
}

#[test]
fn keys_and_transactions() {
    compare("3.6", include_str!("keys.txt"));
}

#[test]
fn leases_members_and_the_rest() {
    compare("3.6", include_str!("cluster.txt"));
}

#[test]
fn users_and_roles() {
    compare("3.6", include_str!("accounts.txt"));
}

#[test]
fn arguments_that_make_no_sense() {
    compare("3.6", include_str!("arguments.txt"));
}

#[test]
fn servers_of_other_versions() {
    for server in ["3.5", "3.7"] {
        compare(server, include_str!("versions.txt"));
    }
}
