//! Clients: TLS that trusts whatever it sees, with HTTP/1.1, HTTP/2 or raw bytes inside.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::node::PATIENCE;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    H1,
    H2,
    /// HTTP/1.1 without saying so in TLS.
    NoAlpn,
}

pub const EVERY: [Speaks; 3] = [Speaks::H1, Speaks::H2, Speaks::NoAlpn];

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub head: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> &str {
        self.head.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn tls_config(alpns: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(alknet_net::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    config
}

pub async fn tls(addr: SocketAddr, alpns: &[&str]) -> TlsStream<TcpStream> {
    let io = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connect = TlsConnector::from(Arc::new(tls_config(alpns))).connect(name, io);
    timeout(PATIENCE, connect).await.expect("a handshake in time").unwrap()
}

pub async fn get(addr: SocketAddr, speaks: Speaks, path: &str) -> Answer {
    ask(addr, speaks, Request::get(path)).await
}

/// Sends one request on a connection of its own; the host is `localhost` unless the request names another.
pub async fn ask(addr: SocketAddr, speaks: Speaks, request: http::request::Builder) -> Answer {
    let mut request = request.body(Empty::<Bytes>::new()).unwrap();
    let exchange = async {
        let response = match speaks {
            Speaks::H2 => {
                let target = format!("https://localhost{}", request.uri());
                *request.uri_mut() = target.parse().unwrap();
                let io = TokioIo::new(tls(addr, &["h2"]).await);
                let (mut sender, http) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(http);
                sender.send_request(request).await.unwrap()
            }
            Speaks::H1 | Speaks::NoAlpn => {
                request.headers_mut().entry("host").or_insert("localhost".parse().unwrap());
                let alpns: &[&str] = if speaks == Speaks::H1 { &["http/1.1"] } else { &[] };
                let io = TokioIo::new(tls(addr, alpns).await);
                let (mut sender, http) = hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(http);
                sender.send_request(request).await.unwrap()
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, head: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    };
    timeout(PATIENCE, exchange).await.expect("an answer in time")
}

/// Sends bytes as HTTP/1.1 and reads until the server ends the connection.
pub async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut io = tls(addr, &["http/1.1"]).await;
    let exchange = async {
        // A server that has seen enough may close before it has read everything.
        let _ = io.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = io.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(PATIENCE, exchange).await.expect("an end in time")
}

#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = alknet_net::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        alknet_net::provider().signature_verification_algorithms.supported_schemes()
    }
}
