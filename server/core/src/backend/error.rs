//! Why a backend cannot read or write.

use std::sync::Arc;

/// A backend's failure. None of them is the client's fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The database cannot be read, or is damaged.
    #[error("cannot read the database: {source}; stop the member and check the file")]
    Read {
        /// What the base says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The database cannot be written.
    #[error("cannot commit to the database: {source}; the member must stop")]
    Write {
        /// What the base says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A commit failed before: what the file holds is unknown.
    #[error("a commit to the database failed before: the member must stop")]
    CommitFailed,
    /// A commit runs that must end first.
    #[error("a commit to the database is under way: try again when it has ended")]
    Busy,
}

impl BackendError {
    /// A failed read.
    pub fn read(source: impl std::error::Error + Send + Sync + 'static) -> BackendError {
        BackendError::Read { source: Arc::new(source) }
    }

    /// A failed write.
    pub fn write(source: impl std::error::Error + Send + Sync + 'static) -> BackendError {
        BackendError::Write { source: Arc::new(source) }
    }
}
