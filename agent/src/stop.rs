//! Ends work on blocking threads: a flag that they look at now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag. Clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Sets the flag when it is dropped: a future that is left takes its threads with it.
#[derive(Debug)]
pub struct StopOnDrop(pub Stop);

impl Stop {
    /// Asks the work to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it should end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
