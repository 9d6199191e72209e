//! The two faces: which TLS configuration answers a ClientHello, decided by its ALPNs alone.

use std::sync::Arc;

use arc_swap::ArcSwap;
use quinn_proto::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::version::{TLS12, TLS13};

use super::hello::HelloView;
use super::node_credentials::NodeCredentials;
use super::peer_verifier::RawClientKeys;
use super::provider::provider;
use super::web_cert::{WebCertificate, WebResolver};
use crate::limits::WEB_SESSION_CACHE_ENTRIES;

/// The name that ACME's TLS-ALPN-01 challenge uses (RFC 8737). It is answered only while an order is pending.
const ACME_TLS: &[u8] = b"acme-tls/1";
/// What a TCP client without ALPN means.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The ALPNs of each face on each carrier, in the order of preference: the first one that the client offers wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlpnTable {
    pub(crate) node_tcp: Vec<Vec<u8>>,
    pub(crate) node_quic: Vec<Vec<u8>>,
    pub(crate) web_tcp: Vec<Vec<u8>>,
    pub(crate) web_quic: Vec<Vec<u8>>,
}

/// No service of this carrier has one of the offered names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no service here has one of the offered ALPNs")]
pub(crate) struct NoService;

impl NoService {
    /// The TLS alert `no_application_protocol` (RFC 7301, 3.2).
    pub(crate) fn alert(self) -> u8 {
        120
    }
}

/// Which of a carrier's configurations answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Node,
    Web,
}

fn answer(hello: &HelloView, node: &[Vec<u8>], web: &[Vec<u8>], bare: bool) -> Result<Answer, NoService> {
    let Some(offered) = &hello.alpns else {
        let has_http = bare && web.iter().any(|alpn| alpn == HTTP_1_1);
        return if has_http { Ok(Answer::Web) } else { Err(NoService) };
    };
    let offers_one_of = |ours: &[Vec<u8>]| offered.iter().any(|alpn| alpn != ACME_TLS && ours.contains(alpn));
    if offers_one_of(node) {
        Ok(Answer::Node)
    } else if offers_one_of(web) {
        Ok(Answer::Web)
    } else {
        Err(NoService)
    }
}

/// The configurations of the node face on one carrier: raw key or leaf, with or without a raw key from the client.
///
/// Four, because rustls fixes both per configuration, and fails a client that did not offer what one asks for.
struct NodeConfigs<C> {
    raw: [Arc<C>; 2],
    leaf: [Arc<C>; 2],
}

impl<C> NodeConfigs<C> {
    fn pick(&self, hello: &HelloView) -> Arc<C> {
        let by_client = if hello.takes_raw_server_key { &self.raw } else { &self.leaf };
        Arc::clone(&by_client[usize::from(hello.has_raw_client_key)])
    }
}

/// Every TLS configuration of one listener, built once.
pub(crate) struct Faces {
    alpns: Arc<AlpnTable>,
    node_tcp: NodeConfigs<ServerConfig>,
    node_quic: NodeConfigs<QuicServerConfig>,
    web_tcp: Arc<ServerConfig>,
    web_quic: Arc<QuicServerConfig>,
}

impl Faces {
    /// The configuration for a hello over TCP.
    pub(crate) fn tcp(&self, hello: &HelloView) -> Result<Arc<ServerConfig>, NoService> {
        Ok(match answer(hello, &self.alpns.node_tcp, &self.alpns.web_tcp, true)? {
            Answer::Node => self.node_tcp.pick(hello),
            Answer::Web => Arc::clone(&self.web_tcp),
        })
    }

    /// The configuration for a hello over QUIC, where RFC 9001, 8.1 makes ALPN mandatory.
    pub(crate) fn quic(&self, hello: &HelloView) -> Result<Arc<QuicServerConfig>, NoService> {
        Ok(match answer(hello, &self.alpns.node_quic, &self.alpns.web_quic, false)? {
            Answer::Node => self.node_quic.pick(hello),
            Answer::Web => Arc::clone(&self.web_quic),
        })
    }

    /// Some QUIC configuration, for what does not depend on the choice.
    pub(crate) fn any_quic(&self) -> Arc<QuicServerConfig> {
        Arc::clone(&self.node_quic.leaf[0])
    }
}

/// A TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot build a TLS configuration")]
pub struct FaceError(#[from] rustls::Error);

/// The faces of the moment. A swap is seen by new connections; live ones keep what they have.
pub(crate) struct FaceStore {
    current: ArcSwap<Faces>,
    web: Arc<WebResolver>,
}

impl FaceStore {
    pub(crate) fn new(alpns: AlpnTable, node: &NodeCredentials, web: WebCertificate) -> Result<Self, FaceError> {
        let alpns = Arc::new(alpns);
        let web = Arc::new(WebResolver::new(web));
        let faces = Faces {
            node_tcp: node_configs(node, &alpns.node_tcp, Ok)?,
            node_quic: node_configs(node, &alpns.node_quic, for_quic)?,
            web_tcp: Arc::new(web_config(&web, &alpns.web_tcp, &[&TLS13, &TLS12])?),
            web_quic: Arc::new(for_quic(web_config(&web, &alpns.web_quic, &[&TLS13])?)?),
            alpns,
        };
        Ok(Self { current: ArcSwap::from_pointee(faces), web })
    }

    pub(crate) fn load(&self) -> Arc<Faces> {
        self.current.load_full()
    }

    /// New handshakes of the web face show `certificate`. Sessions that clients remember stay valid.
    pub(crate) fn set_web(&self, certificate: WebCertificate) {
        self.web.set(certificate);
    }

    /// New handshakes of the node face show `node`; the web face stays as it is.
    pub(crate) fn set_node(&self, node: &NodeCredentials) -> Result<(), FaceError> {
        let old = self.load();
        let faces = Faces {
            node_tcp: node_configs(node, &old.alpns.node_tcp, Ok)?,
            node_quic: node_configs(node, &old.alpns.node_quic, for_quic)?,
            web_tcp: Arc::clone(&old.web_tcp),
            web_quic: Arc::clone(&old.web_quic),
            alpns: Arc::clone(&old.alpns),
        };
        self.current.store(Arc::new(faces));
        Ok(())
    }
}

fn node_configs<C>(
    node: &NodeCredentials,
    alpns: &[Vec<u8>],
    finish: impl Fn(ServerConfig) -> Result<C, rustls::Error>,
) -> Result<NodeConfigs<C>, rustls::Error> {
    let make = |raw, client| node_config(node, alpns, raw, client).and_then(&finish).map(Arc::new);
    Ok(NodeConfigs { raw: [make(true, false)?, make(true, true)?], leaf: [make(false, false)?, make(false, true)?] })
}

/// One configuration of the node face. Never cloned from another: clones would share their session storage.
fn node_config(
    node: &NodeCredentials,
    alpns: &[Vec<u8>],
    raw_server_key: bool,
    raw_client_key: bool,
) -> Result<ServerConfig, rustls::Error> {
    let resolver = if raw_server_key { node.raw_resolver() } else { node.leaf_resolver() };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let mut config = if raw_client_key {
        builder.with_client_cert_verifier(Arc::new(RawClientKeys)).with_cert_resolver(resolver)
    } else {
        builder.with_no_client_auth().with_cert_resolver(resolver)
    };
    config.alpn_protocols = alpns.to_vec();
    // A resumed session would show a key without a new proof of possession.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

fn web_config(
    web: &Arc<WebResolver>,
    alpns: &[Vec<u8>],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ServerConfig, rustls::Error> {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(web) as _;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpns.to_vec();
    config.session_storage = ServerSessionMemoryCache::new(WEB_SESSION_CACHE_ENTRIES);
    config.max_early_data_size = 0;
    // TLS 1.2 without it gives no keying material that is bound to the session (RFC 7627).
    config.require_ems = true;
    Ok(config)
}

fn for_quic(config: ServerConfig) -> Result<QuicServerConfig, rustls::Error> {
    QuicServerConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    // NET-05, NET-06
    #[test]
    fn alpn_alone_chooses_the_face() {
        let node = names(&["alknet/call", "ssh"]);
        let web_tcp = names(&["h2", "http/1.1", "acme-tls/1"]);
        type Case<'a> = (Option<&'a [&'a str]>, Result<Answer, NoService>);
        let table: &[Case<'_>] = &[
            (Some(&["alknet/call"]), Ok(Answer::Node)),
            (Some(&["h2", "http/1.1"]), Ok(Answer::Web)),
            (Some(&["h2", "ssh"]), Ok(Answer::Node)),
            (Some(&["h3"]), Err(NoService)),
            (Some(&["ALKNET/CALL"]), Err(NoService)),
            (Some(&["acme-tls/1"]), Err(NoService)),
            (Some(&["acme-tls/1", "h2"]), Ok(Answer::Web)),
            (None, Ok(Answer::Web)),
        ];
        for (offered, expected) in table {
            let hello = HelloView { alpns: offered.map(names), ..HelloView::default() };
            assert_eq!(answer(&hello, &node, &web_tcp, true), *expected, "{offered:?}");
        }
    }

    // NET-07
    #[test]
    fn no_alpn_needs_tcp_and_http() {
        let hello = HelloView::default();
        let http = names(&["http/1.1"]);
        assert_eq!(answer(&hello, &[], &http, false), Err(NoService));
        assert_eq!(answer(&hello, &[], &names(&["dot"]), true), Err(NoService));
    }
}
