//! What the process asks of the kernel before it touches a secret.
//!
//! Must hold: no core dump carries seeds; another process of the same user cannot attach and read them.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off and makes the process not dumpable. A refusal is logged, not fatal: a container
/// may forbid either, and a restore must still run there.
pub(crate) fn harden() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::debug!(%error, "core dumps cannot be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "the process stays dumpable");
    }
}
