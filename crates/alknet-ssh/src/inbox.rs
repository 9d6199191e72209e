//! What came for a channel and its process has not taken yet: bounded per channel and per connection.
//!
//! The SSH library opens the window again as soon as data *arrives* and waits when a channel's queue is full. So every channel's queue is
//! emptied into here at once, and only when here is full the connection waits; a consumer that takes nothing for too long, while others
//! wait for it, loses its channel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits::{MAX_CHANNEL_INPUT_BYTES, MAX_CONNECTION_INPUT_BYTES};

/// What all channels of a connection share.
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    /// Channels that are open.
    pub(crate) channels: AtomicUsize,
    pub(crate) stall_timeout: Duration,
}

impl Budget {
    pub(crate) fn new(stall_timeout: Duration) -> Arc<Self> {
        let bytes = Arc::new(Semaphore::new(MAX_CONNECTION_INPUT_BYTES));
        Arc::new(Self { bytes, channels: AtomicUsize::new(0), stall_timeout })
    }
}

/// A piece of input; its share of both budgets goes back when it is dropped.
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    _shares: [OwnedSemaphorePermit; 2],
}

/// The consumer's end.
pub(crate) struct Inbox {
    pieces: mpsc::UnboundedReceiver<Piece>,
    taken: Arc<AtomicU64>,
}

impl Inbox {
    /// Waits for input; `None` is its end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
    /// More input that is already there.
    pub(crate) fn more(&mut self) -> Option<Piece> {
        self.pieces.try_recv().ok()
    }
    /// Says that the consumer took something.
    pub(crate) fn progressed(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// The library's end: empties a channel's queue.
pub(crate) struct Drain {
    queue: ChannelReadHalf,
    pieces: Option<mpsc::UnboundedSender<Piece>>,
    /// Taken out of the queue, not in the inbox yet.
    held: Option<Bytes>,
    taken: Arc<AtomicU64>,
    room: Arc<Semaphore>,
    budget: Arc<Budget>,
}

/// Why nothing more comes from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The client closed it, or is gone.
    Closed,
    /// Its consumer took nothing for too long while others waited.
    Stalled,
}

/// Joins a channel's queue to an inbox.
pub(crate) fn inbox(queue: ChannelReadHalf, budget: Arc<Budget>) -> (Drain, Inbox) {
    // Bounded in bytes by the two semaphores.
    let (sender, pieces) = mpsc::unbounded_channel();
    let taken = Arc::new(AtomicU64::new(0));
    let room = Arc::new(Semaphore::new(MAX_CHANNEL_INPUT_BYTES));
    (Drain { queue, pieces: Some(sender), held: None, taken: taken.clone(), room, budget }, Inbox { pieces, taken })
}

impl Drain {
    /// Moves what comes into the inbox until the channel closes. Cancel safe.
    pub(crate) async fn run(&mut self) -> Drained {
        loop {
            if let Some(data) = self.held.clone() {
                if !self.keep(data).await {
                    return Drained::Stalled;
                }
                self.held = None;
            }
            match self.queue.wait().await {
                Some(ChannelMsg::Data { data }) => self.held = Some(data),
                Some(ChannelMsg::Eof) => self.pieces = None,
                Some(ChannelMsg::Close) | None => return Drained::Closed,
                // Requests are answered where they arrive; a client has no extended data to send.
                Some(_) => {}
            }
        }
    }

    /// Keeps one piece; answers `false` when there was no room for too long.
    async fn keep(&self, data: Bytes) -> bool {
        // Without a consumer there is nothing to keep it for.
        let Some(pieces) = self.pieces.as_ref().filter(|pieces| !pieces.is_closed()) else { return true };
        tokio::select! {
            biased;
            shares = self.shares(data.len()) => {
                // A consumer that has just gone wants nothing more.
                let _ = pieces.send(Piece { data, _shares: shares });
                true
            }
            () = pieces.closed() => true,
            () = self.stalled() => false,
        }
    }

    async fn shares(&self, bytes: usize) -> [OwnedSemaphorePermit; 2] {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let take = |from: &Arc<Semaphore>| from.clone().acquire_many_owned(bytes);
        let own = take(&self.room).await.expect("because the semaphore is never closed");
        let shared = take(&self.budget.bytes).await.expect("because the semaphore is never closed");
        [own, shared]
    }

    /// Waits until the consumer has taken nothing for the whole timeout and other channels are there to suffer from it.
    async fn stalled(&self) {
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            tokio::time::sleep(self.budget.stall_timeout).await;
            let others = self.budget.channels.load(Ordering::Relaxed) > 1;
            if others && self.taken.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}
