//! What a peer can prove. A value of [`Credential`] exists only for something that *was* proven.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Fingerprint, NodeKey, Peer, PeerAddr, VerifiedToken, limits::MAX_LABEL_CHARS};

/// A proven credential.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credential {
    /// The key of a TLS or QUIC handshake, whose signature verified.
    NodeKey(NodeKey),
    /// The key of an SSH login, whose signature verified.
    SshKey(Fingerprint),
    /// An SSH certificate that held when its key was proven.
    SshCertificate(SshCertificateId),
    /// A signed token whose signature, audience and dates verified.
    AuthToken(VerifiedToken),
    /// An API key: possession is the proof.
    ApiKey(ApiKeyDigest),
    /// The kernel says that the caller runs under the node's own uid.
    LocalOwner,
}

impl Credential {
    /// What the transport itself proved about a peer, if anything.
    pub fn of_peer(peer: &Peer) -> Option<Self> {
        match (peer.addr, peer.key) {
            (PeerAddr::LocalOwner { .. }, _) => Some(Self::LocalOwner),
            (_, key) => key.map(Self::NodeKey),
        }
    }
    /// The fingerprint or id for logs, sessions and the audit: never a secret.
    pub fn label(&self) -> String {
        match self {
            Self::NodeKey(key) => Fingerprint::from(*key).to_string(),
            Self::SshKey(fingerprint) => fingerprint.to_string(),
            Self::SshCertificate(certificate) => certificate.to_string(),
            Self::AuthToken(token) => format!("token:{}", token.id()),
            Self::ApiKey(key) => format!("apikey:{}", key.id()),
            Self::LocalOwner => "local-socket".to_owned(),
        }
    }
}

/// Which SSH certificate somebody logged in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshCertificateId {
    /// What its authority calls it; anything.
    pub key_id: String,
    /// The number that its authority gave it; 0 where it gives none.
    pub serial: u64,
    /// The key that was certified, and proven.
    pub key: Fingerprint,
    /// The key that signed it.
    pub authority: Fingerprint,
}

impl fmt::Display for SshCertificateId {
    /// `cert:ID#SERIAL KEY by AUTHORITY`, the id escaped and cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id: String = self.key_id.chars().take(MAX_LABEL_CHARS).flat_map(char::escape_debug).collect();
        write!(f, "cert:{id}#{} {} by {}", self.serial, self.key, self.authority)
    }
}

/// An API key as its holder has it: `alk_<8 of a-z2-7>_<43 of base64url>`. Shown once, stored only as a digest.
pub struct ApiKey(String);

/// A text that is no API key. Says nothing about which part is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an API key")]
pub struct InvalidApiKey;

impl ApiKey {
    const PREFIX: &str = "alk_";
    const ID_CHARS: usize = 8;
    const SECRET_CHARS: usize = 43;
    const CHARS: usize = Self::PREFIX.len() + Self::ID_CHARS + 1 + Self::SECRET_CHARS;

    /// Makes a key from 37 fresh random bytes: 5 for the id, 32 for the secret.
    pub fn from_random(random: &[u8; 37]) -> Self {
        let id = BASE32_NOPAD.encode(&random[..5]).to_ascii_lowercase();
        Self(format!("{}{id}_{}", Self::PREFIX, BASE64URL_NOPAD.encode(&random[5..])))
    }
    /// The whole key, to show its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
    /// What is stored and compared.
    pub fn digest(&self) -> ApiKeyDigest {
        let id = self.0[Self::PREFIX.len()..][..Self::ID_CHARS].to_owned();
        ApiKeyDigest { id, sha256: Sha256::digest(self.0.as_bytes()).into() }
    }
}

impl FromStr for ApiKey {
    type Err = InvalidApiKey;
    /// Parses by position: any text is safe to try.
    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        let bytes = text.as_bytes();
        if bytes.len() != Self::CHARS || !bytes.is_ascii() || !bytes.starts_with(Self::PREFIX.as_bytes()) {
            return Err(InvalidApiKey);
        }
        let (id, rest) = bytes[Self::PREFIX.len()..].split_at(Self::ID_CHARS);
        let good_id = id.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        let good_secret = rest[0] == b'_' && BASE64URL_NOPAD.decode(&rest[1..]).is_ok();
        if good_id && good_secret { Ok(Self(text.to_owned())) } else { Err(InvalidApiKey) }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", &self.0[..Self::PREFIX.len() + Self::ID_CHARS])
    }
}

/// The id and SHA-256 of an API key.
#[derive(Clone)]
pub struct ApiKeyDigest {
    id: String,
    sha256: [u8; 32],
}

impl ApiKeyDigest {
    /// The eight characters that name the key.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The digest to store.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
    /// Compares with a stored digest in constant time.
    pub fn matches(&self, stored: &[u8; 32]) -> bool {
        self.sha256.ct_eq(stored).into()
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyDigest({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_round_trips_and_hides_its_secret() {
        let key = ApiKey::from_random(&[0xa5; 37]);
        let again: ApiKey = key.reveal().parse().unwrap();
        assert!(again.digest().matches(key.digest().sha256()));
        assert_eq!(key.digest().id().len(), 8);
        assert!(!format!("{key:?} {:?}", key.digest()).contains(&key.reveal()[13..]));
    }

    #[test]
    fn a_certificates_label_is_one_bounded_line() {
        let key = Fingerprint::of_sha256(&[1; 32]);
        let id = SshCertificateId { key_id: "alice\n".to_owned(), serial: 7, key: key.clone(), authority: key.clone() };
        assert_eq!(Credential::SshCertificate(id.clone()).label(), format!("cert:alice\\n#7 {key} by {key}"));
        let long = SshCertificateId { key_id: "x".repeat(5000), ..id };
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn other_texts_are_no_api_key() {
        // AUTH-09
        let key = ApiKey::from_random(&[1; 37]).reveal().to_owned();
        let upper = key.replacen(&key[4..12], &key[4..12].to_uppercase(), 1);
        let digit = format!("alk_1{}", &key[5..]);
        let wide = format!("alk_ä{}", &key[6..]);
        let split = format!("{}-{}", &key[..12], &key[13..]);
        for bad in ["", "alk_", &key[1..], &format!("{key}A"), &key[..55], &upper, &digit, &wide, &split] {
            assert!(bad.parse::<ApiKey>().is_err(), "{bad}");
        }
        let other = ApiKey::from_random(&[2; 37]).digest();
        assert!(!key.parse::<ApiKey>().unwrap().digest().matches(other.sha256()));
    }
}
