//! The items of a subscription that runs here, with everything that may end it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::stream::BoxStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    CallError, Item, OperationContext,
    life::Ending,
    run::{Ends, end, settle},
};

/// A subscription's stream under its call's deadline, abort and rights.
pub(crate) struct SupervisedItems {
    context: Arc<OperationContext>,
    items: Option<BoxStream<'static, Result<Item, CallError>>>,
    ends: Ends,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Runs while an item is waited for, where the specification bounds that.
    idle: Option<Pin<Box<Sleep>>>,
    last_seq: Option<u64>,
}

impl SupervisedItems {
    pub(crate) fn new(context: Arc<OperationContext>, items: BoxStream<'static, Result<Item, CallError>>) -> Self {
        let ends = Ends::of(&context);
        let ended = Box::pin(ends.session.token().clone().cancelled_owned());
        let deadline = context.deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        let last_seq = context.after_seq;
        Self { context, items: Some(items), ends, ended, deadline, idle: None, last_seq }
    }

    /// Ready once the subscription was ended from outside.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let ending = if self.ended.as_mut().poll(cx).is_ready() {
            self.ends.ending()
        } else if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            Ending::TimedOut
        } else {
            return Poll::Pending;
        };
        Poll::Ready(self.end(ending))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item, CallError>>> {
        if let Poll::Ready(error) = self.poll_ended(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(items) = &mut self.items else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| items.as_mut().poll_next(cx)));
        match polled.unwrap_or_else(|_| Poll::Ready(Some(Err(self.context.operation.panicked())))) {
            Poll::Ready(Some(Ok(item))) => {
                self.idle = None;
                Poll::Ready(Some(self.checked(item)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(None) => {
                self.items = None;
                Poll::Ready(settle(&self.context, Ok(())).err().map(Err))
            }
            Poll::Pending => self.poll_idle(cx).map(|error| Some(Err(error))),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Some(most) = self.context.operation.spec.timeout else { return Poll::Pending };
        let Some(at) = Instant::now().checked_add(most) else { return Poll::Pending };
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep_until(at)));
        match idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(self.end(Ending::TimedOut)),
            Poll::Pending => Poll::Pending,
        }
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
        Ok(item)
    }

    fn fail(&mut self, error: CallError) -> CallError {
        self.items = None;
        settle::<()>(&self.context, Err(error.clone())).err().unwrap_or(error)
    }

    fn end(&mut self, ending: Ending) -> CallError {
        // The stream first, so that nothing of it is left when the end is told.
        self.items = None;
        end(&self.context, ending)
    }
}

impl Drop for SupervisedItems {
    fn drop(&mut self) {
        self.items = None;
        let _ = self.context.life.end(Ending::Aborted);
    }
}
