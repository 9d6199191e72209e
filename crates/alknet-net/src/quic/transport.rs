//! quinn's parameters: everything bounded, small for strangers, larger for those who are known.

use std::sync::Arc;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use super::{LazyServerConfig, congestion::ByRoundTrip};
use crate::limits;

/// The transport parameters of accepted connections.
pub(crate) fn accepting() -> TransportConfig {
    let mut config = common(limits::PATIENT_IDLE_TIMEOUT_MS);
    config
        .receive_window(VarInt::from_u32(limits::STRANGER_RECEIVE_WINDOW_BYTES))
        .send_window(limits::STRANGER_SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::STRANGER_BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(limits::STRANGER_UNI_STREAMS));
    config
}

/// The transport parameters of dialled connections: the peer is pinned, so it is known from the start. The dialling end
/// keeps the connection and the mappings of the routers in between alive.
pub(crate) fn dialling(patience: Patience) -> TransportConfig {
    let mut config = common(match patience {
        Patience::Usual => limits::IDLE_TIMEOUT_MS,
        Patience::Outages => limits::PATIENT_IDLE_TIMEOUT_MS,
    });
    config
        .receive_window(VarInt::from_u32(limits::KNOWN_RECEIVE_WINDOW_BYTES))
        .send_window(limits::KNOWN_SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::KNOWN_BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(limits::KNOWN_UNI_STREAMS))
        .keep_alive_interval(Some(limits::KEEP_ALIVE_INTERVAL));
    config
}

/// How long a dialled connection waits for a peer that is silent. The shorter of the two ends' times holds (RFC 9000, 10.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Half a minute: whoever dialled can dial again.
    #[default]
    Usual,
    /// Three minutes: what hangs on the connection is worth an outage.
    Outages,
}

fn common(idle_timeout_ms: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = VarInt::from_u32(idle_timeout_ms);
    config
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        // Fixed once the handshake is done; until the peer is known, the connection's window is what bounds memory.
        .stream_receive_window(VarInt::from_u32(limits::STREAM_RECEIVE_WINDOW_BYTES))
        .congestion_controller_factory(Arc::new(ByRoundTrip::default()))
        .crypto_buffer_size(limits::MAX_CLIENT_HELLO_BYTES)
        .datagram_receive_buffer_size(Some(limits::DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(limits::DATAGRAM_BUFFER_BYTES);
    config
}

/// Raises a connection's bounds once its peer turned out to be somebody known.
pub(crate) fn raise(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(limits::KNOWN_RECEIVE_WINDOW_BYTES));
    connection.set_send_window(limits::KNOWN_SEND_WINDOW_BYTES);
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(limits::KNOWN_BIDI_STREAMS));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(limits::KNOWN_UNI_STREAMS));
}

/// Lets a stranger go that has become silent: what is granted to connections in general is meant for those who are known.
pub(crate) async fn let_go_when_idle(connection: quinn::Connection) {
    let mut arrived = None;
    loop {
        tokio::select! {
            _ = connection.closed() => return,
            () = tokio::time::sleep(limits::STRANGER_IDLE_TIMEOUT) => {}
        }
        let now = connection.stats().udp_rx.datagrams;
        if arrived == Some(now) {
            connection.close(VarInt::from_u32(0), b"idle");
            return;
        }
        arrived = Some(now);
    }
}

/// The listener's configuration around the choice of faces.
pub(crate) fn server_config(crypto: Arc<LazyServerConfig>) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(crypto);
    config
        .transport_config(Arc::new(accepting()))
        .max_incoming(limits::MAX_INCOMING)
        .incoming_buffer_size(limits::INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(limits::INCOMING_BUFFERS_TOTAL_BYTES)
        .retry_token_lifetime(limits::RETRY_TOKEN_LIFETIME);
    config
}
