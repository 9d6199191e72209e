//! The subscriber's end of a subscription.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, stream::BoxStream};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::call_client::{OpenRequest, gone};
use crate::{CallError, ErrorCode, Item, ItemStream, session::Event};

/// The items of a subscription: its end is completion, an error is its last item. Dropping it calls the subscription off.
pub struct Subscription(Source);

enum Source {
    Local { items: ItemStream, taken: u64 },
    Remote(Remote),
    Resuming(BoxStream<'static, Result<Item, CallError>>),
    Ended,
}

pub(super) struct Remote {
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) open: OpenRequest,
    /// After how many items taken more are let come.
    pub(super) granted_at: u32,
    pub(super) taken: u32,
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
}

impl Remote {
    pub(super) fn new(
        events: mpsc::UnboundedReceiver<Event>,
        open: OpenRequest,
        window: u32,
        deadline: Option<Instant>,
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(sleep_until(at)));
        Self { events, open, granted_at: window.div_ceil(2), taken: 0, deadline }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>, CallError>> {
        match self.events.poll_recv(cx) {
            Poll::Ready(event) => Poll::Ready(self.happened(event)),
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(CallError::new(ErrorCode::Timeout, "the deadline passed")))
            }
        }
    }

    fn happened(&mut self, event: Option<Event>) -> Result<Option<Item>, CallError> {
        match event {
            Some(Event::Item(item)) => {
                self.taken += 1;
                if self.taken >= self.granted_at {
                    self.open.grant(std::mem::take(&mut self.taken));
                }
                Ok(Some(item))
            }
            Some(Event::Completed) => {
                self.open.is_answered();
                Ok(None)
            }
            Some(Event::Failed(error)) => {
                self.open.is_answered();
                Err(error)
            }
            None => {
                self.open.is_answered();
                Err(gone())
            }
        }
    }
}

impl Subscription {
    pub(super) fn local(items: ItemStream) -> Self {
        Self(Source::Local { items, taken: 0 })
    }
    pub(super) fn remote(remote: Remote) -> Self {
        Self(Source::Remote(remote))
    }
    pub(super) fn resuming(items: impl Stream<Item = Result<Item, CallError>> + Send + 'static) -> Self {
        Self(Source::Resuming(Box::pin(items)))
    }
    pub(super) const fn ended() -> Self {
        Self(Source::Ended)
    }
}

impl Stream for Subscription {
    type Item = Result<Item, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.0 {
            Source::Remote(remote) => ready!(remote.poll_next(cx)).transpose(),
            Source::Local { items, taken } => {
                let next = ready!(Pin::new(items).poll_next(cx));
                *taken += 1;
                // As they are numbered on the wire.
                let seq = Some(*taken);
                next.map(|next| next.map(|item| Item { seq: item.seq.or(seq), ..item }))
            }
            Source::Resuming(items) => ready!(items.as_mut().poll_next(cx)),
            Source::Ended => None,
        };
        if matches!(next, None | Some(Err(_))) {
            self.0 = Source::Ended;
        }
        Poll::Ready(next)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
