//! The shipped binary as a daemon: signals, systemd, its port, a store or a key service that is
//! away, renewed certificates, what the system may see of its memory.
//!
//! What must hold: every wait is for a condition, with a deadline; an agent that is dropped is
//! killed by its id.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod daemon {
    mod keyless;
    mod process;
    pub(crate) mod running;
    mod secured;
    mod store;
}
