//! Dead letters: jobs that were given up, kept for somebody to look at.

use alknet_core::Permit;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{QUEUE, actor},
    name::QueueName,
    queue::{CONSUME, QueueError, Queues, READ, count_in, count_out, number},
};
use crate::{
    clock::{loaded, stored},
    grant::Grant,
    limits::{MAX_DEAD_LETTERS, MAX_EVENT_PAGE, MAX_PAGE_BYTES},
    writer::Touches,
};

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// The dead letter's id; later ones are higher.
    pub id: u64,
    /// The id of the job that it was.
    pub job: u64,
    /// JSON text.
    pub payload: String,
    /// How often it was claimed.
    pub attempts: u32,
    /// How often it might have been.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: u8,
    /// Who handed it in.
    pub producer: String,
    /// When that was, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// When it was given up, in milliseconds since 1970.
    pub died_at_ms: u64,
    /// Why.
    pub error: String,
}

impl Queues {
    /// A queue's dead letters after an id (0: from the first), in the order in which they died. Needs `queues:read`.
    pub async fn dead(
        &self,
        permit: &Permit,
        queue: &QueueName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadJob>, QueueError> {
        actor(permit, QUEUE, queue.as_str())?;
        let (grant, queue) = (Grant::of(permit, READ)?, queue.clone());
        let read = move |sql: &Connection| {
            let letters = page(sql, &queue, after, limit.min(MAX_EVENT_PAGE))?;
            grant.check()?;
            Ok(letters)
        };
        self.store().readers().read(read).await
    }

    /// Makes a job of a dead letter again: due at once, with all its attempts, never to expire. Needs `queues:consume`.
    /// Answers the id of the new job.
    pub async fn requeue_dead(&self, permit: &Permit, queue: &QueueName, letter: u64) -> Result<u64, QueueError> {
        actor(permit, QUEUE, queue.as_str())?;
        let (queue, clock) = (queue.clone(), self.store().clock().clone());
        self.store()
            .mutate(permit, CONSUME, Touches::Nothing, move |sql, _| {
                revive(sql, number(sql, &queue)?, letter, stored(clock.now_ms()))
            })
            .await
    }
}

fn revive(sql: &Connection, queue: i64, letter: u64, now: i64) -> Result<u64, QueueError> {
    let mut insert = sql.prepare_cached(
        "INSERT INTO jobs (queue, priority, due_at_ms, payload, max_attempts, enqueued_at_ms, producer, error)
         SELECT queue, priority, ?3, payload, max_attempts, enqueued_at_ms, producer, error
         FROM dead_jobs WHERE id = ?1 AND queue = ?2 RETURNING id",
    )?;
    let job: Option<i64> = insert.query_row([stored(letter), queue, now], |row| row.get(0)).optional()?;
    let job = job.ok_or(QueueError::NoSuchDeadLetter(letter))?;
    count_in(sql, queue)?;
    forget(sql, queue, stored(letter))?;
    Ok(loaded(job))
}

/// Makes a dead letter of a job. Beyond the bound the oldest goes.
pub(super) fn bury(sql: &Connection, queue: i64, job: u64, error: &str, now: i64) -> rusqlite::Result<()> {
    let mut insert = sql.prepare_cached(
        "INSERT INTO dead_jobs
         (job, queue, priority, payload, attempts, max_attempts, enqueued_at_ms, died_at_ms, producer, error)
         SELECT id, queue, priority, payload, attempt, max_attempts, enqueued_at_ms, ?2, producer, ?3
         FROM jobs WHERE id = ?1",
    )?;
    insert.execute(params![stored(job), now, error])?;
    sql.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([stored(job)])?;
    count_out(sql, queue)?;
    let mut count = sql.prepare_cached("UPDATE queues SET dead = dead + 1 WHERE id = ?1 RETURNING dead")?;
    let dead: i64 = count.query_row([queue], |row| row.get(0))?;
    if usize::try_from(dead).is_ok_and(|dead| dead > MAX_DEAD_LETTERS) {
        let mut oldest = sql.prepare_cached("SELECT min(id) FROM dead_jobs WHERE queue = ?1")?;
        forget(sql, queue, oldest.query_row([queue], |row| row.get(0))?)?;
    }
    Ok(())
}

pub(super) fn forget(sql: &Connection, queue: i64, letter: i64) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM dead_jobs WHERE id = ?1")?.execute([letter])?;
    sql.prepare_cached("UPDATE queues SET dead = dead - 1 WHERE id = ?1")?.execute([queue]).map(|_| ())
}

fn page(sql: &Connection, queue: &QueueName, after: u64, limit: usize) -> Result<Vec<DeadJob>, QueueError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, job, payload, attempts, max_attempts, priority, producer, enqueued_at_ms, died_at_ms, error
         FROM dead_jobs WHERE queue = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![number(sql, queue)?, stored(after), limit as i64])?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while bytes < MAX_PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let payload: String = row.get(2)?;
        bytes += payload.len();
        letters.push(DeadJob {
            id: loaded(row.get(0)?),
            job: loaded(row.get(1)?),
            payload,
            attempts: row.get(3)?,
            max_attempts: row.get(4)?,
            priority: row.get(5)?,
            producer: row.get(6)?,
            enqueued_at_ms: loaded(row.get(7)?),
            died_at_ms: loaded(row.get(8)?),
            error: row.get(9)?,
        });
    }
    Ok(letters)
}
