//! What a check counts anew, and what SQLite itself says of the tables.

use rusqlite::{Connection, ErrorCode, params};

use super::{bucket, inode::charges};
use crate::ids::BucketId;

/// A count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What is written down.
    pub stored: i64,
    /// What the rows say.
    pub counted: i64,
}

/// The bytes and the files that a bucket holds.
pub fn usage(sql: &Connection, id: BucketId) -> rusqlite::Result<[Usage; 2]> {
    let bytes = concat!(
        "SELECT used_bytes, (SELECT ",
        charges!(),
        " FROM fs_branch JOIN fs_inode ON fs_inode.branch = fs_branch.id WHERE fs_branch.bucket = ?1)
         FROM fs_bucket WHERE id = ?1"
    );
    let files = "SELECT used_files, (SELECT count(*) FROM (SELECT DISTINCT branch, ino FROM fs_branch
                 JOIN fs_inode ON fs_inode.branch = fs_branch.id WHERE fs_branch.bucket = ?1)) FROM fs_bucket WHERE id = ?1";
    let one = |text: &str| {
        sql.prepare_cached(text)?.query_row(params![id], |row| Ok(Usage { stored: row.get(0)?, counted: row.get(1)? }))
    };
    Ok([one(bytes)?, one(files)?])
}

/// Corrects what a bucket is said to hold by so many bytes and files.
pub fn correct(sql: &Connection, id: BucketId, (bytes, files): (i64, i64)) -> rusqlite::Result<()> {
    bucket::charge(sql, id, bytes, files)
}

/// The tables of the file system.
pub const TABLES: [&str; 13] = [
    "fs_meta",
    "fs_bucket",
    "fs_branch",
    "fs_snapshot",
    "fs_commit",
    "fs_dent",
    "fs_inode",
    "fs_blob",
    "fs_ref",
    "fs_merge",
    "fs_conflict",
    "fs_session",
    "fs_hook",
];

/// What `quick_check` says of one of them, which it passes over at the start where it is large. Damage that it cannot go on after ends it.
pub fn table(sql: &Connection, table: &'static str) -> rusqlite::Result<Vec<String>> {
    let mut statement = sql.prepare(&format!("PRAGMA quick_check({table})"))?;
    let (mut rows, mut said) = (statement.query([])?, Vec::new());
    loop {
        match rows.next() {
            Ok(Some(row)) => said.push(row.get::<_, String>(0)?),
            Ok(None) => break,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                if said.is_empty() {
                    said.push(error.to_string());
                }
                break;
            }
            Err(error) => return Err(error),
        }
    }
    said.retain(|said| said != "ok");
    Ok(said)
}
