//! What became of calls that carried an idempotency key, so that a repetition gets the first outcome instead of running again.

use std::sync::Arc;

use alknet_core::{Begun, BoxFuture, CallJournal, JournalError, Maintenance, OutcomeKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    clock::stored,
    error::StoreError,
    limits::{
        COUNT_OUTCOMES_EVERY, MAX_OUTCOME_BYTES, MAX_OUTCOME_BYTES_PER_IDENTITY, MAX_OUTCOMES,
        MAX_OUTCOMES_PER_IDENTITY, OUTCOME_LIFETIME, PRUNE_ROWS_AT_ONCE,
    },
    store::Store,
    writer::Touches,
};

/// The outcomes of calls. Core's [`CallJournal`] over the database.
#[derive(Clone)]
pub struct Outcomes {
    store: Store,
}

/// When a change is made, and in which start of the node.
#[derive(Clone, Copy)]
struct Present {
    now: i64,
    boot: i64,
}

/// How much is kept.
#[derive(Clone, Copy)]
struct Bounds {
    per_identity: usize,
    bytes_per_identity: usize,
    in_all: usize,
}

const BOUNDS: Bounds = Bounds {
    per_identity: MAX_OUTCOMES_PER_IDENTITY,
    bytes_per_identity: MAX_OUTCOME_BYTES_PER_IDENTITY,
    in_all: MAX_OUTCOMES,
};

impl Present {
    /// What ended, or was left without an end, at this time or before it is over.
    fn horizon(self) -> i64 {
        self.now.saturating_sub(OUTCOME_LIFETIME.as_secs().cast_signed())
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

impl Outcomes {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    fn present(&self) -> Present {
        Present { now: stored(self.store.clock().now()), boot: self.store.boot() }
    }

    /// Forgets what is over, and the oldest beyond the bounds. Answers how many rows went.
    ///
    /// What this start of the node began and did not end stays: it may be running.
    pub async fn prune(&self, task: &Maintenance) -> Result<usize, StoreError> {
        tracing::debug!(task = task.task(), "pruning the outcomes of calls");
        let mut gone = 0;
        loop {
            let present = self.present();
            let body = move |sql: &Connection| Ok::<_, StoreError>(prune_some(sql, present, BOUNDS)?);
            let some = self.store.writer().write(Touches::Nothing, body).await?;
            gone += some;
            if some == 0 {
                return Ok(gone);
            }
        }
    }
}

impl CallJournal for Outcomes {
    fn begin(&self, key: OutcomeKey, input_digest: [u8; 32]) -> BoxFuture<'_, Result<Begun, JournalError>> {
        let present = self.present();
        let body = move |sql: &Connection| begin(sql, &key, &input_digest, present, BOUNDS);
        Box::pin(self.store.writer().write(Touches::Nothing, body))
    }

    fn end(&self, key: OutcomeKey, outcome: String) -> BoxFuture<'_, Result<(), JournalError>> {
        let present = self.present();
        let body = move |sql: &Connection| {
            let ended = end(sql, &key, &outcome, present, BOUNDS).map_err(StoreError::from)?;
            if ended { Ok(()) } else { Err(JournalError::NotBegun) }
        };
        Box::pin(self.store.writer().write(Touches::Nothing, body))
    }

    fn forget(&self, key: OutcomeKey) -> BoxFuture<'_, Result<(), JournalError>> {
        let body = move |sql: &Connection| {
            let mut delete = sql
                .prepare_cached(
                    "DELETE FROM call_outcomes
                     WHERE identity = ?1 AND operation = ?2 AND key = ?3 AND ended_at IS NULL",
                )
                .map_err(StoreError::from)?;
            delete.execute([&key.identity, &key.operation, &key.key]).map_err(StoreError::from)?;
            Ok(())
        };
        Box::pin(self.store.writer().write(Touches::Nothing, body))
    }
}

/// A call that was begun before.
struct Known {
    id: i64,
    input_sha256: [u8; 32],
    boot: i64,
    begun_at: i64,
    ended_at: Option<i64>,
    outcome: Option<String>,
}

impl Known {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            input_sha256: row.get(1)?,
            boot: row.get(2)?,
            begun_at: row.get(3)?,
            ended_at: row.get(4)?,
            outcome: row.get(5)?,
        })
    }

    fn is_over(&self, present: Present) -> bool {
        match self.ended_at {
            Some(at) => at <= present.horizon(),
            None => self.boot != present.boot && self.begun_at <= present.horizon(),
        }
    }

    fn judged(self, input_digest: &[u8; 32]) -> Begun {
        if self.input_sha256 != *input_digest {
            return Begun::OtherInput;
        }
        match (self.ended_at, self.outcome) {
            (None, _) => Begun::Unknown,
            (Some(_), None) => Begun::TooLarge,
            (Some(_), Some(outcome)) => Begun::Ended(outcome),
        }
    }
}

fn begin(
    sql: &Connection,
    key: &OutcomeKey,
    input_digest: &[u8; 32],
    present: Present,
    bounds: Bounds,
) -> Result<Begun, JournalError> {
    if let Some(known) = find(sql, key).map_err(StoreError::from)? {
        let stale = known.is_over(present) || is_of_an_earlier_bearer(sql, key, &known).map_err(StoreError::from)?;
        if !stale {
            return Ok(known.judged(input_digest));
        }
        delete(sql, known.id).map_err(StoreError::from)?;
    }
    if !make_room(sql, &key.identity, present, bounds).map_err(StoreError::from)? {
        return Err(JournalError::Full);
    }
    insert(sql, key, input_digest, present, bounds).map_err(StoreError::from)?;
    Ok(Begun::Fresh)
}

fn find(sql: &Connection, key: &OutcomeKey) -> rusqlite::Result<Option<Known>> {
    sql.prepare_cached(
        "SELECT id, input_sha256, boot, begun_at, ended_at, outcome FROM call_outcomes
         WHERE identity = ?1 AND operation = ?2 AND key = ?3",
    )?
    .query_row([&key.identity, &key.operation, &key.key], Known::read)
    .optional()
}

/// A name that was removed and given to somebody else does not bring its outcomes along.
fn is_of_an_earlier_bearer(sql: &Connection, key: &OutcomeKey, known: &Known) -> rusqlite::Result<bool> {
    let mut made = sql.prepare_cached("SELECT created_at FROM identities WHERE name = ?1")?;
    let made: Option<i64> = made.query_row([&key.identity], |row| row.get(0)).optional()?;
    Ok(made.is_some_and(|made| known.begun_at < made))
}

fn insert(
    sql: &Connection,
    key: &OutcomeKey,
    input_digest: &[u8; 32],
    present: Present,
    bounds: Bounds,
) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "INSERT INTO call_outcomes (identity, operation, key, input_sha256, boot, begun_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![key.identity, key.operation, key.key, input_digest, present.boot, present.now])?;
    let turn = usize::try_from(sql.last_insert_rowid()).unwrap_or(0);
    if turn % COUNT_OUTCOMES_EVERY == 0 {
        prune_some(sql, present, bounds)?;
    }
    Ok(())
}

/// Makes room for one more of an identity. False when all that it has may be running.
fn make_room(sql: &Connection, identity: &str, present: Present, bounds: Bounds) -> rusqlite::Result<bool> {
    let mut count = sql.prepare_cached("SELECT count(*) FROM call_outcomes WHERE identity = ?1")?;
    let count: i64 = count.query_row([identity], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count < bounds.per_identity) {
        return Ok(true);
    }
    Ok(delete_oldest_end(sql, identity)? || delete_oldest_unknown(sql, identity, present)?)
}

fn delete_oldest_end(sql: &Connection, identity: &str) -> rusqlite::Result<bool> {
    let mut delete = sql.prepare_cached(
        "DELETE FROM call_outcomes WHERE id =
         (SELECT id FROM call_outcomes WHERE identity = ?1 AND ended_at IS NOT NULL ORDER BY ended_at, id LIMIT 1)",
    )?;
    Ok(delete.execute([identity])? > 0)
}

fn delete_oldest_unknown(sql: &Connection, identity: &str, present: Present) -> rusqlite::Result<bool> {
    let mut delete = sql.prepare_cached(
        "DELETE FROM call_outcomes WHERE id =
         (SELECT id FROM call_outcomes WHERE identity = ?1 AND ended_at IS NULL AND boot <> ?2 ORDER BY id LIMIT 1)",
    )?;
    Ok(delete.execute(params![identity, present.boot])? > 0)
}

fn delete(sql: &Connection, id: i64) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM call_outcomes WHERE id = ?1")?.execute([id]).map(|_| ())
}

/// Answers false when there was no beginning.
fn end(sql: &Connection, key: &OutcomeKey, outcome: &str, present: Present, bounds: Bounds) -> rusqlite::Result<bool> {
    let kept = Some(outcome).filter(|outcome| outcome.len() <= MAX_OUTCOME_BYTES);
    let bytes = kept.map_or(0, str::len);
    if bytes > bounds.bytes_per_identity / bounds.per_identity.max(1) {
        make_room_for_bytes(sql, &key.identity, bytes, bounds)?;
    }
    let mut update = sql.prepare_cached(
        "UPDATE call_outcomes SET ended_at = ?4, outcome = ?5, bytes = ?6
         WHERE identity = ?1 AND operation = ?2 AND key = ?3 AND ended_at IS NULL",
    )?;
    let bytes = bytes.cast_signed() as i64;
    Ok(update.execute(params![key.identity, key.operation, key.key, present.now, kept, bytes])? > 0)
}

fn make_room_for_bytes(sql: &Connection, identity: &str, more: usize, bounds: Bounds) -> rusqlite::Result<()> {
    let mut sum = sql.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM call_outcomes WHERE identity = ?1")?;
    loop {
        let kept: i64 = sum.query_row([identity], |row| row.get(0))?;
        let fits = usize::try_from(kept).is_ok_and(|kept| kept.saturating_add(more) <= bounds.bytes_per_identity);
        if fits || !delete_oldest_end(sql, identity)? {
            return Ok(());
        }
    }
}

/// Deletes some rows that are over or beyond the bound. Answers how many.
fn prune_some(sql: &Connection, present: Present, bounds: Bounds) -> rusqlite::Result<usize> {
    let at_once = PRUNE_ROWS_AT_ONCE.cast_signed() as i64;
    let mut gone = sql
        .prepare_cached(
            "DELETE FROM call_outcomes WHERE id IN
             (SELECT id FROM call_outcomes WHERE ended_at <= ?1 ORDER BY ended_at LIMIT ?2)",
        )?
        .execute(params![present.horizon(), at_once])?;
    gone += sql
        .prepare_cached(
            "DELETE FROM call_outcomes WHERE id IN
             (SELECT id FROM call_outcomes WHERE ended_at IS NULL AND boot <> ?1 AND begun_at <= ?2 LIMIT ?3)",
        )?
        .execute(params![present.boot, present.horizon(), at_once])?;
    let count: i64 = sql.prepare_cached("SELECT count(*) FROM call_outcomes")?.query_row([], |row| row.get(0))?;
    let beyond = count.saturating_sub(bounds.in_all.cast_signed() as i64).clamp(0, at_once);
    if beyond > 0 {
        gone += sql
            .prepare_cached(
                "DELETE FROM call_outcomes WHERE id IN
                 (SELECT id FROM call_outcomes WHERE ended_at IS NOT NULL ORDER BY ended_at, id LIMIT ?1)",
            )?
            .execute([beyond])?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
