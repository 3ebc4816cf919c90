//! The table of etcdctl's verbs and options: names, kinds and defaults are upstream's.

mod accounts;
mod cluster;
mod keys;

use crate::args::Kind::{Int, List, Span, Text, Truth};
use crate::args::{Command, Flag, group, verb};
use accounts::{AUTH, ROLE, USER};
use cluster::{ALARM, CHECK, DEFRAG, DOWNGRADE, ENDPOINT, MEMBER, MOVE_LEADER, SNAPSHOT};
pub(super) use keys::WATCH;
use keys::{COMPACTION, DEL, ELECT, GET, LEASE, LOCK, MAKE_MIRROR, PUT, TXN};

/// All of it.
pub(crate) static ROOT: Command = Command {
    name: "etcdctl",
    arguments: "",
    about: "a command line for etcd's API",
    more: "Every global option is also taken from the environment: ETCDCTL_ENDPOINTS for --endpoints.",
    flags: &[],
    inherited: GLOBAL,
    commands: &[
        ALARM,
        AUTH,
        CHECK,
        COMPACTION,
        COMPLETION,
        DEFRAG,
        DEL,
        DOWNGRADE,
        ELECT,
        ENDPOINT,
        GET,
        LEASE,
        LOCK,
        MAKE_MIRROR,
        MEMBER,
        MOVE_LEADER,
        PUT,
        ROLE,
        SNAPSHOT,
        TXN,
        USER,
        VERSION,
        WATCH,
    ],
};

/// The verbs that a transaction's requests are written with.
pub(super) static TXN_ROOT: Command = group("txn", "", "", &[GET, PUT, DEL]);

const GLOBAL: &[Flag] = &[
    Flag::new("cacert", Text, "", "file with the authorities that sign the servers' certificates"),
    Flag::new("cert", Text, "", "file with our certificate"),
    Flag::new("command-timeout", Span, "5s", "until a call has its answer"),
    Flag::new("debug", Truth, "false", "accepted for upstream's sake; nothing more is said"),
    Flag::new("dial-timeout", Span, "2s", "until a connection stands"),
    Flag::new("discovery-srv", Text, "", "domain to look members up in; not built in").letter('d'),
    Flag::new("discovery-srv-name", Text, "", "name of the service to look up; not built in"),
    Flag::new("endpoints", List, "127.0.0.1:2379", "client URLs of members, with commas between"),
    Flag::new("hex", Truth, "false", "print bytes and ids as hexadecimal"),
    Flag::new("insecure-discovery", Truth, "true", "take looked-up members without TLS, too"),
    Flag::new(
        "insecure-skip-tls-verify",
        Truth,
        "false",
        "take any server certificate: whoever stands in between can read and change all",
    ),
    Flag::new("insecure-transport", Truth, "true", "without TLS where no option asks for it"),
    Flag::new("keepalive-time", Span, "2s", "how often a connection is pinged (5 s at the least)"),
    Flag::new("keepalive-timeout", Span, "6s", "until a ping has its answer"),
    Flag::new("key", Text, "", "file with our certificate's private key"),
    Flag::new("max-recv-bytes", Int, "0", "largest answer taken in bytes; 0 for 512 MiB"),
    Flag::new("max-request-bytes", Int, "0", "largest request sent in bytes; 0 for 2 MiB"),
    Flag::new("password", Text, "", "password; --user then holds the name only"),
    Flag::new("user", Text, "", "name[:password]; the password is asked for if missing"),
    Flag::new("write-out", Text, "simple", "format: fields, json, protobuf, simple, table")
        .letter('w'),
];

const CONSISTENCY: Flag =
    Flag::new("consistency", Text, "l", "l: linearizable, through the leader; s: serializable");

const VERSION: Command = verb("version", "", "Prints the version", &[]);

const COMPLETION: Command = verb(
    "completion",
    "[bash|zsh|fish]",
    "Prints a script that completes commands in a shell",
    &[],
);
