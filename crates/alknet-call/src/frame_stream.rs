//! A stream of frames: reads what arrives, gathers what leaves. Polled, so that one task can read, write and run calls.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use alknet_core::{RecvStream, SendStream, Stream};
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Sleep, sleep, timeout},
};
use tokio_util::io::poll_read_buf;

use crate::{
    limits::{DELIVERY_TIMEOUT, MAX_QUEUED_BYTES, READ_BYTES, WRITE_STALL_TIMEOUT},
    wire::{FrameDecoder, FrameError},
};

/// Frames over one stream.
pub(crate) struct FrameStream {
    send: SendStream,
    recv: RecvStream,
    decoder: FrameDecoder,
    leaving: BytesMut,
    unflushed: bool,
    sent: bool,
    stall: Option<Pin<Box<Sleep>>>,
}

impl FrameStream {
    pub(crate) fn new(stream: Stream, max_frame_bytes: usize) -> Self {
        Self {
            send: stream.send,
            recv: stream.recv,
            decoder: FrameDecoder::new(max_frame_bytes),
            leaving: BytesMut::new(),
            unflushed: false,
            sent: false,
            stall: None,
        }
    }

    /// Changes the bound for frames that arrive.
    pub(crate) const fn allow(&mut self, max_frame_bytes: usize) {
        self.decoder.allow(max_frame_bytes);
    }
    /// Takes a frame that has arrived.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.decoder.next_frame()
    }
    /// Whether the stream stopped in the middle of a frame.
    pub(crate) fn is_within_frame(&self) -> bool {
        self.decoder.is_within_frame()
    }
    /// Reads more; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buffer = self.decoder.buffer();
        if buffer.capacity() - buffer.len() < READ_BYTES / 2 {
            buffer.reserve(READ_BYTES);
        }
        poll_read_buf(Pin::new(&mut self.recv), cx, buffer)
    }
    /// Where frames that leave are appended.
    pub(crate) const fn leaving(&mut self) -> &mut BytesMut {
        &mut self.leaving
    }
    /// Appends whole frames that leave.
    pub(crate) fn append(&mut self, frames: BytesMut) {
        if self.leaving.is_empty() {
            self.leaving = frames;
        } else {
            self.leaving.extend_from_slice(&frames);
        }
    }
    /// Whether any frame has left, or waits to.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent || !self.leaving.is_empty()
    }
    /// Whether so much waits that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        self.leaving.len() >= MAX_QUEUED_BYTES
    }
    /// Writes and flushes; ready once nothing waits. Fails when the peer takes nothing for too long.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_write_all(cx) {
            Poll::Pending => self.poll_stall(cx),
            done => {
                self.stall = None;
                done
            }
        }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.leaving.is_empty() {
            let written = ready!(Pin::new(&mut self.send).poll_write(cx, &self.leaving))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stall = None;
            (self.unflushed, self.sent) = (true, true);
            self.leaving.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.send).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_TIMEOUT)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")))
    }

    /// Ends what leaves, cleanly, and waits a while until it was delivered: a connection that goes away takes it along.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.send.shutdown().await?;
        // Delivered, refused or late: there is nothing more to do for it.
        let _ = timeout(DELIVERY_TIMEOUT, self.send.stopped()).await;
        Ok(())
    }
    /// Abandons both directions.
    pub(crate) fn abort(&mut self, code: u64) {
        self.send.reset(code);
        self.recv.stop(code);
    }
}
