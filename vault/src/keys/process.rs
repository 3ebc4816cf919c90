//! What a process that holds seeds does about its own memory.
//!
//! Holds: after [`forbid_core_dumps`], the kernel writes no core file of this process and no other
//! process of the same user may attach to it or read `/proc/<pid>/mem`. Swap is not reached by
//! this: run with encrypted swap or none.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps and makes the process not dumpable. Best effort: each failing call is
/// returned, none stops the other.
pub fn forbid_core_dumps() -> Result<(), std::io::Error> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limited.and(hidden).map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn the_process_is_not_dumpable_afterwards() {
        forbid_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
