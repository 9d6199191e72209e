//! Byte streams, whatever carries them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The peer abandoned a stream, with its code: found inside the `io::Error` with which a read or write then fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer abandoned the stream (code {code})")]
pub struct StreamReset {
    /// The peer's application error code (RFC 9000, 20.2).
    pub code: u64,
}

impl StreamReset {
    /// The reset that made an IO operation fail, if that is why it did.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<StreamReset> for io::Error {
    fn from(reset: StreamReset) -> Self {
        Self::new(io::ErrorKind::ConnectionReset, reset)
    }
}

/// The sending half of a carrier's stream.
pub trait SendHalf: AsyncWrite + Send + Sync + Unpin {
    /// The stream's number on its connection (RFC 9000, 2.1); 0 on a single-stream carrier.
    fn id(&self) -> u64;
    /// Abandons the stream: what is not yet delivered may be lost, the peer reads `code`.
    fn reset(&mut self, code: u64);
    /// Becomes ready when the peer wants no more: with its code, or `None` once everything was delivered.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>>;
}

/// The receiving half of a carrier's stream.
pub trait RecvHalf: AsyncRead + Send + Sync + Unpin {
    /// The stream's number on its connection (RFC 9000, 2.1); 0 on a single-stream carrier.
    fn id(&self) -> u64;
    /// Tells the peer that nothing more will be read.
    fn stop(&mut self, code: u64);
    /// Reads up to `max` bytes without copying where the carrier can; `None` is the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Option<Bytes>>> {
        let mut storage = vec![0; max];
        let mut buf = ReadBuf::new(&mut storage);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        let filled = buf.filled().len();
        storage.truncate(filled);
        Poll::Ready(Ok((filled > 0).then(|| storage.into())))
    }
}

/// The sending half of a stream. Shutting it down ends the stream cleanly; dropping it resets it.
pub struct SendStream(Box<dyn SendHalf>);

impl SendStream {
    /// Wraps a carrier's half.
    pub fn new(half: impl SendHalf + 'static) -> Self {
        Self(Box::new(half))
    }
    /// The stream's number on its connection.
    pub fn id(&self) -> u64 {
        self.0.id()
    }
    /// Abandons the stream with `code`.
    pub fn reset(&mut self, code: u64) {
        self.0.reset(code);
    }
    /// Waits until the peer wants no more: its code, or `None` once everything was delivered. Cancel safe.
    pub async fn stopped(&mut self) -> Option<u64> {
        std::future::poll_fn(|cx| self.0.poll_stopped(cx)).await
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// The receiving half of a stream.
pub struct RecvStream(Box<dyn RecvHalf>);

impl RecvStream {
    /// Wraps a carrier's half.
    pub fn new(half: impl RecvHalf + 'static) -> Self {
        Self(Box::new(half))
    }
    /// The stream's number on its connection.
    pub fn id(&self) -> u64 {
        self.0.id()
    }
    /// Tells the peer with `code` that nothing more will be read.
    pub fn stop(&mut self, code: u64) {
        self.0.stop(code);
    }
    /// Reads up to `max` bytes as they lie; `None` is the end of the stream. Cancel safe.
    pub async fn chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx, max)).await
    }
    /// The polling form of [`Self::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Option<Bytes>>> {
        self.0.poll_chunk(cx, max)
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

/// A bidirectional stream.
pub struct Stream {
    /// What is written here the peer reads.
    pub send: SendStream,
    /// What the peer wrote is read here.
    pub recv: RecvStream,
}

impl Stream {
    /// Joins two halves.
    pub fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv }
    }
    /// Abandons both directions with `code`.
    pub fn abort(&mut self, code: u64) {
        self.send.reset(code);
        self.recv.stop(code);
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.send.is_write_vectored()
    }
}
