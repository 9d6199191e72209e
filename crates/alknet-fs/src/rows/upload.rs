//! Uploads that can be resumed: the only writes under way that have a row.

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{loaded, stored};
use crate::{
    hash::ContentHash,
    ids::{BranchId, BucketId},
};

/// An upload's number: that of its file in the spool.
pub type UploadId = [u8; 16];

/// An upload that is under way, or waits for its sender to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// Its number.
    pub id: UploadId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its branch.
    pub branch: BranchId,
    /// The path of the file that it is to become.
    pub path: Vec<u8>,
    /// What the sender says that the content will be.
    pub hash: ContentHash,
    /// How long it will be, in bytes: promised to it from the bucket's quota.
    pub size: u64,
    /// Who sends it.
    pub actor: String,
    /// When it began, in milliseconds since 1970.
    pub made_ms: u64,
    /// When the sender was last there.
    pub touched_ms: u64,
}

const COLUMNS: &str = "SELECT id, bucket, branch, path, hash, size, actor, made_ms, touched_ms FROM fs_session";

fn of(row: &Row<'_>) -> rusqlite::Result<UploadRow> {
    Ok(UploadRow {
        id: fixed(row, 0)?,
        bucket: row.get(1)?,
        branch: row.get(2)?,
        path: row.get(3)?,
        hash: ContentHash::from_bytes(fixed(row, 4)?),
        size: loaded(row.get(5)?),
        actor: row.get(6)?,
        made_ms: loaded(row.get(7)?),
        touched_ms: loaded(row.get(8)?),
    })
}

fn fixed<const N: usize>(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map_err(|_| rusqlite::Error::InvalidColumnType(column, "fs_session".to_owned(), Type::Blob))
}

/// Begins an upload.
pub fn insert(sql: &Connection, upload: &UploadRow) -> rusqlite::Result<()> {
    let text = "INSERT INTO fs_session (id, bucket, branch, path, hash, size, actor, made_ms, touched_ms)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let UploadRow { id, bucket, branch, path, hash, size, actor, made_ms, touched_ms } = upload;
    let (size, made_ms, touched_ms) = (stored(*size), stored(*made_ms), stored(*touched_ms));
    let values = params![id, bucket, branch, path, hash.as_bytes(), size, actor, made_ms, touched_ms];
    sql.prepare_cached(text)?.execute(values).map(|_| ())
}

/// The upload of this number.
pub fn get(sql: &Connection, id: &UploadId) -> rusqlite::Result<Option<UploadRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id.as_slice()], of).optional()
}

/// All uploads of somebody, in no order.
pub fn of_actor(sql: &Connection, actor: &str) -> rusqlite::Result<Vec<UploadRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE actor = ?1"))?.query_map([actor], of)?.collect()
}

/// The numbers of all uploads.
pub fn ids(sql: &Connection) -> rusqlite::Result<Vec<UploadId>> {
    sql.prepare_cached("SELECT id FROM fs_session")?.query_map([], |row| fixed(row, 0))?.collect()
}

/// How many bytes of a bucket are promised to uploads.
pub fn promised(sql: &Connection, bucket: BucketId) -> rusqlite::Result<u64> {
    let text = "SELECT CAST(total(size) AS INTEGER) FROM fs_session WHERE bucket = ?1";
    sql.prepare_cached(text)?.query_row([bucket], |row| row.get(0)).map(loaded)
}

/// Which uploads nobody waits for.
const AWAY: &str = "(touched_ms < ?1 OR bucket NOT IN (SELECT id FROM fs_bucket WHERE removed = 0))";

/// Uploads whose sender was not there since before this time, or whose bucket is gone; at most `count`.
pub fn forsaken(sql: &Connection, before_ms: u64, count: usize) -> rusqlite::Result<Vec<UploadRow>> {
    let text = format!("{COLUMNS} WHERE {AWAY} LIMIT ?2");
    sql.prepare_cached(&text)?.query_map([stored(before_ms), stored(count as u64)], of)?.collect()
}

/// Ends an upload if it is still one of those that [`forsaken`] finds. Answers whether it was.
pub fn forsake(sql: &Connection, id: &UploadId, before_ms: u64) -> rusqlite::Result<bool> {
    let text = format!("DELETE FROM fs_session WHERE {AWAY} AND id = ?2");
    Ok(sql.prepare_cached(&text)?.execute(params![stored(before_ms), id.as_slice()])? > 0)
}

/// Notes that the sender is there.
pub fn touch(sql: &Connection, id: &UploadId, now_ms: u64) -> rusqlite::Result<()> {
    let text = "UPDATE fs_session SET touched_ms = ?2 WHERE id = ?1";
    sql.prepare_cached(text)?.execute(params![id.as_slice(), stored(now_ms)]).map(|_| ())
}

/// Ends an upload. Answers whether it was there.
pub fn remove(sql: &Connection, id: &UploadId) -> rusqlite::Result<bool> {
    Ok(sql.prepare_cached("DELETE FROM fs_session WHERE id = ?1")?.execute([id.as_slice()])? > 0)
}
