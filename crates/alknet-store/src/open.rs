//! Opens the database file, or says clearly why not and what to do.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    error::DatabaseFault,
    inspect::{APPLICATION_ID, Found, inspect},
    limits::{BUSY_TIMEOUT, MAX_IDLE_WAL_BYTES, MAX_PREPARED_STATEMENTS, READER_CACHE_KIB, WRITER_CACHE_KIB},
    migrations::{STEPS, migrate},
};

const OWNER_ONLY: u32 = 0o600;

/// Why a database was not opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is something else.
    #[error("{} is no database; move it away, or start with another --data folder", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database, but not ours.
    #[error("{} is not Alknet's database ({why}); move it away, or start with another --data folder", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// Made by a later program.
    #[error(
        "{} has schema version {version}, this program knows {newest}; use a newer Alknet, or restore an older backup",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that this program knows.
        newest: u32,
    },
    /// Damaged.
    #[error("{} is damaged ({what}); restore it from a backup, or move it away to start with an empty one", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// The file or its folder cannot be written.
    #[error("{} cannot be written; make it and its folder writable for this user, or use another --data folder", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// No room.
    #[error("no space is left for {}; free some and start again", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds its lock.
    #[error("{} is in use by another program; stop it and start again", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be reached.
    #[error("{} cannot be opened", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that SQLite reports.
    #[error("{} cannot be used as a database", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it reports.
        source: DatabaseFault,
    },
}

impl OpenError {
    pub(crate) fn from_sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match cause.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, what: cause.to_string() },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            _ => Self::Database { path, source: cause.into() },
        }
    }

    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Opens the database for its writer: makes it when there is none, refuses what is not ours, brings it to the newest schema.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let found = inspect(path)?;
    claim(path).map_err(|source| OpenError::from_io(path, source))?;
    let failed = |cause| OpenError::from_sqlite(path, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut sql = Connection::open_with_flags(path, flags).map_err(failed)?;
    sql.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    if found == Found::Nothing {
        // Before anything else, so that an interrupted first start leaves an empty file or one that is known to be ours.
        sql.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    }
    prepare_writer(&sql).map_err(failed)?;
    migrate(&mut sql, STEPS).map_err(|error| failed(error.cause))?;
    Ok(sql)
}

/// Creates the file when there is none, and makes sure that only its owner reads it.
fn claim(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others could read the database; its mode is now 0600");
        fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))?;
    }
    Ok(())
}

fn prepare_writer(sql: &Connection) -> rusqlite::Result<()> {
    sql.set_prepared_statement_cache_capacity(MAX_PREPARED_STATEMENTS);
    let mode: String = sql.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(mode, "this file system does not do a write-ahead log; readers will wait for the writer");
    }
    sql.pragma_update(None, "synchronous", "FULL")?;
    keep_pages(sql, WRITER_CACHE_KIB)?;
    sql.pragma_update(None, "foreign_keys", true)?;
    sql.pragma_update(None, "trusted_schema", false)?;
    sql.pragma_update_and_check(None, "journal_size_limit", MAX_IDLE_WAL_BYTES, |_| Ok(()))
}

/// Lets a connection keep so much of what it has read; memory comes as it is needed.
fn keep_pages(sql: &Connection, kib: i64) -> rusqlite::Result<()> {
    // Below zero: a size, not a number of pages.
    sql.pragma_update(None, "cache_size", -kib)
}

/// Opens another connection that only reads.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(path, flags)?;
    sql.set_prepared_statement_cache_capacity(MAX_PREPARED_STATEMENTS);
    sql.busy_timeout(BUSY_TIMEOUT)?;
    keep_pages(&sql, READER_CACHE_KIB)?;
    sql.pragma_update(None, "query_only", true)?;
    sql.pragma_update(None, "trusted_schema", false)?;
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_whoever_notices_it() {
        // STORE-14
        let path = Path::new("/data/alknet.db");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let sqlite = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        for error in [OpenError::from_io(path, full), OpenError::from_sqlite(path, sqlite)] {
            assert_eq!(error.to_string(), "no space is left for /data/alknet.db; free some and start again");
        }
    }
}
