//! Conflicts of merges that are not settled.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{On, loaded, stored};
use crate::ids::{BranchId, Ino, Seq};

/// A conflict. What the sides are is for [`crate::history`] to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// Its number.
    pub id: u64,
    /// The branch.
    pub branch: BranchId,
    /// The merge.
    pub seq: Seq,
    /// What is written of it.
    pub about: Sides,
}

/// Where a conflict is, and what the two sides are, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// The folder.
    pub dir: Ino,
    /// The name in it.
    pub name: Box<[u8]>,
    /// What it is here.
    pub ours: String,
    /// What it is there.
    pub theirs: String,
}

const COLUMNS: &str = "SELECT id, branch, seq, dir, name, ours, theirs FROM fs_conflict";

fn of(row: &Row<'_>) -> rusqlite::Result<ConflictRow> {
    let about =
        Sides { dir: row.get(3)?, name: row.get::<_, Vec<u8>>(4)?.into(), ours: row.get(5)?, theirs: row.get(6)? };
    Ok(ConflictRow { id: loaded(row.get(0)?), branch: row.get(1)?, seq: row.get(2)?, about })
}

/// Keeps a conflict. Answers its number.
pub fn insert(sql: &Connection, on: On, seq: Seq, sides: Sides) -> rusqlite::Result<u64> {
    let text =
        "INSERT INTO fs_conflict (bucket, branch, seq, dir, name, ours, theirs) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Sides { dir, name, ours, theirs } = sides;
    sql.prepare_cached(text)?.insert(params![on.bucket, on.branch, seq, dir, name, ours, theirs]).map(loaded)
}

/// The conflict of this number on a branch.
pub fn get(sql: &Connection, branch: BranchId, id: u64) -> rusqlite::Result<Option<ConflictRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} WHERE id = ?1 AND branch = ?2"))?;
    statement.query_row(params![stored(id), branch], of).optional()
}

/// At most `count` conflicts of a branch, by number, after this one.
pub fn open(sql: &Connection, branch: BranchId, after: u64, count: usize) -> rusqlite::Result<Vec<ConflictRow>> {
    let text = format!("{COLUMNS} INDEXED BY fs_conflict_by_branch WHERE branch = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    sql.prepare_cached(&text)?.query_map(params![branch, stored(after), stored(count as u64)], of)?.collect()
}

/// The versions that are needed until the conflicts of a branch are settled: of the branch before each merge, and of what was merged.
pub fn needed(sql: &Connection, branch: BranchId) -> rusqlite::Result<Vec<Seq>> {
    let text = "SELECT seq - 1 FROM fs_conflict WHERE branch = ?1 UNION
                SELECT min(from_seq, seq - 1) FROM fs_conflict JOIN fs_merge ON into_branch = branch AND into_seq = seq
                WHERE branch = ?1";
    sql.prepare_cached(text)?.query_map([branch], |row| row.get(0))?.collect()
}

/// Takes a conflict off the list, because it is settled.
pub fn remove(sql: &Connection, id: u64) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM fs_conflict WHERE id = ?1")?.execute([stored(id)]).map(|_| ())
}

/// Whether a commit left conflicts that are still kept.
pub fn is_of_commit(sql: &Connection, branch: BranchId, seq: Seq) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_conflict WHERE branch = ?1 AND seq = ?2)";
    sql.prepare_cached(text)?.query_row(params![branch, seq], |row| row.get(0))
}
