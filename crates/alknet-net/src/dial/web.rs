//! Dialling the web: a name that the platform's certificate authorities vouch for, over TLS on TCP.

use std::sync::Arc;

use alknet_core::{Alpn, Carrier, Connection, HostPort, Peer, PeerAddr};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::limits::ATTEMPT_TIMEOUT;
use crate::single_link::{Role, SingleLink};
use crate::tcp_listener::configure;
use crate::tls::provider;

/// Why a web server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum WebDialError {
    /// The platform's certificate authorities could not be loaded.
    #[error("the platform's certificate authorities cannot be loaded: {0}")]
    Platform(#[source] rustls::Error),
    /// TCP or TLS failed: an untrusted certificate is among the causes.
    #[error("cannot reach {address}: {source}")]
    Connect {
        /// The address that was dialled.
        address: HostPort,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// Dials a web server for the service `alpn`. The name is verified by the platform's certificate authorities, this
/// node's key is not shown, and the peer has no node key.
///
/// # Errors
/// When the name cannot be reached or is not vouched for.
pub async fn dial_web(address: &HostPort, alpn: &Alpn) -> Result<Connection, WebDialError> {
    let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(WebDialError::Platform)?;
    dial_verified(address, alpn, Arc::new(verifier)).await
}

async fn dial_verified(
    address: &HostPort,
    alpn: &Alpn,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Connection, WebDialError> {
    let silent = || Err(std::io::ErrorKind::TimedOut.into());
    timeout(ATTEMPT_TIMEOUT, connect(address, alpn, verifier))
        .await
        .unwrap_or_else(|_| silent())
        .map_err(|source| WebDialError::Connect { address: address.clone(), source })
}

async fn connect(
    address: &HostPort,
    alpn: &Alpn,
    verifier: Arc<dyn ServerCertVerifier>,
) -> std::io::Result<Connection> {
    let name = ServerName::try_from(address.host().to_owned()).map_err(std::io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let io = TcpStream::connect((address.host(), address.port())).await?;
    configure(&io)?;
    let addr = io.peer_addr()?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, io).await?;
    if tls.get_ref().1.alpn_protocol().is_some_and(|chosen| chosen != alpn.as_bytes()) {
        return Err(std::io::Error::other("the server chose a service that was not asked for"));
    }
    let peer = Peer { key: None, addr: PeerAddr::Ip(addr), local: None, server_name: None };
    Ok(Connection::new(alpn.clone(), peer, SingleLink::new(Carrier::Tls, Role::Dialled, tls)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const HTTP: Alpn = Alpn::from_static(b"http/1.1");

    /// A web server with a certificate for `localhost`; its port and that certificate.
    async fn server() -> (u16, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let der = cert.der().clone();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(io).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        (port, der)
    }

    fn trusting(root: CertificateDer<'static>) -> Arc<dyn ServerCertVerifier> {
        Arc::new(rustls_platform_verifier::Verifier::new_with_extra_roots([root], provider()).unwrap())
    }

    #[tokio::test]
    async fn a_name_that_is_vouched_for_is_reached() {
        let (port, root) = server().await;
        let address = HostPort::new("localhost", port).unwrap();
        let connection = dial_verified(&address, &HTTP, trusting(root)).await.unwrap();
        assert_eq!(connection.peer().key, None);
        let mut read = String::new();
        connection.open_stream().await.unwrap().read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "hello");
    }

    // NET-29
    #[tokio::test]
    async fn another_root_or_another_name_is_refused() {
        let (port, root) = server().await;
        let (_, other_root) = server().await;
        let localhost = HostPort::new("localhost", port).unwrap();
        let by_address = HostPort::new("127.0.0.1", port).unwrap();
        for (address, root) in [(&localhost, other_root), (&by_address, root)] {
            let error = dial_verified(address, &HTTP, trusting(root)).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }
}
