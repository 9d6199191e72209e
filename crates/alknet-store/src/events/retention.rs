//! What the janitor takes away: events beyond a topic's retention, consumers that never came back, old dead letters.

use std::time::Duration;

use alknet_core::Maintenance;
use rusqlite::{Connection, params};

use super::{
    claim::{EXPIRED, RAN_OUT},
    dead::{bury, forget},
    outbox::{trim_oldest, trim_until},
    queue::Queues,
    stream::Events,
};
use crate::{
    clock::{loaded, stored},
    error::StoreError,
    limits::{MAX_CONSUMER_IDLE, MAX_DEAD_LETTER_AGE, PRUNE_ROWS_AT_ONCE},
    records::load_each,
    writer::Touches,
};

/// What went from the topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedEvents {
    /// Events.
    pub events: usize,
    /// Consumers.
    pub consumers: usize,
}

/// What went from the queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedJobs {
    /// Jobs that became dead letters: they had expired, or their last claim ran out, and nobody claimed from their queue.
    pub given_up: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Queues without jobs and dead letters.
    pub queues: usize,
}

impl Events {
    /// Takes away what the topics no longer keep, a bounded number at a time between which others write.
    pub async fn prune(&self, task: &Maintenance) -> Result<PrunedEvents, StoreError> {
        tracing::debug!(task = task.task(), "pruning events");
        let mut pruned = PrunedEvents::default();
        for topic in self.store().readers().read(all_topics).await? {
            let clock = self.store().clock();
            loop {
                let now = stored(clock.now_ms());
                let gone =
                    self.store().writer().write(Touches::Nothing, move |sql| prune_topic(sql, topic, now)).await?;
                pruned.events += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        let idle_since = stored(self.store().clock().now().saturating_sub(MAX_CONSUMER_IDLE.as_secs()));
        let forget = move |sql: &Connection| -> Result<usize, StoreError> {
            Ok(sql.prepare_cached("DELETE FROM event_positions WHERE saved_at < ?1")?.execute([idle_since])?)
        };
        pruned.consumers = self.store().writer().write(Touches::Nothing, forget).await?;
        Ok(pruned)
    }
}

impl Queues {
    /// Gives up what expired, takes old dead letters and empty queues away, a bounded number at a time between which others write.
    pub async fn prune(&self, task: &Maintenance) -> Result<PrunedJobs, StoreError> {
        tracing::debug!(task = task.task(), "pruning queues");
        let mut pruned = PrunedJobs::default();
        loop {
            let now = self.store().clock().now_ms();
            let step = self.store().writer().write(Touches::Nothing, move |sql| prune_jobs(sql, now)).await?;
            pruned.given_up += step.given_up;
            pruned.dead_letters += step.dead_letters;
            pruned.queues += step.queues;
            if step.given_up < PRUNE_ROWS_AT_ONCE && step.dead_letters < PRUNE_ROWS_AT_ONCE {
                return Ok(pruned);
            }
        }
    }
}

fn all_topics(sql: &Connection) -> Result<Vec<i64>, StoreError> {
    Ok(load_each(sql, "SELECT id FROM topics", |row| row.get(0))?)
}

/// By age, only from the beginning: what comes after an event that is still young stays, whatever the clock did meanwhile.
fn prune_topic(sql: &Connection, topic: i64, now: i64) -> Result<usize, StoreError> {
    let mut bounds = sql.prepare_cached("SELECT max_age_ms, kept - max_events FROM topics WHERE id = ?1")?;
    let (max_age, excess): (i64, i64) = bounds.query_row([topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let most = PRUNE_ROWS_AT_ONCE as i64;
    if excess > 0 {
        return Ok(trim_oldest(sql, topic, excess.min(most))?);
    }
    let mut last_old = sql.prepare_cached(
        "SELECT max(id) FROM (
             SELECT id, max(published_at_ms) OVER (ORDER BY id) AS newest_yet
             FROM (SELECT id, published_at_ms FROM events WHERE topic = ?1 ORDER BY id LIMIT ?3))
         WHERE newest_yet < ?2",
    )?;
    let last: Option<i64> = last_old.query_row([topic, now.saturating_sub(max_age), most], |row| row.get(0))?;
    last.map_or(Ok(0), |last| Ok(trim_until(sql, topic, last)?))
}

fn prune_jobs(sql: &Connection, now_ms: u64) -> Result<PrunedJobs, StoreError> {
    let now = stored(now_ms);
    let over = over_jobs(sql, now)?;
    for (job, queue, expired) in &over {
        bury(sql, *queue, *job, if *expired { EXPIRED } else { RAN_OUT }, now)?;
    }
    let old = old_letters(sql, now_ms)?;
    for (letter, queue) in &old {
        forget(sql, *queue, *letter)?;
    }
    let queues = sql.prepare_cached("DELETE FROM queues WHERE jobs = 0 AND dead = 0")?.execute([])?;
    Ok(PrunedJobs { given_up: over.len(), dead_letters: old.len(), queues })
}

fn over_jobs(sql: &Connection, now: i64) -> rusqlite::Result<Vec<(u64, i64, bool)>> {
    let mut statement = sql.prepare_cached(
        "SELECT id, queue, 1 FROM jobs WHERE expires_at_ms <= ?1 AND due_at_ms <= ?1
         UNION ALL
         SELECT id, queue, 0 FROM jobs WHERE claimed_by IS NOT NULL AND due_at_ms <= ?1 AND attempt >= max_attempts
         AND coalesce(expires_at_ms > ?1, 1)
         LIMIT ?2",
    )?;
    let rows = statement.query_map(params![now, PRUNE_ROWS_AT_ONCE as i64], |row| {
        Ok((loaded(row.get(0)?), row.get(1)?, row.get(2)?))
    })?;
    rows.collect()
}

fn old_letters(sql: &Connection, now_ms: u64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let before = stored(now_ms).saturating_sub(age_ms(MAX_DEAD_LETTER_AGE));
    let mut statement = sql.prepare_cached(
        "SELECT id, queue FROM (SELECT id, queue, died_at_ms FROM dead_jobs ORDER BY id LIMIT ?2) WHERE died_at_ms < ?1",
    )?;
    let rows = statement.query_map([before, PRUNE_ROWS_AT_ONCE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn age_ms(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}
