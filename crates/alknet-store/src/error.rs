//! What can go wrong with the database itself, whatever was asked of it.

use std::{fmt, sync::Arc};

use rusqlite::ErrorCode;

/// Why the database did not do it. Nothing was changed, except where it says that this is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It was closed, or its writer is gone.
    #[error("the database is closed")]
    Closed,
    /// No room on the disk.
    #[error("the disk is full; nothing was changed: free some space and try again")]
    Full,
    /// Another change in the same commit failed so badly that SQLite undid them all.
    #[error("the change was undone together with another that failed; try again")]
    RolledBack,
    /// The change itself panicked, by a fault of this program.
    #[error("the change was undone: it came upon a fault in this program; the log says more")]
    Panicked,
    /// The disk failed while the commit was written: after a crash it may be there, whole, or not.
    #[error("the disk failed in the middle of the commit; it is not known whether the change is kept: {0}")]
    Unknown(#[source] DatabaseFault),
    /// Anything else that SQLite reports.
    #[error("the database failed: {0}")]
    Failed(#[source] DatabaseFault),
}

/// What SQLite reported.
#[derive(Debug, Clone)]
pub struct DatabaseFault(Arc<rusqlite::Error>);

impl fmt::Display for DatabaseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for DatabaseFault {}

impl From<rusqlite::Error> for DatabaseFault {
    fn from(error: rusqlite::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed(error.into()),
        }
    }
}
