//! Merges: which version of which branch a commit took in.

use rusqlite::{Connection, OptionalExtension, params};

use crate::ids::{BranchId, Seq};

/// Writes down that a commit of a branch took a version of another in.
pub fn insert(sql: &Connection, into: (BranchId, Seq), from: (BranchId, Seq)) -> rusqlite::Result<()> {
    let text = "INSERT INTO fs_merge (into_branch, into_seq, from_branch, from_seq) VALUES (?1, ?2, ?3, ?4)";
    sql.prepare_cached(text)?.execute(params![into.0, into.1, from.0, from.1]).map(|_| ())
}

/// The newest version of each branch that a branch took in, up to a commit.
pub fn taken_in(sql: &Connection, into: BranchId, upto: Seq) -> rusqlite::Result<Vec<(BranchId, Seq)>> {
    let text = "SELECT from_branch, max(from_seq) FROM fs_merge WHERE into_branch = ?1 AND into_seq <= ?2 GROUP BY from_branch";
    sql.prepare_cached(text)?.query_map(params![into, upto], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// What a commit took in.
pub fn of_commit(sql: &Connection, into: BranchId, seq: Seq) -> rusqlite::Result<Option<(BranchId, Seq)>> {
    let text = "SELECT from_branch, from_seq FROM fs_merge WHERE into_branch = ?1 AND into_seq = ?2";
    sql.prepare_cached(text)?.query_row(params![into, seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Every version of others that a branch took in.
pub fn taken(sql: &Connection, into: BranchId) -> rusqlite::Result<Vec<Seq>> {
    let text = "SELECT DISTINCT from_seq FROM fs_merge WHERE into_branch = ?1";
    sql.prepare_cached(text)?.query_map([into], |row| row.get(0))?.collect()
}

/// Forgets what a branch took in.
pub fn forget(sql: &Connection, into: BranchId) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM fs_merge WHERE into_branch = ?1")?.execute([into]).map(|_| ())
}
