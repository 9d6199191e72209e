//! SLIP-0010 derivation for Ed25519, exactly: hardened steps only.

use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::path::{DerivationPath, PathStep};

/// Why an Ed25519 key cannot be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Slip10Error {
    /// SLIP-0010 defines no unhardened derivation for Ed25519.
    #[error("step {0} of the path is not hardened; Ed25519 has hardened derivation only")]
    NotHardened(PathStep),
}

/// An Ed25519 key with its chain code. Zeroised when dropped, and without `Debug`.
pub struct Ed25519Node {
    seed: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl Ed25519Node {
    /// The master key of a seed (64 bytes when it comes from a mnemonic).
    pub fn master(seed: &[u8]) -> Self {
        Self::from_hmac(b"ed25519 seed", &[seed])
    }

    /// The child at a hardened step.
    ///
    /// # Errors
    /// [`Slip10Error::NotHardened`].
    pub fn child(&self, step: PathStep) -> Result<Self, Slip10Error> {
        if !step.is_hardened() {
            return Err(Slip10Error::NotHardened(step));
        }
        Ok(Self::from_hmac(&self.chain_code[..], &[&[0], &self.seed[..], &step.index().to_be_bytes()]))
    }

    /// The descendant at the end of a path.
    ///
    /// # Errors
    /// [`Slip10Error::NotHardened`] for the first step that is not hardened.
    pub fn descend(&self, path: &DerivationPath) -> Result<Self, Slip10Error> {
        self.descend_steps(path.steps())
    }

    pub(crate) fn descend_steps(&self, steps: &[PathStep]) -> Result<Self, Slip10Error> {
        steps.iter().try_fold(self.copy(), |node, step| node.child(*step))
    }

    /// The 32 bytes that are the Ed25519 seed of this node (RFC 8032's private key).
    pub fn secret_seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }

    /// The chain code.
    pub fn chain_code(&self) -> &Zeroizing<[u8; 32]> {
        &self.chain_code
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.signing_key().verifying_key().to_bytes()
    }

    /// The key pair; dalek wipes it when it is dropped.
    pub(crate) fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.seed)
    }

    fn copy(&self) -> Self {
        Self { seed: self.seed.clone(), chain_code: self.chain_code.clone() }
    }

    fn from_hmac(key: &[u8], parts: &[&[u8]]) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        let mut chain_code = Zeroizing::new([0; 32]);
        let both = hmac_sha512(key, parts);
        seed.copy_from_slice(&both[..32]);
        chain_code.copy_from_slice(&both[32..]);
        Self { seed, chain_code }
    }
}

/// HMAC-SHA512 over the concatenation of `parts`.
pub(crate) fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("because HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    let mut output = mac.finalize().into_bytes();
    let mut bytes = Zeroizing::new([0; 64]);
    bytes.copy_from_slice(&output);
    output.as_mut_slice().zeroize();
    bytes
}
