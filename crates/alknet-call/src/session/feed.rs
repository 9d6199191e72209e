//! The task of one subscription: takes items while there is credit and room, and makes frames of them.

use std::{future::poll_fn, sync::Arc};

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use super::credit::Credit;
use crate::{
    CallError, ErrorCode, Item, ItemStream,
    envelope::{RequestId, encode_completed, encode_error, encode_item},
    limits::FEED_CHUNK_BYTES,
};

/// Frames of a subscription, ready to leave.
pub(super) struct Chunk {
    pub(super) id: RequestId,
    pub(super) frames: BytesMut,
    /// Whether the last of them ends the subscription.
    pub(super) last: bool,
}

/// A running feed; dropping it calls the subscription off.
pub(super) struct Feed {
    pub(super) credit: Arc<Credit>,
    task: AbortHandle,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A subscription that begins.
pub(super) struct Begin {
    pub(super) id: RequestId,
    pub(super) items: ItemStream,
    pub(super) credit: u32,
    pub(super) abort: CancellationToken,
    pub(super) chunks: mpsc::Sender<Chunk>,
}

impl Begin {
    pub(super) fn feed(self) -> Feed {
        let Self { id, items, credit, abort, chunks } = self;
        let credit = Arc::new(Credit::new(credit));
        let feeding = Feeding { id, items, credit: credit.clone(), abort, sent: 0 };
        Feed { credit, task: tokio::spawn(feeding.run(chunks)).abort_handle() }
    }
}

struct Feeding {
    id: RequestId,
    items: ItemStream,
    credit: Arc<Credit>,
    abort: CancellationToken,
    sent: u64,
}

/// What a stream of items says next: an item, an error, or that there are no more.
type Next = Option<Result<Item, CallError>>;

impl Feeding {
    async fn run(mut self, chunks: mpsc::Sender<Chunk>) {
        loop {
            let first = self.first().await;
            let room = tokio::select! {
                biased;
                room = chunks.reserve() => room,
                error = ended(&mut self.items, &self.abort) => {
                    self.items = ItemStream::new(futures_util::stream::empty());
                    self.finish(&chunks, Some(Err(error))).await;
                    return;
                }
            };
            // The session is gone: nobody wants anything.
            let Ok(room) = room else { return };
            let (frames, last) = self.gather(first);
            room.send(Chunk { id: self.id.clone(), frames, last });
            if last {
                return;
            }
        }
    }

    /// The next thing to send; an item only when there is credit for it.
    async fn first(&mut self) -> Next {
        if self.credit.left() == 0 {
            tokio::select! {
                biased;
                error = ended(&mut self.items, &self.abort) => return Some(Err(error)),
                () = self.credit.available() => {}
            }
        }
        self.items.next().await
    }

    /// Makes frames of one item and of those that are there already.
    fn gather(&mut self, first: Next) -> (BytesMut, bool) {
        let (mut frames, mut next, most) = (BytesMut::new(), first, self.credit.left());
        let mut items = 0;
        loop {
            items += 1;
            if self.append(&mut frames, next) {
                return (frames, true);
            }
            let more = items < most && frames.len() < FEED_CHUNK_BYTES;
            match more.then(|| self.items.next().now_or_never()).flatten() {
                Some(ready) => next = ready,
                None => {
                    self.credit.spend(items);
                    return (frames, false);
                }
            }
        }
    }

    /// Appends a frame; whether it was the last.
    fn append(&mut self, frames: &mut BytesMut, next: Next) -> bool {
        self.sent += 1;
        let error = match next {
            None => {
                encode_completed(frames, &self.id);
                return true;
            }
            Some(Err(error)) => error,
            Some(Ok(item)) => match encode_item(frames, &self.id, &item.output, item.seq.unwrap_or(self.sent)) {
                Ok(()) => return false,
                Err(cause) => CallError::internal(format_args!("an item: {cause}")),
            },
        };
        append_error(frames, &self.id, &error);
        true
    }

    async fn finish(&mut self, chunks: &mpsc::Sender<Chunk>, next: Next) {
        let mut frames = BytesMut::new();
        self.append(&mut frames, next);
        // If the session is gone nobody wants it.
        let _ = chunks.send(Chunk { id: self.id.clone(), frames, last: true }).await;
    }
}

/// Waits until the subscription is ended from outside, without asking it for an item.
async fn ended(items: &mut ItemStream, abort: &CancellationToken) -> CallError {
    tokio::select! {
        biased;
        error = poll_fn(|cx| items.poll_ended(cx)) => error,
        () = abort.cancelled() => CallError::new(ErrorCode::Aborted, "called off by the caller"),
    }
}

/// Appends an error, whatever its size.
pub(super) fn append_error(frames: &mut BytesMut, id: &RequestId, error: &CallError) {
    if let Err(cause) = encode_error(frames, id, error) {
        let error = CallError::internal(format_args!("an error: {cause}"));
        // A short fixed text always fits.
        let _ = encode_error(frames, id, &error);
    }
}
