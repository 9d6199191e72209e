//! Forward-only steps from each version of the schema to the next. A step that was released is never edited.

use rusqlite::{Connection, TransactionBehavior};

/// A step: the version it leads to, and how.
pub(crate) type Step = (u32, &'static str);

/// All steps, in order.
pub(crate) const STEPS: &[Step] = &[
    (1, include_str!("migrations/v1.sql")),
    (2, include_str!("migrations/v2.sql")),
    (3, include_str!("migrations/v3.sql")),
    (4, include_str!("migrations/v4.sql")),
    (5, include_str!("migrations/v5.sql")),
    (6, include_str!("migrations/v6.sql")),
    (7, include_str!("migrations/v7.sql")),
    (8, include_str!("migrations/v8.sql")),
    (9, include_str!("migrations/v9.sql")),
];

/// The version this program writes.
pub(crate) const NEWEST: u32 = 9;

/// The tables of the newest version; any other table makes a database foreign.
pub(crate) const TABLES: &[&str] = &[
    "api_keys",
    "audit",
    "audit_counters",
    "call_outcomes",
    "credentials",
    "dead_jobs",
    "event_positions",
    "events",
    "fs_blob",
    "fs_branch",
    "fs_bucket",
    "fs_commit",
    "fs_conflict",
    "fs_dent",
    "fs_hook",
    "fs_inode",
    "fs_merge",
    "fs_meta",
    "fs_ref",
    "fs_session",
    "fs_snapshot",
    "gate_scores",
    "identities",
    "jobs",
    "kept_calls",
    "key_denials",
    "meta",
    "peer_addresses",
    "peer_authorities",
    "peer_keys",
    "peers",
    "projections",
    "queues",
    "token_denials",
    "tokens",
    "topics",
];

/// A step that failed; the database is at the version before it.
#[derive(Debug, thiserror::Error)]
#[error("the step to schema version {to} failed")]
pub(crate) struct MigrationFailed {
    pub to: u32,
    #[source]
    pub cause: rusqlite::Error,
}

/// Takes every step that is still ahead, each in a transaction of its own.
pub(crate) fn migrate(sql: &mut Connection, steps: &[Step]) -> Result<(), MigrationFailed> {
    let first = steps.first().map_or(0, |(to, _)| *to);
    let at = version(sql).map_err(|cause| MigrationFailed { to: first, cause })?;
    for (to, text) in steps.iter().filter(|(to, _)| *to > at) {
        step(sql, *to, text).map_err(|cause| MigrationFailed { to: *to, cause })?;
        tracing::info!(version = to, "the database was brought to a newer schema");
    }
    Ok(())
}

fn step(sql: &mut Connection, to: u32, text: &str) -> rusqlite::Result<()> {
    let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(text)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// The version that a database is at.
pub(crate) fn version(sql: &Connection) -> rusqlite::Result<u32> {
    sql.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreError;

    fn tables(sql: &Connection) -> Vec<String> {
        let mut statement = sql
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_list_of_steps_has_no_gaps_and_ends_at_the_newest() {
        let versions: Vec<u32> = STEPS.iter().map(|(to, _)| *to).collect();
        assert_eq!(versions, (1..=NEWEST).collect::<Vec<_>>());
    }

    #[test]
    fn every_earlier_version_reaches_the_newest_with_the_same_schema() {
        // STORE-20
        let schema = |sql: &Connection| {
            let mut all = sql.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").unwrap();
            all.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let mut straight = Connection::open_in_memory().unwrap();
        migrate(&mut straight, STEPS).unwrap();
        assert_eq!(tables(&straight), TABLES);
        for from in 0..NEWEST as usize {
            let mut sql = Connection::open_in_memory().unwrap();
            migrate(&mut sql, &STEPS[..from]).unwrap();
            assert_eq!(version(&sql).unwrap() as usize, from);
            migrate(&mut sql, STEPS).unwrap();
            assert_eq!(version(&sql).unwrap(), NEWEST);
            assert_eq!(schema(&sql), schema(&straight));
        }
    }

    #[test]
    fn what_buckets_hold_is_counted_anew_with_the_attributes() {
        // STORE-20
        let mut sql = Connection::open_in_memory().unwrap();
        migrate(&mut sql, &STEPS[..8]).unwrap();
        let rows = "INSERT INTO fs_bucket (id, name, policy, used_bytes) VALUES (1, 'empty', '{}', 0), (2, 'proj', '{}', 10);
            INSERT INTO fs_branch (id, bucket, name, mode, made_seq) VALUES (3, 2, 'main', 'pinned', 0);
            INSERT INTO fs_inode (branch, ino, seq, kind, size, mode, mtime_ns, xattrs, changed)
            VALUES (3, 2, 1, 1, 10, 420, 0, x'00112233', 3), (3, 2, 2, 1, 10, 420, 0, x'0011', 2), (3, 4, 2, 2, 0, 493, 0, NULL, 3);";
        sql.execute_batch(rows).unwrap();
        migrate(&mut sql, STEPS).unwrap();
        let mut held = sql.prepare("SELECT used_bytes FROM fs_bucket ORDER BY id").unwrap();
        let held: Vec<i64> = held.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(held, [0, 16]);
    }

    #[test]
    fn a_failing_step_leaves_the_version_before_it() {
        // STORE-21
        let mut sql = Connection::open_in_memory().unwrap();
        migrate(&mut sql, &STEPS[..1]).unwrap();
        let broken = [STEPS[0], (2, "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1);")];
        assert_eq!(migrate(&mut sql, &broken).unwrap_err().to, 2);
        assert_eq!(version(&sql).unwrap(), 1);
        assert!(!tables(&sql).contains(&"half".to_owned()));
        migrate(&mut sql, STEPS).unwrap();
        assert_eq!(version(&sql).unwrap(), NEWEST);
    }

    #[test]
    fn a_full_disk_during_a_step_leaves_the_version_before_it() {
        // STORE-21
        let mut sql = Connection::open_in_memory().unwrap();
        migrate(&mut sql, &STEPS[..1]).unwrap();
        let pages: u32 = sql.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let failed = migrate(&mut sql, STEPS).unwrap_err();
        assert!(matches!(StoreError::from(failed.cause), StoreError::Full));
        assert_eq!(version(&sql).unwrap(), 1);
    }
}
