//! Ending what was claimed, or holding on to it.

use std::time::Duration;

use alknet_core::Permit;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{QUEUE, actor},
    claim::Claim,
    dead::bury,
    queue::{CONSUME, QueueError, Queues, count_out, find, in_milliseconds, later},
};
use crate::{
    clock::{loaded, stored},
    limits::{MAX_JOB_DELAY, MAX_JOB_ERROR_BYTES, MAX_VISIBILITY},
    writer::Touches,
};

/// What became of a job that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is due again.
    Again {
        /// When, in milliseconds since 1970.
        due_at_ms: u64,
    },
    /// That was its last attempt: it is a dead letter.
    Dead,
}

/// A claim that still holds: nobody else has claimed the job since.
struct Held {
    queue: i64,
    job: i64,
    attempt: u32,
    max_attempts: u32,
}

impl Queues {
    /// Ends a job that is done. Needs `queues:consume`.
    pub async fn ack(&self, permit: &Permit, claim: &Claim) -> Result<(), QueueError> {
        self.settle(permit, claim, |sql, held, _| {
            sql.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([held.job])?;
            Ok(count_out(sql, held.queue)?)
        })
        .await
    }

    /// Holds on to a job for `visibility` from now. Needs `queues:consume`. Answers when the claim runs out, in milliseconds since 1970.
    pub async fn extend(&self, permit: &Permit, claim: &Claim, visibility: Duration) -> Result<u64, QueueError> {
        in_milliseconds("the time for a claim in milliseconds", visibility, 1, MAX_VISIBILITY)?;
        self.settle(permit, claim, move |sql, held, now_ms| {
            let deadline = later(now_ms, visibility);
            sql.prepare_cached("UPDATE jobs SET due_at_ms = ?2 WHERE id = ?1")?.execute([held.job, deadline])?;
            Ok(loaded(deadline))
        })
        .await
    }

    /// Gives a job back, to be claimed again after `delay`; after its last attempt it becomes a dead letter. Needs `queues:consume`.
    pub async fn retry(
        &self,
        permit: &Permit,
        claim: &Claim,
        delay: Duration,
        error: &str,
    ) -> Result<Retried, QueueError> {
        in_milliseconds("the delay in milliseconds", delay, 0, MAX_JOB_DELAY)?;
        let error = bounded(error);
        self.settle(permit, claim, move |sql, held, now_ms| {
            if held.attempt >= held.max_attempts {
                bury(sql, held.queue, loaded(held.job), &error, stored(now_ms))?;
                return Ok(Retried::Dead);
            }
            let due = later(now_ms, delay);
            sql.prepare_cached(
                "UPDATE jobs SET claimed_by = NULL, worker = NULL, due_at_ms = ?2, error = ?3 WHERE id = ?1",
            )?
            .execute(params![held.job, due, error])?;
            Ok(Retried::Again { due_at_ms: loaded(due) })
        })
        .await
    }

    /// Gives a job up: it becomes a dead letter, however many attempts it had left. Needs `queues:consume`.
    pub async fn fail(&self, permit: &Permit, claim: &Claim, error: &str) -> Result<(), QueueError> {
        let error = bounded(error);
        self.settle(permit, claim, move |sql, held, now_ms| {
            Ok(bury(sql, held.queue, loaded(held.job), &error, stored(now_ms))?)
        })
        .await
    }

    async fn settle<T: Send + 'static>(
        &self,
        permit: &Permit,
        claim: &Claim,
        body: impl FnOnce(&Connection, &Held, u64) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let identity = actor(permit, QUEUE, claim.queue.as_str())?;
        let (claim, clock) = (claim.clone(), self.store().clock().clone());
        self.store()
            .mutate(permit, CONSUME, Touches::Nothing, move |sql, _| {
                let held = hold(sql, &claim, &identity)?;
                body(sql, &held, clock.now_ms())
            })
            .await
    }
}

fn hold(sql: &Connection, claim: &Claim, identity: &str) -> Result<Held, QueueError> {
    let lost = QueueError::ClaimLost { job: claim.job, attempt: claim.attempt };
    let Some(queue) = find(sql, &claim.queue)? else { return Err(lost) };
    let mut held = sql.prepare_cached(
        "SELECT max_attempts FROM jobs WHERE id = ?1 AND queue = ?2 AND attempt = ?3 AND claimed_by = ?4",
    )?;
    let values = params![stored(claim.job), queue, claim.attempt, identity];
    match held.query_row(values, |row| row.get(0)).optional()? {
        Some(max_attempts) => Ok(Held { queue, job: stored(claim.job), attempt: claim.attempt, max_attempts }),
        None => Err(lost),
    }
}

/// Cuts a text between two characters.
fn bounded(error: &str) -> String {
    error[..error.floor_char_boundary(MAX_JOB_ERROR_BYTES)].to_owned()
}
