//! A pair of connections that carry streams in memory, as QUIC would, without a network.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use alknet_core::{
    Alpn, BoxFuture, Carrier, CloseReason, Connection, ConnectionError, KillSwitch, Link, Peer, RecvHalf, RecvStream,
    SendHalf, SendStream, Stream, StreamReset,
};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf},
    sync::{Mutex, mpsc},
};
use tokio_util::sync::CancellationToken;

/// Bytes that one direction of a stream holds before its writer waits.
pub const STREAM_BUFFER_BYTES: usize = 64 * 1024;
/// Longest datagram that a connection takes, as of a QUIC connection that has not looked for more.
pub const MAX_DATAGRAM_BYTES: usize = 1200;
/// Datagrams that may wait to be read; one more is lost.
pub const DATAGRAM_BACKLOG: usize = 64;
/// Streams that may wait to be accepted.
pub const STREAM_BACKLOG: usize = 1024;

/// Two ends of one connection for `alpn`: the client's, which sees `server` as its peer, and the server's, which sees `client`.
pub fn pair(alpn: &Alpn, client: Peer, server: Peer) -> (Connection, Connection) {
    pair_over(alpn, client, server, Carrier::Quic)
}

/// The same, claiming to be another carrier; on a single-stream carrier only the client opens, once.
pub fn pair_over(alpn: &Alpn, client: Peer, server: Peer, carrier: Carrier) -> (Connection, Connection) {
    let (to_server, from_client) = mpsc::channel(STREAM_BACKLOG);
    let (to_client, from_server) = mpsc::channel(STREAM_BACKLOG);
    let ((to_server_datagrams, client_datagrams), (to_client_datagrams, server_datagrams)) =
        (mpsc::channel(DATAGRAM_BACKLOG), mpsc::channel(DATAGRAM_BACKLOG));
    let shared = Arc::new(Shared { closed: CancellationToken::new(), reason: OnceLock::new() });
    let end = |outgoing, incoming, first_id, (send_datagrams, datagrams)| MemoryLink {
        carrier,
        outgoing,
        incoming: Mutex::new(incoming),
        send_datagrams,
        datagrams: Mutex::new(datagrams),
        next_id: AtomicU64::new(first_id),
        accepted: AtomicU64::new(0),
        client: first_id == 0,
        shared: shared.clone(),
    };
    let near =
        Connection::new(alpn.clone(), server, end(to_server, from_server, 0, (to_server_datagrams, server_datagrams)));
    let far =
        Connection::new(alpn.clone(), client, end(to_client, from_client, 1, (to_client_datagrams, client_datagrams)));
    (near, far)
}

struct Shared {
    closed: CancellationToken,
    reason: OnceLock<(bool, u64, String)>,
}

struct MemoryLink {
    carrier: Carrier,
    outgoing: mpsc::Sender<Stream>,
    incoming: Mutex<mpsc::Receiver<Stream>>,
    send_datagrams: mpsc::Sender<Bytes>,
    datagrams: Mutex<mpsc::Receiver<Bytes>>,
    next_id: AtomicU64,
    accepted: AtomicU64,
    client: bool,
    shared: Arc<Shared>,
}

impl MemoryLink {
    fn single(&self) -> bool {
        self.carrier != Carrier::Quic
    }
    fn reason(&self) -> CloseReason {
        match self.shared.reason.get() {
            Some((by_client, code, reason)) if *by_client != self.client => {
                CloseReason::Peer { code: *code, reason: reason.escape_debug().to_string() }
            }
            _ => CloseReason::Local,
        }
    }
}

impl Link for MemoryLink {
    fn carrier(&self) -> Carrier {
        self.carrier
    }

    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
        Box::pin(async move {
            if self.single() && (self.client || self.accepted.load(Ordering::Acquire) > 0) {
                return Ok(None);
            }
            let mut incoming = self.incoming.lock().await;
            tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => match self.shared.reason.get() {
                    Some((_, 0, _)) | None => Ok(None),
                    Some(_) => Err(ConnectionError::Closed(self.reason())),
                },
                stream = incoming.recv() => {
                    self.accepted.fetch_add(1, Ordering::AcqRel);
                    Ok(stream)
                }
            }
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
        Box::pin(async move {
            let id = self.next_id.fetch_add(4, Ordering::AcqRel);
            if self.single() && (!self.client || id > 0) {
                return Err(ConnectionError::Unsupported { carrier: self.carrier, what: "second stream" });
            }
            let ((send, far_recv), (far_send, recv)) = (direction(id, &self.shared), direction(id, &self.shared));
            let closed = |_| ConnectionError::Closed(self.reason());
            self.outgoing.send(Stream::new(far_send, far_recv)).await.map_err(closed)?;
            Ok(Stream::new(send, recv))
        })
    }

    fn send_datagram(&self, datagram: Bytes) -> Result<(), ConnectionError> {
        if self.shared.closed.is_cancelled() {
            return Err(ConnectionError::Closed(self.reason()));
        }
        let unsupported = |what| Err(ConnectionError::Unsupported { carrier: self.carrier, what });
        if self.single() {
            return unsupported("datagrams");
        }
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return unsupported("datagrams of that size");
        }
        let _lost_if_full = self.send_datagrams.try_send(datagram);
        Ok(())
    }

    fn recv_datagram(&self) -> BoxFuture<'_, Result<Bytes, ConnectionError>> {
        Box::pin(async move {
            if self.single() {
                return Err(ConnectionError::Unsupported { carrier: self.carrier, what: "datagrams" });
            }
            let mut datagrams = self.datagrams.lock().await;
            tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => Err(ConnectionError::Closed(self.reason())),
                Some(datagram) = datagrams.recv() => Ok(datagram),
                else => Err(ConnectionError::Closed(self.reason())),
            }
        })
    }

    fn close(&self, code: u64, reason: &[u8]) {
        let words = String::from_utf8_lossy(reason).into_owned();
        let _first_wins = self.shared.reason.set((self.client, code, words));
        self.shared.closed.cancel();
    }

    fn closed(&self) -> BoxFuture<'_, CloseReason> {
        Box::pin(async move {
            self.shared.closed.cancelled().await;
            self.reason()
        })
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.close(0, b"dropped");
    }
}

/// What the two ends of one direction tell each other beside the bytes.
#[derive(Default)]
struct Signals {
    reset: CancellationToken,
    /// With which code, if it was the stream alone.
    reset_code: OnceLock<u64>,
    /// The reader wants no more: it stopped, or has read everything.
    finished: CancellationToken,
    stop_code: OnceLock<u64>,
}

fn direction(id: u64, shared: &Shared) -> (SendStream, RecvStream) {
    let (read, write) = tokio::io::simplex(STREAM_BUFFER_BYTES);
    let signals = Arc::new(Signals { reset: shared.closed.child_token(), ..Signals::default() });
    let send = MemorySend {
        id,
        inner: KillSwitch::new(write, &signals.reset),
        finished: Box::pin(signals.finished.clone().cancelled_owned()),
        ended: false,
        signals: signals.clone(),
    };
    let recv = MemoryRecv { id, inner: KillSwitch::new(read, &signals.reset), signals };
    (SendStream::new(send), RecvStream::new(recv))
}

struct MemorySend {
    id: u64,
    inner: KillSwitch<WriteHalf<SimplexStream>>,
    finished: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    ended: bool,
    signals: Arc<Signals>,
}

impl SendHalf for MemorySend {
    fn id(&self) -> u64 {
        self.id
    }
    fn reset(&mut self, code: u64) {
        let _first_wins = self.signals.reset_code.set(code);
        self.signals.reset.cancel();
    }
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        self.finished.as_mut().poll(cx).map(|()| self.signals.stop_code.get().copied())
    }
}

impl Drop for MemorySend {
    fn drop(&mut self) {
        if !self.ended {
            self.reset(0);
        }
    }
}

impl AsyncWrite for MemorySend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.signals.stop_code.get().is_some() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the peer stopped reading")));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct MemoryRecv {
    id: u64,
    inner: KillSwitch<ReadHalf<SimplexStream>>,
    signals: Arc<Signals>,
}

impl RecvHalf for MemoryRecv {
    fn id(&self) -> u64 {
        self.id
    }
    fn stop(&mut self, code: u64) {
        let _first_wins = self.signals.stop_code.set(code);
        self.signals.finished.cancel();
    }
}

impl AsyncRead for MemoryRecv {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0 {
            self.signals.finished.cancel();
        }
        match self.signals.reset_code.get() {
            Some(&code) if matches!(polled, Poll::Ready(Err(_))) => Poll::Ready(Err(StreamReset { code }.into())),
            _ => polled,
        }
    }
}

impl Drop for MemoryRecv {
    fn drop(&mut self) {
        // A reader that goes away before the end wants no more.
        if !self.signals.finished.is_cancelled() {
            self.stop(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::identities::{stranger, test_alpn};

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_end() {
        let (near, far) = pair(&test_alpn(), stranger(), stranger());
        let mut here = near.open_stream().await.unwrap();
        let mut there = far.accept_stream().await.unwrap().unwrap();
        here.write_all(b"ping").await.unwrap();
        here.shutdown().await.unwrap();
        let mut heard = Vec::new();
        there.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"ping");
        assert_eq!(here.send.stopped().await, None);
        there.abort(7);
        let reset = here.read_u8().await.unwrap_err();
        assert_eq!(StreamReset::of(&reset), Some(StreamReset { code: 7 }), "a reset is no clean end");
    }

    #[tokio::test]
    async fn closing_ends_both_sides() {
        let (near, far) = pair(&test_alpn(), stranger(), stranger());
        let mut stream = near.open_stream().await.unwrap();
        far.close(5, b"bye");
        assert!(matches!(near.closed().await, CloseReason::Peer { code: 5, .. }));
        assert!(stream.read_u8().await.is_err());
        assert!(near.accept_stream().await.is_err());
    }

    #[tokio::test]
    async fn datagrams_arrive_where_they_fit() {
        let (near, far) = pair(&test_alpn(), stranger(), stranger());
        near.send_datagram(Bytes::from_static(b"ping")).unwrap();
        assert_eq!(far.recv_datagram().await.unwrap(), "ping");
        assert!(far.send_datagram(vec![0; MAX_DATAGRAM_BYTES + 1].into()).is_err());
        near.close(0, b"");
        assert!(far.recv_datagram().await.is_err());
        let (near, _far) = pair_over(&test_alpn(), stranger(), stranger(), Carrier::Tls);
        assert!(near.send_datagram(Bytes::new()).is_err());
    }

    #[tokio::test]
    async fn a_single_stream_carrier_has_one_stream() {
        let (near, far) = pair_over(&test_alpn(), stranger(), stranger(), Carrier::Tls);
        let _only = near.open_stream().await.unwrap();
        assert!(near.open_stream().await.is_err());
        assert!(far.accept_stream().await.unwrap().is_some());
        assert!(far.accept_stream().await.unwrap().is_none());
    }
}
