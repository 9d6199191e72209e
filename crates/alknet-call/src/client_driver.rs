//! The task behind a [`crate::CallClient`]: writes what callers ask, hands answers to whom they belong.

use std::{
    collections::HashMap,
    future::poll_fn,
    task::{Context, Poll},
};

use alknet_core::{Connection, Stream};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    CallError,
    client::{EncodedFrame, gone, request_id},
    envelope::{Envelope, RequestId, encode_aborted, encode_error},
    frame_stream::FrameStream,
    limits::{COALESCED_BYTES, MAX_FRAME_BYTES},
    session::{PROTOCOL_ERROR, SessionError},
};

/// What a caller asks of the driver.
pub(crate) enum Command {
    /// Send a request, hand its answer back.
    Call {
        /// Its number, from which its id is made.
        number: u64,
        /// The request.
        frame: EncodedFrame,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Value, CallError>>,
        /// Its place among the calls in flight.
        slot: OwnedSemaphorePermit,
    },
    /// Call it off.
    Abort {
        /// Its number.
        number: u64,
    },
}

/// A call whose answer has not come. Kept after an abort too: the callee still answers once.
struct Waiting {
    reply: oneshot::Sender<Result<Value, CallError>>,
    _slot: OwnedSemaphorePermit,
}

struct Driver {
    frames: FrameStream,
    commands: mpsc::UnboundedReceiver<Command>,
    waiting: HashMap<RequestId, Waiting>,
    clients_gone: bool,
}

/// Drives one stream until its clients or its peer are gone; then everybody who waits learns it.
pub(crate) async fn drive(connection: Connection, stream: Stream, commands: mpsc::UnboundedReceiver<Command>) {
    let frames = FrameStream::new(stream, MAX_FRAME_BYTES);
    let mut driver = Driver { frames, commands, waiting: HashMap::new(), clients_gone: false };
    let outcome = poll_fn(|cx| driver.poll(cx)).await;
    match outcome {
        Ok(()) => {
            if let Err(error) = driver.frames.finish().await {
                tracing::debug!(%error, "a call stream ended while closing");
            }
        }
        Err(error) => {
            tracing::debug!(peer = %connection.peer().addr, %error, "call stream ended");
            driver.frames.abort(PROTOCOL_ERROR);
        }
    }
    driver.give_up();
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            let was_congested = self.frames.is_congested();
            let mut progress = self.poll_commands(cx);
            progress |= self.poll_input(cx)?;
            if progress && self.frames.leaving().len() < COALESCED_BYTES {
                continue;
            }
            let all_written = self.frames.poll_write(cx)?.is_ready();
            if all_written && self.clients_gone {
                return Poll::Ready(Ok(()));
            }
            let relieved = was_congested && !self.frames.is_congested();
            if self.frames.is_congested() || !(progress || relieved) {
                return Poll::Pending;
            }
        }
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.clients_gone && !self.frames.is_congested() {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => self.obey(command),
                Poll::Ready(None) => self.clients_gone = true,
                Poll::Pending => break,
            }
            progress = true;
        }
        progress
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Call { number, frame, reply, slot } => {
                // Given up before it was sent: then it never is.
                if !reply.is_closed() {
                    self.waiting.insert(request_id(number), Waiting { reply, _slot: slot });
                    self.frames.leaving().extend_from_slice(&frame);
                }
            }
            Command::Abort { number } => {
                let id = request_id(number);
                if self.waiting.contains_key(&id) {
                    // An id and two braces always fit.
                    let _ = encode_aborted(self.frames.leaving(), &id);
                }
            }
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionError> {
        let mut progress = false;
        loop {
            while let Some(frame) = self.frames.next_frame()? {
                self.take(Envelope::decode(&frame)?)?;
                progress = true;
            }
            match self.frames.poll_read(cx) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(Ok(0)) if self.frames.is_within_frame() => return Err(SessionError::CutFrame),
                Poll::Ready(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Poll::Ready(read) => progress |= read? > 0,
            }
        }
    }

    fn take(&mut self, envelope: Envelope) -> Result<(), SessionError> {
        let (id, outcome) = match envelope {
            Envelope::Responded { id, output } => (id, Ok(output)),
            Envelope::Error { id, error } => (id, Err(error)),
            Envelope::Requested(requested) => {
                self.decline(&requested.id);
                return Ok(());
            }
            Envelope::Unsupported { id, .. } => {
                self.decline(&id);
                return Ok(());
            }
            Envelope::Aborted { .. } => return Ok(()),
        };
        let waiting = self.waiting.remove(&id).ok_or(SessionError::Unasked)?;
        // Whoever asked may have stopped waiting.
        let _ = waiting.reply.send(outcome);
        Ok(())
    }

    /// This side offers no operations. What is asked of it is refused, as long as the peer reads the refusals.
    fn decline(&mut self, id: &RequestId) {
        if !self.frames.is_congested() {
            let _ = encode_error(self.frames.leaving(), id, &CallError::not_found("this side offers no operations"));
        }
    }

    fn give_up(mut self) {
        self.commands.close();
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.reply.send(Err(gone()));
        }
    }
}
