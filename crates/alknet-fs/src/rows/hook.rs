//! Hooks: who is to be told of the commits of a branch, and how far each is.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{foreign, loaded, parsed, stored};
use crate::{
    ids::{BranchId, BucketId, HookId, Seq},
    limits::MAX_HOOK_ATTEMPTS,
    name::HookName,
};

/// Where a hook tells of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By POST to a URL, signed with the secret of this credential if there is one.
    Webhook {
        /// Where.
        url: String,
        /// Whose secret signs.
        credential: Option<String>,
    },
    /// As jobs of this queue.
    Queue(String),
}

const WEBHOOK: &str = "webhook";
const QUEUE: &str = "queue";

/// What a hook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHook {
    /// Its bucket.
    pub bucket: BucketId,
    /// The branch that it is told of.
    pub branch: BranchId,
    /// Its name, once in the bucket.
    pub name: HookName,
    /// How paths begin that it is told of; empty: any.
    pub prefix: Vec<u8>,
    /// How they end; empty: any.
    pub suffix: Vec<u8>,
    /// Where it tells.
    pub target: Target,
    /// On whose behalf it reads.
    pub maker: String,
    /// The newest commit that it need not be told of any more.
    pub after: Seq,
}

/// A hook as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRow {
    /// Its number.
    pub id: HookId,
    /// What it is; `after` is how far it came.
    pub hook: NewHook,
    /// Attempts that failed since the last one that did not.
    pub attempts: u32,
    /// Not before this time, in milliseconds since 1970. `None` after attempts that failed: it is paused.
    pub next_ms: Option<u64>,
    /// Why the newest attempt failed.
    pub error: Option<String>,
}

impl HookRow {
    /// Whether it is tried no more by itself.
    pub const fn is_paused(&self) -> bool {
        self.attempts > 0 && self.next_ms.is_none()
    }
}

const COLUMNS: &str = "hook.id, hook.bucket, hook.branch, hook.name, hook.prefix, hook.suffix, hook.kind, hook.target,
     hook.credential, hook.maker, hook.after_seq, hook.attempts, hook.next_ms, hook.error";

fn of(row: &Row<'_>) -> rusqlite::Result<HookRow> {
    let (kind, target): (String, String) = (row.get(6)?, row.get(7)?);
    let target = match kind.as_str() {
        WEBHOOK => Target::Webhook { url: target, credential: row.get(8)? },
        QUEUE => Target::Queue(target),
        _ => return Err(foreign(6, 0)),
    };
    let hook = NewHook {
        bucket: row.get(1)?,
        branch: row.get(2)?,
        name: parsed(row, 3)?,
        prefix: row.get(4)?,
        suffix: row.get(5)?,
        target,
        maker: row.get(9)?,
        after: row.get(10)?,
    };
    Ok(HookRow {
        id: row.get(0)?,
        hook,
        attempts: row.get(11)?,
        next_ms: row.get::<_, Option<i64>>(12)?.map(loaded),
        error: row.get(13)?,
    })
}

/// Makes a hook. Fails when the name is taken in the bucket.
pub fn insert(sql: &Connection, new: &NewHook) -> rusqlite::Result<HookId> {
    let NewHook { bucket, branch, name, prefix, suffix, target, maker, after } = new;
    let (kind, target, credential) = match target {
        Target::Webhook { url, credential } => (WEBHOOK, url, credential.as_deref()),
        Target::Queue(queue) => (QUEUE, queue, None),
    };
    let text = "INSERT INTO fs_hook (bucket, branch, name, prefix, suffix, kind, target, credential, maker, after_seq)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let all = params![bucket, branch, name.as_str(), prefix, suffix, kind, target, credential, maker, after];
    sql.prepare_cached(text)?.insert(all).map(HookId)
}

/// The hook of this name.
pub fn find(sql: &Connection, bucket: BucketId, name: &HookName) -> rusqlite::Result<Option<HookRow>> {
    let text = format!("SELECT {COLUMNS} FROM fs_hook AS hook WHERE bucket = ?1 AND name = ?2");
    sql.prepare_cached(&text)?.query_row(params![bucket, name.as_str()], of).optional()
}

/// A bucket's hooks by name.
pub fn list(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Vec<HookRow>> {
    let text = format!("SELECT {COLUMNS} FROM fs_hook AS hook WHERE bucket = ?1 ORDER BY name");
    sql.prepare_cached(&text)?.query_map([bucket], of)?.collect()
}

/// How many there are, of a bucket or altogether.
pub fn count(sql: &Connection, bucket: Option<BucketId>) -> rusqlite::Result<u64> {
    let mut statement = sql.prepare_cached("SELECT count(*) FROM fs_hook WHERE ?1 IS NULL OR bucket = ?1")?;
    statement.query_row([bucket], |row| row.get(0)).map(loaded)
}

/// Hooks that have commits before them and are not paused, each with its bucket's newest commit.
pub fn behind(sql: &Connection) -> rusqlite::Result<Vec<(HookRow, Seq)>> {
    let text = format!(
        "SELECT {COLUMNS}, bucket.head_seq FROM fs_hook AS hook JOIN fs_bucket AS bucket ON bucket.id = hook.bucket
         WHERE bucket.removed = 0 AND bucket.head_seq > hook.after_seq
         AND (hook.attempts = 0 OR hook.next_ms IS NOT NULL) ORDER BY hook.next_ms, hook.id"
    );
    sql.prepare_cached(&text)?.query_map([], |row| Ok((of(row)?, row.get(14)?)))?.collect()
}

/// It was told of everything up to a commit. Answers whether it is still there.
pub fn told(sql: &Connection, id: HookId, seq: Seq) -> rusqlite::Result<bool> {
    let text = "UPDATE fs_hook SET after_seq = ?2, attempts = 0, next_ms = NULL, error = NULL WHERE id = ?1";
    Ok(sql.prepare_cached(text)?.execute(params![id, seq])? > 0)
}

/// Nothing up to a commit concerns it.
pub fn came_to(sql: &Connection, id: HookId, seq: Seq) -> rusqlite::Result<()> {
    let text = "UPDATE fs_hook SET after_seq = max(after_seq, ?2) WHERE id = ?1";
    sql.prepare_cached(text)?.execute(params![id, seq]).map(|_| ())
}

/// The oldest commit at which a hook of a bucket stands that is not paused: what comes after it is still to be told.
pub fn oldest(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Option<Seq>> {
    let text = "SELECT min(after_seq) FROM fs_hook WHERE bucket = ?1 AND (attempts = 0 OR next_ms IS NOT NULL)";
    sql.prepare_cached(text)?.query_row([bucket], |row| row.get(0))
}

/// How many attempts failed since the last one that did not; `None`: it is gone.
pub fn attempts(sql: &Connection, id: HookId) -> rusqlite::Result<Option<u32>> {
    sql.prepare_cached("SELECT attempts FROM fs_hook WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()
}

/// Telling it failed once more; it is tried again at `next_ms`, or never where that is `None`.
pub fn failed(sql: &Connection, id: HookId, next_ms: Option<u64>, error: &str) -> rusqlite::Result<()> {
    let text = "UPDATE fs_hook SET attempts = min(attempts + 1, ?4), next_ms = ?2, error = ?3 WHERE id = ?1";
    let all = params![id, next_ms.map(stored), error, MAX_HOOK_ATTEMPTS];
    sql.prepare_cached(text)?.execute(all).map(|_| ())
}

/// It is tried again at once, whatever failed.
pub fn resume(sql: &Connection, id: HookId) -> rusqlite::Result<()> {
    let text = "UPDATE fs_hook SET attempts = 0, next_ms = NULL, error = NULL WHERE id = ?1";
    sql.prepare_cached(text)?.execute([id]).map(|_| ())
}

/// Takes a hook away.
pub fn remove(sql: &Connection, id: HookId) -> rusqlite::Result<()> {
    gone(sql, "id", id)
}

/// Takes the hooks of a branch away.
pub fn remove_of_branch(sql: &Connection, branch: BranchId) -> rusqlite::Result<()> {
    gone(sql, "branch", branch)
}

/// Takes the hooks of a bucket away.
pub fn remove_of_bucket(sql: &Connection, bucket: BucketId) -> rusqlite::Result<()> {
    gone(sql, "bucket", bucket)
}

fn gone(sql: &Connection, column: &'static str, is: impl ToSql) -> rusqlite::Result<()> {
    sql.prepare_cached(&format!("DELETE FROM fs_hook WHERE {column} = ?1"))?.execute([is]).map(|_| ())
}
