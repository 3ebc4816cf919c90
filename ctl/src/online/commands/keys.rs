//! Verbs about keys: reading, writing, following, binding them to leases, and what is built of
//! them.

use super::CONSISTENCY;
use crate::args::Kind::{Int, Text, Truth, Uint};
use crate::args::{Command, Flag, group, verb};

pub(super) const GET: Command = verb(
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

pub(super) const PUT: Command = Command {
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

pub(super) const DEL: Command = verb(
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

pub(super) const TXN: Command = Command {
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
pub(in crate::online) const WATCH: Command = verb(
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

pub(super) const COMPACTION: Command = verb(
    "compaction",
    "[options] <revision>",
    "Drops the history before a revision",
    &[Flag::new("physical", Truth, "false", "wait until all of it is deleted")],
);

pub(super) const LEASE: Command = group(
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

pub(super) const MAKE_MIRROR: Command = verb(
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

pub(super) const LOCK: Command = verb(
    "lock",
    "<lockname> [exec-command arg1 arg2 ...]",
    "Holds a name, while a command runs or until interrupted",
    &[Flag::new("ttl", Int, "10", "seconds until the name is free if we die")],
);

pub(super) const ELECT: Command = verb(
    "elect",
    "<election-name> [proposal]",
    "Stands for the leadership of a name, or tells who leads",
    &[Flag::new("listen", Truth, "false", "tell who leads").letter('l')],
);
