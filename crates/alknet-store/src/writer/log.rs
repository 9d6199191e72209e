//! What the disk did not take of the write-ahead log is put there again.
//!
//! A sync that fails is told once. The kernel may then count the bytes as written that it could not write, and later syncs succeed
//! without them. For the commit that failed this does no harm: it is undone, and the next one is written in its place. But commits before
//! it that were not synced yet would be a hole in the log, and after a power cut everything behind the hole would be lost, or worse: half
//! of it would be in the database already. Their bytes can still be read: so they are written once more.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ffi};

use crate::{error::StoreError, limits::LOG_COPY_BYTES};

/// Writes the whole log of this database again, byte for byte, and syncs it. Nobody else writes it meanwhile; readers see no difference.
pub(super) fn write_again(sql: &Connection) -> Result<(), StoreError> {
    let Some(database) = sql.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    let log = log_of(Path::new(database));
    rewrite(&log).map_err(|error| {
        let what = format!("{}: {error}", log.display());
        StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), Some(what)))
    })
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-wal");
    name.into()
}

fn rewrite(path: &Path) -> io::Result<()> {
    let log: File = OpenOptions::new().read(true).write(true).open(path)?;
    let mut buffer = vec![0; LOG_COPY_BYTES];
    let mut at = 0;
    loop {
        let count = match log.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        log.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    log.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_written_again_is_what_it_was() {
        // STORE-24
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db-wal");
        let bytes: Vec<u8> = (0..251u8).cycle().take(LOG_COPY_BYTES * 2 + 7).collect();
        std::fs::write(&path, &bytes).unwrap();
        rewrite(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert!(rewrite(&folder.path().join("none")).is_err());
    }
}
