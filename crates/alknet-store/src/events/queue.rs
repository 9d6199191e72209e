//! Queues: jobs that one consumer at a time claims, works on and ends.

use std::time::Duration;

use alknet_core::{Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::watch;

use super::{
    access::{QUEUE, actor},
    name::QueueName,
    payload::{self, BadPayload},
};
use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{MAX_ATTEMPTS, MAX_JOB_DELAY, MAX_JOB_PRIORITY, MAX_QUEUE_JOBS, MAX_QUEUES},
    store::Store,
    writer::Touches,
};

const PRODUCE: &str = "queues:produce";
pub(super) const CONSUME: &str = "queues:consume";
pub(super) const READ: &str = "queues:read";

/// The queues of a node and their jobs. A queue is made by its first job.
#[derive(Clone)]
pub struct Queues {
    store: Store,
}

/// A job to hand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Where.
    pub queue: QueueName,
    /// JSON text.
    pub payload: String,
    /// How long nobody may claim it, in whole milliseconds.
    pub delay: Duration,
    /// Higher ones are claimed first, up to [`MAX_JOB_PRIORITY`]; among equals, those that are due earlier.
    pub priority: u8,
    /// How often it is claimed before it is given up.
    pub max_attempts: u32,
    /// From now on; a job that nobody has claimed by then is given up. `None`: never.
    pub expires: Option<Duration>,
}

/// What is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// Jobs that may be claimed now.
    pub waiting: u64,
    /// Jobs that may be claimed later.
    pub delayed: u64,
    /// Jobs that somebody has claimed.
    pub claimed: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// When the next job may be claimed that cannot be now, in milliseconds since 1970; the end of a claim counts too.
    pub next_due_at_ms: Option<u64>,
}

/// Why nothing was done to a queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It has no jobs and no dead letters.
    #[error("there is no queue `{0}`")]
    Unknown(QueueName),
    /// The payload is refused.
    #[error("the payload is refused: {0}")]
    BadPayload(#[from] BadPayload),
    /// A number is out of its bounds.
    #[error("{what} must be {least} to {most}")]
    OutOfBounds {
        /// Which number, with its unit.
        what: &'static str,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A bound is reached.
    #[error("too many {what}: {most} are the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The caller's claim on the job is over.
    #[error("the claim on job {job} (attempt {attempt}) is over: it ran out and was claimed again, or the job ended")]
    ClaimLost {
        /// The job.
        job: u64,
        /// Which of its claims.
        attempt: u32,
    },
    /// No such job was given up, or not any more.
    #[error("there is no dead letter {0}")]
    NoSuchDeadLetter(u64),
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Queues {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Hands a job in. Needs `queues:produce`. Answers its id once it is on disk.
    pub async fn enqueue(&self, permit: &Permit, job: NewJob) -> Result<u64, QueueError> {
        let producer = actor(permit, QUEUE, job.queue.as_str())?;
        check(&job)?;
        let clock = self.store.clock().clone();
        self.store
            .mutate(permit, PRODUCE, Touches::Nothing, move |sql, _| put(sql, &job, &producer, clock.now_ms()))
            .await
    }

    /// Counts what is in a queue. Needs `queues:read`.
    pub async fn queue_stats(&self, permit: &Permit, queue: &QueueName) -> Result<QueueStats, QueueError> {
        actor(permit, QUEUE, queue.as_str())?;
        let (grant, queue, now) = (Grant::of(permit, READ)?, queue.clone(), self.store.clock().now_ms());
        let read = move |sql: &Connection| {
            let stats = count(sql, &queue, now)?;
            grant.check()?;
            Ok(stats)
        };
        self.store.readers().read(read).await
    }

    /// The id of the newest job that was committed, of any queue. It changes after the commit; it ends when the database is closed.
    /// Jobs that come back have their old ids: [`QueueStats::next_due_at_ms`] says when.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.store.listeners().jobs.clone()
    }
}

/// Hands a job in within a transaction: it is kept exactly if the transaction is. Answers its id.
pub(crate) fn enqueue_in(sql: &Connection, job: &NewJob, producer: &str, now_ms: u64) -> Result<u64, QueueError> {
    check(job)?;
    put(sql, job, producer, now_ms)
}

fn put(sql: &Connection, job: &NewJob, producer: &str, now_ms: u64) -> Result<u64, QueueError> {
    let queue = open_or_make(sql, &job.queue)?;
    insert(sql, queue, job, producer, now_ms)
}

fn check(job: &NewJob) -> Result<(), QueueError> {
    payload::check(&job.payload)?;
    in_bounds("the priority", u64::from(job.priority), 0, u64::from(MAX_JOB_PRIORITY))?;
    in_bounds("the number of attempts", u64::from(job.max_attempts), 1, u64::from(MAX_ATTEMPTS))?;
    in_milliseconds("the delay in milliseconds", job.delay, 0, MAX_JOB_DELAY)?;
    if let Some(expires) = job.expires {
        in_milliseconds("the time until it expires in milliseconds", expires, 1, MAX_JOB_DELAY)?;
    }
    Ok(())
}

pub(super) fn in_bounds(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), QueueError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(QueueError::OutOfBounds { what, least, most }) }
}

/// A span in milliseconds, if it is within its bounds.
pub(super) fn in_milliseconds(
    what: &'static str,
    span: Duration,
    least: u64,
    most: Duration,
) -> Result<u64, QueueError> {
    let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    in_bounds(what, whole(span), least, whole(most)).map(|()| whole(span))
}

/// A point in time, as it is stored.
pub(super) fn later(now_ms: u64, span: Duration) -> i64 {
    stored(now_ms).saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// The queue's number, if it has or had jobs.
pub(super) fn find(sql: &Connection, queue: &QueueName) -> rusqlite::Result<Option<i64>> {
    let mut known = sql.prepare_cached("SELECT id FROM queues WHERE name = ?1")?;
    known.query_row([queue.as_str()], |row| row.get(0)).optional()
}

/// The queue's number.
pub(super) fn number(sql: &Connection, queue: &QueueName) -> Result<i64, QueueError> {
    find(sql, queue)?.ok_or_else(|| QueueError::Unknown(queue.clone()))
}

fn open_or_make(sql: &Connection, queue: &QueueName) -> Result<i64, QueueError> {
    if let Some(known) = find(sql, queue)? {
        return Ok(known);
    }
    let queues: i64 = sql.query_row("SELECT count(*) FROM queues", [], |row| row.get(0))?;
    if usize::try_from(queues).is_ok_and(|queues| queues >= MAX_QUEUES) {
        return Err(QueueError::TooMany { what: "queues", most: MAX_QUEUES });
    }
    sql.prepare_cached("INSERT INTO queues (name) VALUES (?1)")?.execute([queue.as_str()])?;
    Ok(sql.last_insert_rowid())
}

/// Makes room for one more job in a queue's count.
pub(super) fn count_in(sql: &Connection, queue: i64) -> Result<(), QueueError> {
    let mut count = sql.prepare_cached("UPDATE queues SET jobs = jobs + 1 WHERE id = ?1 RETURNING jobs")?;
    let jobs: i64 = count.query_row([queue], |row| row.get(0))?;
    if usize::try_from(jobs).is_ok_and(|jobs| jobs > MAX_QUEUE_JOBS) {
        return Err(QueueError::TooMany { what: "jobs in the queue", most: MAX_QUEUE_JOBS });
    }
    Ok(())
}

/// Takes one job out of a queue's count.
pub(super) fn count_out(sql: &Connection, queue: i64) -> rusqlite::Result<()> {
    sql.prepare_cached("UPDATE queues SET jobs = jobs - 1 WHERE id = ?1")?.execute([queue]).map(|_| ())
}

fn insert(sql: &Connection, queue: i64, job: &NewJob, producer: &str, now_ms: u64) -> Result<u64, QueueError> {
    count_in(sql, queue)?;
    let mut insert = sql.prepare_cached(
        "INSERT INTO jobs (queue, priority, due_at_ms, payload, max_attempts, expires_at_ms, enqueued_at_ms, producer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let (due, expires) = (later(now_ms, job.delay), job.expires.map(|expires| later(now_ms, expires)));
    let id = insert.insert(params![
        queue,
        job.priority,
        due,
        job.payload,
        job.max_attempts,
        expires,
        stored(now_ms),
        producer
    ])?;
    Ok(loaded(id))
}

fn count(sql: &Connection, queue: &QueueName, now_ms: u64) -> Result<QueueStats, QueueError> {
    let mut statement = sql.prepare_cached(
        "SELECT coalesce(sum(due_at_ms <= ?2), 0),
                coalesce(sum(due_at_ms > ?2 AND claimed_by IS NULL), 0),
                coalesce(sum(due_at_ms > ?2 AND claimed_by IS NOT NULL), 0),
                (SELECT dead FROM queues WHERE id = ?1),
                min(iif(due_at_ms > ?2, due_at_ms, NULL))
         FROM jobs WHERE queue = ?1",
    )?;
    let stats = statement.query_row(params![number(sql, queue)?, stored(now_ms)], |row| {
        Ok(QueueStats {
            waiting: loaded(row.get(0)?),
            delayed: loaded(row.get(1)?),
            claimed: loaded(row.get(2)?),
            dead: loaded(row.get(3)?),
            next_due_at_ms: row.get::<_, Option<i64>>(4)?.map(loaded),
        })
    })?;
    Ok(stats)
}
