//! Running a call that was let through: a handler that is ready at once costs no task, one that waits gets its own.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

use alknet_core::{SessionGuard, SessionKind};
use futures_util::FutureExt;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    Answer, Bond, CallError, Ending, ErrorCode, ItemStream, LiveCall, OperationContext,
    operation::{Produced, Running},
    registered::json_bytes,
    supervised_items::SupervisedItems,
};

/// What becomes of what a handler gave; called once, with the call's place in the graph.
pub(crate) type Conclude<T, U> = fn(&Arc<OperationContext>, LiveCall, Result<T, CallError>) -> Result<U, CallError>;

/// A call that was let through and entered in the graph.
pub(crate) struct Begun {
    pub(crate) context: Arc<OperationContext>,
    pub(crate) live: LiveCall,
}

impl Begun {
    /// Runs the handler to its end, or to the call's, whichever is first. Dropping the future ends the call, unless it is continuing.
    pub(crate) async fn run<T: Send + 'static, U: Send + 'static>(
        self,
        handler: impl FnOnce(&Arc<OperationContext>) -> Running<T>,
        conclude: Conclude<T, U>,
    ) -> Result<U, CallError> {
        let Self { context, live } = self;
        if context.is_cancelled() {
            return Err(context.ended_by(live, Ending::Aborted));
        }
        live.running();
        let begun = catch_unwind(AssertUnwindSafe(|| handler(&context)));
        let Ok(mut running) = begun else { return conclude(&context, live, Err(context.operation.panicked())) };
        let first = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| running.poll_unpin(cx)));
            Poll::Ready(polled.unwrap_or_else(|_| Poll::Ready(Err(context.operation.panicked()))))
        });
        match (first.await, context.placement) {
            (Poll::Ready(outcome), _) => conclude(&context, live, outcome),
            (Poll::Pending, Placement::WithinCaller | Placement::ThisTask) => {
                see_through(context, live, running, conclude).await
            }
            (Poll::Pending, placement) => {
                let node = live.node().clone();
                let task = tokio::spawn(see_through(context, live, running, conclude));
                OwnTask { task, node: (placement == Placement::OwnTask).then_some(node) }.outcome().await
            }
        }
    }
}

/// Where a call runs that is not done at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    /// In a task of its own, which ends when nobody waits for it.
    #[default]
    OwnTask,
    /// In the task that begins it, which is there for nothing else.
    ThisTask,
    /// In a task of its own, to its end.
    Continuing,
    /// As a part of the handler that called it.
    WithinCaller,
}

impl From<Bond> for Placement {
    fn from(bond: Bond) -> Self {
        match bond {
            Bond::Within => Self::WithinCaller,
            Bond::Continuing => Self::Continuing,
        }
    }
}

/// Waits for what ends a call that did not end at once. The handler is dropped before this answers.
async fn see_through<T, U>(
    context: Arc<OperationContext>,
    live: LiveCall,
    running: Running<T>,
    conclude: Conclude<T, U>,
) -> Result<U, CallError> {
    let ends = Ends::of(&context);
    let ending = {
        let mut running = AssertUnwindSafe(running).catch_unwind();
        tokio::select! {
            biased;
            outcome = &mut running => {
                let outcome = outcome.unwrap_or_else(|_| Err(context.operation.panicked()));
                return conclude(&context, live, outcome);
            }
            ending = ends.come(&context) => context.node.call_off(ending).err().unwrap_or(ending),
        }
    };
    Err(context.ended_by(live, ending))
}

/// What can end a call from outside. A call in a task of its own is entered among the sessions; another ends with its caller.
pub(crate) struct Ends {
    session: Option<SessionGuard>,
}

impl Ends {
    pub(crate) fn of(context: &OperationContext) -> Self {
        let sessions = context.registry.sessions();
        let session = (context.placement != Placement::WithinCaller).then(|| match &context.abort {
            Some(abort) => sessions.register_under(&context.caller, SessionKind::Call, abort),
            None => sessions.register(&context.caller, SessionKind::Call),
        });
        Self { session }
    }

    /// Waits for the first of them. Cancel safe.
    async fn come(&self, context: &OperationContext) -> Ending {
        let late = async {
            match context.handler_deadline() {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = self.called_off(context) => ending,
            () = late => Ending::TimedOut,
        }
    }

    /// Waits for what is not the deadline. Cancel safe.
    pub(crate) async fn called_off(&self, context: &OperationContext) -> Ending {
        let rights = async {
            match &self.session {
                Some(session) => session.token().cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = context.node.cancel_token().cancelled() => Ending::Aborted,
            () = rights => if context.is_cancelled() { Ending::Aborted } else { Ending::Revoked },
        }
    }
}

impl OperationContext {
    /// When the handler must be done; a subscription's only begins it.
    fn handler_deadline(&self) -> Option<Instant> {
        let begins = self.operation.spec.timeout.filter(|_| self.operation.is_subscription());
        earliest(self.deadline, begins.and_then(|begins| self.node.began().checked_add(begins)))
    }

    /// Ends the call so, unless something else did before; answers how it ended, as its caller sees it. The work is gone by now.
    pub(crate) fn ended_by(&self, live: LiveCall, ending: Ending) -> CallError {
        self.words_for(live.finish(ending, 0))
    }

    fn words_for(&self, ending: Ending) -> CallError {
        match ending {
            Ending::TimedOut => self.operation.late(),
            Ending::Revoked => CallError::unauthenticated("the caller's rights were taken away"),
            Ending::Completed | Ending::Failed | Ending::Aborted => {
                CallError::new(ErrorCode::Aborted, "called off by the caller")
            }
        }
    }

    /// Decides that the call ended with this outcome; what ended it before is answered instead.
    pub(crate) fn settle<T>(
        &self,
        live: LiveCall,
        outcome: Result<T, CallError>,
        output_bytes: u64,
    ) -> Result<T, CallError> {
        let wanted = if outcome.is_ok() { Ending::Completed } else { Ending::Failed };
        let ending = live.finish(wanted, output_bytes);
        if ending == wanted {
            outcome.map_err(|error| self.operation.only_declared(error))
        } else {
            Err(self.words_for(ending))
        }
    }
}

/// What came of a handler becomes what is answered, unless the call has ended otherwise.
pub(crate) fn answer(
    context: &Arc<OperationContext>,
    live: LiveCall,
    produced: Result<Produced, CallError>,
) -> Result<Answer, CallError> {
    match produced {
        Ok(Produced::Output(output)) => {
            let bytes = json_bytes(&output) as u64;
            let checked = context.operation.check_output(&output).map(|()| output);
            context.settle(live, checked, bytes).map(Answer::Output)
        }
        Ok(Produced::Items(items)) => {
            Ok(Answer::Items(ItemStream::supervised(SupervisedItems::new(context.clone(), live, items))))
        }
        Err(error) => context.settle(live, Err(error), 0),
    }
}

/// A task that ends with whoever waits for it, unless it is to continue.
struct OwnTask<U> {
    task: JoinHandle<Result<U, CallError>>,
    node: Option<Arc<crate::CallNode>>,
}

impl<U> OwnTask<U> {
    async fn outcome(mut self) -> Result<U, CallError> {
        let outcome = (&mut self.task).await;
        self.node = None;
        outcome.unwrap_or_else(|error| Err(CallError::internal(error)))
    }
}

impl<U> Drop for OwnTask<U> {
    fn drop(&mut self) {
        if let Some(node) = &self.node {
            // The task sees it, drops the handler, and takes the call out of the graph.
            let _ = node.call_off(Ending::Aborted);
        }
    }
}

/// The earlier of two times, where there are any.
pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
