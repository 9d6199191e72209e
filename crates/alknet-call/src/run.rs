//! Running a call that was let through: a handler that is ready at once costs no task, one that waits gets its own.

use std::{future::poll_fn, panic::AssertUnwindSafe, sync::Arc, task::Poll};

use alknet_core::{BoxFuture, Caller, Permit, SessionGuard, SessionKind};
use futures_util::FutureExt;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Answer, CallError, CallRequest, ErrorCode, ItemStream, OperationContext, Registry,
    life::{Ending, Life},
    operation::Produced,
    registered::Registered,
    supervised_items::SupervisedItems,
};

/// The future of a handler.
pub(crate) type Running<T> = BoxFuture<'static, Result<T, CallError>>;

impl Registry {
    pub(crate) async fn run(
        self: &Arc<Self>,
        operation: Arc<Registered>,
        caller: Caller,
        permit: Permit,
        request: CallRequest,
    ) -> Result<Answer, CallError> {
        let CallRequest { id, parent_id, input, deadline, abort, after_seq, credit, via, origin, peer, .. } = request;
        let context = Arc::new(OperationContext {
            request_id: id,
            parent_id,
            caller,
            deadline: earliest(deadline, operation.timeout().and_then(|own| Instant::now().checked_add(own))),
            permit: Arc::new(permit),
            origin,
            after_seq,
            credit,
            via,
            peer,
            registry: self.clone(),
            operation,
            abort: Some(abort),
            life: Life::default(),
        });
        let produced = supervise(&context, |context| (context.operation.handler)(context.clone(), input)).await;
        conclude(&context, produced)
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Runs a handler to its end, or to the call's, whichever is first.
pub(crate) async fn supervise<T: Send + 'static>(
    context: &Arc<OperationContext>,
    begin: impl FnOnce(&Arc<OperationContext>) -> Running<T>,
) -> Result<T, CallError> {
    let unfinished = EndedByDrop(context);
    if context.is_cancelled() {
        return Err(end(context, Ending::Aborted));
    }
    let begun = std::panic::catch_unwind(AssertUnwindSafe(|| begin(context)));
    let mut running = begun.map_err(|_| context.operation.panicked())?;
    let first = poll_fn(|cx| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| running.poll_unpin(cx)));
        Poll::Ready(polled.unwrap_or_else(|_| Poll::Ready(Err(context.operation.panicked()))))
    });
    let outcome = match first.await {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => TaskOfItsOwn(tokio::spawn(see_through(context.clone(), running))).outcome().await,
    };
    std::mem::forget(unfinished);
    outcome
}

/// Waits for what ends a call that did not end at once. The handler is dropped before this answers.
async fn see_through<T>(context: Arc<OperationContext>, running: Running<T>) -> Result<T, CallError> {
    let ends = Ends::of(&context);
    let ending = {
        let mut running = AssertUnwindSafe(running).catch_unwind();
        tokio::select! {
            biased;
            outcome = &mut running => return outcome.unwrap_or_else(|_| Err(context.operation.panicked())),
            ending = ends.come(context.deadline) => ending,
        }
    };
    Err(end(&context, ending))
}

/// What can end a call from outside, entered among the sessions while it waits.
pub(crate) struct Ends {
    pub(crate) called_off: CancellationToken,
    pub(crate) session: SessionGuard,
}

impl Ends {
    pub(crate) fn of(context: &OperationContext) -> Self {
        let called_off = context.cancel_token();
        let sessions = context.registry.sessions();
        let session = sessions.register_under(&context.caller, SessionKind::Call, &called_off);
        Self { called_off, session }
    }

    /// Why the session's token is cancelled.
    pub(crate) fn ending(&self) -> Ending {
        if self.called_off.is_cancelled() { Ending::Aborted } else { Ending::Revoked }
    }

    async fn come(&self, deadline: Option<Instant>) -> Ending {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.session.token().cancelled() => self.ending(),
            () = late => Ending::TimedOut,
        }
    }
}

/// Ends the call so, unless something else did before; answers how it ended, as its caller sees it.
pub(crate) fn end(context: &OperationContext, ending: Ending) -> CallError {
    let decided = context.life.end(ending).err().unwrap_or(ending);
    match decided {
        Ending::TimedOut => context.operation.late(),
        Ending::Revoked => CallError::unauthenticated("the caller's rights were taken away"),
        Ending::Completed | Ending::Failed | Ending::Aborted => {
            CallError::new(ErrorCode::Aborted, "called off by the caller")
        }
    }
}

/// What came of a handler becomes what is answered, unless the call has ended otherwise.
fn conclude(context: &Arc<OperationContext>, produced: Result<Produced, CallError>) -> Result<Answer, CallError> {
    match produced {
        Ok(Produced::Output(output)) => {
            let checked = context.operation.check_output(&output).map(|()| output);
            settle(context, checked).map(Answer::Output)
        }
        Ok(Produced::Items(items)) => {
            Ok(Answer::Items(ItemStream::supervised(SupervisedItems::new(context.clone(), items))))
        }
        Err(error) => settle(context, Err(error)),
    }
}

/// Decides that the call ended with this outcome; what ended it before is answered instead.
pub(crate) fn settle<T>(context: &OperationContext, outcome: Result<T, CallError>) -> Result<T, CallError> {
    let (ending, outcome) = match outcome {
        Ok(output) => (Ending::Completed, Ok(output)),
        Err(error) => (Ending::Failed, Err(context.operation.only_declared(error))),
    };
    match context.life.end(ending) {
        Ok(()) => outcome,
        // What `end` decided is already the error in hand.
        Err(_) if outcome.is_err() => outcome,
        Err(first) => Err(end(context, first)),
    }
}

/// Whatever drops the future early also ends what the handler began elsewhere.
struct EndedByDrop<'a>(&'a OperationContext);

impl Drop for EndedByDrop<'_> {
    fn drop(&mut self) {
        let _ = self.0.life.end(Ending::Aborted);
    }
}

/// A task that ends with whoever waits for it.
struct TaskOfItsOwn<T>(JoinHandle<Result<T, CallError>>);

impl<T> TaskOfItsOwn<T> {
    async fn outcome(mut self) -> Result<T, CallError> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) => Err(CallError::internal(error)),
        }
    }
}

impl<T> Drop for TaskOfItsOwn<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
