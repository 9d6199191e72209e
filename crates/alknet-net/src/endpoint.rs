//! The listening endpoint: every carrier on one port number, and how it stops.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alknet_core::{Alpn, Carrier, Face, IdentityProvider, Router, Sessions};
use quinn::VarInt;

use crate::abuse::AbuseGate;
use crate::gate::PublicUrl;
use crate::lane::Lanes;
use crate::limits::WAIT_IDLE_TIMEOUT;
use crate::local::{LocalBindError, LocalListener};
use crate::quic::{LazyServerConfig, QuicAcceptor, transport};
use crate::serving::Serving;
use crate::socket::{self, BindError, UdpBufferWarning};
use crate::tcp_listener::TcpAcceptor;
use crate::tls::{AlpnTable, FaceError, FaceStore, NodeCredentials, WebCertificate};

/// How an endpoint listens.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Where to listen, on TCP and UDP alike. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The service that SSH clients without TLS get, and clients that wait for the server to speak; `None` closes both.
    pub plain_ssh: Option<Alpn>,
    /// Where HTTP clients without TLS are sent; `None` tells them to use https.
    pub public_url: Option<PublicUrl>,
    /// Who keeps the score of those who misbehave.
    pub gate: AbuseGate,
}

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A socket could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The faces could not be made.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// The runtime refused a socket.
    #[error("cannot use the sockets: {0}")]
    Runtime(#[from] std::io::Error),
}

/// A listening endpoint. Dropping it leaves it running; [`Endpoint::shutdown`] ends it.
pub struct Endpoint {
    addr: SocketAddr,
    quic: quinn::Endpoint,
    faces: Arc<FaceStore>,
    serving: Serving,
    udp_warning: Option<UdpBufferWarning>,
    /// Here too: what a handler began on them may have to be seen to its end after [`Endpoint::shutdown`].
    _lanes: Arc<Lanes>,
}

impl Endpoint {
    /// Starts to listen and serve. Needs a tokio runtime. Connections whose peer proved a key are entered into
    /// `sessions`, and end when that key's rights do.
    ///
    /// # Errors
    /// When the port is taken, or the identity cannot sign.
    pub async fn bind(
        config: EndpointConfig,
        router: Router,
        identities: Arc<dyn IdentityProvider>,
        sessions: Sessions,
        node: &NodeCredentials,
        web: WebCertificate,
    ) -> Result<Self, EndpointError> {
        let faces = Arc::new(FaceStore::new(alpn_table(&router), node, web)?);
        let sockets = socket::bind(config.listen)?;
        let addr = sockets.tcp.local_addr()?;
        let serving = Serving::new(router, identities, sessions);
        let gate = config.gate;

        let crypto = Arc::new(LazyServerConfig::new(Arc::clone(&faces)));
        let quic = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(transport::server_config(crypto)),
            sockets.udp,
            Arc::new(quinn::TokioRuntime),
        )?;
        let quic_acceptor = QuicAcceptor { serving: serving.clone(), gate: gate.clone() };
        // Not among the serving tasks: it goes on refusing until the endpoint is closed.
        tokio::spawn(Arc::new(quic_acceptor).run(quic.clone()));

        let lanes = Arc::new(Lanes::start()?);
        let (plain_ssh, public_url) = (config.plain_ssh, config.public_url);
        let tcp_acceptor =
            TcpAcceptor::new(serving.clone(), Arc::clone(&faces), gate, plain_ssh, public_url, Arc::clone(&lanes));
        let tcp = tokio::net::TcpListener::from_std(sockets.tcp)?;
        serving.spawn_listener(Arc::new(tcp_acceptor).run(tcp));

        if let Some(warning) = sockets.warning {
            tracing::warn!("{warning}");
        }
        Ok(Self { addr, quic, faces, serving, udp_warning: sockets.warning, _lanes: lanes })
    }

    /// Opens the control socket at `path` too, in place of one that an earlier run left behind. The caller holds the
    /// data folder's lock.
    ///
    /// # Errors
    /// When the socket cannot be made; names the path.
    pub fn listen_locally(&self, path: &Path) -> Result<(), LocalBindError> {
        let listener = LocalListener::bind(path)?;
        self.serving.spawn_listener(listener.run(self.serving.clone()));
        Ok(())
    }

    /// Where it listens, with the port that was chosen, for TCP and UDP alike.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Each network carrier and where it listens.
    pub fn listens(&self) -> [(Carrier, SocketAddr); 2] {
        [(Carrier::Quic, self.addr), (Carrier::Tls, self.addr)]
    }

    /// What the kernel withheld from the UDP socket, if anything.
    pub fn udp_warning(&self) -> Option<UdpBufferWarning> {
        self.udp_warning
    }

    /// New handshakes of the web face show `certificate`; nothing is closed.
    pub fn set_web_certificate(&self, certificate: WebCertificate) {
        self.faces.set_web(certificate);
    }

    /// New handshakes of the node face show `node`; nothing is closed.
    ///
    /// # Errors
    /// When the new configuration cannot be made; the old one stays.
    pub fn set_node_credentials(&self, node: &NodeCredentials) -> Result<(), FaceError> {
        self.faces.set_node(node)
    }

    /// Stops, in this order: accept nothing new; tell the handlers; wait up to `drain` for what runs; close the rest;
    /// wait until the farewells are sent. What handlers began besides goes on until the endpoint is dropped.
    pub async fn shutdown(&self, drain: Duration) {
        let deadline = tokio::time::Instant::now() + drain;
        // 1
        self.serving.stop_accepting();
        // 2
        let told = tokio::time::timeout_at(deadline, self.serving.router().shutdown()).await.is_ok();
        // 3
        let drained = self.serving.wait(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
        if !told || !drained {
            tracing::warn!(left = self.serving.tasks(), "the drain time is over");
        }
        // 4
        self.serving.cut_off().await;
        self.quic.close(VarInt::from_u32(0), b"");
        // 5
        if tokio::time::timeout(WAIT_IDLE_TIMEOUT, self.quic.wait_idle()).await.is_err() {
            tracing::debug!("QUIC farewells are still unacknowledged");
        }
    }
}

/// The one list of services, sorted by who sees it.
fn alpn_table(router: &Router) -> AlpnTable {
    let mut table = AlpnTable::default();
    for (alpn, service) in router.services() {
        let (tcp, quic) = match service.face {
            Face::Node => (&mut table.node_tcp, &mut table.node_quic),
            Face::Web => (&mut table.web_tcp, &mut table.web_quic),
        };
        if service.carriers.tcp() {
            tcp.push(alpn.as_bytes().to_vec());
        }
        if service.carriers.quic() {
            quic.push(alpn.as_bytes().to_vec());
        }
    }
    table
}
