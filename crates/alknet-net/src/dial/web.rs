//! Dialling the web: a name that the platform's certificate authorities vouch for, over TLS on TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use alknet_core::{Alpn, Carrier, Connection, HostPort, Peer, PeerAddr};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::public::is_public;
use crate::abuse::AddressRange;
use crate::limits::{ATTEMPT_TIMEOUT, RESOLVE_TIMEOUT};
use crate::single_link::{Role, SingleLink};
use crate::tcp_listener::configure;
use crate::tls::provider;

/// Why a web server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum WebDialError {
    /// The platform's certificate authorities could not be loaded.
    #[error("the platform's certificate authorities cannot be loaded: {0}")]
    Platform(#[source] rustls::Error),
    /// It has only addresses of this machine or of private networks.
    #[error("{0} has no public address")]
    NotPublic(HostPort),
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
    dial_verified(address, alpn, Arc::new(verifier), |_| true).await
}

/// As [`dial_web`], for an address that somebody else chose: it is reached at a public address, or at one that is in `also`. What
/// the name is looked up to is what is asked and what is dialled.
///
/// # Errors
/// When it has no such address, and as [`dial_web`].
pub async fn dial_public_web(
    address: &HostPort,
    alpn: &Alpn,
    also: &[AddressRange],
) -> Result<Connection, WebDialError> {
    let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(WebDialError::Platform)?;
    dial_verified(address, alpn, Arc::new(verifier), public_or(also)).await
}

/// Whether [`dial_public_web`] would find an address that it may dial. A name that cannot be looked up now may be known later.
///
/// # Errors
/// When the name has addresses and none of them may be dialled.
pub async fn look_up_public_web(address: &HostPort, also: &[AddressRange]) -> Result<(), WebDialError> {
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((address.host(), address.port()))).await;
    let found: Vec<_> = found.ok().and_then(Result::ok).into_iter().flatten().collect();
    let may = public_or(also);
    if found.is_empty() || found.iter().any(|addr| may(addr.ip())) {
        return Ok(());
    }
    Err(WebDialError::NotPublic(address.clone()))
}

fn public_or(also: &[AddressRange]) -> impl Fn(IpAddr) -> bool {
    |ip| is_public(ip) || also.iter().any(|range| range.contains(ip))
}

async fn dial_verified(
    address: &HostPort,
    alpn: &Alpn,
    verifier: Arc<dyn ServerCertVerifier>,
    may: impl Fn(IpAddr) -> bool,
) -> Result<Connection, WebDialError> {
    let dial = async {
        let found: Vec<_> = lookup_host((address.host(), address.port())).await?.collect();
        let allowed: Vec<_> = found.iter().copied().filter(|addr| may(addr.ip())).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Ok(None);
        }
        connect(address, &allowed, alpn, verifier).await.map(Some)
    };
    match timeout(ATTEMPT_TIMEOUT, dial).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(Some(connection)) => Ok(connection),
        Ok(None) => Err(WebDialError::NotPublic(address.clone())),
        Err(source) => Err(WebDialError::Connect { address: address.clone(), source }),
    }
}

async fn connect(
    address: &HostPort,
    addrs: &[SocketAddr],
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
    let io = TcpStream::connect(addrs).await?;
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
        let connection = dial_verified(&address, &HTTP, trusting(root), |_| true).await.unwrap();
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
            let error = dial_verified(address, &HTTP, trusting(root), |_| true).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }

    // NET-31
    #[tokio::test]
    async fn what_is_not_public_is_dialled_only_where_it_is_allowed() {
        let (port, root) = server().await;
        let here = HostPort::new("localhost", port).unwrap();
        for address in [&here, &HostPort::new("127.0.0.1", port).unwrap(), &HostPort::new("::1", port).unwrap()] {
            let error = dial_verified(address, &HTTP, trusting(root.clone()), public_or(&[])).await.unwrap_err();
            assert!(matches!(error, WebDialError::NotPublic(_)), "{error}");
            assert!(look_up_public_web(address, &[]).await.is_err());
        }
        let range = |text: &str| [text.parse::<AddressRange>().unwrap()];
        let (elsewhere, loopback) = (range("10.0.0.0/8"), range("127.0.0.0/8"));
        let error = dial_verified(&here, &HTTP, trusting(root.clone()), public_or(&elsewhere)).await.unwrap_err();
        assert!(matches!(error, WebDialError::NotPublic(_)), "{error}");
        assert!(dial_verified(&here, &HTTP, trusting(root), public_or(&loopback)).await.is_ok());
        assert!(
            look_up_public_web(&here, &loopback).await.is_ok() && look_up_public_web(&here, &elsewhere).await.is_err()
        );
    }
}
