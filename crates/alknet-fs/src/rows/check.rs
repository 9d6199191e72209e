//! What a check counts anew, and what SQLite itself says of the tables.

use rusqlite::{Connection, params};

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
pub const TABLES: [&str; 11] = [
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
];

/// What `quick_check` says of one of them, which it passes over at the start where it is large.
pub fn table(sql: &Connection, table: &'static str) -> rusqlite::Result<Vec<String>> {
    let mut statement = sql.prepare(&format!("PRAGMA quick_check({table})"))?;
    let said = statement.query_map([], |row| row.get::<_, String>(0))?;
    said.filter(|said| !matches!(said, Ok(said) if said == "ok")).collect()
}
