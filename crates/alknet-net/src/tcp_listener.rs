//! The TCP side of a listener: the gate, TLS, and bare SSH.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alknet_core::{Alpn, Carrier, Connection, Offence, Peer, PeerAddr};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::abuse::{AbuseGate, Visit};
use crate::gate::{FirstByte, NO_APPLICATION_PROTOCOL, PublicUrl, classify, http_answer};
use crate::lane::Lanes;
use crate::limits::{
    ACCEPT_BACKOFF, MAX_SILENT, SILENCE_BEFORE_BANNER, TCP_KEEPALIVE_IDLE, TCP_KEEPALIVE_INTERVAL, TCP_KEEPALIVE_PROBES,
};
use crate::prompt_tcp::PromptTcp;
use crate::serving::Serving;
use crate::single_link::{Role, SingleLink, linger};
use crate::tls::{FaceStore, HelloView, node_key_in};

/// What the gate calls a handshake that has not named its service.
const DOOR: &str = "tcp";

/// Accepts TCP connections for an endpoint.
pub(crate) struct TcpAcceptor {
    pub(crate) serving: Serving,
    pub(crate) faces: Arc<FaceStore>,
    pub(crate) gate: AbuseGate,
    pub(crate) plain_ssh: Option<Alpn>,
    pub(crate) public_url: Option<PublicUrl>,
    silent: Arc<Semaphore>,
    lanes: Arc<Lanes>,
}

/// A client that got through.
enum Opened {
    /// With TLS.
    Secure(Connection),
    /// It speaks SSH without TLS, to this service; or is silent so far, and holds a place for such.
    Plain { service: Alpn, io: TcpStream, silent: Option<OwnedSemaphorePermit> },
}

impl TcpAcceptor {
    pub(crate) fn new(
        serving: Serving,
        faces: Arc<FaceStore>,
        gate: AbuseGate,
        plain_ssh: Option<Alpn>,
        public_url: Option<PublicUrl>,
        lanes: Arc<Lanes>,
    ) -> Self {
        let silent = Arc::new(Semaphore::new(MAX_SILENT));
        Self { serving, faces, gate, plain_ssh, public_url, silent, lanes }
    }

    /// The accept loop.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((io, addr)) => {
                    let (this, addr) = (Arc::clone(&self), canonical(addr));
                    // Here and not in its task: the newest is the one that came last, whichever task runs first. Whoever gets as
                    // far as here receives what is sent to the address.
                    let visit = self.gate.enter(addr, true);
                    self.serving.spawn(async move { this.handle(io, addr, visit).await });
                }
                Err(error) => {
                    // Out of file descriptors, mostly; a connection that vanished in the queue costs nothing either.
                    tracing::warn!(%error, "cannot accept TCP connections");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn handle(&self, io: TcpStream, addr: SocketAddr, visit: Visit) {
        let opened = tokio::select! {
            opened = timeout(visit.handshake_timeout(), self.open(io, &visit, addr)) => opened,
            () = visit.displaced() => {
                tracing::debug!(%addr, "unfinished handshake gave way to a newer one");
                return;
            }
        };
        match opened {
            Ok(Ok(Some(Opened::Secure(connection)))) => self.serving.serve(connection, Some(visit)).await,
            Ok(Ok(Some(Opened::Plain { service, io, silent }))) => {
                if let Err(error) = self.serve_plain(service, io, addr, visit).await {
                    tracing::warn!(%addr, %error, "a connection could not be served");
                }
                drop(silent);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::debug!(%addr, %error, "handshake failed");
                if broke_the_rules(&error) {
                    visit.offend(Offence::BadFrame, DOOR);
                }
            }
            Err(_) => {
                tracing::debug!(%addr, "handshake took too long");
                visit.offend(Offence::NoAuthentication, DOOR);
            }
        }
    }

    /// Serves SSH without TLS, on one thread all of it.
    async fn serve_plain(&self, service: Alpn, io: TcpStream, addr: SocketAddr, visit: Visit) -> io::Result<()> {
        let (serving, io) = (self.serving.clone(), io.into_std()?);
        let serve = move || async move {
            match TcpStream::from_std(io) {
                Ok(io) => serving.serve(plain(service, io, addr), Some(visit)).await,
                Err(error) => tracing::warn!(%addr, %error, "a connection could not be served"),
            }
        };
        self.lanes.run(serve).await;
        Ok(())
    }

    /// Looks at the first byte and does what it asks for; `None` when the client was sent away.
    async fn open(&self, io: TcpStream, visit: &Visit, addr: SocketAddr) -> io::Result<Option<Opened>> {
        configure(&io)?;
        let Some(first) = self.first_byte(&io).await? else {
            return Ok(self.greet_silent(io, addr));
        };
        match (classify(first), &self.plain_ssh) {
            (FirstByte::Tls, _) => self.handshake(io, addr).await,
            (FirstByte::Ssh, Some(service)) => Ok(Some(Opened::Plain { service: service.clone(), io, silent: None })),
            (FirstByte::Http, _) => {
                send_away(io, http_answer(self.public_url.as_ref()).as_bytes()).await?;
                Ok(None)
            }
            (FirstByte::Ssh, None) => Ok(None),
            (FirstByte::Other, _) => {
                visit.offend(Offence::BadFrame, DOOR);
                Ok(None)
            }
        }
    }

    /// The first byte, left unread; `None` when the client waits for the server to speak, as some SSH clients do.
    async fn first_byte(&self, io: &TcpStream) -> io::Result<Option<u8>> {
        let patience = if self.plain_ssh.is_some() { SILENCE_BEFORE_BANNER } else { Duration::MAX };
        let mut first = [0];
        match timeout(patience, io.peek(&mut first)).await {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => Ok(Some(first[0])),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn greet_silent(&self, io: TcpStream, addr: SocketAddr) -> Option<Opened> {
        let service = self.plain_ssh.clone()?;
        let Ok(silent) = Arc::clone(&self.silent).try_acquire_owned() else {
            tracing::debug!(%addr, "too many silent clients");
            return None;
        };
        Some(Opened::Plain { service, io, silent: Some(silent) })
    }

    async fn handshake(&self, io: TcpStream, addr: SocketAddr) -> io::Result<Option<Opened>> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
        let hello = HelloView::of(&start.client_hello());
        let Ok(config) = self.faces.load().tcp(&hello) else {
            tracing::debug!(%addr, "no service for the offered ALPNs");
            send_away(start.io, &NO_APPLICATION_PROTOCOL).await?;
            return Ok(None);
        };
        let tls = start.into_stream(config).await?;
        let session = tls.get_ref().1;
        let alpn = session.alpn_protocol().map_or(Ok(Alpn::from_static(b"http/1.1")), Alpn::new);
        let alpn = alpn.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let key = session.peer_certificates().and_then(<[_]>::first).and_then(|spki| node_key_in(spki));
        let (addr, local) = (PeerAddr::Ip(addr), local_addr(tls.get_ref().0));
        let peer = Peer { key, addr, local, server_name: session.server_name().map(str::to_owned) };
        let link = SingleLink::new(Carrier::Tls, Role::Accepted, tls);
        Ok(Some(Opened::Secure(Connection::new(alpn, peer, link))))
    }
}

/// Whether a handshake failed as it does with no client that speaks TLS. One that dislikes our certificate, speaks older versions
/// only, or goes away has done nothing.
fn broke_the_rules(error: &io::Error) -> bool {
    use rustls::Error::{
        DecryptError, InappropriateHandshakeMessage, InappropriateMessage, InvalidMessage, PeerMisbehaved,
        PeerSentOversizedRecord,
    };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(
            DecryptError
                | InappropriateHandshakeMessage { .. }
                | InappropriateMessage { .. }
                | InvalidMessage(_)
                | PeerMisbehaved(_)
                | PeerSentOversizedRecord
        )
    )
}

fn plain(service: Alpn, io: TcpStream, addr: SocketAddr) -> Connection {
    let peer = Peer { key: None, addr: PeerAddr::Ip(addr), local: local_addr(&io), server_name: None };
    Connection::new(service, peer, SingleLink::new(Carrier::Plain, Role::Accepted, PromptTcp::new(io)))
}

/// The address that the client connected to.
fn local_addr(io: &TcpStream) -> Option<SocketAddr> {
    io.local_addr().ok().map(canonical)
}

/// IPv4 clients of a dual-stack socket, as the IPv4 clients that they are.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// No delay for small writes; and a peer that is gone without a word is noticed.
pub(crate) fn configure(io: &TcpStream) -> io::Result<()> {
    io.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE_IDLE)
        .with_interval(TCP_KEEPALIVE_INTERVAL)
        .with_retries(TCP_KEEPALIVE_PROBES);
    SockRef::from(io).set_tcp_keepalive(&keepalive)
}

/// Sends a last word and closes so that it arrives.
async fn send_away(mut io: TcpStream, last_word: &[u8]) -> io::Result<()> {
    io.write_all(last_word).await?;
    io.shutdown().await?;
    linger(io).await;
    Ok(())
}
