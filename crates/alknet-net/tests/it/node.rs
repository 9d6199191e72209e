//! A node under test: an endpoint on a free loopback port with small handlers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alknet_core::{
    Alpn, Carriers, Connection, Credential, Identity, IdentityProvider, KeyPurpose, KeySigner, NodeKey,
    ProtocolHandler, Router, ServeError, Service, Sessions,
};
use alknet_net::{AbuseGate, Endpoint, EndpointConfig, NodeCredentials, WebCertificate, generate_self_signed};
use ed25519_dalek::Signer;
use tokio::io::AsyncWriteExt;

pub const CALL: Alpn = Alpn::from_static(b"alknet/call");
pub const SSH: Alpn = Alpn::from_static(b"alknet/ssh");
pub const PANIC: Alpn = Alpn::from_static(b"alknet/panic");
pub const EXPORT: Alpn = Alpn::from_static(b"alknet/export");
pub const TORN: Alpn = Alpn::from_static(b"alknet/torn");
pub const H3: Alpn = Alpn::from_static(b"h3");
pub const H2: Alpn = Alpn::from_static(b"h2");
pub const HTTP: Alpn = Alpn::from_static(b"http/1.1");

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Signs with a key made from a seed.
pub struct Seed(pub u8);

impl Seed {
    fn key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[self.0; 32])
    }
    pub fn public(&self) -> NodeKey {
        NodeKey::from_bytes(self.key().verifying_key().to_bytes()).unwrap()
    }
    pub fn credentials(self) -> NodeCredentials {
        NodeCredentials::new(Arc::new(self)).unwrap()
    }
}

impl KeySigner for Seed {
    fn public_key(&self, _purpose: KeyPurpose) -> NodeKey {
        self.public()
    }
    fn sign(&self, _purpose: KeyPurpose, message: &[u8]) -> [u8; 64] {
        self.key().sign(message).to_bytes()
    }
}

/// Knows nobody.
struct Nobody;

impl IdentityProvider for Nobody {
    fn identify(&self, _credential: &Credential) -> Option<Arc<Identity>> {
        None
    }
}

/// Says who is there, then echoes every stream.
pub struct Echo;

impl ProtocolHandler for Echo {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        // Who came over the network came to an address of this machine.
        let from_network = matches!(connection.peer().addr, alknet_core::PeerAddr::Ip(_));
        assert_eq!(connection.peer().local.is_some_and(|local| local.port() > 0), from_network);
        let mut streams = tokio::task::JoinSet::new();
        while let Some(mut stream) = connection.accept_stream().await? {
            let key = connection.peer().key.map_or("nobody".to_owned(), |key| key.to_hex());
            let line = format!("{} {} {key}\n", connection.alpn(), connection.carrier().name());
            streams.spawn(async move {
                stream.send.write_all(line.as_bytes()).await?;
                stream.send.flush().await?;
                tokio::io::copy(&mut stream.recv, &mut stream.send).await?;
                stream.send.shutdown().await
            });
        }
        while streams.join_next().await.is_some() {}
        Ok(())
    }
}

/// Fails in the worst way.
struct Panics;

impl ProtocolHandler for Panics {
    async fn serve(&self, _connection: Connection) -> Result<(), ServeError> {
        panic!("on purpose")
    }
}

/// Shows the keying material of its connection.
struct Export;

impl ProtocolHandler for Export {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut material = [0; 32];
        connection.export_keying_material(&mut material, b"EXPORTER-test", b"context")?;
        let mut stream = connection.accept_stream().await?.expect("a first stream");
        stream.write_all(format!("{material:?}\n").as_bytes()).await?;
        stream.shutdown().await?;
        Ok(())
    }
}

/// Drops its stream in the middle of what it says.
struct Torn;

impl ProtocolHandler for Torn {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut stream = connection.accept_stream().await?.expect("a first stream");
        stream.write_all(b"half a sen").await?;
        stream.flush().await?;
        Ok(())
    }
}

/// Notes when it is told to stop, and when its connection ends.
#[derive(Default)]
pub struct Journal(pub Mutex<Vec<&'static str>>);

impl Journal {
    pub fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
    pub fn read(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

pub struct Node {
    pub endpoint: Endpoint,
    pub key: NodeKey,
    pub web: WebCertificate,
    pub sessions: Sessions,
}

impl Node {
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }
    pub fn router() -> Router {
        let echo = Arc::new(Echo);
        Router::builder(Arc::new(Nobody))
            .service(CALL, Service::node().on_control_socket(), echo.clone())
            .unwrap()
            .service(SSH, Service::node(), echo.clone())
            .unwrap()
            .service(PANIC, Service::node(), Arc::new(Panics))
            .unwrap()
            .service(EXPORT, Service::node(), Arc::new(Export))
            .unwrap()
            .service(TORN, Service::node(), Arc::new(Torn))
            .unwrap()
            .service(H3, Service::web(Carriers::Quic), echo.clone())
            .unwrap()
            .service(H2, Service::web(Carriers::Tcp), echo.clone())
            .unwrap()
            .service(HTTP, Service::web(Carriers::Tcp), echo)
            .unwrap()
            .build()
    }
    pub async fn start() -> Self {
        Self::start_with(Self::router(), |_| {}).await
    }
    pub async fn start_with(router: Router, change: impl FnOnce(&mut EndpointConfig)) -> Self {
        let mut config = EndpointConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            plain_ssh: Some(SSH),
            public_url: None,
            gate: AbuseGate::default(),
        };
        change(&mut config);
        let web = web_certificate();
        let node = Seed(1).credentials();
        let sessions = Sessions::default();
        let endpoint =
            Endpoint::bind(config, router, Arc::new(Nobody), sessions.clone(), &node, web.clone()).await.unwrap();
        Self { endpoint, key: node.key(), web, sessions }
    }
}

pub fn identities() -> Arc<dyn IdentityProvider> {
    Arc::new(Nobody)
}

/// A new self-signed certificate for localhost.
pub fn web_certificate() -> WebCertificate {
    let dir = tempfile::tempdir().unwrap();
    let made = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.path().join("web.pem"), dir.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}
