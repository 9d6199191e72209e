//! A connection that has chosen its service, on any carrier.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{Alpn, BoxFuture, Peer, RecvStream, SendStream, Stream};

/// What carries a connection. For logs and limits: a handler never asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// QUIC: many streams, datagrams.
    Quic,
    /// TLS over TCP: exactly one stream.
    Tls,
    /// Bare TCP that passed the one-byte gate: exactly one stream.
    Plain,
    /// The control socket of this machine: one stream a socket connection, many connections.
    Local,
}

impl Carrier {
    /// The carrier's name in logs and in `status --json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tcp",
            Self::Plain => "plain",
            Self::Local => "local",
        }
    }
}

/// Why a connection did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// This carrier cannot do that at all.
    #[error("a {} connection has no {what}", carrier.name())]
    Unsupported {
        /// The carrier.
        carrier: Carrier,
        /// What was asked for.
        what: &'static str,
    },
    /// The connection is over.
    #[error("connection closed: {0}")]
    Closed(CloseReason),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// This end closed it.
    Local,
    /// The peer closed it with a code; its words are hostile input, escaped and cut.
    Peer {
        /// Application code (QUIC), 0 on other carriers.
        code: u64,
        /// The peer's words, escaped.
        reason: String,
    },
    /// Nothing arrived for the idle timeout.
    TimedOut,
    /// The transport failed.
    Transport(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("by this end"),
            Self::Peer { code, reason } if reason.is_empty() => write!(f, "by the peer (code {code})"),
            Self::Peer { code, reason } => write!(f, "by the peer (code {code}: {reason})"),
            Self::TimedOut => f.write_str("nothing arrived in time"),
            Self::Transport(cause) => f.write_str(cause),
        }
    }
}

/// What a carrier provides under a [`Connection`]. A carrier implements what it has; the rest is a typed refusal.
pub trait Link: Send + Sync + 'static {
    /// Which carrier this is.
    fn carrier(&self) -> Carrier;
    /// Waits for the peer's next bidirectional stream; `None` when there will be no more. Cancel safe.
    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>>;
    /// Opens a bidirectional stream.
    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>>;
    /// Waits for the peer's next one-way stream. Cancel safe.
    fn accept_uni(&self) -> BoxFuture<'_, Result<Option<RecvStream>, ConnectionError>> {
        let carrier = self.carrier();
        Box::pin(async move { Err(ConnectionError::Unsupported { carrier, what: "one-way streams" }) })
    }
    /// Opens a one-way stream.
    fn open_uni(&self) -> BoxFuture<'_, Result<SendStream, ConnectionError>> {
        let carrier = self.carrier();
        Box::pin(async move { Err(ConnectionError::Unsupported { carrier, what: "one-way streams" }) })
    }
    /// Sends an unreliable datagram (RFC 9221).
    fn send_datagram(&self, _datagram: Bytes) -> Result<(), ConnectionError> {
        Err(ConnectionError::Unsupported { carrier: self.carrier(), what: "datagrams" })
    }
    /// Waits for a datagram. Cancel safe.
    fn recv_datagram(&self) -> BoxFuture<'_, Result<Bytes, ConnectionError>> {
        let carrier = self.carrier();
        Box::pin(async move { Err(ConnectionError::Unsupported { carrier, what: "datagrams" }) })
    }
    /// Ends the connection at once.
    fn close(&self, code: u64, reason: &[u8]);
    /// Waits for the end of the connection. Cancel safe.
    fn closed(&self) -> BoxFuture<'_, CloseReason>;
    /// Derives a secret bound to this TLS session (RFC 8446, 7.5) into `out`.
    fn export_keying_material(&self, _out: &mut [u8], _label: &[u8], _context: &[u8]) -> Result<(), ConnectionError> {
        Err(ConnectionError::Unsupported { carrier: self.carrier(), what: "keying material" })
    }
}

/// A connection whose service is known. Clones are handles on the same connection.
#[derive(Clone)]
pub struct Connection {
    alpn: Alpn,
    peer: Arc<Peer>,
    link: Arc<dyn Link>,
}

impl Connection {
    /// Wraps a carrier's connection once its handshake is done.
    pub fn new(alpn: Alpn, peer: Peer, link: impl Link) -> Self {
        Self { alpn, peer: Arc::new(peer), link: Arc::new(link) }
    }
    /// The service it was made for.
    pub fn alpn(&self) -> &Alpn {
        &self.alpn
    }
    /// The other end.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
    /// What carries it: for logs and limits only.
    pub fn carrier(&self) -> Carrier {
        self.link.carrier()
    }
    /// Waits for the peer's next stream; `None` when there will be no more. Cancel safe.
    pub async fn accept_stream(&self) -> Result<Option<Stream>, ConnectionError> {
        self.link.accept_bi().await
    }
    /// Opens a stream. On a single-stream carrier the dialling side gets its one stream, once.
    pub async fn open_stream(&self) -> Result<Stream, ConnectionError> {
        self.link.open_bi().await
    }
    /// Waits for the peer's next one-way stream. Cancel safe.
    pub async fn accept_uni(&self) -> Result<Option<RecvStream>, ConnectionError> {
        self.link.accept_uni().await
    }
    /// Opens a one-way stream.
    pub async fn open_uni(&self) -> Result<SendStream, ConnectionError> {
        self.link.open_uni().await
    }
    /// Sends an unreliable datagram (RFC 9221).
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), ConnectionError> {
        self.link.send_datagram(datagram)
    }
    /// Waits for a datagram. Cancel safe.
    pub async fn recv_datagram(&self) -> Result<Bytes, ConnectionError> {
        self.link.recv_datagram().await
    }
    /// Ends the connection at once; unsent data may be lost.
    pub fn close(&self, code: u64, reason: &[u8]) {
        self.link.close(code, reason);
    }
    /// Waits for the end of the connection. Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        self.link.closed().await
    }
    /// Derives a secret bound to this TLS session (RFC 8446, 7.5) into `out`.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ConnectionError> {
        self.link.export_keying_material(out, label, context)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} from {} over {})", self.alpn, self.peer.addr, self.carrier().name())
    }
}
