//! Content that is stored once, whoever refers to it, and who does.

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{On, foreign, loaded, parsed, stored};
use crate::{
    hash::ContentHash,
    ids::{BlobId, BranchId, BucketId},
    name::BucketName,
};

/// Whether content may be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It may.
    Live = 0,
    /// It is being removed; the same content that comes now gets a row of its own.
    Dying = 1,
    /// It was found not to be whole, and set aside: the same content that comes now gets a row of its own. What of it can be proven is
    /// read until then.
    Missing = 3,
}

/// Where the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// In the row.
    Inline = 0,
    /// In a file of their own.
    Whole = 1,
}

/// Content as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// Its number.
    pub id: BlobId,
    /// Its hash.
    pub hash: ContentHash,
    /// The generation in its file's name.
    pub generation: u64,
    /// Its bytes.
    pub size: u64,
    /// Where they are.
    pub class: Class,
    /// Whether it may be referred to.
    pub state: State,
    /// Versions of inodes that refer to it.
    pub refs: u64,
}

/// Content to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBlob<'a> {
    /// Its hash.
    pub hash: ContentHash,
    /// The generation in its file's name.
    pub generation: u64,
    /// Its bytes.
    pub size: u64,
    /// The bytes themselves, of an inline one.
    pub bytes: Option<&'a [u8]>,
}

const COLUMNS: &str = "SELECT id, hash, gen, size, class, state, refs FROM fs_blob";

fn of(row: &Row<'_>) -> rusqlite::Result<BlobRow> {
    let (class, state) = (row.get(4)?, row.get(5)?);
    let hash: Vec<u8> = row.get(1)?;
    let wrong = || rusqlite::Error::InvalidColumnType(1, "hash".to_owned(), Type::Blob);
    Ok(BlobRow {
        id: row.get(0)?,
        hash: ContentHash::from_bytes(hash.try_into().map_err(|_| wrong())?),
        generation: loaded(row.get(2)?),
        size: loaded(row.get(3)?),
        class: match class {
            0 => Class::Inline,
            1 => Class::Whole,
            other => return Err(foreign(4, other)),
        },
        state: match state {
            0 => State::Live,
            1 => State::Dying,
            3 => State::Missing,
            other => return Err(foreign(5, other)),
        },
        refs: loaded(row.get(6)?),
    })
}

/// Stores content that nothing refers to yet. Fails when there is a live row of that hash.
pub fn insert(sql: &Connection, blob: &NewBlob<'_>, now_ms: u64) -> rusqlite::Result<BlobId> {
    let text = "INSERT INTO fs_blob (hash, gen, size, class, state, refs, zero_since_ms, bytes) VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6)";
    let class = if blob.bytes.is_some() { Class::Inline } else { Class::Whole } as i64;
    let NewBlob { hash, generation, size, bytes } = blob;
    let values = params![hash.as_bytes(), stored(*generation), stored(*size), class, stored(now_ms), bytes];
    sql.prepare_cached(text)?.insert(values).map(BlobId)
}

/// The row of this hash that may be referred to, and a generation that no row of it has, for content without a file: one that is being
/// removed may be there still.
pub fn live_or_free(sql: &Connection, hash: &ContentHash) -> rusqlite::Result<(Option<BlobId>, u64)> {
    let text = "SELECT max(iif(state = 0, id, NULL)), coalesce(max(gen) + 1, 0) FROM fs_blob WHERE hash = ?1";
    sql.prepare_cached(text)?.query_row([hash.as_bytes()], |row| Ok((row.get(0)?, loaded(row.get(1)?))))
}

/// The row of this hash that may be referred to.
pub fn live(sql: &Connection, hash: &ContentHash) -> rusqlite::Result<Option<BlobRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE hash = ?1 AND state = 0"))?.query_row([hash.as_bytes()], of).optional()
}

/// The rows of this hash that are not being removed, at most `count`: the live one first, then what was set aside, newest first.
pub fn kept(sql: &Connection, hash: &ContentHash, count: usize) -> rusqlite::Result<Vec<BlobRow>> {
    let text = format!("{COLUMNS} WHERE hash = ?1 AND state <> 1 ORDER BY state, id DESC LIMIT ?2");
    sql.prepare_cached(&text)?.query_map(params![hash.as_bytes(), stored(count as u64)], of)?.collect()
}

/// The hashes of live content of a length that is worth asking about, at most `count`.
pub fn of_size(sql: &Connection, size: u64, count: usize) -> rusqlite::Result<Vec<ContentHash>> {
    // The bound is that of the index, LEAST_ASKED_BYTES.
    let query = "SELECT hash FROM fs_blob WHERE size = ?1 AND size >= 16777216 AND state = 0 LIMIT ?2";
    let mut rows = sql.prepare_cached(query)?;
    rows.query_map(params![stored(size), i64::try_from(count).unwrap_or(i64::MAX)], |row| {
        Ok(ContentHash::from_bytes(row.get(0)?))
    })?
    .collect()
}

/// The row of this number.
pub fn get(sql: &Connection, id: BlobId) -> rusqlite::Result<Option<BlobRow>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], of).optional()
}

/// Whether two numbers are of the same content.
pub fn is_same(sql: &Connection, one: BlobId, other: BlobId) -> rusqlite::Result<bool> {
    let text = "SELECT (SELECT hash FROM fs_blob WHERE id = ?1) IS (SELECT hash FROM fs_blob WHERE id = ?2)";
    sql.prepare_cached(text)?.query_row([one, other], |row| row.get(0))
}

/// The hash of the content of this number.
pub fn hash(sql: &Connection, id: BlobId) -> rusqlite::Result<Option<ContentHash>> {
    let mut statement = sql.prepare_cached("SELECT hash FROM fs_blob WHERE id = ?1")?;
    statement.query_row([id], |row| row.get(0).map(ContentHash::from_bytes)).optional()
}

/// The bytes of an inline one.
pub fn bytes(sql: &Connection, id: BlobId) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = sql.prepare_cached("SELECT bytes FROM fs_blob WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?.flatten())
}

/// The branches with rows of their own that refer to it, in any kept version, of one bucket or of all that are there.
pub fn holders(
    sql: &Connection,
    id: BlobId,
    within: Option<BucketId>,
) -> rusqlite::Result<Vec<(BucketId, BucketName, BranchId)>> {
    let text =
        "SELECT fs_bucket.id, fs_bucket.name, fs_ref.branch FROM fs_ref JOIN fs_bucket ON fs_bucket.id = fs_ref.bucket
                WHERE fs_ref.blob = ?1 AND fs_bucket.removed = 0";
    let found = |row: &Row<'_>| Ok((row.get(0)?, parsed(row, 1)?, row.get(2)?));
    let order = "ORDER BY fs_ref.bucket, fs_ref.branch";
    match within {
        None => sql.prepare_cached(&format!("{text} {order}"))?.query_map([id], found)?.collect(),
        // Costs nothing for what other buckets have.
        Some(bucket) => {
            let text = format!("{text} AND fs_ref.bucket = ?2 {order}");
            sql.prepare_cached(&text)?.query_map(params![id, bucket], found)?.collect()
        }
    }
}

/// Counts one more version that refers to it.
pub(super) fn add_ref(sql: &Connection, id: BlobId, on: On) -> rusqlite::Result<()> {
    let text = "UPDATE fs_blob SET refs = refs + 1, zero_since_ms = NULL WHERE id = ?1 AND state <> 1";
    if sql.prepare_cached(text)?.execute([id])? == 0 {
        return Err(rusqlite::Error::StatementChangedRows(0));
    }
    let text = "INSERT INTO fs_ref (blob, bucket, branch, count) VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET count = count + 1";
    sql.prepare_cached(text)?.execute(params![id, on.bucket, on.branch]).map(|_| ())
}

/// Counts one version less that refers to it.
pub(super) fn drop_ref(sql: &Connection, id: BlobId, on: On) -> rusqlite::Result<()> {
    let text = "UPDATE fs_blob SET refs = refs - 1, zero_since_ms = iif(refs = 1, ?2, NULL) WHERE id = ?1";
    sql.prepare_cached(text)?.execute(params![id, stored(on.now_ms)])?;
    let text = "DELETE FROM fs_ref WHERE blob = ?1 AND bucket = ?2 AND branch = ?3 AND count = 1";
    if sql.prepare_cached(text)?.execute(params![id, on.bucket, on.branch])? == 0 {
        let text = "UPDATE fs_ref SET count = count - 1 WHERE blob = ?1 AND bucket = ?2 AND branch = ?3";
        sql.prepare_cached(text)?.execute(params![id, on.bucket, on.branch])?;
    }
    Ok(())
}

/// Content that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// What it is.
    pub row: BlobRow,
}

/// At most `count` rows that nothing has referred to since before this time, those that are being removed among them: the ones after
/// `after`, by time and number.
pub fn dead(
    sql: &Connection,
    before_ms: u64,
    after: Option<(u64, BlobId)>,
    count: usize,
) -> rusqlite::Result<Vec<Dead>> {
    let text = "SELECT id, hash, gen, size, class, state, refs, zero_since_ms FROM fs_blob
                WHERE refs = 0 AND zero_since_ms < ?1 AND (zero_since_ms, id) > (?2, ?3) ORDER BY zero_since_ms, id LIMIT ?4";
    let (since, id) = after.map_or((-1, BlobId(0)), |(since, id)| (stored(since), id));
    let row = |row: &Row<'_>| Ok(Dead { since_ms: loaded(row.get(7)?), row: of(row)? });
    sql.prepare_cached(text)?.query_map(params![stored(before_ms), since, id, stored(count as u64)], row)?.collect()
}

/// Begins to remove content that nothing refers to. Answers whether that is so.
pub fn mark_dying(sql: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    let text = "UPDATE fs_blob SET state = 1 WHERE id = ?1 AND refs = 0 AND state <> 1";
    Ok(sql.prepare_cached(text)?.execute([id])? > 0)
}

/// Says that content of this row is not on this node, or not whole: equal content that comes now gets a row of its own.
pub fn mark_missing(sql: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    let text = "UPDATE fs_blob SET state = 3 WHERE id = ?1 AND state = 0";
    Ok(sql.prepare_cached(text)?.execute([id])? > 0)
}

/// Takes that back. Answers whether it is live again: another row of the same hash may have come meanwhile.
pub fn revive(sql: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    let text = "UPDATE OR IGNORE fs_blob SET state = 0 WHERE id = ?1 AND state = 1";
    Ok(sql.prepare_cached(text)?.execute([id])? > 0)
}

/// Takes content back into use that was set aside and is whole again. Answers whether it is live: another row of the same hash may be.
pub fn take_back(sql: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    let text = "UPDATE OR IGNORE fs_blob SET state = 0 WHERE id = ?1 AND state = 3";
    Ok(sql.prepare_cached(text)?.execute([id])? > 0)
}

/// Takes the row of content away that was marked and whose files are gone. Answers whether there was one.
pub fn remove(sql: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    let text = "DELETE FROM fs_blob WHERE id = ?1 AND state = 1 AND refs = 0";
    Ok(sql.prepare_cached(text)?.execute([id])? > 0)
}

/// At most `count` rows after this one, in the order of their numbers.
pub fn page(sql: &Connection, after: BlobId, count: usize) -> rusqlite::Result<Vec<BlobRow>> {
    let text = format!("{COLUMNS} WHERE id > ?1 ORDER BY id LIMIT ?2");
    sql.prepare_cached(&text)?.query_map(params![after, stored(count as u64)], of)?.collect()
}

/// Whether a row names the file of this hash and generation.
pub fn names(sql: &Connection, hash: &ContentHash, generation: u64) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM fs_blob WHERE hash = ?1 AND gen = ?2 AND class = 1)";
    sql.prepare_cached(text)?.query_row(params![hash.as_bytes(), stored(generation)], |row| row.get(0))
}

/// A count that is not what the rows say that are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miscount {
    /// Of which content.
    pub blob: BlobId,
    /// On which branch; `None`: on all together.
    pub branch: Option<BranchId>,
    /// What is written down.
    pub stored: u64,
    /// What is so.
    pub counted: u64,
}

/// The counts that are wrong among the content with numbers after `after` up to `until`.
pub fn miscounts(sql: &Connection, after: BlobId, until: BlobId) -> rusqlite::Result<Vec<Miscount>> {
    let totals = "SELECT id, NULL, refs, counted FROM
                    (SELECT id, refs, (SELECT count(*) FROM fs_inode INDEXED BY fs_inode_by_blob WHERE blob = fs_blob.id) AS counted
                     FROM fs_blob WHERE id > ?1 AND id <= ?2) WHERE refs <> counted ORDER BY id";
    let branches = "SELECT blob, branch, sum(stored), sum(counted) FROM
                      (SELECT blob, branch, count AS stored, 0 AS counted FROM fs_ref WHERE blob > ?1 AND blob <= ?2
                       UNION ALL
                       SELECT blob, branch, 0, 1 FROM fs_inode INDEXED BY fs_inode_by_blob WHERE blob > ?1 AND blob <= ?2)
                    GROUP BY blob, branch HAVING sum(stored) <> sum(counted) ORDER BY blob, branch";
    let mut found = Vec::new();
    for text in [totals, branches] {
        let mut statement = sql.prepare_cached(text)?;
        let rows = statement.query_map(params![after, until], |row| {
            let (stored, counted) = (loaded(row.get(2)?), loaded(row.get(3)?));
            Ok(Miscount { blob: row.get(0)?, branch: row.get(1)?, stored, counted })
        })?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

/// Versions of inodes that name content which has no row: at most `count` of the numbers they name.
pub fn unknown(sql: &Connection, count: usize) -> rusqlite::Result<Vec<BlobId>> {
    let text = "SELECT DISTINCT blob FROM fs_inode INDEXED BY fs_inode_by_blob
                WHERE blob IS NOT NULL AND NOT EXISTS (SELECT 1 FROM fs_blob WHERE id = fs_inode.blob) LIMIT ?1";
    sql.prepare_cached(text)?.query_map([stored(count as u64)], |row| row.get(0))?.collect()
}

/// Counts the references to content anew, for a check that found them wrong. Nothing else changes them but versions of inodes.
pub fn recount(sql: &Connection, id: BlobId, now_ms: u64) -> rusqlite::Result<()> {
    let text = "SELECT count(*) FROM fs_inode INDEXED BY fs_inode_by_blob WHERE blob = ?1";
    let refs: i64 = sql.prepare_cached(text)?.query_row([id], |row| row.get(0))?;
    let text =
        "UPDATE fs_blob SET refs = ?2, zero_since_ms = iif(?2 = 0, coalesce(zero_since_ms, ?3), NULL) WHERE id = ?1";
    sql.prepare_cached(text)?.execute(params![id, refs, stored(now_ms)])?;
    sql.prepare_cached("DELETE FROM fs_ref WHERE blob = ?1")?.execute([id])?;
    let text = "INSERT INTO fs_ref (blob, bucket, branch, count)
                SELECT ?1, fs_branch.bucket, fs_branch.id, count(*) FROM fs_inode INDEXED BY fs_inode_by_blob
                JOIN fs_branch ON fs_branch.id = fs_inode.branch WHERE fs_inode.blob = ?1 GROUP BY fs_branch.id";
    sql.prepare_cached(text)?.execute([id])?;
    // What is referred to after all is not removed.
    if refs > 0 {
        revive(sql, id)?;
    }
    Ok(())
}
