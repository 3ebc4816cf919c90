//! Verbs about members and their databases.

use super::CONSISTENCY;
use crate::args::Kind::{Int, Text, Truth};
use crate::args::{Command, Flag, group, verb};
use crate::offline::RESTORE_FLAGS;

const ABOUT_MEMBERS: &str = "take all endpoints from the cluster's list of members";

pub(super) const ALARM: Command = group(
    "alarm",
    "<subcommand>",
    "Alarms of the cluster",
    &[verb("disarm", "", "Disarms all alarms", &[]), verb("list", "", "Lists all alarms", &[])],
);

const PEER_URLS: Flag =
    Flag::new("peer-urls", Text, "", "where the other members reach it, with commas between");

pub(super) const MEMBER: Command = group(
    "member",
    "<subcommand>",
    "Members of the cluster",
    &[
        verb(
            "add",
            "<memberName> [options]",
            "Adds a member",
            &[Flag::new("learner", Truth, "false", "as a learner, without a vote"), PEER_URLS],
        ),
        Command {
            more: "In the simple format: ID, status, name, peer URLs, client URLs, whether a learner.",
            ..verb("list", "", "Lists all members", &[CONSISTENCY])
        },
        verb("promote", "<memberID>", "Gives a learner its vote", &[]),
        verb("remove", "<memberID>", "Removes a member", &[]),
        verb("update", "<memberID> [options]", "Changes a member's peer URLs", &[PEER_URLS]),
    ],
);

pub(super) const ENDPOINT: Command = Command {
    inherited: &[Flag::new("cluster", Truth, "false", ABOUT_MEMBERS)],
    ..group(
        "endpoint",
        "<subcommand>",
        "Endpoints, each by itself",
        &[
            verb(
                "hashkv",
                "",
                "Prints the hash of each endpoint's history",
                &[Flag::new("rev", Int, "0", "up to this revision; 0 for all")],
            ),
            verb("health", "", "Tells whether each endpoint can do its work", &[]),
            Command {
                more: "In the simple format, with commas: the columns of --write-out=table.",
                ..verb("status", "", "Prints each endpoint's status", &[])
            },
        ],
    )
};

pub(super) const DEFRAG: Command = Command {
    inherited: &[Flag::new("cluster", Truth, "false", ABOUT_MEMBERS)],
    ..verb("defrag", "", "Gives free space of the members' databases back to the disk", &[])
};

pub(super) const MOVE_LEADER: Command =
    verb("move-leader", "<transferee-member-id>", "Hands the leadership to another member", &[]);

pub(super) const SNAPSHOT: Command = group(
    "snapshot",
    "<subcommand>",
    "Snapshots of a member's database",
    &[
        verb("save", "<filename>", "Saves one member's database into a file", &[]),
        verb("status", "<filename>", "Moved to etcdutl", &[]),
        verb("restore", "<filename>", "Moved to etcdutl", RESTORE_FLAGS),
    ],
);

pub(super) const DOWNGRADE: Command = group(
    "downgrade",
    "<TARGET_VERSION>",
    "Downgrades of the cluster",
    &[
        verb("cancel", "", "Cancels the downgrade under way", &[]),
        verb("enable", "<TARGET_VERSION>", "Begins a downgrade", &[]),
        verb("validate", "<TARGET_VERSION>", "Tells whether a downgrade can be", &[]),
    ],
);

const LOAD: Flag =
    Flag::new("load", Text, "s", "how much: s(small), m(medium), l(large), xl(xLarge)");

const AUTO_COMPACT: Flag = Flag::new("auto-compact", Truth, "false", "compact afterwards");

const AUTO_DEFRAG: Flag = Flag::new("auto-defrag", Truth, "false", "defragment afterwards");

pub(super) const CHECK: Command = group(
    "check",
    "<subcommand>",
    "Checks of a cluster under load",
    &[
        verb(
            "datascale",
            "[options]",
            "Tells how much the database grows with known data",
            &[
                AUTO_COMPACT,
                AUTO_DEFRAG,
                LOAD,
                Flag::new("prefix", Text, "/etcdctl-check-datascale/", "keys begin so"),
            ],
        ),
        verb(
            "perf",
            "[options]",
            "Judges puts under a known load for a minute",
            &[
                AUTO_COMPACT,
                AUTO_DEFRAG,
                LOAD,
                Flag::new("prefix", Text, "/etcdctl-check-perf/", "keys begin so"),
            ],
        ),
    ],
);
