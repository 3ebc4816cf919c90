//! Upstream's confchange files: sequences of changes, and the members after each.

use holdfast_core::raft::membership::{ChangeError, Members};
use holdfast_core::raft::progress::InflightLimits;
use holdfast_core::raftpb::ConfChangeKind;

use crate::datadriven::{self, Directive};
use crate::words;

#[test]
fn upstreams_confchange_files_are_reproduced() {
    for (name, text) in datadriven::files("confchange") {
        let mut members = Members::new(InflightLimits { messages: 10, bytes: None });
        let mut last_index = 0;
        let ran = datadriven::run(&text, |directive| {
            let after = change(&members, directive, last_index);
            last_index += 1;
            Ok(match after {
                Ok(after) => {
                    members = after;
                    print(&members)
                }
                Err(error) => error.to_string(),
            })
        });
        ran.unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}

fn change(before: &Members, directive: &Directive, last: u64) -> Result<Members, ChangeError> {
    let steps: Vec<(ConfChangeKind, u64)> = directive
        .input
        .split_whitespace()
        .map(|step| {
            let kind = match step.as_bytes()[0] {
                b'v' => ConfChangeKind::AddNode,
                b'l' => ConfChangeKind::AddLearner,
                b'r' => ConfChangeKind::RemoveNode,
                b'u' => ConfChangeKind::UpdateNode,
                _ => panic!("unknown step {step}"),
            };
            (kind, step[1..].parse().unwrap())
        })
        .collect();
    match directive.command.as_str() {
        "simple" => before.simple(&steps, last),
        "enter-joint" => {
            let auto_leave = directive.values("autoleave") == ["true"];
            before.enter_joint(auto_leave, &steps, last)
        }
        "leave-joint" => before.leave_joint(),
        unknown => panic!("unknown command {unknown}"),
    }
}

fn print(members: &Members) -> String {
    let mut out = words::configuration(&members.configuration) + "\n";
    for (id, progress) in &members.progress {
        out += &format!("{id}: {}\n", words::progress(&progress.status()));
    }
    out
}
