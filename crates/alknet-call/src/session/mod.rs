//! One stream, both directions: what the peer asks is run and answered, what is asked of the peer is sent and waited for.
//!
//! One task reads, writes and decides; reading never waits for a call, nor for a peer that does not read.

mod connection;
mod credit;
mod feed;
mod incoming;
mod outgoing;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use alknet_core::Stream;
use bytes::Bytes;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::incoming::Incoming;
pub(crate) use self::{
    connection::CallConnection,
    outgoing::{Asked, AskedCall, Command, Event, Outgoing, Reply},
};
use crate::{
    CallClient,
    envelope::{Envelope, EnvelopeError, Hello, RequestId, encode_hello},
    frame_stream::FrameStream,
    limits::COALESCED_BYTES,
    wire::FrameError,
};

/// Code with which a stream is abandoned after its peer broke the protocol.
pub(crate) const PROTOCOL_ERROR: u64 = 1;
/// The id of this side's `call.hello`, where it speaks first.
const HELLO_ID: &str = "hello";

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    #[error("the stream ends within a frame")]
    CutFrame,
    #[error("an id is used twice at the same time")]
    DuplicateId,
    #[error("an answer to something that was never asked")]
    Unasked,
    #[error("more items than there was credit for")]
    BeyondCredit,
    #[error("a hello after something else")]
    LateHello,
    #[error("the stream is gone: {0}")]
    Lost(#[from] io::Error),
}

/// Who opened the stream: it ends with that side's wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// This side did: it ends with the last client.
    Here,
    /// The peer did: it ends with the peer's direction.
    There,
}

/// One stream being served.
pub(crate) struct Session {
    frames: FrameStream,
    incoming: Incoming,
    outgoing: Outgoing,
    opened: Opened,
    /// Keeps what this side asks on a peer's stream possible as long as the stream is.
    _client: Option<CallClient>,
    draining: Draining,
    heard: bool,
    input_ended: bool,
}

enum Draining {
    NotYet(Pin<Box<WaitForCancellationFutureOwned>>),
    Begun,
}

impl Draining {
    fn of(token: &CancellationToken) -> Self {
        Self::NotYet(Box::pin(token.clone().cancelled_owned()))
    }
}

impl Session {
    /// Serves a stream that the peer opened. What it asks may call back on it.
    pub(crate) fn accepted(connection: std::sync::Arc<CallConnection>, stream: Stream) -> Self {
        let (client, outgoing) = CallClient::on_stream(stream.send.id());
        let frames = FrameStream::new(stream, connection.frame_bound());
        let draining = Draining::of(&connection.draining);
        let incoming = Incoming::new(connection, client.downgrade());
        Self {
            frames,
            incoming,
            outgoing,
            opened: Opened::There,
            _client: Some(client),
            draining,
            heard: false,
            input_ended: false,
        }
    }

    /// Uses a stream that this side opened, and says hello on it.
    pub(crate) fn opened(
        connection: std::sync::Arc<CallConnection>,
        stream: Stream,
        client: &CallClient,
        outgoing: Outgoing,
    ) -> Self {
        let mut frames = FrameStream::new(stream, connection.frame_bound());
        let id: RequestId = HELLO_ID.parse().expect("because five letters are an id");
        encode_hello(frames.leaving(), &id, &own_hello(&connection));
        let draining = Draining::of(&connection.draining);
        let incoming = Incoming::new(connection, client.downgrade());
        Self {
            frames,
            incoming,
            outgoing,
            opened: Opened::Here,
            _client: None,
            draining,
            heard: false,
            input_ended: false,
        }
    }

    /// Serves the stream to its end. Dropping the future cancels every call that runs; who waits learns that the stream is gone.
    pub(crate) async fn serve(mut self) -> Result<(), SessionError> {
        let outcome = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Self { mut frames, incoming, outgoing, _client, .. } = self;
        drop((incoming, outgoing, _client));
        match &outcome {
            Ok(()) => frames.finish().await?,
            Err(_) => frames.abort(PROTOCOL_ERROR),
        }
        outcome
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        self.poll_draining(cx);
        loop {
            let was_congested = self.frames.is_congested();
            let mut progress = self.incoming.poll_work(cx, &mut self.frames);
            progress |= self.take_backlog()?;
            progress |= self.outgoing.poll_commands(cx, &mut self.frames);
            progress |= self.take_frames()?;
            progress |= self.poll_input(cx)?;
            if progress && self.frames.leaving().len() < COALESCED_BYTES {
                continue;
            }
            let all_written = self.frames.poll_write(cx)?.is_ready();
            if all_written && self.is_over() {
                return Poll::Ready(Ok(()));
            }
            let relieved = was_congested && !self.frames.is_congested();
            if !(progress || relieved) {
                return Poll::Pending;
            }
        }
    }

    fn is_over(&self) -> bool {
        let unwanted = self.opened == Opened::Here && self.outgoing.clients_gone();
        let drained = matches!(self.draining, Draining::Begun) && self.incoming.is_idle() && self.outgoing.is_idle();
        self.input_ended || unwanted || drained
    }

    fn poll_draining(&mut self, cx: &mut Context<'_>) {
        if let Draining::NotYet(waiting) = &mut self.draining
            && waiting.as_mut().poll(cx).is_ready()
        {
            self.draining = Draining::Begun;
            self.incoming.drain(&mut self.frames);
        }
    }

    /// Acts on the frames that have arrived, as long as not too much of what they ask waits.
    fn take_frames(&mut self) -> Result<bool, SessionError> {
        let mut progress = false;
        while !self.input_ended && self.incoming.has_room() {
            let Some(frame) = self.frames.next_frame()? else { break };
            self.take(Envelope::decode(&frame)?, frame)?;
            self.heard = true;
            progress = true;
        }
        Ok(progress)
    }

    fn take(&mut self, envelope: Envelope, frame: Bytes) -> Result<(), SessionError> {
        match envelope {
            Envelope::Responded { id, output, seq } => self.outgoing.responded(&id, output, seq, &mut self.frames),
            Envelope::Completed { id } => self.outgoing.completed(&id),
            Envelope::Error { id, error } => self.outgoing.failed(&id, error),
            Envelope::Hello { id, hello } => self.hello(&id, hello),
            asked if self.incoming.must_wait(&asked, &self.frames) => {
                self.incoming.keep(frame);
                Ok(())
            }
            asked => self.incoming.take(asked, frame.len(), &mut self.frames),
        }
    }

    fn hello(&mut self, id: &RequestId, hello: Hello) -> Result<(), SessionError> {
        if self.heard {
            return Err(SessionError::LateHello);
        }
        self.outgoing.heard(hello);
        // Where something of this side is on the way already, a hello would come too late.
        if !self.frames.has_sent() {
            encode_hello(self.frames.leaving(), id, &own_hello(self.incoming.connection()));
        }
        Ok(())
    }

    /// Goes on with what could not be begun while the peer was not reading.
    fn take_backlog(&mut self) -> Result<bool, SessionError> {
        let mut progress = false;
        while !self.frames.is_congested() {
            let Some(frame) = self.incoming.next_kept() else { break };
            self.incoming.take(Envelope::decode(&frame)?, frame.len(), &mut self.frames)?;
            progress = true;
        }
        Ok(progress)
    }

    /// Reads on. When the peer ends its direction, it wants nothing of what still runs, and answers nothing any more.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionError> {
        if self.input_ended || !self.incoming.has_room() {
            return Ok(false);
        }
        match self.frames.poll_read(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(read) => {
                if read? == 0 {
                    if self.frames.is_within_frame() {
                        return Err(SessionError::CutFrame);
                    }
                    self.input_ended = true;
                    self.incoming.end(&mut self.frames);
                    self.outgoing.give_up();
                }
                Ok(true)
            }
        }
    }
}

fn own_hello(connection: &CallConnection) -> Hello {
    Hello { node_id: connection.node_id(), ..Hello::of_this_version() }
}
