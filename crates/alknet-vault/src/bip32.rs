//! BIP-32 private derivation on secp256k1, and the `xprv` text form.

use std::fmt;

use hmac::digest::Digest;
use k256::elliptic_curve::group::GroupEncoding;
use k256::{ProjectivePoint, SecretKey};
use ripemd::Ripemd160;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::path::{DerivationPath, PathStep};
use crate::slip10::hmac_sha512;

mod base58;

/// Version, depth, fingerprint, child number, chain code and key of a serialised extended key, in bytes.
const XPRV_BYTES: usize = 78;

/// The version of a main-net extended private key, which makes the text begin with `xprv`.
const XPRV_VERSION: [u8; 4] = [0x04, 0x88, 0xad, 0xe4];

/// Why a key cannot be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bip32Error {
    /// The hash is no valid key (chance below 2⁻¹²⁷); BIP-32 says to use the next index.
    #[error("no key exists at this index; use the next one")]
    NoSuchKey,
    /// Depth 255 has no children.
    #[error("the key is 255 steps deep already")]
    TooDeep,
}

/// Why a text is not an extended private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XprvError {
    /// Not 82 bytes of base58.
    #[error("not 82 bytes in base58")]
    Base58,
    /// The last four bytes do not match the rest.
    #[error("the checksum does not match")]
    Checksum,
    /// Not the version of a main-net private key.
    #[error("not an extended private key (xprv)")]
    Version,
    /// Depth 0 with a parent or an index.
    #[error("a master key has no parent and no index")]
    Master,
    /// The key does not begin with a zero byte, or is not in 1..n.
    #[error("the private key is not in the curve's range")]
    Key,
}

/// A secp256k1 private key with its chain code and place in the tree. Zeroised when dropped.
pub struct Secp256k1Node {
    depth: u8,
    parent_fingerprint: [u8; 4],
    step: PathStep,
    chain_code: Zeroizing<[u8; 32]>,
    key: SecretKey,
}

impl Secp256k1Node {
    /// The master key of a seed.
    ///
    /// # Errors
    /// [`Bip32Error::NoSuchKey`] when the seed hashes to an invalid key.
    pub fn master(seed: &[u8]) -> Result<Self, Bip32Error> {
        let (key, chain_code) = split(hmac_sha512(b"Bitcoin seed", &[seed]));
        Ok(Self {
            depth: 0,
            parent_fingerprint: [0; 4],
            step: PathStep::from_index(0),
            chain_code,
            key: SecretKey::from_slice(&key[..]).map_err(|_| Bip32Error::NoSuchKey)?,
        })
    }

    /// The child at a step (BIP-32's CKDpriv).
    ///
    /// # Errors
    /// [`Bip32Error`].
    pub fn child(&self, step: PathStep) -> Result<Self, Bip32Error> {
        let depth = self.depth.checked_add(1).ok_or(Bip32Error::TooDeep)?;
        let index = step.index().to_be_bytes();
        let hash = if step.is_hardened() {
            hmac_sha512(&self.chain_code[..], &[&[0], &self.secret_bytes()[..], &index])
        } else {
            hmac_sha512(&self.chain_code[..], &[&self.public_key(), &index])
        };
        let (tweak, chain_code) = split(hash);
        let key = add(&tweak, &self.key).ok_or(Bip32Error::NoSuchKey)?;
        Ok(Self { depth, parent_fingerprint: self.fingerprint(), step, chain_code, key })
    }

    /// The descendant at the end of a path, below this key.
    ///
    /// # Errors
    /// [`Bip32Error`] of the first step that fails.
    pub fn descend(&self, path: &DerivationPath) -> Result<Self, Bip32Error> {
        path.steps().iter().try_fold(self.copy(), |node, step| node.child(*step))
    }

    /// The public key, compressed (SEC 1, 33 bytes).
    pub fn public_key(&self) -> [u8; 33] {
        let mut scalar = *self.key.to_nonzero_scalar().as_ref();
        let point = ProjectivePoint::mul_by_generator(&scalar);
        scalar.zeroize();
        point.to_affine().to_bytes().into()
    }

    /// The private key.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// First four bytes of RIPEMD-160(SHA-256(public key)).
    pub fn fingerprint(&self) -> [u8; 4] {
        let hash = Ripemd160::digest(Sha256::digest(self.public_key()));
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Parses an `xprv…` text.
    ///
    /// # Errors
    /// [`XprvError`] naming the rule that is broken.
    pub fn from_xprv(text: &str) -> Result<Self, XprvError> {
        let bytes = base58::decode::<{ XPRV_BYTES + 4 }>(text).ok_or(XprvError::Base58)?;
        let (body, checksum) = bytes.split_at(XPRV_BYTES);
        if double_sha256(body)[..4] != *checksum {
            return Err(XprvError::Checksum);
        }
        let (version, rest) = body.split_at(4);
        if version != XPRV_VERSION {
            return Err(XprvError::Version);
        }
        Self::from_body(rest)
    }

    /// Reads the 74 bytes after the version.
    fn from_body(body: &[u8]) -> Result<Self, XprvError> {
        let depth = body[0];
        let parent_fingerprint = [body[1], body[2], body[3], body[4]];
        let index = u32::from_be_bytes([body[5], body[6], body[7], body[8]]);
        if depth == 0 && (parent_fingerprint != [0; 4] || index != 0) {
            return Err(XprvError::Master);
        }
        let mut chain_code = Zeroizing::new([0; 32]);
        chain_code.copy_from_slice(&body[9..41]);
        if body[41] != 0 {
            return Err(XprvError::Key);
        }
        let key = SecretKey::from_slice(&body[42..]).map_err(|_| XprvError::Key)?;
        Ok(Self { depth, parent_fingerprint, step: PathStep::from_index(index), chain_code, key })
    }

    /// The `xprv…` text of this key: as secret as the key.
    pub fn to_xprv(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(XPRV_BYTES + 4));
        bytes.extend_from_slice(&XPRV_VERSION);
        bytes.push(self.depth);
        bytes.extend_from_slice(&self.parent_fingerprint);
        bytes.extend_from_slice(&self.step.index().to_be_bytes());
        bytes.extend_from_slice(&self.chain_code[..]);
        bytes.push(0);
        bytes.extend_from_slice(&self.secret_bytes()[..]);
        let checksum = double_sha256(&bytes);
        bytes.extend_from_slice(&checksum[..4]);
        base58::encode(&bytes)
    }

    fn copy(&self) -> Self {
        Self { chain_code: self.chain_code.clone(), key: self.key.clone(), ..*self }
    }
}

impl fmt::Debug for Secp256k1Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secp256k1Node(depth {}, fingerprint {:02x?})", self.depth, self.fingerprint())
    }
}

fn split(hash: Zeroizing<[u8; 64]>) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let mut left = Zeroizing::new([0; 32]);
    let mut right = Zeroizing::new([0; 32]);
    left.copy_from_slice(&hash[..32]);
    right.copy_from_slice(&hash[32..]);
    (left, right)
}

/// `tweak + key (mod n)`; `None` when the tweak is not below n or the sum is zero.
fn add(tweak: &[u8; 32], key: &SecretKey) -> Option<SecretKey> {
    let tweak = SecretKey::from_slice(tweak).ok()?;
    let mut left = *tweak.to_nonzero_scalar().as_ref();
    let mut right = *key.to_nonzero_scalar().as_ref();
    let mut sum = left + right;
    let bytes = Zeroizing::new(<[u8; 32]>::from(sum.to_bytes()));
    left.zeroize();
    right.zeroize();
    sum.zeroize();
    SecretKey::from_slice(&bytes[..]).ok()
}

fn double_sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}
