//! One attempt over one carrier to one address.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use alknet_core::{Alpn, Carrier, Connection, HostPort, NodeKey, Peer, PeerAddr};
use quinn_proto::TransportErrorCode;
use quinn_proto::crypto::rustls::QuicClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{QuicSocket, roaming};
use crate::quic::{Patience, QuicLink, facts, transport};
use crate::single_link::{Role, SingleLink};
use crate::tcp_listener::configure;
use crate::tls::{NodeCredentials, PinnedServer, node_key_in, provider};

/// What is dialled: one address, one service, and the key that must be proven there.
#[derive(Clone)]
pub(super) struct Goal {
    pub(super) host: HostPort,
    pub(super) addr: SocketAddr,
    pub(super) alpn: Alpn,
    pub(super) key: Option<NodeKey>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptError {
    /// The peer proved another key than the pinned one, or any key where none is pinned.
    Key(NodeKey),
    /// The peer has no such service on this carrier.
    NotOffered,
    /// Anything else.
    Failed(String),
}

impl std::fmt::Display for AttemptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(seen) => write!(f, "it presents the key {seen}"),
            Self::NotOffered => f.write_str("it refuses the service (no_application_protocol)"),
            Self::Failed(cause) => f.write_str(cause),
        }
    }
}

/// TLS for one attempt, with the key that the peer proved.
struct PinnedTls {
    config: ClientConfig,
    seen: Arc<OnceLock<NodeKey>>,
}

fn pinned_tls(goal: &Goal, node: &NodeCredentials) -> Result<PinnedTls, AttemptError> {
    let seen = Arc::new(OnceLock::new());
    let verifier = Arc::new(PinnedServer::new(goal.key, Arc::clone(&seen)));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| AttemptError::Failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(node.client_resolver());
    config.alpn_protocols = vec![goal.alpn.as_bytes().to_vec()];
    // A resumed session would be one without a fresh proof of the key.
    config.resumption = Resumption::disabled();
    Ok(PinnedTls { config, seen })
}

impl PinnedTls {
    /// A failed handshake, told by what it was about.
    fn judge(&self, goal: &Goal, no_such_service: bool, cause: String) -> AttemptError {
        match self.seen.get() {
            Some(seen) if goal.key != Some(*seen) => AttemptError::Key(*seen),
            _ if no_such_service => AttemptError::NotOffered,
            _ => AttemptError::Failed(cause.chars().take(200).flat_map(char::escape_default).collect()),
        }
    }
}

/// Dials over QUIC.
pub(super) async fn over_quic(
    socket: QuicSocket,
    goal: &Goal,
    node: &NodeCredentials,
    patience: Patience,
) -> Result<Connection, AttemptError> {
    let tls = pinned_tls(goal, node)?;
    let failed = |error: &dyn std::fmt::Display| AttemptError::Failed(error.to_string());
    let crypto = QuicClientConfig::try_from(tls.config.clone()).map_err(|error| failed(&error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport::dialling(patience)));
    let connecting =
        socket.endpoint.connect_with(config, goal.addr, &server_name(goal).to_str()).map_err(|error| failed(&error))?;
    let connection = connecting.await.map_err(|error| {
        let no_such_service = matches!(&error, quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(u8::from(AlertDescription::NoApplicationProtocol)));
        tls.judge(goal, no_such_service, error.to_string())
    })?;
    let (alpn, peer) = facts(&connection).ok_or(AttemptError::NotOffered)?;
    check(goal, &alpn, peer.key)?;
    let link = QuicLink::new(connection);
    tokio::spawn(roaming::follow(socket, link.weak(), goal.addr));
    Ok(Connection::new(alpn, peer, link))
}

/// Dials over TLS on TCP.
pub(super) async fn over_tcp(goal: &Goal, node: &NodeCredentials) -> Result<Connection, AttemptError> {
    let tls = pinned_tls(goal, node)?;
    let io = TcpStream::connect(goal.addr).await.map_err(|error| AttemptError::Failed(error.to_string()))?;
    configure(&io).map_err(|error| AttemptError::Failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(tls.config.clone()));
    let stream = connector.connect(server_name(goal), io).await.map_err(|error| {
        let no_such_service = is_no_application_protocol(&error);
        tls.judge(goal, no_such_service, error.to_string())
    })?;
    let session = stream.get_ref().1;
    let alpn = session.alpn_protocol().and_then(|alpn| Alpn::new(alpn).ok()).ok_or(AttemptError::NotOffered)?;
    let key = session.peer_certificates().and_then(<[_]>::first).and_then(|spki| node_key_in(spki));
    check(goal, &alpn, key)?;
    let peer = Peer { key, addr: PeerAddr::Ip(goal.addr), local: None, server_name: None };
    Ok(Connection::new(alpn, peer, SingleLink::new(Carrier::Tls, Role::Dialled, stream)))
}

/// The verifier has seen to it; this costs nothing and does not depend on it.
fn check(goal: &Goal, alpn: &Alpn, key: Option<NodeKey>) -> Result<(), AttemptError> {
    match key {
        Some(seen) if goal.key != Some(seen) => Err(AttemptError::Key(seen)),
        None => Err(AttemptError::Failed("the peer proved no key".to_owned())),
        Some(_) if *alpn != goal.alpn => Err(AttemptError::NotOffered),
        Some(_) => Ok(()),
    }
}

fn is_no_application_protocol(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

/// The name to ask for: the host as written, or the address where that is no name.
fn server_name(goal: &Goal) -> ServerName<'static> {
    ServerName::try_from(goal.host.host().to_owned()).unwrap_or_else(|_| ServerName::from(goal.addr.ip()))
}
