//! Inodes: what an entry is, in each version of each branch. Writing and forgetting a version counts what it holds.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::{Kind, On, blob, bucket, foreign, loaded, stored};
use crate::{
    hash::ContentHash,
    ids::{BlobId, BranchId, Ino, Seq},
};

/// What a version changed. On a branch that follows its parent, the rest still comes from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// The content, or a link's target.
    pub content: bool,
    /// The mode, the times, the extended attributes.
    pub attributes: bool,
}

impl Changed {
    /// All of it, as of something new.
    pub const ALL: Self = Self { content: true, attributes: true };

    fn of(bits: i64) -> Self {
        Self { content: bits & 1 != 0, attributes: bits & 2 != 0 }
    }
    fn bits(self) -> i64 {
        i64::from(self.content) | i64::from(self.attributes) << 1
    }
    /// What either changed.
    pub const fn or(self, other: Self) -> Self {
        Self { content: self.content || other.content, attributes: self.attributes || other.attributes }
    }
}

/// One version of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Which inode.
    pub ino: Ino,
    /// The commit that wrote it.
    pub seq: Seq,
    /// What it is.
    pub kind: Kind,
    /// A file's content; `None`: it is empty.
    pub blob: Option<BlobId>,
    /// A file's length, or that of a link's target, in bytes.
    pub size: u64,
    /// The permission bits.
    pub mode: u16,
    /// When the content was last changed, as its writer says, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// A link's target.
    pub target: Option<Box<[u8]>>,
    /// The extended attributes, encoded.
    pub xattrs: Option<Box<[u8]>>,
    /// What this version changed.
    pub changed: Changed,
}

impl Inode {
    /// What the bucket is charged for this version: its length, if that is new with it, and its extended attributes, which each version
    /// keeps anew.
    fn charge(&self) -> i64 {
        let content = if self.changed.content { stored(self.size) } else { 0 };
        content.saturating_add(stored(self.xattrs.as_ref().map_or(0, |xattrs| xattrs.len() as u64)))
    }
}

/// What versions are charged, as [`Inode::charge`] has it.
macro_rules! charges {
    () => {
        "coalesce(sum(iif(changed & 1, size, 0) + ifnull(length(xattrs), 0)), 0)"
    };
}
pub(super) use charges;

/// The versions of an inode that match the rest of the statement. Put together by the compiler: this is asked for every entry of a list.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT ino, seq, kind, blob, size, mode, mtime_ns, target, xattrs, changed FROM fs_inode
             WHERE branch = ?1 AND ino = ?2 AND ",
            $rest
        )
    };
}

fn of(row: &Row<'_>) -> rusqlite::Result<Inode> {
    let kind = row.get(2)?;
    Ok(Inode {
        ino: row.get(0)?,
        seq: row.get(1)?,
        kind: Kind::of(kind).ok_or_else(|| foreign(2, kind))?,
        blob: row.get(3)?,
        size: loaded(row.get(4)?),
        mode: row.get(5)?,
        mtime_ns: row.get(6)?,
        target: row.get::<_, Option<Vec<u8>>>(7)?.map(Into::into),
        xattrs: row.get::<_, Option<Vec<u8>>>(8)?.map(Into::into),
        changed: Changed::of(row.get(9)?),
    })
}

/// Writes a version; one that the same commit wrote before is replaced, and what that one changed counts as changed.
pub fn write(sql: &Connection, on: On, inode: &Inode) -> rusqlite::Result<()> {
    let (bytes, files) = write_uncharged(sql, on, inode.clone())?;
    bucket::charge(sql, on.bucket, bytes, files)
}

/// As [`write`], of many: the bucket is charged once.
pub fn write_all<E: From<rusqlite::Error>>(
    sql: &Connection,
    on: On,
    inodes: impl Iterator<Item = Result<Inode, E>>,
) -> Result<(), E> {
    let (mut bytes, mut files) = (0, 0);
    for inode in inodes {
        let (more_bytes, more_files) = write_uncharged(sql, on, inode?)?;
        bytes += more_bytes;
        files += more_files;
    }
    Ok(bucket::charge(sql, on.bucket, bytes, files)?)
}

/// As [`write`], without charging the bucket. Answers what it is to be charged: bytes and files.
fn write_uncharged(sql: &Connection, on: On, mut inode: Inode) -> rusqlite::Result<(i64, i64)> {
    let is_known = exists(sql, on.branch, inode.ino)?;
    let before = if is_known { at(sql, on.branch, inode.ino, inode.seq)? } else { None };
    let mut bytes = 0;
    if let Some(before) = &before {
        inode.changed = inode.changed.or(before.changed);
        bytes -= before.charge();
        delete(sql, on.branch, inode.ino, inode.seq)?;
    }
    insert(sql, on.branch, &inode)?;
    // First up, then down: content that both refer to is never without a reference.
    inode.blob.map_or(Ok(()), |blob| blob::add_ref(sql, blob, on))?;
    before.and_then(|before| before.blob).map_or(Ok(()), |blob| blob::drop_ref(sql, blob, on))?;
    Ok((bytes + inode.charge(), i64::from(!is_known)))
}

/// Forgets a version. What it changed counts as changed by the next newer one of the branch, if there is one.
pub fn prune(sql: &Connection, on: On, ino: Ino, seq: Seq) -> rusqlite::Result<()> {
    let Some(old) = at(sql, on.branch, ino, seq)? else { return Ok(()) };
    delete(sql, on.branch, ino, seq)?;
    old.blob.map_or(Ok(()), |blob| blob::drop_ref(sql, blob, on))?;
    let mut bytes = -old.charge();
    if let Some(newer) = next_after(sql, on.branch, ino, seq)? {
        let heir = Inode { changed: newer.changed.or(old.changed), ..newer.clone() };
        bytes += heir.charge() - newer.charge();
        let text = "UPDATE fs_inode SET changed = ?4 WHERE branch = ?1 AND ino = ?2 AND seq = ?3";
        sql.prepare_cached(text)?.execute(params![on.branch, ino, heir.seq, heir.changed.bits()])?;
    }
    let files = -i64::from(!exists(sql, on.branch, ino)?);
    bucket::charge(sql, on.bucket, bytes, files)
}

/// The newest version on a branch itself, at or before `bound`.
pub fn newest(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Option<Inode>> {
    let text = select!("seq <= ?3 ORDER BY seq DESC LIMIT 1");
    sql.prepare_cached(text)?.query_row(params![branch, ino, bound], of).optional()
}

/// Asks for many inodes with the hashes of their content: one statement, kept.
pub struct Hashed<'a>(CachedStatement<'a>);

impl<'a> Hashed<'a> {
    /// Prepares the statement.
    pub fn new(sql: &'a Connection) -> rusqlite::Result<Self> {
        let text = "SELECT ino, seq, kind, blob, fs_inode.size, mode, mtime_ns, target, xattrs, changed, hash
                    FROM fs_inode LEFT JOIN fs_blob ON fs_blob.id = blob
                    WHERE branch = ?1 AND ino = ?2 AND seq <= ?3 ORDER BY seq DESC LIMIT 1";
        sql.prepare_cached(text).map(Self)
    }
    /// As [`newest`], with the hash of its content.
    pub fn newest(
        &mut self,
        branch: BranchId,
        ino: Ino,
        bound: Seq,
    ) -> rusqlite::Result<Option<(Inode, Option<ContentHash>)>> {
        let both = |row: &Row<'_>| Ok((of(row)?, row.get::<_, Option<[u8; 32]>>(10)?.map(ContentHash::from_bytes)));
        self.0.query_row(params![branch, ino, bound], both).optional()
    }
}

/// What the versions on a branch itself, up to `bound`, changed together.
pub fn changed(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Changed> {
    let text = "SELECT coalesce(max(changed & 1), 0) | coalesce(max(changed & 2), 0) FROM fs_inode
                WHERE branch = ?1 AND ino = ?2 AND seq <= ?3";
    sql.prepare_cached(text)?.query_row(params![branch, ino, bound], |row| row.get(0)).map(Changed::of)
}

/// At most `count` versions on a branch itself, up to `bound`, that refer to this content.
pub fn holding(
    sql: &Connection,
    branch: BranchId,
    blob: BlobId,
    bound: Seq,
    count: usize,
) -> rusqlite::Result<Vec<(Ino, Seq)>> {
    let text = "SELECT ino, seq FROM fs_inode INDEXED BY fs_inode_by_blob
                WHERE blob = ?1 AND branch = ?2 AND seq <= ?3 LIMIT ?4";
    let values = params![blob, branch, bound, stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The versions that one commit wrote on a branch; at most `count`.
pub fn of_commit(sql: &Connection, branch: BranchId, seq: Seq, count: usize) -> rusqlite::Result<Vec<Inode>> {
    let text = "SELECT ino, seq, kind, blob, size, mode, mtime_ns, target, xattrs, changed
                FROM fs_inode INDEXED BY fs_inode_by_seq WHERE branch = ?1 AND seq = ?2 ORDER BY ino LIMIT ?3";
    sql.prepare_cached(text)?.query_map(params![branch, seq, stored(count as u64)], of)?.collect()
}

/// Tells each inode that commits after `after` and up to `to` wrote on a branch itself, as often as they did.
pub fn touched(
    sql: &Connection,
    (branch, after, to): (BranchId, Seq, Seq),
    mut tell: impl FnMut(Ino) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let text = "SELECT ino FROM fs_inode INDEXED BY fs_inode_by_seq WHERE branch = ?1 AND seq > ?2 AND seq <= ?3";
    let mut statement = sql.prepare_cached(text)?;
    let mut rows = statement.query(params![branch, after, to])?;
    while let Some(row) = rows.next()? {
        tell(row.get(0)?)?;
    }
    Ok(())
}

/// At most `count` versions of inodes on a branch itself, from this one on.
pub fn from(
    sql: &Connection,
    branch: BranchId,
    (ino, seq): (Ino, Seq),
    count: usize,
) -> rusqlite::Result<Vec<(Ino, Seq)>> {
    let text = "SELECT ino, seq FROM fs_inode WHERE branch = ?1 AND (ino, seq) >= (?2, ?3) ORDER BY ino, seq LIMIT ?4";
    let values = params![branch, ino, seq, stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The versions of an inode on a branch itself, the newest first.
pub fn versions(sql: &Connection, branch: BranchId, ino: Ino) -> rusqlite::Result<Vec<Seq>> {
    let text = "SELECT seq FROM fs_inode WHERE branch = ?1 AND ino = ?2 ORDER BY seq DESC";
    sql.prepare_cached(text)?.query_map(params![branch, ino], |row| row.get(0))?.collect()
}

/// The newest commit at or before `bound` that changed an inode on a branch itself.
pub fn last_of(sql: &Connection, branch: BranchId, ino: Ino, bound: Seq) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_inode WHERE branch = ?1 AND ino = ?2 AND seq <= ?3";
    sql.prepare_cached(text)?.query_row(params![branch, ino, bound], |row| row.get(0))
}

/// The commits from the first to the last of these that a row of a branch itself is of.
pub fn commits(sql: &Connection, branch: BranchId, (first, last): (Seq, Seq)) -> rusqlite::Result<Vec<Seq>> {
    let text =
        "SELECT DISTINCT seq FROM fs_inode INDEXED BY fs_inode_by_seq WHERE branch = ?1 AND seq BETWEEN ?2 AND ?3";
    sql.prepare_cached(text)?.query_map(params![branch, first, last], |row| row.get(0))?.collect()
}

/// At most `count` versions on a branch itself, those of the same inode from the newest on.
pub fn some(sql: &Connection, branch: BranchId, count: usize) -> rusqlite::Result<Vec<(Ino, Seq)>> {
    let text = "SELECT ino, seq FROM fs_inode WHERE branch = ?1 ORDER BY ino DESC, seq DESC LIMIT ?2";
    let values = params![branch, stored(count as u64)];
    sql.prepare_cached(text)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// How many versions a branch itself keeps, and the bytes that they are charged.
pub fn kept(sql: &Connection, branch: BranchId) -> rusqlite::Result<(u64, u64)> {
    let text = concat!("SELECT count(*), ", charges!(), " FROM fs_inode WHERE branch = ?1");
    sql.prepare_cached(text)?.query_row([branch], |row| Ok((loaded(row.get(0)?), loaded(row.get(1)?))))
}

/// The newest commit at or before `bound` that wrote a version on a branch itself.
pub fn last_commit(sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_inode INDEXED BY fs_inode_by_seq WHERE branch = ?1 AND seq <= ?2";
    sql.prepare_cached(text)?.query_row(params![branch, bound], |row| row.get(0))
}

/// The inodes that one commit wrote on a branch, after this one; at most `count`.
pub fn keys_of_commit(
    sql: &Connection,
    (branch, seq): (BranchId, Seq),
    after: Ino,
    count: usize,
) -> rusqlite::Result<Vec<Ino>> {
    let text = "SELECT ino FROM fs_inode INDEXED BY fs_inode_by_seq
                WHERE branch = ?1 AND seq = ?2 AND ino > ?3 ORDER BY ino LIMIT ?4";
    sql.prepare_cached(text)?.query_map(params![branch, seq, after, stored(count as u64)], |row| row.get(0))?.collect()
}

/// Writes a version on another branch as well, as it is, and counts it there. Answers whether it was not there.
pub fn copy(sql: &Connection, from: BranchId, on: On, (ino, seq): (Ino, Seq)) -> rusqlite::Result<bool> {
    let Some(row) = at(sql, from, ino, seq)? else { return Ok(false) };
    if at(sql, on.branch, ino, seq)?.is_some() {
        return Ok(false);
    }
    write(sql, on, &row).map(|()| true)
}

/// What the versions on a branch itself, after a commit and up to another, are charged: bytes and files.
pub fn charged(sql: &Connection, branch: BranchId, (after, bound): (Seq, Seq)) -> rusqlite::Result<(u64, u64)> {
    let text = concat!(
        "SELECT ",
        charges!(),
        ", count(DISTINCT ino) FROM fs_inode WHERE branch = ?1 AND seq > ?2 AND seq <= ?3"
    );
    sql.prepare_cached(text)?
        .query_row(params![branch, after, bound], |row| Ok((loaded(row.get(0)?), loaded(row.get(1)?))))
}

fn at(sql: &Connection, branch: BranchId, ino: Ino, seq: Seq) -> rusqlite::Result<Option<Inode>> {
    sql.prepare_cached(select!("seq = ?3"))?.query_row(params![branch, ino, seq], of).optional()
}

fn next_after(sql: &Connection, branch: BranchId, ino: Ino, seq: Seq) -> rusqlite::Result<Option<Inode>> {
    let text = select!("seq > ?3 ORDER BY seq LIMIT 1");
    sql.prepare_cached(text)?.query_row(params![branch, ino, seq], of).optional()
}

fn exists(sql: &Connection, branch: BranchId, ino: Ino) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_inode WHERE branch = ?1 AND ino = ?2)";
    sql.prepare_cached(text)?.query_row(params![branch, ino], |row| row.get(0))
}

fn insert(sql: &Connection, branch: BranchId, inode: &Inode) -> rusqlite::Result<()> {
    let text = "INSERT INTO fs_inode (branch, ino, seq, kind, blob, size, mode, mtime_ns, target, xattrs, changed)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let values = params![
        branch,
        inode.ino,
        inode.seq,
        inode.kind as i64,
        inode.blob,
        stored(inode.size),
        inode.mode,
        inode.mtime_ns,
        inode.target,
        inode.xattrs,
        inode.changed.bits()
    ];
    sql.prepare_cached(text)?.execute(values).map(|_| ())
}

fn delete(sql: &Connection, branch: BranchId, ino: Ino, seq: Seq) -> rusqlite::Result<()> {
    let text = "DELETE FROM fs_inode WHERE branch = ?1 AND ino = ?2 AND seq = ?3";
    sql.prepare_cached(text)?.execute(params![branch, ino, seq]).map(|_| ())
}

/// The newest commit that wrote an inode on a branch itself.
pub fn newest_of(sql: &Connection, branch: BranchId) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT max(seq) FROM fs_inode INDEXED BY fs_inode_by_seq WHERE branch = ?1";
    sql.prepare_cached(text)?.query_row([branch], |row| row.get(0))
}
