//! The QUIC side of a listener.

use std::net::SocketAddr;
use std::sync::Arc;

use alknet_core::{Alpn, Connection, Offence, Peer, PeerAddr};
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::{QuicLink, transport};
use crate::abuse::{AbuseGate, Visit};
use crate::limits::RETRY_ABOVE_HALF_OPEN;
use crate::serving::Serving;
use crate::tcp_listener::canonical;
use crate::tls::node_key_in;

/// What the gate calls a handshake that has not named its service.
const DOOR: &str = "quic";

/// Accepts QUIC connections for an endpoint.
pub(crate) struct QuicAcceptor {
    pub(crate) serving: Serving,
    pub(crate) gate: AbuseGate,
}

impl QuicAcceptor {
    /// The accept loop; ends when the endpoint is closed. While the endpoint drains it refuses newcomers by name: a
    /// client that hears nothing would wait for its timeout before it tries elsewhere.
    pub(crate) async fn run(self: Arc<Self>, endpoint: quinn::Endpoint) {
        let port = endpoint.local_addr().map_or(0, |local| local.port());
        while let Some(incoming) = endpoint.accept().await {
            if self.serving.is_stopping() {
                incoming.refuse();
                continue;
            }
            // Under load, of all or of the source, only those who receive at the address that they send from take a place; and a
            // penalty cannot be used by somebody who forges the address.
            let (addr, validated) = (canonical(incoming.remote_address()), incoming.remote_address_validated());
            let wanted = || self.gate.unfinished() >= RETRY_ABOVE_HALF_OPEN || self.gate.wants_validation(addr.ip());
            if !validated && incoming.may_retry() && wanted() {
                let _ = incoming.retry();
                continue;
            }
            let this = Arc::clone(&self);
            let visit = self.gate.enter(addr, validated);
            self.serving.spawn(async move { this.handle(incoming, addr, port, visit).await });
        }
        if !self.serving.is_stopping() {
            tracing::error!("the UDP socket is lost: QUIC is not served any more, TCP is");
        }
    }

    async fn handle(&self, incoming: quinn::Incoming, addr: SocketAddr, port: u16, visit: Visit) {
        let handshake = async { incoming.accept()?.await };
        let outcome = tokio::select! {
            outcome = timeout(visit.handshake_timeout(), handshake) => outcome,
            () = visit.displaced() => {
                tracing::debug!(%addr, "unfinished handshake gave way to a newer one");
                return;
            }
        };
        match outcome {
            Ok(Ok(connection)) => self.serve(connection, port, visit).await,
            Ok(Err(error)) => {
                tracing::debug!(%addr, error = %printable(&error), "handshake failed");
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

    /// Hands a connection over. `port` is the one that this node listens on.
    async fn serve(&self, connection: quinn::Connection, port: u16, visit: Visit) {
        let Some((alpn, mut peer)) = facts(&connection) else {
            return;
        };
        peer.local = connection.local_ip().map(|ip| canonical(SocketAddr::new(ip, port)));
        let known = self.serving.knows(&peer);
        if known {
            transport::raise(&connection);
        }
        let watched = connection.clone();
        let watch = async {
            if !known {
                transport::let_go_when_idle(watched).await;
            }
        };
        let serving = self.serving.serve(Connection::new(alpn, peer, QuicLink::new(connection)), Some(visit));
        tokio::select! {
            () = serving => {}
            () = async { watch.await; std::future::pending().await } => {}
        }
    }
}

/// What the handshake said about the connection. Every QUIC handshake negotiates an ALPN (RFC 9001, 8.1).
pub(crate) fn facts(connection: &quinn::Connection) -> Option<(Alpn, Peer)> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let alpn = Alpn::new(data.protocol.as_deref()?).ok()?;
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let key = chain.and_then(|chain| chain.first().and_then(|spki| node_key_in(spki)));
    let addr = PeerAddr::Ip(canonical(connection.remote_address()));
    Some((alpn, Peer { key, addr, local: None, server_name: data.server_name }))
}

/// Whether a handshake failed as it does with no client that speaks QUIC (RFC 9000, 20.1). What TLS refuses (codes above 0xff) may
/// be a client that merely wants something else.
fn broke_the_rules(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::TransportError(error) if u64::from(error.code) < 0x100)
}

/// quinn's error without words of the peer's choice that could harm a log.
fn printable(error: &quinn::ConnectionError) -> String {
    error.to_string().chars().take(160).flat_map(char::escape_default).collect()
}
