//! Upstream's interaction files: members that are told what to do, step by step, and everything
//! they say.
//!
//! Must hold: every file is reproduced to the letter, but those in [`NOT_USED`]; and so are courses
//! that upstream's members take by seeded chance (`tests/peers/raftscripts`).

mod world;

use std::collections::BTreeMap;
use std::process::Command;

use crate::datadriven;
use world::World;

const V2: &str = "changes several members at once (V2), which etcd never proposes";
const ASYNC: &str = "asynchronous storage, which etcd does not use";
const FORGET: &str = "forgetting the leader, which etcd never asks for";

/// Files that need what etcd's server never uses, and what that is.
const NOT_USED: [(&str, &str); 13] = [
    ("async_storage_writes.txt", ASYNC),
    ("async_storage_writes_append_aba_race.txt", ASYNC),
    ("campaign_learner_must_vote.txt", V2),
    ("confchange_disable_validation.txt", V2),
    ("confchange_v2_add_double_auto.txt", V2),
    ("confchange_v2_add_double_implicit.txt", V2),
    ("confchange_v2_add_single_auto.txt", V2),
    ("confchange_v2_add_single_explicit.txt", V2),
    ("confchange_v2_replace_leader.txt", V2),
    ("confchange_v2_replace_leader_stepdown.txt", V2),
    ("forget_leader.txt", FORGET),
    ("forget_leader_prevote_checkquorum.txt", FORGET),
    ("forget_leader_read_only_lease_based.txt", FORGET),
];

#[test]
fn upstreams_interaction_files_are_reproduced() {
    let not_used = BTreeMap::from(NOT_USED);
    let (mut complaints, mut reproduced) = (Vec::new(), 0);
    let files = datadriven::files("interaction");
    for (name, text) in &files {
        let mut world = World::default();
        let result = datadriven::run(text, |directive| world.handle(directive));
        match (not_used.get(name.as_str()), result) {
            (None, Ok(directives)) => {
                println!("{name}: {directives} directives");
                reproduced += 1;
            }
            (None, Err(difference)) => complaints.push(format!("{name}: {difference}")),
            (Some(_), Err(_)) => {}
            (Some(reason), Ok(_)) => {
                complaints.push(format!("{name} is reproduced and yet listed: {reason}"));
            }
        }
    }
    for (name, _) in NOT_USED {
        if !files.iter().any(|(known, _)| known == name) {
            complaints.push(format!("{name} is listed, but upstream has no such file"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(reproduced + NOT_USED.len(), files.len());
}

/// Courses of upstream's raft that its `raft-scripts` prints, so many.
const COURSES: usize = 500;

#[test]
fn seeded_courses_of_upstreams_members_are_reproduced() {
    let mut scripts = Command::new(holdfast_peers::peer("raft-scripts"));
    let printed = holdfast_peers::run(scripts.arg(COURSES.to_string()));
    let courses: Vec<&str> = printed.split("=== seed ").skip(1).collect();
    assert_eq!(courses.len(), COURSES);
    let (mut complaints, mut directives) = (Vec::new(), 0);
    for course in courses {
        let (seed, text) = course.split_once('\n').unwrap();
        let mut world = World::default();
        match datadriven::run(text, |directive| world.handle(directive)) {
            Ok(count) => directives += count,
            Err(difference) => complaints.push(format!("seed {seed}: {difference}")),
        }
    }
    println!("{directives} directives");
    let first = complaints.first().map(String::as_str).unwrap_or_default();
    assert!(complaints.is_empty(), "{} of {COURSES} differ: {first}", complaints.len());
}
