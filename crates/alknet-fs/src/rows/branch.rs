//! Branches, each with the one that it was made from.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{foreign, merge, parsed};
use crate::{
    folding::Names,
    ids::{BranchId, BucketId, Seq},
    name::BranchName,
};

/// What a branch sees of the changes that its parent makes after the fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None of them.
    Pinned,
    /// Those that it has not overridden itself: content, attributes, new names and removed files, but not moves of folders.
    Follow,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Follow => "follow",
        }
    }
}

/// Where a branch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The branch that it was made from.
    pub parent: BranchId,
    /// The parent's version that it was made from.
    pub at: Seq,
    /// What it sees of later ones.
    pub mode: Mode,
}

/// A branch as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRow {
    /// Its number.
    pub id: BranchId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its name.
    pub name: BranchName,
    /// Where it comes from; `None` for a bucket's first.
    pub fork: Option<Fork>,
    /// The bucket's newest commit when it was made.
    pub made: Seq,
    /// Whether it was removed and only its children still need it.
    pub hidden: bool,
    /// Whether nothing is left of it but where it came from.
    pub gone: bool,
    /// What it reads through since it was flattened.
    pub flat: Option<Below>,
    /// While it is being flattened: it has the rows of all commits after this one.
    pub copied: Option<Seq>,
    /// Which names its bucket takes for one and the same.
    pub names: Names,
}

/// What is left below a branch that was flattened: another one as it was at a commit, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below(pub Option<(BranchId, Seq)>);

impl BranchRow {
    /// What it reads through: where it comes from, unless it was flattened.
    pub fn base(&self) -> Option<Fork> {
        match self.flat {
            None => self.fork,
            Some(Below(below)) => below.map(|(parent, at)| Fork { parent, at, mode: Mode::Pinned }),
        }
    }
}

const COLUMNS: &str =
    "SELECT id, bucket, name, parent, parent_seq, mode, made_seq, hidden, flat, below, below_seq, copied_seq,
    (SELECT policy ->> 'names' FROM fs_bucket WHERE fs_bucket.id = bucket) FROM fs_branch";

fn of(row: &Row<'_>) -> rusqlite::Result<BranchRow> {
    let mode: String = row.get(5)?;
    let mode = if mode == Mode::Follow.as_str() { Mode::Follow } else { Mode::Pinned };
    let fork = match (row.get(3)?, row.get(4)?) {
        (Some(parent), Some(at)) => Some(Fork { parent, at, mode }),
        _ => None,
    };
    let flat: bool = row.get(8)?;
    let below = match (row.get(9)?, row.get(10)?) {
        (Some(branch), Some(at)) => Some((branch, at)),
        _ => None,
    };
    Ok(BranchRow {
        id: row.get(0)?,
        bucket: row.get(1)?,
        name: parsed(row, 2)?,
        fork,
        made: row.get(6)?,
        hidden: row.get::<_, i64>(7)? != SHOWN,
        gone: row.get::<_, i64>(7)? == GONE,
        flat: flat.then_some(Below(below)),
        copied: row.get(11)?,
        names: names_of(row.get(12)?)?,
    })
}

/// What `hidden` holds.
const SHOWN: i64 = 0;
const GONE: i64 = 2;

/// By what a bucket compares names. One that does not say compares their octets; what a newer version has written is not guessed at.
fn names_of(word: Option<String>) -> rusqlite::Result<Names> {
    let Some(word) = word else { return Ok(Names::default()) };
    Names::of_word(&word).ok_or_else(|| foreign(12, 0))
}

/// Makes a branch. Fails when the name is taken.
pub fn insert(
    sql: &Connection,
    bucket: BucketId,
    name: &BranchName,
    fork: Option<Fork>,
    made: Seq,
) -> rusqlite::Result<BranchId> {
    let text =
        "INSERT INTO fs_branch (bucket, name, parent, parent_seq, mode, made_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mode = fork.map_or(Mode::Pinned, |fork| fork.mode).as_str();
    let (parent, at) = (fork.map(|fork| fork.parent), fork.map(|fork| fork.at));
    sql.prepare_cached(text)?.insert(params![bucket, name.as_str(), parent, at, mode, made]).map(BranchId)
}

/// The branch of this name that is not hidden.
pub fn find(sql: &Connection, bucket: BucketId, name: &BranchName) -> rusqlite::Result<Option<BranchRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} WHERE bucket = ?1 AND name = ?2 AND hidden = 0"))?;
    statement.query_row(params![bucket, name.as_str()], of).optional()
}

/// The branch of this number.
pub fn get(sql: &Connection, id: BranchId) -> rusqlite::Result<Option<BranchRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], of).optional()
}

/// A bucket's branches by name, without the hidden.
pub fn list(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Vec<BranchRow>> {
    let text = format!("{COLUMNS} WHERE bucket = ?1 AND hidden = 0 ORDER BY name");
    sql.prepare_cached(&text)?.query_map([bucket], of)?.collect()
}

/// A bucket's branches, the hidden too.
pub fn all(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Vec<BranchRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE bucket = ?1 ORDER BY id"))?.query_map([bucket], of)?.collect()
}

/// The branches that were made from this one, the hidden too.
pub fn children(sql: &Connection, id: BranchId) -> rusqlite::Result<Vec<BranchRow>> {
    let text = format!("{COLUMNS} WHERE parent = ?1 ORDER BY id");
    sql.prepare_cached(&text)?.query_map([id], of)?.collect()
}

/// Takes its name away, and its hooks; its children go on reading through it.
pub fn hide(sql: &Connection, id: BranchId) -> rusqlite::Result<()> {
    super::hook::remove_of_branch(sql, id)?;
    sql.prepare_cached("UPDATE fs_branch SET hidden = 1 WHERE id = ?1")?.execute([id]).map(|_| ())
}

/// Notes that it has the rows of those that it reads through, of all commits after this one.
pub fn set_copied(sql: &Connection, id: BranchId, after: Seq) -> rusqlite::Result<()> {
    sql.prepare_cached("UPDATE fs_branch SET copied_seq = ?2 WHERE id = ?1")?.execute(params![id, after]).map(|_| ())
}

/// Notes that its own rows are all that it shows, but for what is below.
pub fn set_flat(sql: &Connection, id: BranchId, Below(below): Below) -> rusqlite::Result<()> {
    let text = "UPDATE fs_branch SET flat = 1, below = ?2, below_seq = ?3, copied_seq = NULL WHERE id = ?1";
    let (branch, at) = (below.map(|(branch, _)| branch), below.map(|(_, at)| at));
    sql.prepare_cached(text)?.execute(params![id, branch, at]).map(|_| ())
}

/// The branches that read through more than `levels`, themselves included, and were not flattened; those with the fewest come first.
pub fn deep(sql: &Connection, levels: usize) -> rusqlite::Result<Vec<BranchId>> {
    let text = "WITH RECURSIVE reads (id, levels) AS (
                    SELECT id, 1 FROM fs_branch WHERE parent IS NULL OR flat = 1 AND below IS NULL
                    UNION ALL SELECT child.id, levels + 1 FROM reads JOIN fs_branch AS child ON child.parent = reads.id AND child.flat = 0
                    UNION ALL SELECT child.id, levels + 1 FROM reads JOIN fs_branch AS child ON child.below = reads.id)
                SELECT reads.id FROM reads JOIN fs_branch AS own ON own.id = reads.id
                WHERE levels > ?1 AND flat = 0 AND hidden = 0
                AND bucket NOT IN (SELECT id FROM fs_bucket WHERE removed = 1) ORDER BY levels, own.id";
    sql.prepare_cached(text)?.query_map([super::stored(levels as u64)], |row| row.get(0))?.collect()
}

/// How many branches a bucket has, the hidden too, but not those of which nothing is left.
pub fn count(sql: &Connection, bucket: BucketId) -> rusqlite::Result<u64> {
    let mut statement = sql.prepare_cached("SELECT count(*) FROM fs_branch WHERE bucket = ?1 AND hidden <> 2")?;
    statement.query_row([bucket], |row| row.get(0)).map(super::loaded)
}

/// Branches whose rows nobody needs any more: hidden ones that nobody reads through, that no open conflict is about and that no two others
/// took in, which have it in common; and all of removed buckets. At most `count`, the youngest first.
pub fn doomed(sql: &Connection, count: usize) -> rusqlite::Result<Vec<BranchRow>> {
    let text = format!(
        "{COLUMNS} AS mine WHERE (bucket IN (SELECT id FROM fs_bucket WHERE removed = 1) OR hidden = 1
             AND NOT EXISTS (SELECT 1 FROM fs_merge JOIN fs_conflict ON branch = into_branch AND seq = into_seq
                             WHERE from_branch = mine.id)
             AND (SELECT count(DISTINCT into_branch) FROM fs_merge WHERE from_branch = mine.id) < 2)
         AND NOT EXISTS (SELECT 1 FROM fs_branch WHERE parent = mine.id AND (flat = 0 OR mine.hidden = 2))
         AND NOT EXISTS (SELECT 1 FROM fs_branch WHERE below = mine.id) ORDER BY id DESC LIMIT ?1"
    );
    sql.prepare_cached(&text)?.query_map([super::stored(count as u64)], of)?.collect()
}

/// Takes the branch's own row away, and its conflicts, once its entries and inodes are gone; of its merges what no other branch knows of.
/// As long as another branch came from it, the row stays, and says where it came from itself.
pub fn remove(sql: &Connection, id: BranchId) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM fs_conflict WHERE branch = ?1")?.execute([id])?;
    let mut next = get(sql, id)?;
    while let Some(row) = next {
        if !children(sql, row.id)?.is_empty() {
            return sql.prepare_cached("UPDATE fs_branch SET hidden = 2 WHERE id = ?1")?.execute([row.id]).map(|_| ());
        }
        merge::bequeath(sql, &row)?;
        sql.prepare_cached("DELETE FROM fs_branch WHERE id = ?1")?.execute([row.id])?;
        // What it came from may have been remembered for its sake alone.
        let parent = row.fork.map(|fork| get(sql, fork.parent)).transpose()?.flatten();
        next = parent.filter(|parent| parent.gone);
    }
    Ok(())
}
