//! Claiming jobs: for a while they are one consumer's, and then they come back.

use std::time::Duration;

use alknet_core::Permit;
use rusqlite::{Connection, Row, params};

use super::{
    access::{QUEUE, actor},
    dead::bury,
    name::{ConsumerName, QueueName},
    queue::{CONSUME, QueueError, Queues, find, in_bounds, in_milliseconds, later},
};
use crate::{
    clock::{loaded, stored},
    limits::{MAX_BURIED_AT_ONCE, MAX_CLAIMED_AT_ONCE, MAX_JOB_PRIORITY, MAX_PAGE_BYTES, MAX_VISIBILITY},
    writer::Touches,
};

pub(super) const RAN_OUT: &str = "the claim ran out on the last attempt";
pub(super) const EXPIRED: &str = "it expired before anybody was done with it";

/// One claim on one job; whoever ends the job names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The queue.
    pub queue: QueueName,
    /// The job.
    pub job: u64,
    /// Which of the job's claims it is, counted from 1.
    pub attempt: u32,
}

/// A job as it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The claim.
    pub claim: Claim,
    /// JSON text.
    pub payload: String,
    /// How often it is claimed at most.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: u8,
    /// Who handed it in.
    pub producer: String,
    /// When that was, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// When the claim runs out, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// What the last attempt said before it gave the job back.
    pub error: Option<String>,
}

impl Queues {
    /// Claims at most `count` jobs that are due: higher priorities first, then those that were due earlier. Needs `queues:consume`.
    ///
    /// A job whose claim runs out after `visibility` is due again. One that was claimed as often as it may be, or that expired, becomes
    /// a dead letter instead. `worker` is noted beside the caller's identity. A queue that nobody has used is an empty one.
    pub async fn claim(
        &self,
        permit: &Permit,
        queue: &QueueName,
        worker: &ConsumerName,
        count: usize,
        visibility: Duration,
    ) -> Result<Vec<Job>, QueueError> {
        let identity = actor(permit, QUEUE, queue.as_str())?;
        in_bounds("the number of jobs", count as u64, 1, MAX_CLAIMED_AT_ONCE as u64)?;
        in_milliseconds("the time for a claim in milliseconds", visibility, 1, MAX_VISIBILITY)?;
        let (queue, worker, clock) = (queue.clone(), worker.clone(), self.store().clock().clone());
        self.store()
            .mutate(permit, CONSUME, Touches::Nothing, move |sql, _| {
                let now_ms = clock.now_ms();
                let claimer = Claimer { identity, worker, deadline: later(now_ms, visibility), now: stored(now_ms) };
                claimer.take(sql, &queue, count)
            })
            .await
    }
}

struct Claimer {
    identity: String,
    worker: ConsumerName,
    deadline: i64,
    now: i64,
}

/// A job that is due.
struct Due {
    job: Job,
    expired: bool,
}

impl Claimer {
    fn take(&self, sql: &Connection, queue: &QueueName, count: usize) -> Result<Vec<Job>, QueueError> {
        let Some(number) = find(sql, queue)? else { return Ok(Vec::new()) };
        let (mut jobs, mut bytes, mut buried) = (Vec::new(), 0, 0);
        for priority in (0..=MAX_JOB_PRIORITY).rev() {
            while jobs.len() < count && bytes < MAX_PAGE_BYTES && buried < MAX_BURIED_AT_ONCE {
                let Some(due) = self.first_due(sql, number, queue, priority)? else { break };
                match self.why_dead(&due) {
                    Some(why) => {
                        bury(sql, number, due.job.claim.job, why, self.now)?;
                        buried += 1;
                    }
                    None => {
                        let job = self.mark(sql, due.job)?;
                        bytes += job.payload.len();
                        jobs.push(job);
                    }
                }
            }
        }
        Ok(jobs)
    }

    fn first_due(
        &self,
        sql: &Connection,
        number: i64,
        queue: &QueueName,
        priority: u8,
    ) -> rusqlite::Result<Option<Due>> {
        let mut statement = sql.prepare_cached(
            "SELECT id, attempt, payload, max_attempts, producer, enqueued_at_ms, error, coalesce(expires_at_ms <= ?3, 0)
             FROM jobs WHERE queue = ?1 AND priority = ?2 AND due_at_ms <= ?3 ORDER BY due_at_ms, id LIMIT 1",
        )?;
        let mut rows = statement.query(params![number, priority, self.now])?;
        rows.next()?.map(|row| self.due(row, queue, priority)).transpose()
    }

    /// The job as it will be once it is claimed.
    fn due(&self, row: &Row<'_>, queue: &QueueName, priority: u8) -> rusqlite::Result<Due> {
        let claim = Claim { queue: queue.clone(), job: loaded(row.get(0)?), attempt: row.get::<_, u32>(1)? + 1 };
        let job = Job {
            claim,
            payload: row.get(2)?,
            max_attempts: row.get(3)?,
            priority,
            producer: row.get(4)?,
            enqueued_at_ms: loaded(row.get(5)?),
            deadline_ms: loaded(self.deadline),
            error: row.get(6)?,
        };
        Ok(Due { job, expired: row.get(7)? })
    }

    fn why_dead(&self, due: &Due) -> Option<&'static str> {
        if due.expired {
            return Some(EXPIRED);
        }
        (due.job.claim.attempt > due.job.max_attempts).then_some(RAN_OUT)
    }

    fn mark(&self, sql: &Connection, job: Job) -> rusqlite::Result<Job> {
        let mut update = sql.prepare_cached(
            "UPDATE jobs SET claimed_by = ?2, worker = ?3, due_at_ms = ?4, attempt = ?5 WHERE id = ?1",
        )?;
        let Claim { job: id, attempt, .. } = &job.claim;
        update.execute(params![stored(*id), self.identity, self.worker.as_str(), self.deadline, attempt])?;
        Ok(job)
    }
}
