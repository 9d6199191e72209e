//! Calls with an idempotency key that run now, and who waits for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use alknet_core::{OutcomeKey, SessionGuard};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Outcome, other_input};
use crate::{CallError, CallNode, Ending, limits::MAX_ONCE_CALLS};

/// The calls that run, by the name of their outcome.
#[derive(Default, Clone)]
pub(crate) struct Flights(Arc<Mutex<HashMap<OutcomeKey, Arc<Flight>>>>);

/// One call that runs, for everybody who waits for it.
pub(crate) struct Flight {
    digest: [u8; 32],
    waiting: Mutex<Waiters>,
    node: OnceLock<Arc<CallNode>>,
    outcome: watch::Receiver<Option<Outcome>>,
}

struct Waiters {
    count: usize,
    /// Why the last of them left; nothing is begun then.
    called_off: Option<Ending>,
}

fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts and maps stay whole whoever panicked while holding them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    /// Waits for the call of that name. Whoever is the first gets the duty to run it.
    pub(super) fn join(&self, key: &OutcomeKey, digest: [u8; 32]) -> Result<(Arc<Flight>, Option<Landing>), CallError> {
        let mut flights = whole(&self.0);
        if let Some(flight) = flights.get(key) {
            if flight.digest != digest {
                return Err(other_input());
            }
            whole(&flight.waiting).count += 1;
            return Ok((flight.clone(), None));
        }
        if flights.len() >= MAX_ONCE_CALLS {
            return Err(CallError::overloaded("too many calls with an idempotency key are in progress"));
        }
        let (sender, outcome) = watch::channel(None);
        let waiting = Mutex::new(Waiters { count: 1, called_off: None });
        let flight = Arc::new(Flight { digest, waiting, node: OnceLock::new(), outcome });
        flights.insert(key.clone(), flight.clone());
        Ok((flight, Some(Landing { flights: self.clone(), key: key.clone(), outcome: sender })))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        whole(&self.0).len()
    }
}

impl Flight {
    pub(super) fn is_called_off(&self) -> bool {
        whole(&self.waiting).called_off.is_some()
    }

    /// Says which call it is, so that it can be called off.
    pub(super) fn runs_as(&self, node: &Arc<CallNode>) {
        let waiting = whole(&self.waiting);
        let _ = self.node.set(node.clone());
        if let Some(ending) = waiting.called_off {
            // Decided before, if at all, by something that is as good a reason.
            let _ = node.call_off(ending);
        }
    }

    /// One who waits leaves; answers whether it was the last.
    fn leave(&self, ending: Ending) -> bool {
        let mut waiting = whole(&self.waiting);
        waiting.count -= 1;
        if waiting.count > 0 {
            return false;
        }
        waiting.called_off.get_or_insert(ending);
        if let Some(node) = self.node.get() {
            let _ = node.call_off(ending);
        }
        true
    }
}

/// The duty to end a call: its outcome goes to everybody who waits, and its name is free. A panic on the way is `INTERNAL`.
pub(super) struct Landing {
    flights: Flights,
    key: OutcomeKey,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Landing {
    pub(super) fn land(self, outcome: Outcome) {
        // Whoever comes from now on asks the journal.
        whole(&self.flights.0).remove(&self.key);
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        whole(&self.flights.0).remove(&self.key);
    }
}

/// One who waits for a call's outcome. Dropping it leaves.
pub(super) struct Waiting {
    flight: Arc<Flight>,
    left: bool,
}

impl Waiting {
    pub(super) const fn new(flight: Arc<Flight>) -> Self {
        Self { flight, left: false }
    }

    /// The outcome, or why it is not waited for any longer. Whoever leaves last is told so only once the work is gone.
    pub(super) async fn outcome(
        mut self,
        session: &SessionGuard,
        abort: &CancellationToken,
        deadline: Option<Instant>,
    ) -> Result<Outcome, Ending> {
        let mut outcome = self.flight.outcome.clone();
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let ending = tokio::select! {
            biased;
            outcome = landed(&mut outcome) => return Ok(outcome),
            () = session.token().cancelled() => if abort.is_cancelled() { Ending::Aborted } else { Ending::Revoked },
            () = late => Ending::TimedOut,
        };
        self.left = true;
        if self.flight.leave(ending) {
            landed(&mut outcome).await.ok();
        }
        Err(ending)
    }
}

async fn landed(outcome: &mut watch::Receiver<Option<Outcome>>) -> Outcome {
    match outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
        Err(_) => Err(lost()),
    }
}

fn lost() -> CallError {
    CallError::internal("a call with an idempotency key was lost on the way")
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.left {
            self.flight.leave(Ending::Aborted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> OutcomeKey {
        OutcomeKey { identity: "a".into(), operation: "b/c".into(), key: key.into() }
    }

    // CALL-26: bounded in memory, and nothing is left.
    #[tokio::test]
    async fn those_that_run_are_bounded_and_forgotten() {
        let flights = Flights::default();
        let join = |name: usize| flights.join(&key(&name.to_string()), [0; 32]);
        let mut joined: Vec<_> = (0..MAX_ONCE_CALLS).map(|n| join(n).unwrap()).collect();
        assert_eq!(join(MAX_ONCE_CALLS).err().unwrap().code, crate::ErrorCode::Overloaded);
        let (again, duty) = join(0).unwrap();
        assert!(duty.is_none(), "one runs it, both wait");
        assert_eq!(flights.join(&key("0"), [1; 32]).err().unwrap().code, crate::ErrorCode::InvalidInput);
        let (first, landing) = joined.swap_remove(0);
        landing.unwrap().land(Ok(7.into()));
        for flight in [first, again] {
            assert_eq!(landed(&mut flight.outcome.clone()).await, Ok(7.into()));
        }
        let (flight, lost) = joined.pop().unwrap();
        drop(lost);
        assert_eq!(landed(&mut flight.outcome.clone()).await.unwrap_err().code, crate::ErrorCode::Internal);
        joined.clear();
        assert_eq!(flights.len(), 0);
    }
}
