//! A copy of the database while it is in use.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use alknet_core::Maintenance;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use crate::{error::StoreError, store::Store};

const EVERY_PAGE: i32 = -1;

/// Why there is no copy; nothing was left at its path that was not there before.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A backup never overwrites.
    #[error("{} exists already; name another file", .0.display())]
    Exists(PathBuf),
    /// The file could not be made.
    #[error("{} cannot be written", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Copies the last commit to a new file (mode 0600), whole and consistent, while others read and write.
    pub async fn backup_to(&self, task: &Maintenance, path: &Path) -> Result<(), BackupError> {
        tracing::info!(task = task.task(), path = %path.display(), "backing the database up");
        let path = path.to_owned();
        self.readers()
            .read(move |sql| {
                create(&path)?;
                copy(sql, &path).map_err(|error| {
                    // The incomplete copy is of no use to anybody.
                    let _ = fs::remove_file(&path);
                    BackupError::Store(error)
                })
            })
            .await
    }
}

fn create(path: &Path) -> Result<(), BackupError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(path.to_owned())),
        Err(source) => Err(BackupError::Io { path: path.to_owned(), source }),
    }
}

/// All pages in one step, which is one read transaction: a commit in between cannot make it begin again.
fn copy(from: &Connection, path: &Path) -> Result<(), StoreError> {
    let mut to = Connection::open(path)?;
    let done = Backup::new(from, &mut to)?.step(EVERY_PAGE)?;
    if done != StepResult::Done {
        return Err(StoreError::RolledBack);
    }
    to.close().map_err(|(_, error)| error.into())
}
