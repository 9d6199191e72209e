//! Snapshots: names for versions of a branch.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::parsed;
use crate::{
    ids::{BranchId, BucketId, Seq},
    name::SnapshotName,
};

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its name.
    pub name: SnapshotName,
    /// The branch.
    pub branch: BranchId,
    /// The branch's version.
    pub seq: Seq,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: i64,
}

const COLUMNS: &str = "SELECT name, branch, seq, time_ns FROM fs_snapshot WHERE bucket = ?1";

fn of(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow { name: parsed(row, 0)?, branch: row.get(1)?, seq: row.get(2)?, time_ns: row.get(3)? })
}

/// Takes a snapshot. Fails when the name is taken.
pub fn insert(sql: &Connection, bucket: BucketId, snapshot: &SnapshotRow) -> rusqlite::Result<()> {
    let text = "INSERT INTO fs_snapshot (bucket, name, branch, seq, time_ns) VALUES (?1, ?2, ?3, ?4, ?5)";
    let SnapshotRow { name, branch, seq, time_ns } = snapshot;
    sql.prepare_cached(text)?.execute(params![bucket, name.as_str(), branch, seq, time_ns]).map(|_| ())
}

/// The snapshot of this name.
pub fn find(sql: &Connection, bucket: BucketId, name: &SnapshotName) -> rusqlite::Result<Option<SnapshotRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} AND name = ?2"))?;
    statement.query_row(params![bucket, name.as_str()], of).optional()
}

/// A bucket's snapshots by name.
pub fn list(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Vec<SnapshotRow>> {
    sql.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?.query_map([bucket], of)?.collect()
}

/// Lets go of a snapshot. Answers whether there was one.
pub fn remove(sql: &Connection, bucket: BucketId, name: &SnapshotName) -> rusqlite::Result<bool> {
    let mut statement = sql.prepare_cached("DELETE FROM fs_snapshot WHERE bucket = ?1 AND name = ?2")?;
    Ok(statement.execute(params![bucket, name.as_str()])? > 0)
}

/// Whether a branch has snapshots.
pub fn any_of(sql: &Connection, bucket: BucketId, branch: BranchId) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_snapshot WHERE bucket = ?1 AND branch = ?2)";
    sql.prepare_cached(text)?.query_row(params![bucket, branch], |row| row.get(0))
}

/// How many snapshots a bucket has.
pub fn count(sql: &Connection, bucket: BucketId) -> rusqlite::Result<u64> {
    let mut statement = sql.prepare_cached("SELECT count(*) FROM fs_snapshot WHERE bucket = ?1")?;
    statement.query_row([bucket], |row| row.get(0)).map(super::loaded)
}

/// The versions that a bucket's snapshots hold.
pub fn seqs(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Vec<Seq>> {
    sql.prepare_cached("SELECT seq FROM fs_snapshot WHERE bucket = ?1")?
        .query_map([bucket], |row| row.get(0))?
        .collect()
}
