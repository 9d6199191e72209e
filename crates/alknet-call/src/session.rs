//! The callee's side of one stream: requests in, calls running, answers out, all in one task.
//!
//! Reading never waits for a call, and calls never wait for a slow reader of another stream.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use alknet_core::{BoxFuture, Caller, Stream};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    CallError, CallRequest, ErrorCode, Registry,
    authenticate::ConnectionCallers,
    envelope::{Envelope, EnvelopeError, RequestId, Requested, encode_error, encode_responded},
    frame_stream::FrameStream,
    limits::{COALESCED_BYTES, MAX_CALLS_IN_FLIGHT, MAX_FRAME_BYTES, MAX_UNIDENTIFIED_FRAME_BYTES},
    wire::FrameError,
};

/// Code with which a stream is abandoned after its peer broke the protocol.
pub(crate) const PROTOCOL_ERROR: u64 = 1;

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
    #[error("the stream is gone: {0}")]
    Lost(#[from] io::Error),
}

/// What the streams of one connection share.
pub(crate) struct CallConnection {
    pub(crate) registry: Arc<Registry>,
    pub(crate) callers: ConnectionCallers,
    /// Set once a known identity was seen: larger frames are then read.
    pub(crate) identified: AtomicBool,
    /// Cancelled when the node stops: nothing new is begun.
    pub(crate) draining: CancellationToken,
    open: Mutex<HashMap<RequestId, (usize, CancellationToken)>>,
}

impl CallConnection {
    pub(crate) fn new(registry: Arc<Registry>, callers: ConnectionCallers, draining: CancellationToken) -> Self {
        let identified = AtomicBool::new(callers.of_connection().identity.is_some());
        Self { registry, callers, identified, draining, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, (usize, CancellationToken)>> {
        // A map of tokens stays whole whoever panicked while holding it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame_bound(&self) -> usize {
        if self.identified.load(Ordering::Relaxed) { MAX_FRAME_BYTES } else { MAX_UNIDENTIFIED_FRAME_BYTES }
    }
}

/// An id that is in use until this is dropped.
struct OpenCall {
    connection: Arc<CallConnection>,
    id: RequestId,
    abort: CancellationToken,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.connection.open().remove(&self.id);
    }
}

type Finished = (RequestId, Result<Value, CallError>);

/// One stream being served.
pub(crate) struct Session {
    connection: Arc<CallConnection>,
    /// The stream's number among those of its connection.
    number: usize,
    frames: FrameStream,
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
    draining: Draining,
    input_ended: bool,
}

enum Draining {
    NotYet(std::pin::Pin<Box<WaitForCancellationFutureOwned>>),
    Begun,
}

impl Session {
    pub(crate) fn new(connection: Arc<CallConnection>, number: usize, stream: Stream) -> Self {
        let frames = FrameStream::new(stream, connection.frame_bound());
        let draining = Draining::NotYet(Box::pin(connection.draining.clone().cancelled_owned()));
        Self { connection, number, frames, running: FuturesUnordered::new(), draining, input_ended: false }
    }

    /// Serves the stream to its end. Dropping the future cancels every call that runs.
    pub(crate) async fn serve(mut self) -> Result<(), SessionError> {
        let outcome = std::future::poll_fn(|cx| self.poll(cx)).await;
        match &outcome {
            Ok(()) => self.frames.finish().await?,
            Err(_) => self.frames.abort(PROTOCOL_ERROR),
        }
        outcome
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        self.poll_draining(cx);
        loop {
            let was_congested = self.frames.is_congested();
            let mut progress = self.poll_running(cx);
            progress |= self.take_frames()?;
            if self.poll_input(cx)? {
                progress = true;
            }
            if progress && self.frames.leaving().len() < COALESCED_BYTES {
                continue;
            }
            let all_written = self.frames.poll_write(cx)?.is_ready();
            if all_written && self.is_over() {
                return Poll::Ready(Ok(()));
            }
            let relieved = was_congested && !self.frames.is_congested();
            if self.frames.is_congested() || !(progress || relieved) {
                return Poll::Pending;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.running.is_empty() && (self.input_ended || matches!(self.draining, Draining::Begun))
    }

    fn poll_draining(&mut self, cx: &mut Context<'_>) {
        if let Draining::NotYet(waiting) = &mut self.draining
            && waiting.as_mut().poll(cx).is_ready()
        {
            self.draining = Draining::Begun;
        }
    }

    /// Runs the calls on; answers those that finished.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.frames.is_congested() {
            let Poll::Ready(Some((id, outcome))) = self.running.poll_next_unpin(cx) else { break };
            self.answer(&id, outcome);
            progress = true;
        }
        progress
    }

    /// Acts on the frames that have arrived.
    fn take_frames(&mut self) -> Result<bool, SessionError> {
        let mut progress = false;
        while !self.frames.is_congested() && !self.input_ended {
            let Some(frame) = self.frames.next_frame()? else { break };
            self.take(Envelope::decode(&frame)?)?;
            progress = true;
        }
        Ok(progress)
    }

    /// Reads on. When the caller ends its direction, it wants nothing of what still runs.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionError> {
        if self.input_ended || self.frames.is_congested() {
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
                    self.running.clear();
                }
                Ok(true)
            }
        }
    }

    fn take(&mut self, envelope: Envelope) -> Result<(), SessionError> {
        match envelope {
            Envelope::Requested(requested) => self.begin(*requested),
            Envelope::Aborted { id } => {
                if let Some((number, abort)) = self.connection.open().get(&id)
                    && *number == self.number
                {
                    abort.cancel();
                }
                Ok(())
            }
            Envelope::Unsupported { id, kind } => {
                let words = format!("{kind} is not done by this version");
                self.answer(&id, Err(CallError::new(ErrorCode::InvalidOperationType, words)));
                Ok(())
            }
            Envelope::Responded { .. } | Envelope::Error { .. } => Err(SessionError::Unasked),
        }
    }

    fn begin(&mut self, requested: Requested) -> Result<(), SessionError> {
        let id = requested.id.clone();
        match self.open(&id)? {
            Ok(open) => match self.caller(&requested) {
                Ok(caller) => self.run(open, caller, requested),
                Err(error) => {
                    drop(open);
                    self.answer(&id, Err(error));
                }
            },
            Err(error) => self.answer(&id, Err(error)),
        }
        Ok(())
    }

    /// Takes the id into use, unless too many are.
    fn open(&self, id: &RequestId) -> Result<Result<OpenCall, CallError>, SessionError> {
        let mut open = self.connection.open();
        if open.contains_key(id) {
            return Err(SessionError::DuplicateId);
        }
        if matches!(self.draining, Draining::Begun) {
            return Ok(Err(CallError::unavailable("the node is stopping").retryable()));
        }
        if open.len() >= MAX_CALLS_IN_FLIGHT {
            let words = format!("{MAX_CALLS_IN_FLIGHT} calls of this connection are in progress");
            return Ok(Err(CallError::overloaded(words)));
        }
        let abort = CancellationToken::new();
        open.insert(id.clone(), (self.number, abort.clone()));
        Ok(Ok(OpenCall { connection: self.connection.clone(), id: id.clone(), abort }))
    }

    fn caller(&mut self, requested: &Requested) -> Result<Caller, CallError> {
        if requested.wants_idempotency {
            let words = "idempotency keys are not done by this version; nothing was run";
            return Err(CallError::new(ErrorCode::InvalidOperationType, words));
        }
        let connection = &self.connection;
        let caller = match &requested.auth_token {
            Some(presented) => connection.callers.of_request(&connection.registry, presented)?,
            None => connection.callers.of_connection(),
        };
        if caller.identity.is_some() {
            connection.identified.store(true, Ordering::Relaxed);
        }
        self.frames.allow(connection.frame_bound());
        Ok(caller)
    }

    fn run(&mut self, open: OpenCall, caller: Caller, requested: Requested) {
        let registry = self.connection.registry.clone();
        let request = CallRequest {
            operation: local_name(requested.operation_id),
            input: requested.input,
            id: requested.id.as_str().to_owned(),
            parent_id: requested.parent_id.map(|id| id.as_str().to_owned()),
            deadline: requested.deadline.and_then(|left| Instant::now().checked_add(left)),
            abort: open.abort.clone(),
            ..CallRequest::new(String::new(), Value::Null)
        };
        self.running.push(Box::pin(async move {
            let outcome = registry.invoke(caller, request).await;
            drop(open);
            (requested.id, outcome)
        }));
    }

    /// Appends the one terminal frame of an id.
    fn answer(&mut self, id: &RequestId, outcome: Result<Value, CallError>) {
        let leaving = self.frames.leaving();
        let appended = match &outcome {
            Ok(output) => encode_responded(leaving, id, output),
            Err(error) => encode_error(leaving, id, error),
        };
        if let Err(cause) = appended {
            let error = CallError::internal(format_args!("an answer: {cause}"));
            // A short fixed text always fits.
            let _ = encode_error(self.frames.leaving(), id, &error);
        }
    }
}

/// `/service/operation` without its slash; anything else as it is, which no operation is called.
fn local_name(mut operation_id: String) -> String {
    match operation_id.strip_prefix('/') {
        Some(name) if !name.starts_with('/') => {
            operation_id.remove(0);
            operation_id
        }
        _ => format!("//{operation_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-10: the slash is on the wire only, and needed there.
    #[test]
    fn the_slash_is_needed_on_the_wire() {
        assert_eq!(local_name("/fs/read".into()), "fs/read");
        for other in ["fs/read", "//fs/read", "", "/"] {
            assert!(!crate::spec::is_operation_name(&local_name(other.into())), "{other}");
        }
    }
}
