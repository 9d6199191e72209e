//! Why something in the tree was not done, before it is known what to call it for people.

use alknet_core::PermitError;
use alknet_store::StoreError;

use crate::{
    error::{Errno, FsError},
    path::FsPath,
};

/// Says no without saying where.
#[derive(Debug)]
pub enum Stop {
    /// The file system says no.
    No(Errno),
    /// Anything that has its own words.
    Failed(FsError),
}

impl Stop {
    /// Says what was tried, and where.
    pub fn at(self, what: &'static str, path: &FsPath) -> FsError {
        self.at_place(what, || path.to_string())
    }
    /// As [`Self::at`], of something that goes from here to there.
    pub fn at_both(self, what: &'static str, from: &FsPath, to: &FsPath) -> FsError {
        self.at_place(what, || format!("{from} to {to}"))
    }
    /// As [`Self::at`], for a place that is no path.
    pub fn at_place(self, what: &'static str, place: impl FnOnce() -> String) -> FsError {
        match self {
            Self::No(errno) => FsError::At { errno, what, path: place() },
            Self::Failed(error) => error,
        }
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::No(errno)
    }
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<PermitError> for Stop {
    fn from(error: PermitError) -> Self {
        Self::Failed(error.into())
    }
}
