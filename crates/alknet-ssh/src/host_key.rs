//! The key that proves the node to SSH clients.

use std::fmt;

use russh::keys::{PrivateKey, ssh_key::private::Ed25519Keypair};
use zeroize::Zeroizing;

/// The node's Ed25519 host key. Never shown, not even by `Debug`.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

impl HostKey {
    /// Makes the key from an RFC 8032 seed (the vault derives it).
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        Self(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
    }
    /// The public half as it stands in `known_hosts` after the host name: `ssh-ed25519 AAAA…`.
    pub fn public_openssh(&self) -> String {
        self.0.public_key().to_openssh().expect("because an Ed25519 key always has a text form")
    }
    pub(crate) fn private(&self) -> PrivateKey {
        self.0.clone()
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.public_openssh())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SSH-01.
    #[test]
    fn a_seed_gives_the_key_of_rfc_8032() {
        // RFC 8032, 7.1, test 1.
        let seed = data(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = data(b"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = HostKey::from_seed(Zeroizing::new(seed));
        let line = crate::parse_public_key(&key.public_openssh()).unwrap();
        assert_eq!(line.fingerprint, alknet_core::Fingerprint::of_ed25519(&public));
        assert!(!format!("{key:?}").contains("9d61"));
    }

    fn data(hex: &[u8]) -> [u8; 32] {
        let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
        std::array::from_fn(|i| digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]))
    }
}
