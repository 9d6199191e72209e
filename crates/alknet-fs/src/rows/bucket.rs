//! Buckets: what they may hold, what they hold, and the numbers that they give.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{loaded, meta, parsed, stored};
use crate::{
    ids::{BucketId, Ino, Seq},
    name::BucketName,
};

/// What a bucket may hold, and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// JSON, as the bucket's owner set it.
    pub policy: String,
    /// Bytes that it may hold, every kept version counted; `None`: no bound.
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold, counted on each branch that has rows of them; `None`: no bound.
    pub quota_files: Option<u64>,
}

/// A bucket as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRow {
    /// Its number.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// What it may hold.
    pub terms: Terms,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// Files, folders and links that it holds.
    pub used_files: u64,
    /// Its newest commit.
    pub head: Seq,
}

const COLUMNS: &str =
    "SELECT id, name, policy, quota_bytes, quota_files, used_bytes, used_files, head_seq FROM fs_bucket";

fn of(row: &Row<'_>) -> rusqlite::Result<BucketRow> {
    Ok(BucketRow {
        id: row.get(0)?,
        name: parsed(row, 1)?,
        terms: Terms {
            policy: row.get(2)?,
            quota_bytes: row.get::<_, Option<i64>>(3)?.map(loaded),
            quota_files: row.get::<_, Option<i64>>(4)?.map(loaded),
        },
        used_bytes: loaded(row.get(5)?),
        used_files: loaded(row.get(6)?),
        head: row.get(7)?,
    })
}

/// Makes an empty bucket. Fails when the name is taken.
pub fn insert(sql: &Connection, name: &BucketName, terms: &Terms) -> rusqlite::Result<BucketId> {
    let text = "INSERT INTO fs_bucket (name, policy, quota_bytes, quota_files) VALUES (?1, ?2, ?3, ?4)";
    let (bytes, files) = (terms.quota_bytes.map(stored), terms.quota_files.map(stored));
    sql.prepare_cached(text)?.insert(params![name.as_str(), terms.policy, bytes, files]).map(BucketId)
}

/// The bucket of this name.
pub fn find(sql: &Connection, name: &BucketName) -> rusqlite::Result<Option<BucketRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} WHERE name = ?1 AND removed = 0"))?;
    statement.query_row([name.as_str()], of).optional()
}

/// The bucket of this number, a removed one too.
pub fn get(sql: &Connection, id: BucketId) -> rusqlite::Result<Option<BucketRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], of).optional()
}

/// Whether a bucket is there and was not removed.
pub fn exists(sql: &Connection, id: BucketId) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_bucket WHERE id = ?1 AND removed = 0)";
    sql.prepare_cached(text)?.query_row([id], |row| row.get(0))
}

/// At most `count` buckets by name, after this one.
pub fn page(sql: &Connection, after: Option<&BucketName>, count: usize) -> rusqlite::Result<Vec<BucketRow>> {
    let text = format!("{COLUMNS} WHERE removed = 0 AND name > ?1 ORDER BY name LIMIT ?2");
    let after = after.map_or("", BucketName::as_str);
    sql.prepare_cached(&text)?.query_map(params![after, stored(count as u64)], of)?.collect()
}

/// How many there are.
pub fn count(sql: &Connection) -> rusqlite::Result<u64> {
    sql.prepare_cached("SELECT count(*) FROM fs_bucket WHERE removed = 0")?.query_row([], |row| row.get(0)).map(loaded)
}

/// Sets what it may hold.
pub fn set(sql: &Connection, id: BucketId, terms: &Terms) -> rusqlite::Result<()> {
    let text = "UPDATE fs_bucket SET policy = ?2, quota_bytes = ?3, quota_files = ?4 WHERE id = ?1";
    let (bytes, files) = (terms.quota_bytes.map(stored), terms.quota_files.map(stored));
    sql.prepare_cached(text)?.execute(params![id, terms.policy, bytes, files]).map(|_| ())
}

/// Takes its name away, so that it is found no more, and its hooks; its other rows can then go in their own time.
pub fn remove(sql: &Connection, id: BucketId) -> rusqlite::Result<()> {
    super::hook::remove_of_bucket(sql, id)?;
    sql.prepare_cached("UPDATE fs_bucket SET removed = 1 WHERE id = ?1")?.execute([id]).map(|_| ())
}

/// Gives the number of the next commit.
pub fn next_seq(sql: &Connection, id: BucketId) -> rusqlite::Result<Seq> {
    let text = "UPDATE fs_bucket SET head_seq = head_seq + 1 WHERE id = ?1 RETURNING head_seq";
    sql.prepare_cached(text)?.query_row([id], |row| row.get(0))
}

/// Gives the number of the next inode that this replica makes.
pub fn next_ino(sql: &Connection, id: BucketId, replica: u16) -> rusqlite::Result<Ino> {
    let text = "UPDATE fs_bucket SET next_ino = next_ino + 1 WHERE id = ?1 RETURNING next_ino - 1";
    let count: i64 = sql.prepare_cached(text)?.query_row([id], |row| row.get(0))?;
    Ino::new(replica, loaded(count)).ok_or_else(|| super::foreign(0, count))
}

/// Adds to what it holds.
pub(super) fn charge(sql: &Connection, id: BucketId, bytes: i64, files: i64) -> rusqlite::Result<()> {
    if bytes == 0 && files == 0 {
        return Ok(());
    }
    let text = "UPDATE fs_bucket SET used_bytes = used_bytes + ?2, used_files = used_files + ?3 WHERE id = ?1";
    sql.prepare_cached(text)?.execute(params![id, bytes, files]).map(|_| ())
}

/// A removed bucket whose branches are all gone, if there is one.
pub fn doomed(sql: &Connection) -> rusqlite::Result<Option<BucketId>> {
    let text = "SELECT id FROM fs_bucket WHERE removed = 1
                AND NOT EXISTS (SELECT 1 FROM fs_branch WHERE bucket = fs_bucket.id) LIMIT 1";
    sql.prepare_cached(text)?.query_row([], |row| row.get(0)).optional()
}

/// Takes at most `count` commits of such a bucket away, and with the last one everything else of it but uploads, which have files that
/// must go first ([`super::upload::forsaken`]). Answers whether that is done.
pub fn erase(sql: &Connection, id: BucketId, count: usize) -> rusqlite::Result<bool> {
    let text = "DELETE FROM fs_commit WHERE bucket = ?1
                AND seq IN (SELECT seq FROM fs_commit WHERE bucket = ?1 LIMIT ?2)";
    if sql.prepare_cached(text)?.execute(params![id, stored(count as u64)])? > 0 {
        return Ok(false);
    }
    for table in ["fs_snapshot", "fs_conflict"] {
        sql.execute(&format!("DELETE FROM {table} WHERE bucket = ?1"), [id])?;
    }
    meta::remove(sql, &meta::kept_from(id))?;
    sql.execute("DELETE FROM fs_bucket WHERE id = ?1", [id])?;
    Ok(true)
}
