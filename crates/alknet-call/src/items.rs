//! What a subscription gives: items until it ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream::BoxStream};
use serde_json::Value;

use crate::{CallError, supervised_items::SupervisedItems};

/// One item of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T = Value> {
    /// What it says.
    pub output: T,
    /// Its number, growing, where the subscription is resumable.
    pub seq: Option<u64>,
}

impl<T> Item<T> {
    /// An item without a number.
    pub const fn new(output: T) -> Self {
        Self { output, seq: None }
    }
    /// An item that a subscriber can go on after.
    pub const fn numbered(seq: u64, output: T) -> Self {
        Self { output, seq: Some(seq) }
    }
}

impl<T> From<T> for Item<T> {
    fn from(output: T) -> Self {
        Self::new(output)
    }
}

/// The items of a running subscription: a stream whose end is its completion, and in which an error is the last item.
///
/// It is asked for an item only when polled, so whoever polls decides the pace. Dropping it calls the subscription off.
pub struct ItemStream(Source);

enum Source {
    Supervised(Box<SupervisedItems>),
    Plain(BoxStream<'static, Result<Item, CallError>>),
    Ended,
}

impl ItemStream {
    /// Items from elsewhere, as they are.
    pub fn new(items: impl Stream<Item = Result<Item, CallError>> + Send + 'static) -> Self {
        Self(Source::Plain(Box::pin(items)))
    }

    pub(crate) fn supervised(items: SupervisedItems) -> Self {
        Self(Source::Supervised(Box::new(items)))
    }

    /// Asks only whether the subscription was ended from outside (called off, deadline, rights), not for an item: for whoever
    /// has no use for an item now. Once it is ready with the reason the stream gives nothing more.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Source::Supervised(items) = &mut self.0 else { return Poll::Pending };
        let ended = items.poll_ended(cx);
        if ended.is_ready() {
            self.0 = Source::Ended;
        }
        ended
    }
}

impl Stream for ItemStream {
    type Item = Result<Item, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.0 {
            Source::Supervised(items) => items.poll_next(cx),
            Source::Plain(items) => items.as_mut().poll_next(cx),
            Source::Ended => Poll::Ready(None),
        };
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.0 = Source::Ended;
        }
        next
    }
}

impl fmt::Debug for ItemStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ItemStream")
    }
}
