//! Entries of folders: which inode a name stands for, in each version of each branch.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::{Kind, foreign};
use crate::ids::{BranchId, Ino, Seq};

/// One version of a name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dent {
    /// The name.
    pub name: Box<[u8]>,
    /// The commit that wrote it.
    pub seq: Seq,
    /// What it stands for; of a whiteout: what it stood for.
    pub ino: Ino,
    /// What that is.
    pub kind: Kind,
    /// Whether the name was taken away: a whiteout, which hides older versions of the name, here and on the parents.
    pub gone: bool,
    /// Whether this is the first name that the inode ever had.
    pub made: bool,
    /// The name as it was written, where its bucket compares names by something else: then that is `name`.
    pub shown: Option<Box<[u8]>>,
}

impl Dent {
    /// The name as people know it.
    pub fn written(&self) -> &[u8] {
        self.shown.as_deref().unwrap_or(&self.name)
    }
}

/// The versions of a name that match the rest of the statement. Put together by the compiler: this is asked for every name of a path.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, seq, ino, kind, made, shown FROM fs_dent WHERE branch = ?1 AND dir = ?2 AND name = ?3 AND ",
            $rest
        )
    };
}

fn of(row: &Row<'_>) -> rusqlite::Result<Dent> {
    let number: i64 = row.get(3)?;
    let kind = number.checked_abs().and_then(Kind::of).ok_or_else(|| foreign(3, number))?;
    let name = row.get_ref(0)?.as_blob()?.into();
    let shown = row.get_ref(5)?.as_blob_or_null()?.map(Into::into);
    Ok(Dent { name, seq: row.get(1)?, ino: row.get(2)?, kind, gone: number < 0, made: row.get(4)?, shown })
}

/// Writes a version of a name; one that the same commit wrote before is replaced.
pub fn write(sql: &Connection, branch: BranchId, dir: Ino, dent: &Dent) -> rusqlite::Result<()> {
    let text = "INSERT OR REPLACE INTO fs_dent (branch, dir, name, seq, ino, kind, made, shown)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let kind = if dent.gone { -(dent.kind as i64) } else { dent.kind as i64 };
    let Dent { name, seq, ino, made, shown, .. } = dent;
    sql.prepare_cached(text)?.execute(params![branch, dir, name, seq, ino, kind, made, shown]).map(|_| ())
}

/// The newest version of a name on a branch itself, at or before `bound`.
pub fn newest(sql: &Connection, branch: BranchId, dir: Ino, name: &[u8], bound: Seq) -> rusqlite::Result<Option<Dent>> {
    let text = select!("seq <= ?4 ORDER BY seq DESC LIMIT 1");
    sql.prepare_cached(text)?.query_row(params![branch, dir, name, bound], of).optional()
}

/// The versions of a name on a branch itself, after `after` and up to `bound`, the oldest first.
pub fn between(
    sql: &Connection,
    (branch, dir): (BranchId, Ino),
    name: &[u8],
    after: Seq,
    bound: Seq,
) -> rusqlite::Result<Vec<Dent>> {
    let text = select!("seq > ?4 AND seq <= ?5 ORDER BY seq");
    sql.prepare_cached(text)?.query_map(params![branch, dir, name, after, bound], of)?.collect()
}

/// The newest version of each name in a folder, of those that match.
macro_rules! newest_of_each {
    ($having:literal) => {
        // The other columns are those of the row with the highest seq (SQLite's documentation, "Bare columns in an aggregate query").
        concat!(
            "SELECT name, max(seq), ino, kind, made, shown FROM fs_dent
             WHERE branch = ?1 AND dir = ?2 AND name > ?3 AND seq <= ?4 GROUP BY name ",
            $having,
            " ORDER BY name LIMIT ?5"
        )
    };
}

/// The newest version of each name after `after` in a folder, on a branch itself, at or before `bound`; at most `count`, by name.
pub fn page(
    sql: &Connection,
    (branch, dir): (BranchId, Ino),
    after: &[u8],
    bound: Seq,
    count: usize,
) -> rusqlite::Result<Vec<Dent>> {
    let values = params![branch, dir, after, bound, super::stored(count as u64)];
    sql.prepare_cached(newest_of_each!(""))?.query_map(values, of)?.collect()
}

/// As [`page`], without the names that were taken away: however many these are, they are gone through at once.
pub fn page_there(
    sql: &Connection,
    (branch, dir): (BranchId, Ino),
    after: &[u8],
    bound: Seq,
    count: usize,
) -> rusqlite::Result<Vec<Dent>> {
    let values = params![branch, dir, after, bound, super::stored(count as u64)];
    sql.prepare_cached(newest_of_each!("HAVING kind > 0"))?.query_map(values, of)?.collect()
}

/// Every folder and name that stood for an inode on a branch itself, at or before `bound`, whether or not it still does; as often as
/// it was written.
pub fn places(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
    // Left alone, SQLite goes through the whole branch.
    let text = "SELECT dir, name FROM fs_dent INDEXED BY fs_dent_by_ino WHERE ino = ?1 AND branch = ?2 AND seq <= ?3";
    let place = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into()));
    sql.prepare_cached(text)?.query_map(params![ino, branch, bound], place)?.collect()
}

/// Asks where many inodes stand: one statement, kept.
pub struct Standing<'a>(CachedStatement<'a>);

impl<'a> Standing<'a> {
    /// Prepares the statement.
    pub fn new(sql: &'a Connection) -> rusqlite::Result<Self> {
        let text = "SELECT dir, name FROM fs_dent AS own INDEXED BY fs_dent_by_ino
                    WHERE ino = ?1 AND branch = ?2 AND seq <= ?3 AND
                    (SELECT newest.seq = own.seq AND newest.kind > 0 FROM fs_dent AS newest
                     WHERE newest.branch = ?2 AND newest.dir = own.dir AND newest.name = own.name AND newest.seq <= ?3
                     ORDER BY newest.seq DESC LIMIT 1)";
        sql.prepare_cached(text).map(Self)
    }
    /// Every folder and name whose newest version on a branch itself, at or before `bound`, stands for an inode.
    pub fn of(&mut self, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
        let place = |row: &Row<'_>| Ok((row.get(0)?, row.get_ref(1)?.as_blob()?.into()));
        self.0.query_map(params![ino, branch, bound], place)?.collect()
    }
}

/// Whether a branch itself has given the inode a name, or taken one away, at or before `bound`.
pub fn places_it(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<bool> {
    let text =
        "SELECT EXISTS (SELECT 1 FROM fs_dent INDEXED BY fs_dent_by_ino WHERE ino = ?1 AND branch = ?2 AND seq <= ?3)";
    sql.prepare_cached(text)?.query_row(params![ino, branch, bound], |row| row.get(0))
}

/// Tells each folder and name that commits after `after` and up to `to` wrote on a branch itself, as often as they did.
pub fn touched(
    sql: &Connection,
    (branch, after, to): (BranchId, Seq, Seq),
    mut tell: impl FnMut(Ino, &[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let text = "SELECT dir, name FROM fs_dent INDEXED BY fs_dent_by_seq WHERE branch = ?1 AND seq > ?2 AND seq <= ?3";
    let mut statement = sql.prepare_cached(text)?;
    let mut rows = statement.query(params![branch, after, to])?;
    while let Some(row) = rows.next()? {
        tell(row.get(0)?, row.get_ref(1)?.as_blob()?)?;
    }
    Ok(())
}

/// The newest commit at or before `bound` that gave an inode a name on a branch itself, or took one away.
pub fn last_of(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_dent INDEXED BY fs_dent_by_ino WHERE ino = ?1 AND branch = ?2 AND seq <= ?3";
    sql.prepare_cached(text)?.query_row(params![ino, branch, bound], |row| row.get(0))
}

/// A version of a name, and the folder that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The folder.
    pub dir: Ino,
    /// The version.
    pub dent: Dent,
}

/// At most `count` versions of names on a branch itself, from this one on: by folder, name and commit.
pub fn from(
    sql: &Connection,
    branch: BranchId,
    (dir, name, seq): (Ino, &[u8], Seq),
    count: usize,
) -> rusqlite::Result<Vec<Keyed>> {
    let text = "SELECT name, seq, ino, kind, made, shown, dir FROM fs_dent
                WHERE branch = ?1 AND (dir, name, seq) >= (?2, ?3, ?4) ORDER BY dir, name, seq LIMIT ?5";
    let values = params![branch, dir, name, seq, super::stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok(Keyed { dir: row.get(6)?, dent: of(row)? }))?.collect()
}

/// The commits from the first to the last of these that a row of a branch itself is of.
pub fn commits(sql: &Connection, branch: BranchId, (first, last): (Seq, Seq)) -> rusqlite::Result<Vec<Seq>> {
    let text = "SELECT DISTINCT seq FROM fs_dent INDEXED BY fs_dent_by_seq WHERE branch = ?1 AND seq BETWEEN ?2 AND ?3";
    sql.prepare_cached(text)?.query_map(params![branch, first, last], |row| row.get(0))?.collect()
}

/// Forgets a version of a name.
pub fn prune(sql: &Connection, branch: BranchId, dir: Ino, name: &[u8], seq: Seq) -> rusqlite::Result<()> {
    let text = "DELETE FROM fs_dent WHERE branch = ?1 AND dir = ?2 AND name = ?3 AND seq = ?4";
    sql.prepare_cached(text)?.execute(params![branch, dir, name, seq]).map(|_| ())
}

/// The names that one commit gave and took on a branch, each with its folder, in the order of both; at most `count`.
pub fn of_commit(sql: &Connection, branch: BranchId, seq: Seq, count: usize) -> rusqlite::Result<Vec<(Ino, Dent)>> {
    let text = "SELECT name, seq, ino, kind, made, shown, dir FROM fs_dent INDEXED BY fs_dent_by_seq
                WHERE branch = ?1 AND seq = ?2 ORDER BY dir, name LIMIT ?3";
    let values = params![branch, seq, super::stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok((row.get(6)?, of(row)?)))?.collect()
}

/// The names of a folder that commits after this one gave on a branch itself, at most `count`; as often as they did.
pub fn given_since(
    sql: &Connection,
    (branch, dir): (BranchId, Ino),
    after: Seq,
    count: usize,
) -> rusqlite::Result<Vec<Box<[u8]>>> {
    let text = "SELECT name FROM fs_dent INDEXED BY fs_dent_by_folder
                WHERE branch = ?1 AND dir = ?2 AND seq > ?3 AND kind > 0 LIMIT ?4";
    let values = params![branch, dir, after, super::stored(count as u64)];
    let name = |row: &Row<'_>| Ok(row.get_ref(0)?.as_blob()?.into());
    sql.prepare_cached(text)?.query_map(values, name)?.collect()
}

/// The newest commit that gave or took a name in a folder, on a branch itself, at or before `bound`.
pub fn newest_in(sql: &Connection, branch: BranchId, dir: Ino, bound: Seq) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_dent INDEXED BY fs_dent_by_folder WHERE branch = ?1 AND dir = ?2 AND seq <= ?3";
    sql.prepare_cached(text)?.query_row(params![branch, dir, bound], |row| row.get(0))
}

/// Whether the commit that took a name away has left another row in the folder, on a branch itself: of a name that still stands, or of a
/// later one in their order.
pub fn is_told_by_another(sql: &Connection, branch: BranchId, dir: Ino, dent: &Dent) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_dent INDEXED BY fs_dent_by_folder
                WHERE branch = ?1 AND dir = ?2 AND seq = ?3 AND (kind > 0 OR name > ?4))";
    sql.prepare_cached(text)?.query_row(params![branch, dir, dent.seq, dent.name], |row| row.get(0))
}

/// The version of a name that one commit wrote on a branch.
pub fn at(sql: &Connection, branch: BranchId, dir: Ino, name: &[u8], seq: Seq) -> rusqlite::Result<Option<Dent>> {
    let text = select!("seq = ?4");
    sql.prepare_cached(text)?.query_row(params![branch, dir, name, seq], of).optional()
}

/// Forgets at most `count` versions of names on a branch. Answers how many.
pub fn prune_some(sql: &Connection, branch: BranchId, count: usize) -> rusqlite::Result<usize> {
    let text = "DELETE FROM fs_dent WHERE branch = ?1 AND (dir, name, seq) IN
                (SELECT dir, name, seq FROM fs_dent WHERE branch = ?1 LIMIT ?2)";
    sql.prepare_cached(text)?.execute(params![branch, super::stored(count as u64)])
}

/// How the newest row that gave an inode this name, on whatever branch of its bucket, has it written, if not as it is compared.
pub fn shown(sql: &Connection, ino: Ino, name: &[u8]) -> rusqlite::Result<Option<Box<[u8]>>> {
    // Left alone, SQLite goes through whole branches.
    let text =
        "SELECT shown FROM fs_dent INDEXED BY fs_dent_by_ino WHERE ino = ?1 AND name = ?2 ORDER BY seq DESC LIMIT 1";
    let shown = |row: &Row<'_>| Ok(row.get_ref(0)?.as_blob_or_null()?.map(Into::into));
    Ok(sql.prepare_cached(text)?.query_row(params![ino, name], shown).optional()?.flatten())
}

/// The newest commit at or before `bound` that gave or took a name on a branch itself.
pub fn last_commit(sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_dent INDEXED BY fs_dent_by_seq WHERE branch = ?1 AND seq <= ?2";
    sql.prepare_cached(text)?.query_row(params![branch, bound], |row| row.get(0))
}

/// The folders and names that one commit wrote on a branch, after this one, in the order of both; at most `count`.
pub fn keys_of_commit(
    sql: &Connection,
    (branch, seq): (BranchId, Seq),
    (dir, name): (Ino, &[u8]),
    count: usize,
) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
    let text = "SELECT dir, name FROM fs_dent INDEXED BY fs_dent_by_seq
                WHERE branch = ?1 AND seq = ?2 AND (dir, name) > (?3, ?4) ORDER BY dir, name LIMIT ?5";
    let values = params![branch, seq, dir, name, super::stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok((row.get(0)?, row.get_ref(1)?.as_blob()?.into())))?.collect()
}

/// Writes a version of a name on another branch as well, as it is. Answers whether it was not there.
pub fn copy(
    sql: &Connection,
    (from, to): (BranchId, BranchId),
    (dir, name, seq): (Ino, &[u8], Seq),
) -> rusqlite::Result<bool> {
    let text = "INSERT OR IGNORE INTO fs_dent (branch, dir, name, seq, ino, kind, made, shown)
                SELECT ?2, dir, name, seq, ino, kind, made, shown FROM fs_dent
                WHERE branch = ?1 AND dir = ?3 AND name = ?4 AND seq = ?5";
    Ok(sql.prepare_cached(text)?.execute(params![from, to, dir, name, seq])? > 0)
}

/// The newest commit that wrote a name on a branch itself.
pub fn newest_of(sql: &Connection, branch: BranchId) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_dent INDEXED BY fs_dent_by_seq WHERE branch = ?1";
    sql.prepare_cached(text)?.query_row([branch], |row| row.get(0))
}
