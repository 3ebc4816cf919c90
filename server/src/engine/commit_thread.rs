//! The commit thread: writes what the apply thread froze into the database's file.
//!
//! What must hold: layers are written in the order in which they were frozen; what is to follow a
//! commit follows only if it succeeded; a commit that fails ends the member.

use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use holdfast_core::backend::{BackendError, Commit};

use super::apply_thread::Work;
use crate::metrics::Histogram;

/// What is done once a layer is durable.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// A frozen layer and what follows it.
pub(crate) struct CommitOrder {
    pub(crate) commit: Commit,
    pub(crate) then: Vec<Then>,
}

/// Runs until the apply thread is gone.
///
/// # Errors
/// The database's: what the file holds is unknown, the member must end.
pub(crate) fn run(
    orders: &Receiver<CommitOrder>,
    apply: &Sender<Work>,
    took: &Histogram,
) -> Result<(), BackendError> {
    for CommitOrder { commit, then } in orders {
        let begun = Instant::now();
        commit.run()?;
        took.observe(begun.elapsed().as_secs_f64());
        then.into_iter().for_each(|follow| follow());
        let _ = apply.send(Work::Written);
    }
    Ok(())
}
