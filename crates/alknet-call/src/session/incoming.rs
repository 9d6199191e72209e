//! What the peer asks of this side on one stream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use alknet_core::{BoxFuture, Caller};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    CallConnection, SessionError,
    connection::OpenId,
    feed::{Begin, Chunk, Feed, append_error},
};
use crate::{
    Answer, CallClient, CallError, CallRequest, Registry,
    envelope::{Envelope, RequestId, Requested, Wants, encode_responded},
    frame_stream::FrameStream,
    limits::{DEFAULT_CREDIT, MAX_CALLS_IN_FLIGHT, MAX_UNANSWERED_BYTES, MAX_WAITING_CHUNKS},
};

/// The callee's half of a stream.
pub(super) struct Incoming {
    connection: Arc<CallConnection>,
    /// With which operations call back on this stream.
    peer: CallClient,
    calls: BTreeMap<RequestId, OpenCall>,
    running: FuturesUnordered<BoxFuture<'static, Started>>,
    chunks: mpsc::Receiver<Chunk>,
    feeds: mpsc::Sender<Chunk>,
    /// Frames that wait until the peer reads again, in the order in which they came.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    unanswered_bytes: usize,
    draining: bool,
}

type Started = (RequestId, Result<Answer, CallError>);

/// A call that has not had its terminal frame.
struct OpenCall {
    abort: CancellationToken,
    /// What of it counts as unanswered, in bytes: its request until its first frame.
    unanswered_bytes: usize,
    stage: Stage,
    _id: OpenId,
}

enum Stage {
    /// Its handler runs; this is the credit so far, should it be a subscription.
    Running(u32),
    /// It gives items.
    Feeding(Feed),
}

impl Incoming {
    pub(super) fn new(connection: Arc<CallConnection>, peer: CallClient) -> Self {
        let (feeds, chunks) = mpsc::channel(MAX_WAITING_CHUNKS);
        Self {
            connection,
            peer,
            calls: BTreeMap::new(),
            running: FuturesUnordered::new(),
            chunks,
            feeds,
            kept: VecDeque::new(),
            kept_bytes: 0,
            unanswered_bytes: 0,
            draining: false,
        }
    }

    pub(super) fn connection(&self) -> &CallConnection {
        &self.connection
    }
    /// Whether nothing runs and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.kept.is_empty()
    }
    /// Whether more may be read.
    pub(super) const fn has_room(&self) -> bool {
        self.unanswered_bytes + self.kept_bytes <= MAX_UNANSWERED_BYTES
    }

    /// Whether what is asked has to wait for the peer to read, or for what waits already.
    pub(super) fn must_wait(&self, asked: &Envelope, frames: &FrameStream) -> bool {
        match asked {
            // Of a call that runs: that is none of those that wait.
            Envelope::Aborted { id } | Envelope::Credit { id, .. } => {
                !self.kept.is_empty() && !self.calls.contains_key(id)
            }
            _ => !self.kept.is_empty() || frames.is_congested(),
        }
    }

    /// Keeps a frame until the peer reads again.
    pub(super) fn keep(&mut self, frame: Bytes) {
        self.kept_bytes += frame.len();
        self.kept.push_back(frame);
    }

    pub(super) fn next_kept(&mut self) -> Option<Bytes> {
        let frame = self.kept.pop_front()?;
        self.kept_bytes -= frame.len();
        Some(frame)
    }

    /// Acts on a frame of the peer's calls.
    pub(super) fn take(&mut self, asked: Envelope, bytes: usize, frames: &mut FrameStream) -> Result<(), SessionError> {
        match asked {
            Envelope::Requested(requested) => self.begin(*requested, bytes, frames)?,
            Envelope::Batch { requests, .. } => self.begin_all(requests, frames)?,
            Envelope::Aborted { id } => {
                if let Some(call) = self.calls.get(&id) {
                    call.abort.cancel();
                }
            }
            Envelope::Credit { id, items } => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.stage.add_credit(items);
                }
            }
            // The session keeps the other direction's frames to itself.
            _ => {}
        }
        Ok(())
    }

    fn begin_all(&mut self, requests: Vec<Requested>, frames: &mut FrameStream) -> Result<(), SessionError> {
        for requested in &requests {
            self.connection.may_open(&requested.id)?;
        }
        for requested in requests {
            let bytes = requested.weight();
            self.begin(requested, bytes, frames)?;
        }
        Ok(())
    }

    /// Begins a call. What is ready at once is answered at once and leaves no trace.
    fn begin(&mut self, requested: Requested, bytes: usize, frames: &mut FrameStream) -> Result<(), SessionError> {
        let id = requested.id.clone();
        let has_room = self.connection.may_open(&id)?;
        match self.admit(has_room, &requested) {
            Ok((registry, caller)) => {
                frames.allow(self.connection.frame_bound());
                self.start(&registry, caller, requested, bytes, frames);
            }
            Err(error) => append_error(frames.leaving(), &id, &error),
        }
        Ok(())
    }

    fn admit(&self, has_room: bool, requested: &Requested) -> Result<(Arc<Registry>, Caller), CallError> {
        if self.draining {
            return Err(stopping());
        }
        if !has_room {
            let words = format!("{MAX_CALLS_IN_FLIGHT} calls of this connection are in progress");
            return Err(CallError::overloaded(words));
        }
        self.connection.admit(requested)
    }

    fn start(
        &mut self,
        registry: &Arc<Registry>,
        caller: Caller,
        requested: Requested,
        bytes: usize,
        frames: &mut FrameStream,
    ) {
        let (id, credit) = (requested.id.clone(), requested.credit.unwrap_or(DEFAULT_CREDIT));
        let wants = requested.wants;
        let request = self.request(requested);
        let abort = request.abort.clone();
        let (registry, same) = (registry.clone(), id.clone());
        let mut running: BoxFuture<'static, Started> =
            Box::pin(async move { (same, begun(&registry, caller, request, wants).await) });
        match running.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((_, Ok(Answer::Items(items)))) => {
                self.hold(&id, abort, 0, credit);
                self.feed(&id, items, frames);
            }
            Poll::Ready((_, Ok(Answer::Output(output)))) => answer(frames, &id, &output),
            Poll::Ready((_, Err(error))) => append_error(frames.leaving(), &id, &error),
            Poll::Pending => {
                self.hold(&id, abort, bytes, credit);
                self.running.push(running);
            }
        }
    }

    fn hold(&mut self, id: &RequestId, abort: CancellationToken, unanswered_bytes: usize, credit: u32) {
        let _id = self.connection.hold(id);
        self.unanswered_bytes += unanswered_bytes;
        self.calls.insert(id.clone(), OpenCall { abort, unanswered_bytes, stage: Stage::Running(credit), _id });
    }

    fn request(&self, requested: Requested) -> CallRequest {
        CallRequest {
            id: requested.id.as_str().to_owned(),
            parent_id: requested.parent_id.map(|id| id.as_str().to_owned()),
            deadline: requested.deadline.and_then(|left| Instant::now().checked_add(left)),
            idempotency_key: requested.idempotency_key,
            after_seq: requested.after_seq,
            credit: requested.credit,
            via: requested.via,
            origin: requested.origin,
            peer: Some(self.peer.clone()),
            ..CallRequest::new(local_name(requested.operation_id), requested.input)
        }
    }

    /// Runs the calls on; answers those that finished, takes what subscriptions gave.
    pub(super) fn poll_work(&mut self, cx: &mut Context<'_>, frames: &mut FrameStream) -> bool {
        let mut progress = false;
        while !frames.is_congested() {
            if let Poll::Ready(Some((id, outcome))) = self.running.poll_next_unpin(cx) {
                self.started(&id, outcome, frames);
            } else if let Poll::Ready(Some(chunk)) = self.chunks.poll_recv(cx) {
                self.pass_on(chunk, frames);
            } else {
                break;
            }
            progress = true;
        }
        progress
    }

    fn started(&mut self, id: &RequestId, outcome: Result<Answer, CallError>, frames: &mut FrameStream) {
        match outcome {
            Ok(Answer::Items(items)) => self.feed(id, items, frames),
            Ok(Answer::Output(output)) => {
                self.close(id);
                answer(frames, id, &output);
            }
            Err(error) => {
                self.close(id);
                append_error(frames.leaving(), id, &error);
            }
        }
    }

    fn feed(&mut self, id: &RequestId, items: crate::ItemStream, frames: &mut FrameStream) {
        if self.draining {
            drop(items);
            self.close(id);
            return append_error(frames.leaving(), id, &stopping());
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        if let Stage::Running(credit) = call.stage {
            let (abort, chunks) = (call.abort.clone(), self.feeds.clone());
            call.stage = Stage::Feeding(Begin { id: id.clone(), items, credit, abort, chunks }.feed());
        }
    }

    fn pass_on(&mut self, chunk: Chunk, frames: &mut FrameStream) {
        let Some(call) = self.calls.get_mut(&chunk.id) else { return };
        self.unanswered_bytes -= std::mem::take(&mut call.unanswered_bytes);
        if chunk.last {
            self.close(&chunk.id);
        }
        frames.append(chunk.frames);
    }

    /// Forgets a call that gets its terminal frame now.
    fn close(&mut self, id: &RequestId) {
        if let Some(call) = self.calls.remove(id) {
            self.unanswered_bytes -= call.unanswered_bytes;
        }
    }

    /// The node stops: subscriptions, which may never finish, end now.
    pub(super) fn drain(&mut self, frames: &mut FrameStream) {
        self.draining = true;
        let feeding = |call: &OpenCall| matches!(call.stage, Stage::Feeding(_));
        let ids: Vec<_> = self.calls.iter().filter(|(_, call)| feeding(call)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.close(&id);
            append_error(frames.leaving(), &id, &stopping());
        }
    }

    /// The peer wants nothing any more, but for what was given already.
    pub(super) fn end(&mut self, frames: &mut FrameStream) {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.pass_on(chunk, frames);
        }
        self.running.clear();
        self.calls.clear();
        self.kept.clear();
        (self.kept_bytes, self.unanswered_bytes) = (0, 0);
    }
}

impl Stage {
    fn add_credit(&mut self, items: u32) {
        match self {
            Self::Running(credit) => *credit = credit.saturating_add(items),
            Self::Feeding(feed) => feed.credit.add(items),
        }
    }
}

fn stopping() -> CallError {
    CallError::unavailable("the node is stopping").retryable()
}

/// Begins what the caller can take.
async fn begun(
    registry: &Arc<Registry>,
    caller: Caller,
    request: CallRequest,
    wants: Option<Wants>,
) -> Result<Answer, CallError> {
    match wants {
        None => registry.start(caller, request).await,
        Some(Wants::Output) => registry.invoke(caller, request).await.map(Answer::Output),
        Some(Wants::Items) => registry.subscribe(caller, request).await.map(Answer::Items),
    }
}

/// Appends the output of a query or mutation.
fn answer(frames: &mut FrameStream, id: &RequestId, output: &Value) {
    if let Err(cause) = encode_responded(frames.leaving(), id, output) {
        let error = CallError::internal(format_args!("an answer: {cause}"));
        append_error(frames.leaving(), id, &error);
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
