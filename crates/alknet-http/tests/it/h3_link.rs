//! h3's QUIC traits over core's `Connection`: names no QUIC implementation.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use alknet_core::{BoxFuture, CloseReason, Connection, ConnectionError, RecvStream, SendStream, Stream, StreamReset};
use bytes::{Buf, Bytes};
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};
use tokio::io::AsyncWrite;

/// Longest piece that is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

type Pending<T> = Option<BoxFuture<'static, Result<T, ConnectionError>>>;

/// Opens streams.
pub struct Opener {
    connection: Connection,
    bidi: Pending<Stream>,
    send: Pending<SendStream>,
}

/// A connection for h3.
pub struct Link {
    opener: Opener,
    bidi: Pending<Option<Stream>>,
    recv: Pending<Option<RecvStream>>,
}

impl Link {
    pub fn new(connection: Connection) -> Self {
        Self { opener: Opener::new(connection), bidi: None, recv: None }
    }
}

impl Opener {
    fn new(connection: Connection) -> Self {
        Self { connection, bidi: None, send: None }
    }
}

fn poll_pending<T>(
    pending: &mut Pending<T>,
    cx: &mut Context<'_>,
    start: impl FnOnce() -> BoxFuture<'static, Result<T, ConnectionError>>,
) -> Poll<Result<T, ConnectionError>> {
    let outcome = ready!(pending.get_or_insert_with(start).as_mut().poll(cx));
    *pending = None;
    Poll::Ready(outcome)
}

impl<B: Buf> quic::Connection<B> for Link {
    type RecvStream = Recv;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let start = || -> BoxFuture<'static, _> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        };
        Poll::Ready(match ready!(poll_pending(&mut self.recv, cx, start)) {
            Ok(Some(stream)) => Ok(Recv(stream)),
            Ok(None) => Err(ended()),
            Err(error) => Err(lost(error)),
        })
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let start = || -> BoxFuture<'static, _> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_stream().await })
        };
        Poll::Ready(match ready!(poll_pending(&mut self.bidi, cx, start)) {
            Ok(Some(stream)) => Ok(Bidi::new(stream)),
            Ok(None) => Err(ended()),
            Err(error) => Err(lost(error)),
        })
    }

    fn opener(&self) -> Opener {
        Opener::new(self.opener.connection.clone())
    }
}

impl<B: Buf> quic::OpenStreams<B> for Link {
    type BidiStream = Bidi<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }
    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }
    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.connection.close(code.value(), reason);
    }
}

impl<B: Buf> quic::OpenStreams<B> for Opener {
    type BidiStream = Bidi<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        let connection = &self.connection;
        let start = || -> BoxFuture<'static, _> {
            let connection = connection.clone();
            Box::pin(async move { connection.open_stream().await })
        };
        Poll::Ready(ready!(poll_pending(&mut self.bidi, cx, start)).map(Bidi::new).map_err(connection_lost))
    }
    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        let connection = &self.connection;
        let start = || -> BoxFuture<'static, _> {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        };
        Poll::Ready(ready!(poll_pending(&mut self.send, cx, start)).map(Send::new).map_err(connection_lost))
    }
    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(code.value(), reason);
    }
}

/// Both directions of a request.
pub struct Bidi<B: Buf> {
    send: Send<B>,
    recv: Recv,
}

impl<B: Buf> Bidi<B> {
    fn new(stream: Stream) -> Self {
        Self { send: Send::new(stream.send), recv: Recv(stream.recv) }
    }
}

impl<B: Buf> quic::BidiStream<B> for Bidi<B> {
    type SendStream = Send<B>;
    type RecvStream = Recv;
    fn split(self) -> (Send<B>, Recv) {
        (self.send, self.recv)
    }
}

impl<B: Buf> quic::RecvStream for Bidi<B> {
    type Buf = Bytes;
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }
    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }
    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl<B: Buf> quic::SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }
    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }
    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }
    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// The receiving direction.
pub struct Recv(RecvStream);

impl quic::RecvStream for Recv {
    type Buf = Bytes;
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.0.poll_chunk(cx, CHUNK_BYTES).map_err(failed)
    }
    fn stop_sending(&mut self, code: u64) {
        self.0.stop(code);
    }
    fn recv_id(&self) -> StreamId {
        stream_id(self.0.id())
    }
}

/// The sending direction, with what is on its way.
pub struct Send<B: Buf> {
    stream: SendStream,
    writing: Option<WriteBuf<B>>,
}

impl<B: Buf> Send<B> {
    fn new(stream: SendStream) -> Self {
        Self { stream, writing: None }
    }
}

impl<B: Buf> quic::SendStream<B> for Send<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(|data| data.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk())).map_err(failed)?;
            data.advance(written);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }
    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        assert!(self.writing.is_none(), "h3 sends only when ready");
        self.writing = Some(data.into());
        Ok(())
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Pin::new(&mut self.stream).poll_shutdown(cx).map_err(failed)
    }
    fn reset(&mut self, code: u64) {
        self.stream.reset(code);
    }
    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

fn stream_id(id: u64) -> StreamId {
    id.try_into().unwrap()
}

fn failed(error: std::io::Error) -> StreamErrorIncoming {
    match StreamReset::of(&error) {
        Some(reset) => StreamErrorIncoming::StreamTerminated { error_code: reset.code },
        None => StreamErrorIncoming::Unknown(error.into()),
    }
}

/// A clean end, as HTTP/3 calls it.
fn ended() -> ConnectionErrorIncoming {
    ConnectionErrorIncoming::ApplicationClose { error_code: Code::H3_NO_ERROR.value() }
}

fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::Closed(CloseReason::Peer { code, .. }) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: code }
        }
        ConnectionError::Closed(CloseReason::TimedOut) => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn connection_lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
}
