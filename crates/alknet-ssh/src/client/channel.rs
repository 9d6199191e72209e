//! One channel on the client's side: a task empties the library's queue, whatever the application does.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client::Msg};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::callbacks::Shared;
use crate::{
    inbox::stalled,
    limits::PIECE_OVERHEAD_BYTES,
    pressure::{Held, OpenChannel, Pressure},
    relay::STDERR,
};

/// A piece of what came, counted until it is dropped.
pub(super) struct Piece {
    pub(super) data: Bytes,
    _share: Share,
}

/// What came and was not taken yet: each costs something, whatever it is.
struct Queued {
    arrived: Arrived,
    _share: Share,
}

/// A part of what is held, and of the channel's backlog.
struct Share {
    _held: Held,
    _backlog: Arc<()>,
}

/// What came on a channel, in its order. After the last of it the channel is closed.
pub(super) enum Arrived {
    Data(Piece),
    Errors(Piece),
    EndOfData,
    /// The answer to the oldest request without one.
    Answer(bool),
    Status(u32),
    Signal(String),
}

/// The application's ends of a channel.
pub(super) struct ClientChannel {
    pub(super) sending: Arc<Sending>,
    pub(super) arriving: Arriving,
}

/// What may be sent. When the last clone is dropped the channel is closed.
pub(super) struct Sending {
    half: Arc<ChannelWriteHalf<Msg>>,
    closed: CancellationToken,
    _released: DropGuard,
}

/// What came.
pub(super) struct Arriving {
    queue: mpsc::UnboundedReceiver<Queued>,
    taken: Arc<AtomicU64>,
}

impl ClientChannel {
    /// Starts the channel's task.
    pub(super) fn new(channel: Channel<Msg>, shared: &Arc<Shared>, open: OpenChannel) -> Self {
        let (read, write) = channel.split();
        let (half, closed, released) = (Arc::new(write), CancellationToken::new(), CancellationToken::new());
        // Bounded in bytes: nothing is read from the connection while too much is held.
        let (sender, queue) = mpsc::unbounded_channel();
        let taken = Arc::new(AtomicU64::new(0));
        let drain = Drain {
            queue: read,
            half: half.clone(),
            sender,
            taken: taken.clone(),
            backlog: Arc::default(),
            pressure: shared.pressure.clone(),
            _open: open,
            _closed: closed.clone().drop_guard(),
        };
        tokio::spawn(drain.run(released.clone(), shared.life.clone(), shared.stall_timeout));
        let sending = Arc::new(Sending { half, closed, _released: released.drop_guard() });
        Self { sending, arriving: Arriving { queue, taken } }
    }
}

impl Sending {
    /// Sends data once the node has room for it.
    pub(super) async fn data(&self, data: Bytes) -> io::Result<()> {
        self.until_closed(self.half.data_bytes(data)).await
    }
    /// Says that no more data comes.
    pub(super) async fn eof(&self) -> io::Result<()> {
        self.until_closed(self.half.eof()).await
    }
    /// Sends a request; a wanted answer comes as [`Arrived::Answer`].
    pub(super) async fn request(&self, request: impl Future<Output = Result<(), russh::Error>>) -> io::Result<()> {
        self.until_closed(request).await
    }
    /// Waits until nothing can be sent any more. What came before may still wait to be taken. Cancel safe.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
    /// The library's half, for requests.
    pub(super) fn half(&self) -> &ChannelWriteHalf<Msg> {
        &self.half
    }

    /// The library does not wake somebody who waits for room on a channel that is closed meanwhile.
    async fn until_closed(&self, sent: impl Future<Output = Result<(), russh::Error>>) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(closed()),
            sent = sent => sent.map_err(|_| closed()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the channel is closed")
}

impl Arriving {
    /// Waits for what comes next. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Arrived> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
    /// The polling form of [`Self::next`].
    pub(super) fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Arrived>> {
        let next = std::task::ready!(self.queue.poll_recv(cx));
        self.taken.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::Ready(next.map(|queued| queued.arrived))
    }
}

/// Moves what comes from the library's bounded queue into the application's.
struct Drain {
    queue: ChannelReadHalf,
    half: Arc<ChannelWriteHalf<Msg>>,
    sender: mpsc::UnboundedSender<Queued>,
    taken: Arc<AtomicU64>,
    /// Cloned into every share: how many there are of it says how many were not taken yet.
    backlog: Arc<()>,
    pressure: Arc<Pressure>,
    _open: OpenChannel,
    _closed: DropGuard,
}

impl Drain {
    async fn run(mut self, released: CancellationToken, life: CancellationToken, stall_timeout: Duration) {
        let (taken, backlog, pressure) = (self.taken.clone(), self.backlog.clone(), self.pressure.clone());
        let mut stalled = pin!(stalled(&taken, &backlog, &pressure, stall_timeout));
        loop {
            let message = tokio::select! {
                message = self.queue.wait() => message,
                () = released.cancelled() => break,
                () = life.cancelled() => return,
                () = &mut stalled => {
                    tracing::info!("an ssh channel was closed: nothing was taken from it while others waited");
                    break;
                }
            };
            match message {
                Some(ChannelMsg::Close) | None => return,
                Some(message) => self.hand_on(message),
            }
        }
        // The queue goes first: the library's loop may be waiting on it.
        drop(self.queue);
        // It fails only when the connection is gone.
        let _ = self.half.close().await;
    }

    fn hand_on(&self, message: ChannelMsg) {
        let mut cost = PIECE_OVERHEAD_BYTES;
        let arrived = match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } if data.is_empty() => return,
            ChannelMsg::Data { data } => Arrived::Data(self.piece(data)),
            ChannelMsg::ExtendedData { data, ext: STDERR } => Arrived::Errors(self.piece(data)),
            ChannelMsg::Eof => Arrived::EndOfData,
            ChannelMsg::Success => Arrived::Answer(true),
            ChannelMsg::Failure => Arrived::Answer(false),
            ChannelMsg::ExitStatus { exit_status } => Arrived::Status(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                let name = name_of(&signal_name);
                cost += name.len();
                Arrived::Signal(name)
            }
            _ => return,
        };
        // An application that has gone wants nothing more.
        let _ = self.sender.send(Queued { arrived, _share: self.share(cost) });
    }

    fn piece(&self, data: Bytes) -> Piece {
        Piece { _share: self.share(data.len()), data }
    }

    fn share(&self, bytes: usize) -> Share {
        Share { _held: self.pressure.hold(bytes), _backlog: self.backlog.clone() }
    }
}

/// The name of a signal without `SIG` (RFC 4254, 6.10).
fn name_of(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
