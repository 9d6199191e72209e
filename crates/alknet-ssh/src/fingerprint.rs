//! Which keys are good enough, and the one text under which each is known.

use alknet_core::{Fingerprint, NodeKey};
use russh::keys::{Algorithm, HashAlg, PublicKey, ssh_key::public::KeyData};

use crate::limits::MIN_RSA_BITS;

/// Why a public key is refused, whatever it is to be used for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedKey {
    #[error("an RSA key needs at least {MIN_RSA_BITS} bits, this one has {0}")]
    ShortRsa(u32),
    #[error("this is no usable Ed25519 key: it is not a point of full order on the curve")]
    WeakPoint,
    #[error("keys of this type are not accepted")]
    Type,
}

/// The fingerprint of an acceptable key: `ed25519:<hex>` for Ed25519, `SHA256:<base64>` for ECDSA, RSA and FIDO keys.
pub(crate) fn fingerprint(key: &PublicKey) -> Result<Fingerprint, RefusedKey> {
    match key.key_data() {
        KeyData::Ed25519(key) => NodeKey::from_bytes(key.0).map(Fingerprint::from).map_err(|_| RefusedKey::WeakPoint),
        KeyData::Rsa(key) if key.key_size() < MIN_RSA_BITS => Err(RefusedKey::ShortRsa(key.key_size())),
        KeyData::Rsa(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            let digest = key.fingerprint(HashAlg::Sha256);
            let digest: [u8; 32] = digest.as_bytes().try_into().map_err(|_| RefusedKey::Type)?;
            Ok(Fingerprint::of_sha256(&digest))
        }
        _ => Err(RefusedKey::Type),
    }
}

/// Whether signatures of this algorithm are accepted: everything that [`fingerprint`] accepts, RSA with SHA-2 only (RFC 8332).
pub(crate) fn signs_acceptably(algorithm: &Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Dsa | Algorithm::Rsa { hash: None })
}
