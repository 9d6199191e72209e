//! A stream that can be ended from outside.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Wraps a stream so that every read and write fails once a token is cancelled.
///
/// It ends sessions of libraries that offer no way to stop: whatever state they are in, their next IO is an error.
pub struct KillSwitch<S> {
    inner: S,
    /// One waiter for each direction, so that both are woken.
    read_killed: Pin<Box<WaitForCancellationFutureOwned>>,
    write_killed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> KillSwitch<S> {
    /// Ends `inner` when `token` is cancelled.
    pub fn new(inner: S, token: &CancellationToken) -> Self {
        Self {
            inner,
            read_killed: Box::pin(token.clone().cancelled_owned()),
            write_killed: Box::pin(token.clone().cancelled_owned()),
        }
    }
}

fn killed(waiter: &mut Pin<Box<WaitForCancellationFutureOwned>>, cx: &mut Context<'_>) -> io::Result<()> {
    match waiter.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the session was ended")),
        Poll::Pending => Ok(()),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for KillSwitch<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        killed(&mut self.read_killed, cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KillSwitch<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        killed(&mut self.write_killed, cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        killed(&mut self.write_killed, cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        killed(&mut self.write_killed, cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        killed(&mut self.write_killed, cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_waiting_reader_and_a_stuck_writer_are_woken() {
        let token = CancellationToken::new();
        let (near, _far) = tokio::io::duplex(4);
        let (mut read, mut write) = tokio::io::split(KillSwitch::new(near, &token));
        let reader = tokio::spawn(async move { read.read_u8().await });
        let writer = tokio::spawn(async move { write.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        token.cancel();
        assert_eq!(reader.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
