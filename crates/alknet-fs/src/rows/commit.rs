//! Commits: who did what when, in the order of this node.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::bucket;
use crate::ids::{BranchId, BucketId, Hlc, Seq};

/// A commit. The rows that it wrote carry its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// Its number in the bucket.
    pub seq: Seq,
    /// The branch that it changed.
    pub branch: BranchId,
    /// When, in nanoseconds since 1970; never before the commit before it.
    pub time_ns: i64,
    /// When, between nodes.
    pub hlc: Hlc,
    /// Who did it.
    pub actor: String,
    /// What it was, as in `fs/mkdir`.
    pub op: String,
}

const COLUMNS: &str = "SELECT seq, branch, time_ns, hlc, actor, op FROM fs_commit WHERE bucket = ?1";

fn of(row: &Row<'_>) -> rusqlite::Result<CommitRow> {
    Ok(CommitRow {
        seq: row.get(0)?,
        branch: row.get(1)?,
        time_ns: row.get(2)?,
        hlc: row.get(3)?,
        actor: row.get(4)?,
        op: row.get(5)?,
    })
}

/// Begins the bucket's next commit. Its times do not go back when the clock does.
pub fn begin(
    sql: &Connection,
    bucket: BucketId,
    branch: BranchId,
    now_ns: i64,
    (actor, op): (&str, &str),
) -> rusqlite::Result<CommitRow> {
    let before = newest(sql, bucket)?;
    let (time, hlc) = before.map_or((i64::MIN, Hlc::default()), |commit| (commit.time_ns, commit.hlc));
    let now_ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    let commit = CommitRow {
        seq: bucket::next_seq(sql, bucket)?,
        branch,
        time_ns: time.max(now_ns),
        hlc: hlc.next(now_ms),
        actor: actor.to_owned(),
        op: op.to_owned(),
    };
    let text =
        "INSERT INTO fs_commit (bucket, seq, branch, time_ns, hlc, actor, op) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let CommitRow { seq, time_ns, hlc, .. } = commit;
    sql.prepare_cached(text)?.execute(params![bucket, seq, branch, time_ns, hlc, actor, op])?;
    Ok(commit)
}

/// The commit of this number.
pub fn get(sql: &Connection, bucket: BucketId, seq: Seq) -> rusqlite::Result<Option<CommitRow>> {
    sql.prepare_cached(&format!("{COLUMNS} AND seq = ?2"))?.query_row(params![bucket, seq], of).optional()
}

/// The bucket's newest commit.
pub fn newest(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Option<CommitRow>> {
    sql.prepare_cached(&format!("{COLUMNS} ORDER BY seq DESC LIMIT 1"))?.query_row([bucket], of).optional()
}

/// The newest commit at or before a time; [`Seq::ZERO`]: there was none yet.
pub fn at_time(sql: &Connection, bucket: BucketId, time_ns: i64) -> rusqlite::Result<Seq> {
    let text = "SELECT seq FROM fs_commit WHERE bucket = ?1 AND time_ns <= ?2 ORDER BY time_ns DESC, seq DESC LIMIT 1";
    let found = sql.prepare_cached(text)?.query_row(params![bucket, time_ns], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(Seq::ZERO))
}

/// At most `count` commits before this one, the newest first.
pub fn page(sql: &Connection, bucket: BucketId, before: Seq, count: usize) -> rusqlite::Result<Vec<CommitRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} AND seq < ?2 ORDER BY seq DESC LIMIT ?3"))?;
    statement.query_map(params![bucket, before, super::stored(count as u64)], of)?.collect()
}

/// At most `count` commits after this one, the oldest first.
pub fn after(sql: &Connection, bucket: BucketId, after: Seq, count: usize) -> rusqlite::Result<Vec<CommitRow>> {
    let mut statement = sql.prepare_cached(&format!("{COLUMNS} AND seq > ?2 ORDER BY seq LIMIT ?3"))?;
    statement.query_map(params![bucket, after, super::stored(count as u64)], of)?.collect()
}

/// When a commit was, if it is still kept, in nanoseconds since 1970.
pub fn time(sql: &Connection, bucket: BucketId, seq: Seq) -> rusqlite::Result<Option<i64>> {
    let text = "SELECT time_ns FROM fs_commit WHERE bucket = ?1 AND seq = ?2";
    sql.prepare_cached(text)?.query_row(params![bucket, seq], |row| row.get(0)).optional()
}

/// Forgets a commit.
pub fn prune(sql: &Connection, bucket: BucketId, seq: Seq) -> rusqlite::Result<()> {
    let text = "DELETE FROM fs_commit WHERE bucket = ?1 AND seq = ?2";
    sql.prepare_cached(text)?.execute(params![bucket, seq]).map(|_| ())
}
