//! The table of etcdutl's verbs and options: names, kinds and defaults are upstream's.

use crate::args::{Command, Flag, Kind, verb};
use Kind::{Int, Text, Truth, Uint};

/// All of it.
pub(crate) static ROOT: Command = Command {
    name: "etcdutl",
    arguments: "",
    about: "a command line for files of etcd",
    more: "",
    flags: &[],
    inherited: &[Flag::new(
        "write-out",
        Text,
        "simple",
        "format: fields, json, protobuf, simple, table",
    )
    .letter('w')],
    commands: &[
        verb(
            "completion",
            "[bash|zsh|fish]",
            "Prints a script that completes commands in a shell",
            &[],
        ),
        verb(
            "defrag",
            "",
            "Writes the database of a stopped member anew, without its free pages",
            &[DATA_DIR],
        ),
        verb(
            "hashkv",
            "<filename>",
            "Prints the hash of the history in a file, which is only read",
            &[Flag::new("rev", Int, "0", "up to this revision; 0 for all")],
        ),
        verb(
            "migrate",
            "",
            "Changes the storage version of a stopped member",
            &[
                DATA_DIR,
                Flag::new("force", Truth, "false", "set the version also where it cannot be right"),
                Flag::new(
                    "target-version",
                    Text,
                    "",
                    "the etcd that is to run on it: 3.5, 3.6 or 3.7",
                ),
            ],
        ),
        Command {
            name: "snapshot",
            arguments: "<subcommand>",
            about: "Snapshot files",
            more: "",
            flags: &[],
            inherited: &[],
            commands: &[
                verb(
                    "restore",
                    "<filename> --data-dir {output dir} [options]",
                    "Makes a member's data directory out of a snapshot",
                    RESTORE_FLAGS,
                ),
                verb("status", "<filename>", "Checks a snapshot and tells what it holds", &[]),
            ],
        },
        verb("version", "", "Prints the version", &[]),
    ],
};

const DATA_DIR: Flag = Flag::new("data-dir", Text, "", "the member's data directory (required)");

/// The options of `snapshot restore`.
pub(crate) const RESTORE_FLAGS: &[Flag] = &[
    Flag::new("bump-revision", Uint, "0", "how much higher the revision is to be afterwards"),
    Flag::new("data-dir", Text, "", "where the data directory is to be; <name>.etcd if not given"),
    Flag::new(
        "initial-advertise-peer-urls",
        Text,
        "http://localhost:2380",
        "this member's peer URLs, with commas between",
    ),
    Flag::new(
        "initial-cluster",
        Text,
        "default=http://localhost:2380",
        "all members of the new cluster: name=url[,name=url]",
    ),
    Flag::new(
        "initial-cluster-token",
        Text,
        "etcd-cluster",
        "what the new cluster's ids are made of",
    ),
    Flag::new("initial-memory-map-size", Uint, "10737418240", "accepted for upstream's sake"),
    Flag::new(
        "mark-compacted",
        Truth,
        "false",
        "refuse old revisions afterwards (required with --bump-revision)",
    ),
    Flag::new("name", Text, "default", "this member's name"),
    Flag::new(
        "skip-hash-check",
        Truth,
        "false",
        "take a file without a SHA-256, or with a wrong one",
    ),
    Flag::new("wal-dir", Text, "", "where the log is to be, if not in the data directory"),
];
