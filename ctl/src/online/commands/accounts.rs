//! Verbs about users, roles and authentication.

use crate::args::Kind::{Text, Truth};
use crate::args::{Command, Flag, group, verb};

pub(super) const AUTH: Command = group(
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

pub(super) const USER: Command = group(
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

pub(super) const ROLE: Command = group(
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
