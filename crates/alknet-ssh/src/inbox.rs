//! What came for a channel and its process has not taken yet.
//!
//! A channel's queue in the SSH library is emptied into here at once, whatever the process does; [`Pressure`] bounds how much comes. A
//! consumer that takes nothing for too long, while nothing is read because of it and others wait, loses its channel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::{sync::mpsc, time::sleep};

use crate::pressure::{Held, Pressure};

/// A piece of input.
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    _held: Held,
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
    taken: Arc<AtomicU64>,
    pressure: Arc<Pressure>,
    stall_timeout: Duration,
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
pub(crate) fn inbox(queue: ChannelReadHalf, pressure: Arc<Pressure>, stall_timeout: Duration) -> (Drain, Inbox) {
    // Bounded in bytes: nothing is read from the connection while too much is held.
    let (sender, pieces) = mpsc::unbounded_channel();
    let taken = Arc::new(AtomicU64::new(0));
    (Drain { queue, pieces: Some(sender), taken: taken.clone(), pressure, stall_timeout }, Inbox { pieces, taken })
}

impl Drain {
    /// Moves what comes into the inbox until the channel closes. Cancel safe.
    pub(crate) async fn run(&mut self) -> Drained {
        loop {
            let message = tokio::select! {
                message = self.queue.wait() => message,
                () = stalled(&self.taken, &self.pressure, self.stall_timeout) => return Drained::Stalled,
            };
            match message {
                Some(ChannelMsg::Data { data }) => self.keep(data),
                Some(ChannelMsg::Eof) => self.pieces = None,
                Some(ChannelMsg::Close) | None => return Drained::Closed,
                // Requests are answered where they arrive; a client has no extended data to send.
                Some(_) => {}
            }
        }
    }

    fn keep(&self, data: Bytes) {
        if let Some(pieces) = &self.pieces {
            let held = self.pressure.hold(data.len());
            // A consumer that has gone wants nothing more.
            let _ = pieces.send(Piece { data, _held: held });
        }
    }
}

/// Waits until nothing is read from the connection and this channel's consumer has taken nothing for the whole timeout, while other
/// channels suffer from it.
async fn stalled(taken: &AtomicU64, pressure: &Pressure, timeout: Duration) {
    loop {
        let before = taken.load(Ordering::Relaxed);
        sleep(timeout).await;
        if pressure.is_full() && pressure.channels() > 1 && taken.load(Ordering::Relaxed) == before {
            return;
        }
    }
}
