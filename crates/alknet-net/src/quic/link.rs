//! core's connection and streams over quinn.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use alknet_core::{
    BoxFuture, Carrier, CloseReason, ConnectionError, Link, RecvHalf, RecvStream, SendHalf, SendStream, Stream,
    StreamReset,
};
use bytes::Bytes;
use quinn::{SendDatagramError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::MAX_CLOSE_REASON_BYTES;

/// A QUIC connection after its handshake.
pub(crate) struct QuicLink {
    connection: Arc<quinn::Connection>,
}

impl QuicLink {
    pub(crate) fn new(connection: quinn::Connection) -> Self {
        Self { connection: Arc::new(connection) }
    }
    /// The connection for as long as somebody has the link: a handle of quinn's own would keep it from closing.
    pub(crate) fn weak(&self) -> Weak<quinn::Connection> {
        Arc::downgrade(&self.connection)
    }
}

impl Link for QuicLink {
    fn carrier(&self) -> Carrier {
        Carrier::Quic
    }

    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
        Box::pin(async move { or_end(self.connection.accept_bi().await.map(bidirectional)) })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
        Box::pin(async move { self.connection.open_bi().await.map(bidirectional).map_err(closed) })
    }

    fn accept_uni(&self) -> BoxFuture<'_, Result<Option<RecvStream>, ConnectionError>> {
        Box::pin(async move { or_end(self.connection.accept_uni().await.map(receiving)) })
    }

    fn open_uni(&self) -> BoxFuture<'_, Result<SendStream, ConnectionError>> {
        Box::pin(async move { self.connection.open_uni().await.map(sending).map_err(closed) })
    }

    fn send_datagram(&self, datagram: Bytes) -> Result<(), ConnectionError> {
        let unsupported = |what| ConnectionError::Unsupported { carrier: Carrier::Quic, what };
        self.connection.send_datagram(datagram).map_err(|error| match error {
            SendDatagramError::UnsupportedByPeer => unsupported("datagrams at the other end"),
            SendDatagramError::Disabled => unsupported("datagrams"),
            SendDatagramError::TooLarge => unsupported("datagrams of that size"),
            SendDatagramError::ConnectionLost(error) => closed(error),
        })
    }

    fn recv_datagram(&self) -> BoxFuture<'_, Result<Bytes, ConnectionError>> {
        Box::pin(async move { self.connection.read_datagram().await.map_err(closed) })
    }

    fn close(&self, code: u64, reason: &[u8]) {
        self.connection.close(var_int(code), &reason[..reason.len().min(MAX_CLOSE_REASON_BYTES)]);
    }

    fn closed(&self) -> BoxFuture<'_, CloseReason> {
        Box::pin(async move { close_reason(self.connection.closed().await) })
    }

    fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ConnectionError> {
        self.connection.export_keying_material(out, label, context).map_err(|_| ConnectionError::Unsupported {
            carrier: Carrier::Quic,
            what: "keying material of that length",
        })
    }
}

fn bidirectional((send, recv): (quinn::SendStream, quinn::RecvStream)) -> Stream {
    Stream::new(sending(send), receiving(recv))
}

fn sending(stream: quinn::SendStream) -> SendStream {
    SendStream::new(QuicSend { stream, ended: false, stopped: None })
}

fn receiving(stream: quinn::RecvStream) -> RecvStream {
    RecvStream::new(QuicRecv(stream))
}

/// A clean end of the connection is an end of its streams, not an error.
fn or_end<T>(result: Result<T, quinn::ConnectionError>) -> Result<Option<T>, ConnectionError> {
    match result {
        Ok(stream) => Ok(Some(stream)),
        Err(quinn::ConnectionError::LocallyClosed) => Ok(None),
        Err(quinn::ConnectionError::ApplicationClosed(close)) if close.error_code == VarInt::from_u32(0) => Ok(None),
        Err(error) => Err(closed(error)),
    }
}

fn closed(error: quinn::ConnectionError) -> ConnectionError {
    ConnectionError::Closed(close_reason(error))
}

fn close_reason(error: quinn::ConnectionError) -> CloseReason {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => CloseReason::Peer {
            code: close.error_code.into_inner(),
            reason: close.reason[..close.reason.len().min(MAX_CLOSE_REASON_BYTES)].escape_ascii().to_string(),
        },
        quinn::ConnectionError::LocallyClosed => CloseReason::Local,
        quinn::ConnectionError::TimedOut => CloseReason::TimedOut,
        // The peer's words would be in its text.
        quinn::ConnectionError::ConnectionClosed(close) => {
            CloseReason::Transport(format!("the peer ended the connection: {}", close.error_code))
        }
        other => CloseReason::Transport(other.to_string()),
    }
}

/// Says it in core's words when the peer abandoned the stream.
fn with_code(error: io::Error) -> io::Error {
    let cause = error.get_ref();
    let read = cause.and_then(|cause| match cause.downcast_ref()? {
        quinn::ReadError::Reset(code) => Some(*code),
        _ => None,
    });
    let written = cause.and_then(|cause| match cause.downcast_ref()? {
        quinn::WriteError::Stopped(code) => Some(*code),
        _ => None,
    });
    match read.or(written) {
        Some(code) => StreamReset { code: code.into_inner() }.into(),
        None => error,
    }
}

fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

type Stopped = Pin<Box<dyn Future<Output = Option<u64>> + Send + Sync>>;

struct QuicSend {
    stream: quinn::SendStream,
    /// Finished or reset: dropping changes nothing any more.
    ended: bool,
    stopped: Option<Stopped>,
}

impl AsyncWrite for QuicSend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, buf).map_err(with_code)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        ready!(AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), cx))?;
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl SendHalf for QuicSend {
    fn id(&self) -> u64 {
        VarInt::from(self.stream.id()).into_inner()
    }

    fn reset(&mut self, code: u64) {
        self.ended = true;
        // Fails only for a stream that is over already.
        let _ = self.stream.reset(var_int(code));
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        let stopped = self.stopped.get_or_insert_with(|| {
            let stopped = self.stream.stopped();
            // A lost connection wants no more either.
            Box::pin(async move { stopped.await.map_or(Some(0), |code| code.map(VarInt::into_inner)) })
        });
        let code = ready!(stopped.as_mut().poll(cx));
        self.stopped = None;
        Poll::Ready(code)
    }
}

impl Drop for QuicSend {
    /// Resets what was not finished; quinn by itself would pretend a clean end.
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.stream.reset(VarInt::from_u32(0));
        }
    }
}

struct QuicRecv(quinn::RecvStream);

impl AsyncRead for QuicRecv {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buf).map_err(with_code)
    }
}

impl RecvHalf for QuicRecv {
    fn id(&self) -> u64 {
        VarInt::from(self.0.id()).into_inner()
    }

    fn stop(&mut self, code: u64) {
        // Fails only for a stream that is over already.
        let _ = self.0.stop(var_int(code));
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Option<Bytes>>> {
        // The future holds no state of its own: quinn keeps the waker with the stream.
        let chunk = ready!(pin!(self.0.read_chunk(max, true)).poll(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(|chunk| chunk.bytes)).map_err(|error| with_code(error.into())))
    }
}
