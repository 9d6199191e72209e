//! The stream under the SSH library.
//!
//! The library's loop does not read while it writes, and is given nothing to read while too much input is held. So a task of ours reads
//! ahead, up to a window's worth when nothing is taken: the peer can always get rid of what its window allows, both ends writing at once
//! cannot wait for each other, and the end of the stream is seen in any case. Reading in large pieces also saves the library's two reads
//! per packet from being two system calls.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use alknet_core::{RecvStream, SendStream, Stream};
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    sync::Notify,
    task::AbortHandle,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{HELD_UP_AFTER, MAX_READ_AHEAD_BYTES, PACE_TICK, READ_AHEAD_BYTES, READ_CHUNK_BYTES},
    pressure::{Intake, Pressure},
};

/// Below so many free bytes a new buffer is taken for the next read.
const MIN_READ_BYTES: usize = 4 * 1024;
/// How long the library may take to read what came before the end of the stream.
const END_GRACE: Duration = Duration::from_secs(2);

/// A stream whose reading side is read ahead.
pub(crate) struct Wire {
    send: SendStream,
    ahead: Arc<ReadAhead>,
    reader: AbortHandle,
    pressure: Arc<Pressure>,
    pace: Pace,
}

/// Slow reading.
#[derive(Default)]
struct Pace {
    tick: Option<Pin<Box<Sleep>>>,
    allowance: usize,
}

impl Wire {
    /// Starts reading ahead. When the stream has ended and nobody cares, `life` is cancelled.
    pub(crate) fn new(stream: Stream, life: CancellationToken, pressure: Arc<Pressure>) -> Self {
        let ahead = Arc::new(ReadAhead::default());
        let reader = tokio::spawn(read_ahead(stream.recv, ahead.clone(), life)).abort_handle();
        Self { send: stream.send, ahead, reader, pressure, pace: Pace::default() }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Default)]
struct ReadAhead {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// How often something was taken: what tells a slow reader from one that is held up.
    takes: u64,
    end: Option<io::Result<()>>,
    end_was_read: bool,
    reader: Option<Waker>,
}

impl ReadAhead {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before the lock goes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, chunk: Bytes) {
        let mut state = self.state();
        state.bytes += chunk.len();
        state.chunks.push_back(chunk);
        wake(state);
    }

    fn finish(&self, end: io::Result<()>) {
        let mut state = self.state();
        state.end = Some(end);
        wake(state);
    }

    /// Waits until there is room for another chunk.
    async fn room(&self) {
        let mut held_up_at = None;
        loop {
            let takes = {
                let state = self.state();
                let bound = if held_up_at == Some(state.takes) { MAX_READ_AHEAD_BYTES } else { READ_AHEAD_BYTES };
                if state.bytes < bound {
                    return;
                }
                state.takes
            };
            if timeout(HELD_UP_AFTER, self.taken.notified()).await.is_err() {
                held_up_at = Some(takes);
            }
        }
    }

    async fn drained(&self) {
        while !self.state().end_was_read {
            self.taken.notified().await;
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

async fn read_ahead(mut recv: RecvStream, ahead: Arc<ReadAhead>, life: CancellationToken) {
    let mut buffer = BytesMut::new();
    let end = loop {
        ahead.room().await;
        if buffer.capacity() < MIN_READ_BYTES {
            buffer.reserve(READ_CHUNK_BYTES);
        }
        match recv.read_buf(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(_) => ahead.push(buffer.split().freeze()),
            Err(error) => break Err(error),
        }
    };
    ahead.finish(end);
    // While too much is held nobody comes for the end.
    if timeout(END_GRACE, ahead.drained()).await.is_err() {
        life.cancel();
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let mut left = ready!(wire.pace.poll_allowance(&wire.pressure, cx));
        let mut state = wire.ahead.state();
        if state.chunks.is_empty() {
            return poll_end(state, cx, &wire.ahead.taken);
        }
        let before = state.bytes;
        while let Some(chunk) = state.chunks.front_mut() {
            let part = chunk.len().min(buf.remaining()).min(left);
            left -= part;
            buf.put_slice(&chunk[..part]);
            chunk.advance(part);
            let emptied = chunk.is_empty();
            state.bytes -= part;
            if !emptied {
                break;
            }
            state.chunks.pop_front();
        }
        state.takes += 1;
        let taken = before - state.bytes;
        drop(state);
        wire.pace.allowance = wire.pace.allowance.saturating_sub(taken);
        if before >= READ_AHEAD_BYTES && taken > 0 {
            wire.ahead.taken.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl Pace {
    /// How many bytes may be read now, once any may.
    fn poll_allowance(&mut self, pressure: &Pressure, cx: &mut Context<'_>) -> Poll<usize> {
        pressure.on_relief(cx);
        match pressure.intake() {
            Intake::Free => {
                *self = Self::default();
                Poll::Ready(usize::MAX)
            }
            Intake::Stopped => Poll::Pending,
            Intake::Paced(bytes) => {
                if self.allowance == 0 {
                    ready!(self.tick.get_or_insert_with(|| Box::pin(sleep(PACE_TICK))).as_mut().poll(cx));
                    *self = Self { tick: None, allowance: bytes };
                }
                Poll::Ready(self.allowance)
            }
        }
    }
}

fn poll_end(mut state: MutexGuard<'_, State>, cx: &Context<'_>, taken: &Notify) -> Poll<io::Result<()>> {
    match state.end.take() {
        Some(end) => {
            state.end = Some(Ok(()));
            state.end_was_read = true;
            taken.notify_one();
            Poll::Ready(end)
        }
        None => {
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
