//! core's connection over a carrier with exactly one stream: TLS over TCP, bare TCP, the control socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use alknet_core::{
    BoxFuture, Carrier, CloseReason, ConnectionError, Link, RecvHalf, RecvStream, SendHalf, SendStream, Stream,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limits::{LINGER_BYTES, LINGER_TIMEOUT};
use crate::prompt_tcp::PromptTcp;

/// What can stand under a [`SingleLink`].
pub(crate) trait SingleIo: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Derives a secret bound to the TLS session; `None` where there is none.
    fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Option<Result<(), rustls::Error>>;
}

impl SingleIo for PromptTcp {
    fn export(&self, _out: &mut [u8], _label: &[u8], _context: &[u8]) -> Option<Result<(), rustls::Error>> {
        None
    }
}

impl SingleIo for UnixStream {
    fn export(&self, _out: &mut [u8], _label: &[u8], _context: &[u8]) -> Option<Result<(), rustls::Error>> {
        None
    }
}

impl SingleIo for tokio_rustls::server::TlsStream<TcpStream> {
    fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Option<Result<(), rustls::Error>> {
        Some(self.get_ref().1.export_keying_material(out, label, Some(context)).map(|_| ()))
    }
}

impl SingleIo for tokio_rustls::client::TlsStream<TcpStream> {
    fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Option<Result<(), rustls::Error>> {
        Some(self.get_ref().1.export_keying_material(out, label, Some(context)).map(|_| ()))
    }
}

/// Which end of the connection this is: the one stream is the dialling end's to open and the other end's to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// This end dialled.
    Dialled,
    /// This end listens.
    Accepted,
}

/// A connection with exactly one bidirectional stream.
pub(crate) struct SingleLink<S: SingleIo> {
    carrier: Carrier,
    role: Role,
    stream: Mutex<Option<Stream>>,
    shared: Arc<Shared<S>>,
}

impl<S: SingleIo> SingleLink<S> {
    pub(crate) fn new(carrier: Carrier, role: Role, io: S) -> Self {
        let shared = Arc::new(Shared {
            io: Mutex::new(Some(io)),
            halves: AtomicUsize::new(2),
            sent_all: AtomicBool::new(false),
            received_all: AtomicBool::new(false),
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
        });
        let send = SendStream::new(SingleSend(Half::new(&shared)));
        let recv = RecvStream::new(SingleRecv { half: Half::new(&shared), stopped: false });
        Self { carrier, role, stream: Mutex::new(Some(Stream::new(send, recv))), shared }
    }

    fn take_stream(&self) -> Option<Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: SingleIo> Link for SingleLink<S> {
    fn carrier(&self) -> Carrier {
        self.carrier
    }

    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
        Box::pin(async move {
            match self.role {
                Role::Accepted => Ok(self.take_stream()),
                Role::Dialled => Ok(None),
            }
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
        let carrier = self.carrier;
        Box::pin(async move {
            match self.role {
                Role::Accepted => {
                    Err(ConnectionError::Unsupported { carrier, what: "streams opened by the listening end" })
                }
                Role::Dialled => {
                    self.take_stream().ok_or(ConnectionError::Unsupported { carrier, what: "second stream" })
                }
            }
        })
    }

    fn close(&self, _code: u64, _reason: &[u8]) {
        self.shared.end(CloseReason::Local);
    }

    fn closed(&self) -> BoxFuture<'_, CloseReason> {
        Box::pin(async move {
            self.shared.ended.cancelled().await;
            self.shared.reason.get().cloned().unwrap_or(CloseReason::Local)
        })
    }

    fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ConnectionError> {
        let refused = |what| ConnectionError::Unsupported { carrier: self.carrier, what };
        match self.shared.io().as_ref().map(|io| io.export(out, label, context)) {
            Some(Some(exported)) => exported.map_err(|_| refused("keying material of that length")),
            Some(None) => Err(refused("keying material")),
            None => Err(ConnectionError::Closed(CloseReason::Local)),
        }
    }
}

struct Shared<S> {
    io: Mutex<Option<S>>,
    /// Halves of the stream that still live.
    halves: AtomicUsize,
    sent_all: AtomicBool,
    received_all: AtomicBool,
    ended: CancellationToken,
    reason: OnceLock<CloseReason>,
}

impl<S: SingleIo> Shared<S> {
    fn io(&self) -> MutexGuard<'_, Option<S>> {
        // A panic inside a poll leaves a stream that fails, not one that is torn.
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection: the socket closes, both halves fail from now on.
    fn end(&self, reason: CloseReason) {
        let _ = self.reason.set(reason);
        drop(self.io().take());
        self.ended.cancel();
    }

    /// Runs one poll on the socket; a failure that is one for both directions ends the connection.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        is_over: impl FnOnce(&io::Error) -> bool,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = match self.io().as_mut() {
            Some(io) => poll(Pin::new(io), cx),
            None => Poll::Ready(Err(aborted())),
        };
        if let Poll::Ready(Err(error)) = &polled
            && is_over(error)
        {
            self.end(CloseReason::Transport(error.to_string()));
        }
        polled
    }

    /// Both halves are gone: the connection is over. After a clean end what the peer still sends is read for a moment,
    /// because closing a socket with unread data in it makes the kernel destroy what the peer has not read yet.
    fn finish(&self) {
        let clean = self.sent_all.load(Ordering::Acquire) && !self.received_all.load(Ordering::Acquire);
        let rest = if clean { self.io().take() } else { None };
        if let Some(io) = rest
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(linger(io));
        }
        self.end(CloseReason::Local);
    }
}

/// Whether a failure to write is one to read as well. Of a peer that takes nothing any more can still be read what it said before.
fn is_over_for_both(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection is closed")
}

/// Reads and discards until the peer ends, bounded in time and bytes.
pub(crate) async fn linger(io: impl AsyncRead + Unpin) {
    let mut rest = io.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// One direction's hold on the socket, woken when the connection ends.
struct Half<S: SingleIo> {
    shared: Arc<Shared<S>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S: SingleIo> Half<S> {
    fn new(shared: &Arc<Shared<S>>) -> Self {
        Self { shared: Arc::clone(shared), ended: Box::pin(shared.ended.clone().cancelled_owned()) }
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        is_over: impl FnOnce(&io::Error) -> bool,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(aborted()));
        }
        self.shared.poll(cx, is_over, poll)
    }
}

impl<S: SingleIo> Drop for Half<S> {
    fn drop(&mut self) {
        if self.shared.halves.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.finish();
        }
    }
}

struct SingleSend<S: SingleIo>(Half<S>);

impl<S: SingleIo> AsyncWrite for SingleSend<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, is_over_for_both, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, is_over_for_both, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.shared.sent_all.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.0.poll(cx, is_over_for_both, |io, cx| io.poll_shutdown(cx)))?;
        self.0.shared.sent_all.store(true, Ordering::Release);
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll(cx, is_over_for_both, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.shared.io().as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl<S: SingleIo> SendHalf for SingleSend<S> {
    fn id(&self) -> u64 {
        0
    }

    /// TCP has no codes: the peer sees the connection end without TLS' own farewell, so it knows that data is missing.
    fn reset(&mut self, _code: u64) {
        self.0.shared.end(CloseReason::Local);
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        if self.0.shared.sent_all.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        self.0.ended.as_mut().poll(cx).map(|()| Some(0))
    }
}

struct SingleRecv<S: SingleIo> {
    half: Half<S>,
    stopped: bool,
}

impl<S: SingleIo> AsyncRead for SingleRecv<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stopped {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(self.half.poll(cx, |_| true, |io, cx| io.poll_read(cx, buf)))?;
        if buf.filled().len() == before && buf.remaining() > 0 {
            self.half.shared.received_all.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: SingleIo> RecvHalf for SingleRecv<S> {
    fn id(&self) -> u64 {
        0
    }

    fn stop(&mut self, _code: u64) {
        self.stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn pair() -> (SingleLink<UnixStream>, SingleLink<UnixStream>) {
        let (near, far) = UnixStream::pair().unwrap();
        (SingleLink::new(Carrier::Local, Role::Dialled, near), SingleLink::new(Carrier::Local, Role::Accepted, far))
    }

    // NET-02
    #[tokio::test]
    async fn there_is_one_stream_and_then_none() {
        let (near, far) = pair().await;
        let mut out = near.open_bi().await.unwrap();
        let mut incoming = far.accept_bi().await.unwrap().unwrap();
        assert!(far.accept_bi().await.unwrap().is_none());
        assert!(matches!(near.open_bi().await, Err(ConnectionError::Unsupported { what: "second stream", .. })));
        assert!(matches!(far.open_bi().await, Err(ConnectionError::Unsupported { .. })));
        assert!(matches!(far.open_uni().await, Err(ConnectionError::Unsupported { .. })));
        assert!(far.export_keying_material(&mut [0; 4], b"l", b"").is_err());
        out.write_all(b"hello").await.unwrap();
        out.shutdown().await.unwrap();
        let mut read = Vec::new();
        incoming.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"hello");
    }

    // NET-03
    #[tokio::test]
    async fn dropping_the_stream_ends_the_connection_and_its_socket() {
        let (near, far) = pair().await;
        drop(near.open_bi().await.unwrap());
        assert_eq!(near.closed().await, CloseReason::Local);
        let mut incoming = far.accept_bi().await.unwrap().unwrap();
        assert_eq!(incoming.read(&mut [0; 1]).await.unwrap(), 0);
    }

    // CALL-35: who answers early and reads no more is heard, however much is still sent.
    #[tokio::test]
    async fn what_the_peer_said_is_read_after_it_takes_nothing_any_more() {
        let (near, far) = pair().await;
        let mut stream = near.open_bi().await.unwrap();
        let mut incoming = far.accept_bi().await.unwrap().unwrap();
        incoming.write_all(b"enough").await.unwrap();
        incoming.shutdown().await.unwrap();
        drop((incoming, far));
        let more = vec![0; 64 * 1024];
        let error = loop {
            if let Err(error) = stream.write_all(&more).await {
                break error;
            }
        };
        assert!(!is_over_for_both(&error), "{error}");
        let mut said = [0; 6];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"enough");
    }

    #[tokio::test]
    async fn closing_wakes_a_waiting_reader() {
        let (near, _far) = pair().await;
        let mut stream = near.open_bi().await.unwrap();
        let reader = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        near.close(0, b"");
        assert!(reader.await.unwrap().is_err());
    }
}
