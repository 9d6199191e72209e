//! What vouches for the host key to clients that trust the node's own authority (PROTOCOL.certkeys).

use std::{error::Error, fmt};

use alknet_core::{KeyPurpose, KeySigner, NodeKey};
use russh::keys::{
    Certificate, PublicKey,
    signature::{self, Signer},
    ssh_key::{
        self, Algorithm, Signature,
        certificate::{Builder, CertType},
        public::{Ed25519PublicKey, KeyData},
    },
};

use crate::{
    HostKey,
    limits::{HOST_CERTIFICATE_BACKDATE, HOST_CERTIFICATE_LIFETIME},
};

/// A certificate of the host key.
#[derive(Debug, Clone)]
pub struct HostCertificate(Certificate);

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate for the SSH host key")]
pub struct HostCertificateError(#[source] Box<dyn Error + Send + Sync>);

impl From<ssh_key::Error> for HostCertificateError {
    fn from(error: ssh_key::Error) -> Self {
        Self(Box::new(error))
    }
}

impl HostCertificate {
    /// Certifies `host` under `names`, from an hour before `now` (seconds since 1970) and for thirty days; `nonce` is fresh random bytes.
    pub fn issue(
        host: &HostKey,
        names: &[String],
        now: u64,
        nonce: [u8; 32],
        signer: &dyn KeySigner,
    ) -> Result<Self, HostCertificateError> {
        let begin = now.saturating_sub(HOST_CERTIFICATE_BACKDATE.as_secs());
        let end = now.saturating_add(HOST_CERTIFICATE_LIFETIME.as_secs());
        let key = host.private().public_key().key_data().clone();
        let mut builder = Builder::new(nonce, key, begin, end)?;
        builder.cert_type(CertType::Host)?.serial(now)?.key_id("alknet host key")?;
        for name in names {
            builder.valid_principal(name.as_str())?;
        }
        Ok(Self(builder.sign(&Authority(signer))?))
    }

    pub(crate) fn certificate(&self) -> Certificate {
        self.0.clone()
    }
}

/// The line for `known_hosts` with which a client trusts this authority for hosts that match a pattern, `*` for all of them:
/// `@cert-authority * ssh-ed25519 AAAA…`.
pub fn known_hosts_line(hosts: &str, authority: NodeKey) -> String {
    let key = PublicKey::from(Ed25519PublicKey(*authority.as_bytes()));
    format!("@cert-authority {hosts} {}", key.to_openssh().expect("because an Ed25519 key always has a text form"))
}

/// The vault's key for certificates, as the library wants to sign with it.
struct Authority<'a>(&'a dyn KeySigner);

impl fmt::Debug for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Signer<Signature> for Authority<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, signature::Error> {
        let signature = self.0.sign(KeyPurpose::SshAuthority, message);
        Signature::new(Algorithm::Ed25519, signature).map_err(|_| signature::Error::new())
    }
}

impl From<&Authority<'_>> for KeyData {
    fn from(authority: &Authority<'_>) -> Self {
        let key = authority.0.public_key(KeyPurpose::SshAuthority);
        Self::Ed25519(Ed25519PublicKey(*key.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use alknet_testkit::identities::TestKeys;

    use super::*;

    /// KEY-40.
    #[test]
    fn the_certificate_names_the_host_and_is_signed_by_the_authority() {
        let (host, keys) = (HostKey::from_seed([7; 32].into()), TestKeys::new(3));
        let names = ["node.example".to_owned(), "10.0.0.1".to_owned()];
        let certificate = HostCertificate::issue(&host, &names, 1_800_000_000, [1; 32], &keys).unwrap().certificate();
        assert!(certificate.cert_type().is_host());
        assert_eq!(certificate.valid_principals(), names);
        assert_eq!(certificate.public_key(), host.private().public_key().key_data());
        assert_eq!((certificate.valid_after(), certificate.valid_before()), (1_799_996_400, 1_802_592_000));
        certificate.verify_signature().unwrap();
        let authority = PublicKey::from(certificate.signature_key().clone()).to_openssh().unwrap();
        let line = known_hosts_line("*", keys.public_key(KeyPurpose::SshAuthority));
        assert_eq!(line, format!("@cert-authority * {authority}"));
        assert_ne!(keys.public_key(KeyPurpose::SshAuthority), keys.public_key(KeyPurpose::Node));
    }
}
