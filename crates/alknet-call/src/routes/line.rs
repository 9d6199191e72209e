//! The way to a worker that is there, and how it has fared lately.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::balance::Standing;
use crate::{CallClient, CallError, ErrorCode};

/// The stream on which a worker offered, and what is in progress on it.
pub(crate) struct Line {
    pub(super) client: CallClient,
    accepts: u32,
    began: Instant,
    in_flight: AtomicU32,
    /// Milliseconds from `began` to the last failure, and one; 0 for never.
    ailed: AtomicU64,
}

impl Line {
    /// `accepts` calls at a time; `began` is the zero of its clock.
    pub(super) fn new(client: CallClient, accepts: u32, began: Instant) -> Self {
        Self { client, accepts, began, in_flight: AtomicU32::new(0), ailed: AtomicU64::new(0) }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn standing(&self) -> Standing {
        let in_flight = self.in_flight();
        let ailed = self.ailed.load(Ordering::Relaxed).checked_sub(1);
        Standing { in_flight, full: in_flight >= self.accepts, ailed_at: ailed.map(Duration::from_millis) }
    }

    fn ails(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.ailed.store(millis.saturating_add(1), Ordering::Relaxed);
    }

    /// A call goes to the worker; it is in progress until the passage is dropped.
    ///
    /// # Errors
    /// `OVERLOADED` where the worker said that it takes no more.
    pub(super) fn pass(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Passage, CallError> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.accepts {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(CallError::overloaded("the worker takes no more calls at present"));
        }
        Ok(Passage { line: self.clone(), deadline, ended: false })
    }
}

/// One call in progress at a worker.
pub(super) struct Passage {
    line: Arc<Line>,
    deadline: Option<Instant>,
    ended: bool,
}

impl Passage {
    /// The worker failed the call so.
    pub(super) fn failed(&mut self, error: &CallError) {
        self.ended = true;
        if matches!(error.code, ErrorCode::Overloaded | ErrorCode::Unavailable | ErrorCode::Timeout) {
            self.line.ails();
        }
    }

    /// The worker answered.
    pub(super) const fn succeeded(&mut self) {
        self.ended = true;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.line.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Given up because the time was over, which the worker could have used better.
        if !self.ended && self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.line.ails();
        }
    }
}
