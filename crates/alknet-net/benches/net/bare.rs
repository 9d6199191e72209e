//! The libraries by themselves: tokio-rustls and quinn as their documentation shows them, with our crypto provider, so that
//! the ciphers and key exchanges are the same; and plain TCP. Only the server proves a key here.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use alknet_core::Carrier;
use alknet_net::{WebCertificate, generate_self_signed, provider};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::exchange::{Duplex, serve};

const ALPN: &[u8] = b"bench";
const NAME: &str = "localhost";

/// Servers and clients of the bare libraries.
pub struct Bare {
    plain: SocketAddr,
    tls: SocketAddr,
    quic: SocketAddr,
    client: Arc<ClientConfig>,
    /// Made when first used, for it belongs to the runtime that uses it.
    endpoint: Mutex<Option<quinn::Endpoint>>,
}

impl Bare {
    pub async fn start() -> Self {
        let server = Arc::new(server_config());
        let plain = listen(|io| async { serve(io).await }).await;
        let acceptor = TlsAcceptor::from(server.clone());
        let tls = listen(move |io| {
            let acceptor = acceptor.clone();
            async move { serve(acceptor.accept(io).await.unwrap()).await }
        })
        .await;
        Self { plain, tls, quic: listen_quic(server), client: Arc::new(client_config()), endpoint: Mutex::new(None) }
    }

    pub async fn plain(&self) -> Box<dyn Duplex> {
        Box::new(connect(self.plain).await)
    }

    /// A stream over a new connection.
    pub async fn open(&self, carrier: Carrier) -> Box<dyn Duplex> {
        if carrier == Carrier::Quic { self.open_quic().await } else { self.open_tls().await }
    }

    async fn open_tls(&self) -> Box<dyn Duplex> {
        let connector = TlsConnector::from(self.client.clone());
        Box::new(connector.connect(ServerName::try_from(NAME).unwrap(), connect(self.tls).await).await.unwrap())
    }

    async fn open_quic(&self) -> Box<dyn Duplex> {
        let endpoint = self.endpoint.lock().unwrap().get_or_insert_with(|| client_endpoint(&self.client)).clone();
        let connection = endpoint.connect(self.quic, NAME).unwrap().await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        Box::new(tokio::io::join(recv, send))
    }
}

async fn connect(addr: SocketAddr) -> TcpStream {
    let io = TcpStream::connect(addr).await.unwrap();
    io.set_nodelay(true).unwrap();
    io
}

async fn listen<F: Future<Output = ()> + Send + 'static>(
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            io.set_nodelay(true).unwrap();
            tokio::spawn(handle(io));
        }
    });
    addr
}

fn listen_quic(server: Arc<ServerConfig>) -> SocketAddr {
    let crypto = Arc::new(QuicServerConfig::try_from(server).unwrap());
    let endpoint = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(crypto), loopback()).unwrap();
    let addr = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                while let Ok((send, recv)) = connection.accept_bi().await {
                    tokio::spawn(serve(tokio::io::join(recv, send)));
                }
            });
        }
    });
    addr
}

fn client_endpoint(client: &Arc<ClientConfig>) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let crypto = QuicClientConfig::try_from(client.clone()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn server_config() -> ServerConfig {
    let made = generate_self_signed(&[NAME.to_owned()]).unwrap();
    let leaf = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn client_config() -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every dialling is a whole handshake, as ours is.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// The self-signed certificate that an endpoint needs, used by nobody here.
pub fn web_certificate() -> WebCertificate {
    let folder = tempfile::tempdir().unwrap();
    let made = generate_self_signed(&[NAME.to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}

/// Believes any certificate, but checks that the server has its key.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
