//! What came for a channel and its consumer has not taken yet: a process, a subsystem, or the target of a forward.
//!
//! A channel's queue in the SSH library is emptied into here at once, whatever the consumer does; [`Pressure`] bounds how much comes. A
//! consumer that takes nothing for too long, while nothing is read because of it and others wait, loses its channel.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    limits::PIECE_OVERHEAD_BYTES,
    pressure::{Held, Pressure},
};

/// A piece of input.
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    _held: Held,
    _backlog: Arc<()>,
}

impl Piece {
    /// Counts a piece; an empty one is none.
    fn new(data: Bytes, pressure: &Arc<Pressure>, backlog: &Arc<()>) -> Option<Self> {
        let held = || pressure.hold(data.len() + PIECE_OVERHEAD_BYTES);
        (!data.is_empty()).then(held).map(|held| Self { data, _held: held, _backlog: backlog.clone() })
    }
}

/// How often the backlog's counter is held besides in pieces: by the drain, and by the watch over it.
const OWN_COUNTS: usize = 2;

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
    /// Cloned into every piece: how many there are of it says how many were not taken yet.
    backlog: Arc<()>,
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
    let inbox = Inbox { pieces, taken: taken.clone() };
    (Drain { queue, pieces: Some(sender), taken, backlog: Arc::default(), pressure, stall_timeout }, inbox)
}

impl Drain {
    /// Whether the client has said that it sends no more.
    pub(crate) const fn has_ended(&self) -> bool {
        self.pieces.is_none()
    }

    /// Moves what comes into the inbox until the channel closes. Cancel safe.
    pub(crate) async fn run(&mut self) -> Drained {
        let (taken, backlog, pressure) = (self.taken.clone(), self.backlog.clone(), self.pressure.clone());
        // One for all messages: a few bytes that still come do not make a consumer that takes nothing any better.
        let mut stalled = pin!(stalled(&taken, &backlog, &pressure, self.stall_timeout));
        loop {
            let message = tokio::select! {
                message = self.queue.wait() => message,
                () = &mut stalled => return Drained::Stalled,
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
        let Some(pieces) = &self.pieces else { return };
        if let Some(piece) = Piece::new(data, &self.pressure, &self.backlog) {
            // A consumer that has gone wants nothing more.
            let _ = pieces.send(piece);
        }
    }
}

/// Waits until the connection is full and this channel's consumer has taken nothing of what it has for the whole timeout, while other
/// channels suffer from it.
pub(crate) async fn stalled(taken: &AtomicU64, backlog: &Arc<()>, pressure: &Pressure, timeout: Duration) {
    loop {
        let before = taken.load(Ordering::Relaxed);
        sleep(timeout).await;
        let idle = Arc::strong_count(backlog) > OWN_COUNTS && taken.load(Ordering::Relaxed) == before;
        if idle && pressure.is_full() && pressure.channels() > 1 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::{FULL_INPUT_BYTES, WINDOW_BYTES},
        pressure::Intake,
    };

    /// SSH-31, SSH-32: what costs memory counts, however short it is.
    #[test]
    fn the_smallest_pieces_fill_a_connection_and_empty_ones_are_none() {
        let (pressure, backlog) = (Arc::new(Pressure::default()), Arc::default());
        let piece = |data: &'static [u8]| Piece::new(Bytes::from_static(data), &pressure, &backlog);
        assert!(piece(b"").is_none());
        let kept: Vec<_> = (0..FULL_INPUT_BYTES / PIECE_OVERHEAD_BYTES).map(|_| piece(b"x").unwrap()).collect();
        assert!(pressure.is_full() && pressure.intake() != Intake::Free);
        drop(kept);
        assert_eq!((pressure.window(), pressure.intake()), (WINDOW_BYTES, Intake::Free));
        // Typing is nothing.
        let _typed: Vec<_> = (0..1000).map(|_| piece(b"x").unwrap()).collect();
        assert_eq!(pressure.window(), WINDOW_BYTES);
    }
}
