//! The stream under the SSH library.
//!
//! The library's loop does not read while it writes, and is given nothing to read while too much input is held. So while a write waits,
//! or reading is not allowed, this reads ahead, up to a window's worth: the peer can always get rid of what its window allows, both ends
//! writing at once cannot wait for each other, and the end of the stream is seen in any case. All of it happens in the library's own task:
//! a second one would wake another thread for every few packets. Reading in large pieces also saves the library's two reads per packet
//! from being two system calls.

use std::{
    collections::VecDeque,
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use alknet_core::{RecvStream, SendStream, Stream};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::{io::poll_read_buf, sync::CancellationToken};

use crate::{
    limits::{MAX_READ_AHEAD_BYTES, PACE_TICK, READ_AHEAD_BYTES, READ_CHUNK_BYTES},
    pressure::{Intake, Pressure},
};

/// Below so many free bytes another buffer is filled.
const MIN_READ_BYTES: usize = 4 * 1024;
/// How long the library may take to read what came before the end of the stream.
const END_GRACE: Duration = Duration::from_secs(2);

/// A stream whose reading side is read ahead.
pub(crate) struct Wire {
    send: SendStream,
    ahead: ReadAhead,
    life: CancellationToken,
    pressure: Arc<Pressure>,
    pace: Pace,
}

impl Wire {
    /// When the stream has ended and nobody cares, `life` is cancelled.
    pub(crate) fn new(stream: Stream, life: CancellationToken, pressure: Arc<Pressure>) -> Self {
        Self { send: stream.send, ahead: ReadAhead::new(stream.recv), life, pressure, pace: Pace::default() }
    }

    /// Reads ahead while the library waits for something else.
    fn meanwhile(&mut self, cx: &mut Context<'_>) {
        // Without a channel there is no window that the peer could have to get rid of.
        let bound = if self.pressure.channels() == 0 { READ_AHEAD_BYTES } else { MAX_READ_AHEAD_BYTES };
        if self.ahead.fill(bound, cx) {
            self.life.cancel();
        }
    }
}

/// What was read and not yet taken.
struct ReadAhead {
    recv: RecvStream,
    /// Oldest first; none is empty.
    full: VecDeque<BytesMut>,
    /// What is read goes here until there is no room: many small reads cost no more than they bring.
    filling: BytesMut,
    /// In all of these together.
    bytes: usize,
    end: Option<io::Result<()>>,
    /// Since the end was seen while the library took nothing.
    unread_end: Option<Pin<Box<Sleep>>>,
}

impl ReadAhead {
    fn new(recv: RecvStream) -> Self {
        Self { recv, full: VecDeque::new(), filling: BytesMut::new(), bytes: 0, end: None, unread_end: None }
    }

    /// Reads once; ready when there is something to take, or the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Ready(());
        }
        if self.filling.capacity() - self.filling.len() < MIN_READ_BYTES {
            if !self.filling.is_empty() {
                self.full.push_back(mem::take(&mut self.filling));
            }
            self.filling.reserve(READ_CHUNK_BYTES);
        }
        match poll_read_buf(Pin::new(&mut self.recv), cx, &mut self.filling) {
            Poll::Pending => {
                if self.bytes == 0 {
                    // What is idle holds no buffer.
                    self.filling = BytesMut::new();
                }
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
            Poll::Ready(Ok(read)) => self.bytes += read,
            Poll::Ready(Err(error)) => self.end = Some(Err(error)),
        }
        Poll::Ready(())
    }

    /// Reads what there is, up to `bound` bytes; answers whether the end has been there for too long.
    fn fill(&mut self, bound: usize, cx: &mut Context<'_>) -> bool {
        while self.end.is_none() && self.bytes < bound {
            if self.poll_more(cx).is_pending() {
                return false;
            }
        }
        self.end.is_some()
            && self.unread_end.get_or_insert_with(|| Box::pin(sleep(END_GRACE))).as_mut().poll(cx).is_ready()
    }

    /// Moves up to `most` bytes; answers with how many.
    fn take(&mut self, buf: &mut ReadBuf<'_>, most: usize) -> usize {
        let before = self.bytes;
        let mut left = most.min(buf.remaining()).min(before);
        while left > 0 {
            let chunk = self.full.front_mut().unwrap_or(&mut self.filling);
            let part = chunk.len().min(left);
            buf.put_slice(&chunk[..part]);
            chunk.advance(part);
            if chunk.is_empty() {
                self.full.pop_front();
            }
            left -= part;
            self.bytes -= part;
        }
        before - self.bytes
    }
}

/// Slow reading.
#[derive(Default)]
struct Pace {
    tick: Option<Pin<Box<Sleep>>>,
    allowance: usize,
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

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let Poll::Ready(allowed) = wire.pace.poll_allowance(&wire.pressure, cx) else {
            wire.meanwhile(cx);
            return Poll::Pending;
        };
        if wire.ahead.bytes == 0 {
            ready!(wire.ahead.poll_more(cx));
        }
        if wire.ahead.bytes == 0 {
            // Its end; an error is told once.
            wire.ahead.unread_end = None;
            return Poll::Ready(wire.ahead.end.replace(Ok(())).unwrap_or(Ok(())));
        }
        let taken = wire.ahead.take(buf, allowed);
        wire.pace.allowance = wire.pace.allowance.saturating_sub(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.send).poll_write(cx, buf);
        if written.is_pending() {
            self.meanwhile(cx);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.send).poll_flush(cx);
        if flushed.is_pending() {
            self.meanwhile(cx);
        }
        flushed
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use alknet_core::RecvHalf;

    use super::*;

    /// Bytes that come one by one, each the end of its number; then nothing more for now.
    struct Crumbs(std::ops::Range<usize>);

    impl AsyncRead for Crumbs {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Some(number) = self.0.next() else { return Poll::Pending };
            buf.put_slice(&[number as u8]);
            Poll::Ready(Ok(()))
        }
    }

    impl RecvHalf for Crumbs {
        fn id(&self) -> u64 {
            0
        }
        fn stop(&mut self, _: u64) {}
    }

    impl ReadAhead {
        fn capacity(&self) -> usize {
            self.full.iter().map(BytesMut::capacity).sum::<usize>() + self.filling.capacity()
        }
    }

    /// The smallest pieces are held in little more than their bytes, come out as they went in, and leave nothing.
    #[test]
    fn crumbs_cost_what_they_are() {
        const BYTES: usize = 1_000_000;
        let mut cx = Context::from_waker(Waker::noop());
        let mut ahead = ReadAhead::new(RecvStream::new(Crumbs(0..2 * BYTES)));
        let mut came = 0;
        for bound in [BYTES, BYTES / 2] {
            assert!(!ahead.fill(bound, &mut cx));
            assert_eq!(ahead.bytes, bound);
            assert!(ahead.capacity() <= bound + bound / 16 + READ_CHUNK_BYTES, "{}", ahead.capacity());
            let mut taken = vec![0; bound];
            let mut buf = ReadBuf::new(&mut taken);
            while ahead.bytes > 0 {
                assert!(ahead.take(&mut buf, 1_001) > 0);
            }
            assert!(taken.iter().zip(came..).all(|(byte, number)| *byte == number as u8));
            came += bound;
        }
        while ahead.poll_more(&mut cx).is_ready() {
            ahead.take(&mut ReadBuf::new(&mut [0]), 1);
        }
        assert_eq!((ahead.bytes, ahead.capacity()), (0, 0));
    }
}
