//! A node that serves HTTP, and nothing else but what a test adds.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alknet_core::{
    Alpn, Authorizer, Carriers, CredentialVerifier, KeyPurpose, KeySigner, ProtocolHandler, Router, Service, Sessions,
};
use alknet_http::{HttpConfig, HttpHandler};
use alknet_net::{AbuseGate, Endpoint, EndpointConfig, NodeCredentials, WebCertificate, generate_self_signed};
use alknet_testkit::identities::{KeptAudit, TestIdentities, TestKeys};

pub const H3: Alpn = Alpn::from_static(b"h3");
const H2: Alpn = Alpn::from_static(b"h2");
const HTTP: Alpn = Alpn::from_static(b"http/1.1");

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(8);

pub struct Node {
    pub endpoint: Endpoint,
    pub http: Arc<HttpHandler>,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(HttpConfig::default(), |router| router).await
    }

    pub async fn start_with(
        config: HttpConfig,
        more: impl FnOnce(alknet_core::RouterBuilder) -> alknet_core::RouterBuilder,
    ) -> Self {
        let identities = Arc::new(TestIdentities::default());
        let keys = Arc::new(TestKeys::new(1));
        let authorizer = Authorizer::new(Arc::new(KeptAudit::default()));
        let key = keys.public_key(KeyPurpose::Node);
        let http =
            HttpHandler::new(config, identities.clone(), authorizer, CredentialVerifier::new(key, || 1_800_000_000));
        let router = Router::builder(identities.clone())
            .service(H2, Service::web(Carriers::Tcp), http.clone())
            .unwrap()
            .service(HTTP, Service::web(Carriers::Tcp), http.clone())
            .unwrap();
        let config = EndpointConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            plain_ssh: None,
            public_url: None,
            gate: AbuseGate::default(),
        };
        let node = NodeCredentials::new(keys).unwrap();
        let endpoint =
            Endpoint::bind(config, more(router).build(), identities, Sessions::default(), &node, web_certificate())
                .await
                .unwrap();
        Self { endpoint, http }
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }
}

/// Adds a service on the web face over QUIC.
pub fn over_quic(
    alpn: Alpn,
    handler: Arc<impl ProtocolHandler>,
) -> impl FnOnce(alknet_core::RouterBuilder) -> alknet_core::RouterBuilder {
    move |router| router.service(alpn, Service::web(Carriers::Quic), handler).unwrap()
}

fn web_certificate() -> WebCertificate {
    let dir = tempfile::tempdir().unwrap();
    let made = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.path().join("web.pem"), dir.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}
