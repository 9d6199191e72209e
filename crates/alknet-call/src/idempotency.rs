//! Calls that are run at most once: mutations with an idempotency key.
//!
//! Those that run now are known here, in memory; those that ran are known to the [`CallJournal`]. The work runs in a task of its own,
//! for everybody who waits for it, and is called off when nobody does any more.

mod flight;
mod outcome;

use std::sync::Arc;

use alknet_core::{Begun as Known, CallJournal, Caller, JournalError, OutcomeKey, Permit};
use serde_json::{Value, json};

pub(crate) use flight::Flights;
use flight::{Flight, Waiting};
use outcome::{Outcome, digest};

use crate::{
    Answer, CallError, Ending, ErrorCode, OperationKind, Registry,
    limits::MAX_IDEMPOTENCY_KEY_BYTES,
    registered::Registered,
    registry::RawCall,
    run::{Placement, answer},
};

/// Where the key stands, for errors about it.
const KEY: &str = "/idempotencyKey";

/// A call that is run at most once, let through.
pub(crate) struct OnceOnly {
    pub(crate) operation: Arc<Registered>,
    pub(crate) caller: Caller,
    pub(crate) permit: Permit,
    pub(crate) raw: RawCall,
    pub(crate) input: Value,
}

/// The name of the call's outcome, if its key means anything.
///
/// # Errors
/// `INVALID_INPUT` for a key of another form, and where there can be none: for a subscription, and for an anonymous caller.
pub(crate) fn outcome_key(
    operation: &Registered,
    caller: &Caller,
    key: Option<&str>,
) -> Result<Option<OutcomeKey>, CallError> {
    let Some(key) = key else { return Ok(None) };
    if !(1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let words = format!("an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters");
        return Err(CallError::invalid_input(KEY, words));
    }
    let identity = caller.id().map(str::to_owned);
    match (operation.spec.kind, identity) {
        (OperationKind::Query, _) => Ok(None),
        (OperationKind::Subscription, _) => Err(CallError::invalid_input(KEY, "a subscription takes no key")),
        (OperationKind::Mutation, None) => Err(CallError::invalid_input(KEY, "a key needs a known identity")),
        (OperationKind::Mutation, Some(identity)) => {
            Ok(Some(OutcomeKey { identity, operation: operation.spec.name.clone(), key: key.to_owned() }))
        }
    }
}

impl Registry {
    /// Runs a call, unless it runs or ran before: then its outcome is that one's.
    pub(crate) async fn once(self: &Arc<Self>, key: OutcomeKey, mut call: OnceOnly) -> Result<Value, CallError> {
        let Some(journal) = self.journal().cloned() else {
            return Err(CallError::unavailable("this node keeps no outcomes under idempotency keys; nothing was run"));
        };
        let (abort, deadline) = (call.raw.abort.take().unwrap_or_default(), call.raw.deadline.take());
        let (caller, operation) = (call.caller.clone(), call.operation.clone());
        let digest = digest(&call.input);
        let standing = caller.identity.clone();
        let (flight, landing) = self.flights().join(&key, digest)?;
        if let Some(landing) = landing {
            let registry = self.clone();
            let (key, flight) = (key, flight.clone());
            tokio::spawn(async move {
                let outcome = registry.run_once(&*journal, &flight, key, digest, call).await;
                landing.land(outcome);
            });
        }
        let session = self.sessions().register_under(&caller, alknet_core::SessionKind::Call, &abort);
        let waiting = Waiting::new(flight);
        let outcome = waiting.outcome(&session, &abort, deadline).await;
        let outcome = outcome.map_err(|ending| match ending {
            Ending::TimedOut => operation.late(),
            Ending::Revoked => CallError::unauthenticated("the caller's rights were taken away"),
            _ => CallError::new(ErrorCode::Aborted, "called off by the caller"),
        })?;
        // An outcome is told only to whom it may still be told.
        match standing {
            Some(identity) if !identity.standing().is_current() => {
                Err(CallError::unauthenticated("the caller's rights were taken away"))
            }
            _ => outcome,
        }
    }

    async fn run_once(
        self: &Arc<Self>,
        journal: &dyn CallJournal,
        flight: &Flight,
        key: OutcomeKey,
        digest: [u8; 32],
        call: OnceOnly,
    ) -> Outcome {
        if let Some(known) = first_time(journal, &key, digest, call.operation.spec.idempotent).await {
            return known;
        }
        if flight.is_called_off() {
            forget(journal, key).await;
            return Err(CallError::new(ErrorCode::Aborted, "called off by the caller"));
        }
        let OnceOnly { operation, caller, permit, raw, input } = call;
        let raw = RawCall { placement: Placement::ThisTask, ..raw };
        let begun = self.enter(&operation, caller, permit, raw);
        let node = begun.context.node.clone();
        flight.runs_as(&node);
        let handler = |context: &Arc<_>| (operation.handler)(Arc::clone(context), input);
        let outcome = begun.run(handler, answer).await.and_then(|answer| match answer {
            Answer::Output(output) => Ok(output),
            Answer::Items(_) => Err(CallError::internal("a mutation gave items")),
        });
        match outcome::kept(&outcome, node.ending().decided(), operation.spec.idempotent) {
            Some(kept) => {
                if let Err(error) = journal.end(key, kept).await {
                    tracing::error!(%error, operation = %operation.spec.name, "an outcome was not kept");
                }
            }
            None => forget(journal, key).await,
        }
        outcome
    }
}

/// What is known of the call already; nothing where it is to be run.
async fn first_time(
    journal: &dyn CallJournal,
    key: &OutcomeKey,
    digest: [u8; 32],
    idempotent: bool,
) -> Option<Outcome> {
    let mut known = journal.begin(key.clone(), digest).await;
    if idempotent && matches!(known, Ok(Known::Unknown)) {
        known = match journal.forget(key.clone()).await {
            Ok(()) => journal.begin(key.clone(), digest).await,
            Err(error) => Err(error),
        };
    }
    let refusal =
        |what: &str, words: &str| Some(Err(CallError::unavailable(words).with_details(json!({ "outcome": what }))));
    match known {
        Ok(Known::Fresh) => None,
        Ok(Known::Ended(text)) => Some(outcome::read(&text)),
        Ok(Known::TooLarge) => refusal("too-large", "it was run; its outcome was too large to keep"),
        Ok(Known::Unknown) => refusal("unknown", "it was begun before, and whether it took effect is not known"),
        Ok(Known::OtherInput) => Some(Err(other_input())),
        Err(JournalError::Full) => {
            Some(Err(CallError::overloaded("too many calls with an idempotency key are in progress")))
        }
        Err(error) => {
            tracing::error!(%error, "a call with an idempotency key was not begun");
            Some(Err(CallError::unavailable("outcomes cannot be kept now; nothing was run").retryable()))
        }
    }
}

fn other_input() -> CallError {
    CallError::invalid_input(KEY, "the key stands for a call with another input")
}

async fn forget(journal: &dyn CallJournal, key: OutcomeKey) {
    if let Err(error) = journal.forget(key).await {
        tracing::error!(%error, "a key of a call that did nothing stays taken");
    }
}
