//! The table of etcdctl's verbs and options: names, kinds and defaults are upstream's.

use crate::args::{Command, Flag, Kind, group, verb};
use Kind::{Int, List, Span, Text, Truth, Uint};

const ABOUT_MEMBERS: &str = "take all endpoints from the cluster's list of members";
const CONSISTENCY: Flag =
    Flag::new("consistency", Text, "l", "l: linearizable, through the leader; s: serializable");

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

const GET: Command = verb(
    "get",
    "[options] <key> [range_end]",
    "Reads a key or a range of keys",
    &[
        CONSISTENCY,
        Flag::new("count-only", Truth, "false", "count only (with --write-out=fields)"),
        Flag::new("from-key", Truth, "false", "all keys from this one on, by their bytes"),
        Flag::new("keys-only", Truth, "false", "keys without values"),
        Flag::new("limit", Int, "0", "at most so many; 0 for all"),
        Flag::new("max-create-rev", Int, "0", "created at this revision or before"),
        Flag::new("max-mod-rev", Int, "0", "changed last at this revision or before"),
        Flag::new("min-create-rev", Int, "0", "created at this revision or later"),
        Flag::new("min-mod-rev", Int, "0", "changed last at this revision or later"),
        Flag::new("order", Text, "", "ASCEND or DESCEND"),
        Flag::new("prefix", Truth, "false", "all keys that begin so"),
        Flag::new("print-value-only", Truth, "false", "values only (with --write-out=simple)"),
        Flag::new("rev", Int, "0", "as of this revision; 0: the newest"),
        Flag::new("sort-by", Text, "", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    ],
);

const PUT: Command = Command {
    more: "A value that is not given is read from standard input. Write -- before a key or value that begins with -.",
    ..verb(
        "put",
        "[options] <key> <value> (<value> can also be given from stdin)",
        "Writes a key",
        &[
            Flag::new("ignore-lease", Truth, "false", "keep the lease that the key has"),
            Flag::new("ignore-value", Truth, "false", "keep the value that the key has"),
            Flag::new("lease", Text, "0", "id of the lease to bind the key to, in hexadecimal"),
            Flag::new("prev-kv", Truth, "false", "print what was there before"),
        ],
    )
};

const DEL: Command = verb(
    "del",
    "[options] <key> [range_end]",
    "Deletes a key or the range [key, range_end)",
    &[
        Flag::new("from-key", Truth, "false", "all keys from this one on, by their bytes"),
        Flag::new("prefix", Truth, "false", "all keys that begin so"),
        Flag::new("prev-kv", Truth, "false", "print what was deleted"),
        Flag::new("range", Truth, "false", "delete a range without waiting two seconds"),
    ],
);

const TXN: Command = Command {
    more: r#"
Reads three lists from standard input, each with an empty line behind it: comparisons, requests for
when all of them hold, requests for when one does not.

  mod("key1") > "0"

  put key1 "changed"

  put key1 "made"
  put key2 "another"

Comparisons take create, mod, version, value and lease, with =, !=, < and >."#,
    ..verb(
        "txn",
        "[options]",
        "Runs several requests as one",
        &[Flag::new("interactive", Truth, "false", "say which list is read").letter('i')],
    )
};

/// `watch`; its lines in interactive mode are read with the same options.
pub(super) const WATCH: Command = verb(
    "watch",
    "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    "Prints changes of keys as they come",
    &[
        Flag::new("interactive", Truth, "false", "read watches from standard input").letter('i'),
        Flag::new("prefix", Truth, "false", "all keys that begin so"),
        Flag::new("prev-kv", Truth, "false", "print what was there before"),
        Flag::new(
            "progress-notify",
            Truth,
            "false",
            "print how far the watch is, from time to time",
        ),
        Flag::new("rev", Int, "0", "from this revision on; 0: from the next"),
    ],
);

const COMPACTION: Command = verb(
    "compaction",
    "[options] <revision>",
    "Drops the history before a revision",
    &[Flag::new("physical", Truth, "false", "wait until all of it is deleted")],
);

const DEFRAG: Command = Command {
    inherited: &[Flag::new("cluster", Truth, "false", ABOUT_MEMBERS)],
    ..verb("defrag", "", "Gives free space of the members' databases back to the disk", &[])
};

const MOVE_LEADER: Command =
    verb("move-leader", "<transferee-member-id>", "Hands the leadership to another member", &[]);
const VERSION: Command = verb("version", "", "Prints the version", &[]);
const COMPLETION: Command = verb(
    "completion",
    "[bash|zsh|fish]",
    "Prints a script that completes commands in a shell",
    &[],
);

const ALARM: Command = group(
    "alarm",
    "<subcommand>",
    "Alarms of the cluster",
    &[verb("disarm", "", "Disarms all alarms", &[]), verb("list", "", "Lists all alarms", &[])],
);

const LEASE: Command = group(
    "lease",
    "<subcommand>",
    "Leases, which keys are bound to",
    &[
        verb("grant", "<ttl>", "Makes a lease of so many seconds", &[]),
        verb(
            "keep-alive",
            "[options] <leaseID>",
            "Renews a lease again and again",
            &[Flag::new("once", Truth, "false", "renew once only")],
        ),
        verb("list", "", "Lists all leases", &[]),
        verb("revoke", "<leaseID>", "Ends a lease and deletes its keys", &[]),
        verb(
            "timetolive",
            "<leaseID> [options]",
            "Tells how long a lease has",
            &[Flag::new("keys", Truth, "false", "with the keys that are bound to it")],
        ),
    ],
);

const PEER_URLS: Flag =
    Flag::new("peer-urls", Text, "", "where the other members reach it, with commas between");

const MEMBER: Command = group(
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

const ENDPOINT: Command = Command {
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

const SNAPSHOT: Command = group(
    "snapshot",
    "<subcommand>",
    "Snapshots of a member's database",
    &[
        verb("save", "<filename>", "Saves one member's database into a file", &[]),
        verb("status", "<filename>", "Moved to etcdutl", &[]),
        verb("restore", "<filename>", "Moved to etcdutl", super::super::offline::RESTORE_FLAGS),
    ],
);

const MAKE_MIRROR: Command = verb(
    "make-mirror",
    "[options] <destination>",
    "Copies keys into another cluster and follows their changes",
    &[
        Flag::new("dest-cacert", Text, "", "file with the authorities of the destination"),
        Flag::new("dest-cert", Text, "", "file with our certificate for the destination"),
        Flag::new(
            "dest-insecure-transport",
            Truth,
            "true",
            "without TLS where no option asks for it",
        ),
        Flag::new("dest-key", Text, "", "file with that certificate's private key"),
        Flag::new("dest-password", Text, "", "password for the destination"),
        Flag::new("dest-prefix", Text, "", "what takes the place of --prefix there"),
        Flag::new("dest-user", Text, "", "name[:password] for the destination"),
        Flag::new("max-txn-ops", Uint, "128", "changes of one transaction at most"),
        Flag::new("no-dest-prefix", Truth, "false", "take --prefix away there"),
        Flag::new("prefix", Text, "", "only keys that begin so"),
        Flag::new("rev", Int, "0", "follow from this revision on, and copy nothing before"),
    ],
);

const LOCK: Command = verb(
    "lock",
    "<lockname> [exec-command arg1 arg2 ...]",
    "Holds a name, while a command runs or until interrupted",
    &[Flag::new("ttl", Int, "10", "seconds until the name is free if we die")],
);

const ELECT: Command = verb(
    "elect",
    "<election-name> [proposal]",
    "Stands for the leadership of a name, or tells who leads",
    &[Flag::new("listen", Truth, "false", "tell who leads").letter('l')],
);

const AUTH: Command = group(
    "auth",
    "<enable or disable>",
    "Authentication, on and off",
    &[
        verb("disable", "", "Switches authentication off", &[]),
        verb("enable", "", "Switches authentication on", &[]),
        verb("status", "", "Tells whether authentication is on", &[]),
    ],
);

const INTERACTIVE: Flag = Flag::new(
    "interactive",
    Truth,
    "true",
    "ask for the password; else read it from standard input",
);

const USER: Command = group(
    "user",
    "<subcommand>",
    "Users",
    &[
        verb(
            "add",
            "<user name or user:password> [options]",
            "Adds a user",
            &[
                INTERACTIVE,
                Flag::new("new-user-password", Text, "", "the password"),
                Flag::new("no-password", Truth, "false", "known by a certificate's CN only"),
            ],
        ),
        verb("delete", "<user name>", "Deletes a user", &[]),
        verb(
            "get",
            "<user name> [options]",
            "Prints a user's roles",
            &[Flag::new("detail", Truth, "false", "with the permissions of these roles")],
        ),
        verb("grant-role", "<user name> <role name>", "Gives a user a role", &[]),
        verb("list", "", "Lists all users", &[]),
        verb("passwd", "<user name> [options]", "Changes a user's password", &[INTERACTIVE]),
        verb("revoke-role", "<user name> <role name>", "Takes a role from a user", &[]),
    ],
);

const PERMISSION_RANGE: &[Flag] = &[
    Flag::new("from-key", Truth, "false", "for all keys from this one on, by their bytes"),
    Flag::new("prefix", Truth, "false", "for all keys that begin so"),
];

const ROLE: Command = group(
    "role",
    "<subcommand>",
    "Roles, which are sets of permissions",
    &[
        verb("add", "<role name>", "Adds a role", &[]),
        verb("delete", "<role name>", "Deletes a role", &[]),
        verb("get", "<role name>", "Prints a role's permissions", &[]),
        verb(
            "grant-permission",
            "[options] <role name> <permission type> <key> [endkey]",
            "Gives a role a permission: read, write or readwrite",
            PERMISSION_RANGE,
        ),
        verb("list", "", "Lists all roles", &[]),
        verb(
            "revoke-permission",
            "<role name> <key> [endkey]",
            "Takes a permission from a role",
            PERMISSION_RANGE,
        ),
    ],
);

const DOWNGRADE: Command = group(
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

const CHECK: Command = group(
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
