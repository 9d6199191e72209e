//! The QUIC side of a listener.

use std::sync::Arc;

use alknet_core::{Alpn, Connection, Peer, PeerAddr};
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::{QuicLink, transport};
use crate::half_open::HalfOpen;
use crate::limits::{HANDSHAKE_TIMEOUT, RETRY_ABOVE_HALF_OPEN};
use crate::serving::Serving;
use crate::tcp_listener::canonical;
use crate::tls::node_key_in;

/// Accepts QUIC connections for an endpoint.
pub(crate) struct QuicAcceptor {
    pub(crate) serving: Serving,
    pub(crate) half_open: HalfOpen,
}

impl QuicAcceptor {
    /// The accept loop; ends when the endpoint is closed. While the endpoint drains it refuses newcomers by name: a
    /// client that hears nothing would wait for its timeout before it tries elsewhere.
    pub(crate) async fn run(self: Arc<Self>, endpoint: quinn::Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            if self.serving.is_stopping() {
                incoming.refuse();
                continue;
            }
            // Under load only those who receive at the address that they send from take a place.
            let loaded = self.half_open.count() >= RETRY_ABOVE_HALF_OPEN;
            if loaded && !incoming.remote_address_validated() && incoming.may_retry() {
                let _ = incoming.retry();
                continue;
            }
            let this = Arc::clone(&self);
            self.serving.spawn(async move { this.handle(incoming).await });
        }
        if !self.serving.is_stopping() {
            tracing::error!("the UDP socket is lost: QUIC is not served any more, TCP is");
        }
    }

    async fn handle(&self, incoming: quinn::Incoming) {
        let addr = canonical(incoming.remote_address());
        let place = self.half_open.admit(addr.ip());
        let handshake = async { incoming.accept()?.await };
        let outcome = tokio::select! {
            outcome = timeout(HANDSHAKE_TIMEOUT, handshake) => outcome,
            () = place.displaced() => {
                tracing::debug!(%addr, "unfinished handshake gave way to a newer one");
                return;
            }
        };
        drop(place);
        match outcome {
            Ok(Ok(connection)) => self.serve(connection).await,
            Ok(Err(error)) => tracing::debug!(%addr, error = %printable(&error), "handshake failed"),
            Err(_) => tracing::debug!(%addr, "handshake took too long"),
        }
    }

    async fn serve(&self, connection: quinn::Connection) {
        let Some((alpn, peer)) = facts(&connection) else {
            return;
        };
        if self.serving.knows(&peer) {
            transport::raise(&connection);
        }
        self.serving.serve(Connection::new(alpn, peer, QuicLink::new(connection))).await;
    }
}

/// What the handshake said about the connection. Every QUIC handshake negotiates an ALPN (RFC 9001, 8.1).
pub(crate) fn facts(connection: &quinn::Connection) -> Option<(Alpn, Peer)> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let alpn = Alpn::new(data.protocol.as_deref()?).ok()?;
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let key = chain.and_then(|chain| chain.first().and_then(|spki| node_key_in(spki)));
    let addr = PeerAddr::Ip(canonical(connection.remote_address()));
    Some((alpn, Peer { key, addr, server_name: data.server_name }))
}

/// quinn's error without words of the peer's choice that could harm a log.
fn printable(error: &quinn::ConnectionError) -> String {
    error.to_string().chars().take(160).flat_map(char::escape_default).collect()
}
