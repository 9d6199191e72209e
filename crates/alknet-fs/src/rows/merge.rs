//! Merges: which version of which branch a commit took in. Of a branch that was removed, what it took in is kept for as long as another
//! one took it in; where it was made from counts then as taken in before its first commit.

use rusqlite::{Connection, OptionalExtension, params};

use super::branch::BranchRow;
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

/// Keeps of a branch that goes what others took in with it, and forgets the rest.
pub fn bequeath(sql: &Connection, row: &BranchRow) -> rusqlite::Result<()> {
    if let Some(fork) = row.fork {
        insert(sql, (row.id, Seq::ZERO), (fork.parent, fork.at))?;
    }
    let text = "WITH RECURSIVE
        known(id) AS (SELECT ?1 UNION SELECT from_branch FROM fs_merge JOIN known ON into_branch = known.id),
        needed(id) AS (SELECT id FROM fs_branch WHERE bucket = ?2 AND id <> ?1
                       UNION SELECT from_branch FROM fs_merge JOIN needed ON into_branch = needed.id)
        DELETE FROM fs_merge WHERE into_branch IN known AND into_branch NOT IN needed";
    sql.prepare_cached(text)?.execute(params![row.id, row.bucket]).map(|_| ())
}
