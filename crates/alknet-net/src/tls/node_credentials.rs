//! The node's identity as TLS needs it: a raw public key and the leaf around it, both signed through [`KeySigner`], so
//! that the secret stays where it is.

use std::fmt;
use std::sync::Arc;

use alknet_core::{KeyPurpose, KeySigner, NodeKey};
use rcgen::PublicKeyData;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use super::faces::FaceError;
use super::identity_leaf::identity_leaf;
use super::peer_verifier::spki_of;

/// What the node shows on its own face, and when it dials.
#[derive(Clone)]
pub struct NodeCredentials {
    key: NodeKey,
    raw: Arc<CertifiedKey>,
    leaf: Arc<CertifiedKey>,
}

impl NodeCredentials {
    /// Asks `signer` for the node's public key and for the signature of its leaf.
    ///
    /// # Errors
    /// When the leaf cannot be made.
    pub fn new(signer: Arc<dyn KeySigner>) -> Result<Self, FaceError> {
        let signer = Arc::new(NodeSigner::new(signer));
        let leaf = identity_leaf(&signer).map_err(|error| Error::General(error.to_string()))?;
        let certified = |der| Arc::new(CertifiedKey::new(vec![der], Arc::clone(&signer) as Arc<dyn SigningKey>));
        Ok(Self { key: signer.key, raw: certified(CertificateDer::from(signer.spki.clone())), leaf: certified(leaf) })
    }

    /// The node's public key.
    pub fn key(&self) -> NodeKey {
        self.key
    }

    pub(crate) fn raw_resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.raw)))
    }

    pub(crate) fn leaf_resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.leaf)))
    }

    pub(crate) fn client_resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.raw)))
    }
}

impl fmt::Debug for NodeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeCredentials({})", self.key)
    }
}

/// The node key as rustls and rcgen want to use it.
pub(super) struct NodeSigner {
    signer: Arc<dyn KeySigner>,
    key: NodeKey,
    spki: Vec<u8>,
}

impl NodeSigner {
    fn new(signer: Arc<dyn KeySigner>) -> Self {
        let key = signer.public_key(KeyPurpose::Node);
        Self { signer, key, spki: spki_of(&key) }
    }

    #[cfg(test)]
    pub(super) fn key(&self) -> NodeKey {
        self.key
    }
}

impl fmt::Debug for NodeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSigner({})", self.key)
    }
}

impl SigningKey for NodeSigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(Ed25519Signer(Arc::clone(&self.signer))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&self.spki[..]))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

struct Ed25519Signer(Arc<dyn KeySigner>);

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Signer")
    }
}

impl Signer for Ed25519Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(KeyPurpose::Node, message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl PublicKeyData for NodeSigner {
    fn der_bytes(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for NodeSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signer.sign(KeyPurpose::Node, message).to_vec())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ed25519_dalek::Signer as _;

    struct SeedSigner(ed25519_dalek::SigningKey);

    impl KeySigner for SeedSigner {
        fn public_key(&self, _purpose: KeyPurpose) -> NodeKey {
            NodeKey::from_bytes(self.0.verifying_key().to_bytes()).unwrap()
        }
        fn sign(&self, _purpose: KeyPurpose, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).to_bytes()
        }
    }

    /// A signer whose secret is known, for tests.
    pub(in super::super) fn signer(seed: [u8; 32]) -> NodeSigner {
        NodeSigner::new(Arc::new(SeedSigner(ed25519_dalek::SigningKey::from_bytes(&seed))))
    }
}
