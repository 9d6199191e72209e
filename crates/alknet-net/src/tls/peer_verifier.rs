//! Verifying the other end's key: raw Ed25519 keys from clients, the pinned key of a node that is dialled.

use std::sync::{Arc, OnceLock};

use alknet_core::NodeKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};

use super::provider::provider;

/// What an Ed25519 SubjectPublicKeyInfo begins with (RFC 8410, 4): the key's 32 bytes follow.
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The SubjectPublicKeyInfo of a node key: 44 bytes.
pub(crate) fn spki_of(key: &NodeKey) -> Vec<u8> {
    [&ED25519_SPKI_PREFIX[..], key.as_bytes()].concat()
}

/// The node key in a SubjectPublicKeyInfo; `None` for other algorithms, other lengths and points of small order.
pub(crate) fn node_key_in(spki: &[u8]) -> Option<NodeKey> {
    let key = spki.strip_prefix(&ED25519_SPKI_PREFIX)?;
    NodeKey::from_bytes(key.try_into().ok()?).ok()
}

fn check_raw_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, &provider().signature_verification_algorithms)
}

/// Takes any well-formed Ed25519 key from a client, requires none, and always checks the signature. Whose key it is
/// is decided later.
#[derive(Debug)]
pub(crate) struct RawClientKeys;

impl ClientCertVerifier for RawClientKeys {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        node_key_in(end_entity)
            .map(|_| ClientCertVerified::assertion())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_raw_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts exactly one node key from the server that is dialled, and notes the key that was seen.
///
/// With no expected key it accepts nothing: it fails closed and reports what it saw.
#[derive(Debug)]
pub(crate) struct PinnedServer {
    expected: Option<NodeKey>,
    seen: Arc<OnceLock<NodeKey>>,
}

impl PinnedServer {
    pub(crate) fn new(expected: Option<NodeKey>, seen: Arc<OnceLock<NodeKey>>) -> Self {
        Self { expected, seen }
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The pin is compared below, once the key is proven: a key that is reported as seen must be the peer's.
        // rustls runs both checks in one step of every full TLS 1.3 handshake, and resumption is off.
        node_key_in(end_entity)
            .map(|_| ServerCertVerified::assertion())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = check_raw_signature(message, cert, dss)?;
        let key = node_key_in(cert).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let seen = self.seen.get_or_init(|| key);
        if self.expected != Some(*seen) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_spki_holds_exactly_one_ed25519_key() {
        let mut point = [0x66; 32];
        point[0] = 0x58;
        let key = NodeKey::from_bytes(point).unwrap();
        let spki = spki_of(&key);
        assert_eq!(spki.len(), 44);
        assert_eq!(node_key_in(&spki), Some(key));
        let mut longer = spki.clone();
        longer.push(0);
        let mut other_algorithm = spki.clone();
        other_algorithm[8] = 0x6e; // X25519
        let small_order = [&ED25519_SPKI_PREFIX[..], &[0; 32]].concat();
        for bad in [&spki[..43], &longer, &other_algorithm, &small_order, &[], &spki[12..]] {
            assert_eq!(node_key_in(bad), None);
        }
    }
}
