//! A forwarded connection as a byte stream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::ReusableBoxFuture;

use super::channel::{Arrived, Arriving, ClientChannel, Piece, Sending};
use crate::limits::READ_CHUNK_BYTES;

/// A connection that ends at the node's side of the tunnel, or comes from there.
///
/// Each direction ends by itself: shutting it down tells the other end, and reading ends when the other end has shut down. Dropping it
/// closes the channel; what was not flushed may be lost.
pub struct ForwardStream {
    pub(super) sending: Arc<Sending>,
    arriving: Arriving,
    reading: Option<Piece>,
    ended: bool,
    writing: Writing,
}

/// One write at a time is under way.
struct Writing {
    future: ReusableBoxFuture<'static, io::Result<()>>,
    busy: bool,
    /// Whether the end has been said.
    shut: bool,
}

impl ForwardStream {
    pub(super) fn new(channel: ClientChannel) -> Self {
        let ClientChannel { sending, arriving } = channel;
        let writing = Writing { future: ReusableBoxFuture::new(async { Ok(()) }), busy: false, shut: false };
        Self { sending, arriving, reading: None, ended: false, writing }
    }

    /// Sends data without a copy, once the node has room for it.
    pub async fn send(&mut self, data: Bytes) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_written(cx)).await?;
        self.sending.data(data).await
    }

    pub(super) fn into_parts(self) -> (Arc<Sending>, Arriving) {
        (self.sending, self.arriving)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(piece) = self.reading.take() {
            return Poll::Ready(Some(piece));
        }
        while !self.ended {
            match ready!(self.arriving.poll_next(cx)) {
                Some(Arrived::Data(piece)) => return Poll::Ready(Some(piece)),
                Some(Arrived::EndOfData) | None => self.ended = true,
                // A forwarded connection has nothing else.
                Some(_) => {}
            }
        }
        Poll::Ready(None)
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.busy {
            let written = ready!(self.writing.future.poll(cx));
            self.writing.busy = false;
            return Poll::Ready(written);
        }
        Poll::Ready(Ok(()))
    }

    fn start(&mut self, write: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.writing.future.set(write);
        self.writing.busy = true;
    }
}

impl AsyncRead for ForwardStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut piece) = ready!(self.poll_piece(cx)) else { return Poll::Ready(Ok(())) };
        let part = piece.data.len().min(buf.remaining());
        buf.put_slice(&piece.data[..part]);
        piece.data.advance(part);
        if !piece.data.is_empty() {
            self.reading = Some(piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ForwardStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let part = buf.len().min(READ_CHUNK_BYTES);
        let (sending, data) = (self.sending.clone(), Bytes::copy_from_slice(&buf[..part]));
        self.start(async move { sending.data(data).await });
        // What is taken is under way; its failure is the next call's.
        match self.poll_written(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(part)),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        if self.writing.shut {
            return Poll::Ready(Ok(()));
        }
        self.writing.shut = true;
        let sending = self.sending.clone();
        self.start(async move { sending.eof().await });
        self.poll_written(cx)
    }
}
