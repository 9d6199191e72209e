//! Looks at a database file without changing it: is it ours, whole, and not newer than this program?

use std::{
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    limits::MAX_WHOLE_CHECK_BYTES,
    migrations::{NEWEST, TABLES, version},
    open::OpenError,
};

/// Marks a database as Alknet's, at byte 68 of the file: "ALKN".
pub(crate) const APPLICATION_ID: u32 = 0x414c_4b4e;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const VERSION_AT: usize = 60;
const APPLICATION_AT: usize = 68;

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file, or an empty one that a first start left when it was interrupted.
    Nothing,
    /// A database of ours that this program can use.
    Ours,
}

/// Tells what stands at `path`. Leaves the file as it is, byte for byte.
pub(crate) fn inspect(path: &Path) -> Result<Found, OpenError> {
    let Some(header) = read_header(path)? else { return Ok(Found::Nothing) };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[..MAGIC.len()] != *MAGIC {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    if number(APPLICATION_AT) != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned(), why: "another program made it".to_owned() });
    }
    // The log, if there is one, may hold a later version than the header; by now the file is known to be ours.
    let logged = beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0);
    if !logged {
        refuse_newer(path, number(VERSION_AT))?;
    }
    let damaged = |cause: rusqlite::Error| OpenError::from_sqlite(path, cause);
    let sql = open_to_look(path, logged).map_err(damaged)?;
    refuse_newer(path, version(&sql).map_err(damaged)?)?;
    refuse_damaged(path, &sql, MAX_WHOLE_CHECK_BYTES)?;
    refuse_foreign_tables(path, &sql)?;
    Ok(Found::Ours)
}

fn read_header(path: &Path) -> Result<Option<[u8; HEADER_BYTES]>, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let facts = file.metadata().map_err(io)?;
    if !facts.is_file() {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    if facts.len() == 0 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(OpenError::NotADatabase { path: path.to_owned() })
        }
        Err(error) => Err(io(error)),
    }
}

/// The file that SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Without a log the file alone is the database, and SQLite need not even lock it; with one it must read both.
fn open_to_look(path: &Path, logged: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    if !logged {
        uri.push_str("?immutable=1");
    }
    Connection::open_with_flags(uri, flags)
}

fn refuse_newer(path: &Path, version: u32) -> Result<(), OpenError> {
    if version > NEWEST {
        return Err(OpenError::Newer { path: path.to_owned(), version, newest: NEWEST });
    }
    Ok(())
}

/// Tables whose size is that of the trees in the buckets. Their damage is found when it is met, and by the file system's own check.
const TREES: &[&str] = &["fs_blob", "fs_commit", "fs_dent", "fs_inode", "fs_ref"];

/// Checks a database of up to `whole_bytes` from end to end; of a larger one all tables but those of the trees, so that a node with
/// millions of files starts at once.
fn refuse_damaged(path: &Path, sql: &Connection, whole_bytes: u64) -> Result<(), OpenError> {
    let damaged = |cause| OpenError::from_sqlite(path, cause);
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = sql.query_row(size, [], |row| row.get(0)).map_err(damaged)?;
    if bytes.cast_unsigned() <= whole_bytes {
        return refuse_unless_ok(path, sql, "PRAGMA quick_check(1)");
    }
    let named = |name: &str| -> rusqlite::Result<bool> {
        sql.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)", [name], |row| {
            row.get(0)
        })
    };
    for table in TABLES.iter().filter(|table| !TREES.contains(table)) {
        if named(table).map_err(damaged)? {
            refuse_unless_ok(path, sql, &format!("PRAGMA quick_check({table})"))?;
        }
    }
    Ok(())
}

fn refuse_unless_ok(path: &Path, sql: &Connection, check: &str) -> Result<(), OpenError> {
    let verdict: rusqlite::Result<String> = sql.query_row(check, [], |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(what) => Err(OpenError::Corrupt { path: path.to_owned(), what }),
        Err(cause) => Err(OpenError::from_sqlite(path, cause)),
    }
}

fn refuse_foreign_tables(path: &Path, sql: &Connection) -> Result<(), OpenError> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let mut all =
            sql.prepare("SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'trigger') ORDER BY name")?;
        all.query_map([], |row| row.get(0))?.collect()
    };
    let names = names().map_err(|cause| OpenError::from_sqlite(path, cause))?;
    match names.iter().find(|name| !name.starts_with("sqlite_") && !TABLES.contains(&name.as_str())) {
        Some(name) => {
            let why = format!("it holds `{}`, which is not Alknet's", name.escape_debug());
            Err(OpenError::Foreign { path: path.to_owned(), why })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::migrations::{STEPS, migrate};

    /// A database whose table begins with a page of rubbish.
    fn damaged_at(folder: &Path, table: &str) -> PathBuf {
        let path = folder.join(table);
        let mut sql = Connection::open(&path).unwrap();
        migrate(&mut sql, STEPS).unwrap();
        let text = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = ?1";
        let (page, size): (i64, i64) = sql.query_row(text, [table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        drop(sql);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0x5a; size as usize], ((page - 1) * size) as u64).unwrap();
        path
    }

    #[test]
    fn of_a_large_database_everything_but_the_trees_is_checked() {
        // STORE-13
        let folder = tempfile::tempdir().unwrap();
        for table in TABLES {
            let path = damaged_at(folder.path(), table);
            let sql = open_to_look(&path, false).unwrap();
            assert!(refuse_damaged(&path, &sql, MAX_WHOLE_CHECK_BYTES).is_err(), "{table} of a small one");
            assert_eq!(refuse_damaged(&path, &sql, 0).is_ok(), TREES.contains(table), "{table} of a large one");
        }
    }
}
