//! A few numbers about the file system as a whole.

use rusqlite::{Connection, OptionalExtension, params};

use crate::ids::BucketId;

/// A number that is kept, if it was ever written.
pub fn read(sql: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    sql.prepare_cached("SELECT value FROM fs_meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Keeps a number.
pub fn write(sql: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    let text = "INSERT INTO fs_meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    sql.prepare_cached(text)?.execute(params![key, value]).map(|_| ())
}

/// Forgets a number.
pub fn remove(sql: &Connection, key: &str) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM fs_meta WHERE key = ?1")?.execute([key]).map(|_| ())
}

/// Under which the oldest commit is kept whose version a bucket still shows.
pub fn kept_from(bucket: BucketId) -> String {
    format!("kept from {}", bucket.0)
}
