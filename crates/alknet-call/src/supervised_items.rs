//! The items of a subscription that runs here, with everything that may end it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use alknet_core::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{CallError, Ending, Item, LiveCall, OperationContext, registered::json_bytes, run::Ends};

/// A subscription's stream under its call's deadline, abort and rights.
pub(crate) struct SupervisedItems {
    context: Arc<OperationContext>,
    /// The stream and the call's place in the graph, until it has ended. The stream goes first.
    running: Option<(BoxStream<'static, Result<Item, CallError>>, LiveCall)>,
    ends: BoxFuture<'static, Ending>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Runs while an item is waited for, where the specification bounds that.
    idle: Option<Pin<Box<Sleep>>>,
    last_seq: Option<u64>,
    given_bytes: u64,
}

type Polled = Poll<Option<Result<Item, CallError>>>;

impl SupervisedItems {
    pub(crate) fn new(
        context: Arc<OperationContext>,
        live: LiveCall,
        items: BoxStream<'static, Result<Item, CallError>>,
    ) -> Self {
        let deadline = context.deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        let last_seq = context.after_seq;
        let (entered, watched) = (Ends::of(&context), context.clone());
        let ends = Box::pin(async move { entered.called_off(&watched).await });
        Self { context, running: Some((items, live)), ends, deadline, idle: None, last_seq, given_bytes: 0 }
    }

    /// Ready once the subscription was ended from outside.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let ending = if let Poll::Ready(ending) = self.ends.as_mut().poll(cx) {
            ending
        } else if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            Ending::TimedOut
        } else {
            return Poll::Pending;
        };
        Poll::Ready(self.call_off(ending))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.running.is_some()
            && let Poll::Ready(error) = self.poll_ended(cx)
        {
            return Poll::Ready(Some(Err(error)));
        }
        let Some((items, _)) = &mut self.running else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| items.as_mut().poll_next(cx)));
        match polled.unwrap_or_else(|_| Poll::Ready(Some(Err(self.context.operation.panicked())))) {
            Poll::Ready(Some(Ok(item))) => {
                self.idle = None;
                Poll::Ready(Some(self.checked(item)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(None) => Poll::Ready(self.settle(Ok(())).err().map(Err)),
            Poll::Pending => self.poll_idle(cx).map(|error| Some(Err(error))),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Some(most) = self.context.operation.spec.timeout else { return Poll::Pending };
        let Some(at) = Instant::now().checked_add(most) else { return Poll::Pending };
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep_until(at)));
        idle.as_mut().poll(cx).map(|()| self.call_off(Ending::TimedOut))
    }

    fn checked(&mut self, item: Item) -> Result<Item, CallError> {
        let operation = &self.context.operation;
        if operation.spec.resumable {
            if item.seq.is_none() || item.seq <= self.last_seq {
                let words = format!("{} gave an item whose number does not grow", operation.spec.name);
                return Err(self.fail(CallError::internal(words)));
            }
            self.last_seq = item.seq;
        }
        if let Err(error) = operation.check_output(&item.output) {
            return Err(self.fail(error));
        }
        self.given_bytes = self.given_bytes.saturating_add(json_bytes(&item.output) as u64);
        Ok(item)
    }

    fn fail(&mut self, error: CallError) -> CallError {
        match self.settle(Err(error)) {
            Err(error) => error,
            Ok(()) => CallError::internal("a subscription ended twice"),
        }
    }

    fn settle(&mut self, outcome: Result<(), CallError>) -> Result<(), CallError> {
        let Some((items, live)) = self.running.take() else { return outcome };
        drop(items);
        self.context.settle(live, outcome, self.given_bytes)
    }

    fn call_off(&mut self, ending: Ending) -> CallError {
        let Some((items, live)) = self.running.take() else {
            return CallError::internal("a subscription ended twice");
        };
        // Decided first; then the stream goes, so that nothing of it is left when the end is told.
        let ending = live.call_off(ending).err().unwrap_or(ending);
        drop(items);
        self.context.ended_by(live, ending)
    }
}
