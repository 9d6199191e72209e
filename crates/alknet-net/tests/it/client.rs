//! Clients that are not ours: plain rustls and quinn, trusting whatever they see and noting it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use alknet_core::KeySigner;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::node::PATIENCE;

/// For QUIC, which has no other.
pub const TLS13_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// For old web clients.
pub const TLS12_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What a client offers.
#[derive(Clone)]
pub struct Offer {
    pub alpns: Vec<Vec<u8>>,
    pub raw_server_key: bool,
    pub raw_client_key: Option<u8>,
    pub versions: &'static [&'static rustls::SupportedProtocolVersion],
    pub provider: Arc<CryptoProvider>,
}

impl Offer {
    pub fn alpns(alpns: &[&str]) -> Self {
        Self {
            alpns: alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect(),
            raw_server_key: false,
            raw_client_key: None,
            versions: rustls::ALL_VERSIONS,
            provider: alknet_net::provider(),
        }
    }

    /// The TLS configuration, and the place where it notes the server's key or leaf.
    pub fn config(&self) -> (ClientConfig, Arc<Mutex<Vec<u8>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let trusting = Trusting { raw: self.raw_server_key, seen: seen.clone(), provider: self.provider.clone() };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting));
        let mut config = match self.raw_client_key {
            Some(seed) => {
                builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw_key(seed))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpns.clone();
        config.resumption = Resumption::in_memory_sessions(8);
        (config, seen)
    }
}

/// A raw key for rustls from a seed: PKCS#8 (RFC 8410) around it.
fn raw_key(seed: u8) -> Arc<rustls::sign::CertifiedKey> {
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend_from_slice(&[seed; 32]);
    let key = rustls::crypto::ring::sign::any_eddsa_type(&pkcs8.into()).unwrap();
    let spki = key.public_key().unwrap().to_vec();
    Arc::new(rustls::sign::CertifiedKey::new(vec![spki.into()], key))
}

#[derive(Debug)]
struct Trusting {
    raw: bool,
    seen: Arc<Mutex<Vec<u8>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap() = leaf.to_vec();
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if self.raw {
            let spki = SubjectPublicKeyInfoDer::from(leaf.as_ref());
            rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
        } else {
            verify_tls13_signature(message, leaf, signature, algorithms)
        }
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

pub async fn tls_with(config: Arc<ClientConfig>, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let io = TcpStream::connect(addr).await?;
    timeout(PATIENCE, TlsConnector::from(config).connect(name, io)).await.expect("a TLS handshake in time")
}

pub async fn tls(offer: &Offer, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    tls_with(Arc::new(offer.config().0), addr).await
}

pub async fn quic(offer: &Offer, addr: SocketAddr) -> Result<quinn::Connection, quinn::ConnectionError> {
    quic_seeing(offer, addr).await.map(|(connection, _)| connection)
}

/// Like [`quic`], with the server's key or leaf.
pub async fn quic_seeing(
    offer: &Offer,
    addr: SocketAddr,
) -> Result<(quinn::Connection, Vec<u8>), quinn::ConnectionError> {
    let (config, seen) = Offer { versions: TLS13_ONLY, ..offer.clone() }.config();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(quinn::ClientConfig::new(Arc::new(crypto)), addr, "localhost").unwrap();
    let connection = timeout(PATIENCE, connecting).await.expect("a QUIC handshake in time")?;
    let seen = seen.lock().unwrap().clone();
    Ok((connection, seen))
}

/// Opens a stream and reads the greeting of the echo handler.
pub async fn greeting_over_quic(connection: &quinn::Connection) -> String {
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    line(recv).await
}

/// Reads one line.
pub async fn line(mut from: impl AsyncRead + Unpin) -> String {
    let mut line = Vec::new();
    let read = async {
        loop {
            match from.read_u8().await {
                Ok(b'\n') | Err(_) => break,
                Ok(byte) => line.push(byte),
            }
        }
    };
    timeout(PATIENCE, read).await.expect("a line in time");
    String::from_utf8(line).unwrap()
}

/// Sends `word` and reads it back.
pub async fn echoes(io: &mut (impl AsyncRead + AsyncWrite + Unpin), word: &[u8]) -> bool {
    let mut back = vec![0; word.len()];
    let exchange = async {
        io.write_all(word).await?;
        io.flush().await?;
        io.read_exact(&mut back).await.map(|_| ())
    };
    timeout(PATIENCE, exchange).await.expect("an echo in time").is_ok() && back == word
}

/// The key that a seed's signer has, in hex.
pub fn key_hex(seed: u8) -> String {
    crate::node::Seed(seed).public_key(alknet_core::KeyPurpose::Node).to_hex()
}
