//! Sealed blobs: data that only the holder of the mnemonic opens, and only where it belongs.

use std::fmt;

use zeroize::Zeroizing;

use crate::cipher::{self, ALGORITHM, TAG_BYTES};
use crate::limits::{MAX_CONTEXT_BYTES, MAX_PLAINTEXT_BYTES};
use crate::path::{SealKeyId, SealPurpose};
use crate::random::{NoRandomness, random_array};
use crate::slip10::Ed25519Node;
use crate::strict_cbor::{self, CborError};
use crate::strict_json::JsonError;

mod cbor;
mod json;

/// The first bytes of HKDF's info.
const DOMAIN: &[u8] = b"alknet-seal-v1\0";

/// The number of the format, in the associated data and in both encodings.
const VERSION: u8 = 1;

/// Why data cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The plaintext is too large for one blob.
    #[error("{0} bytes are too many for one sealed blob; the most is {MAX_PLAINTEXT_BYTES}")]
    TooLarge(usize),
    /// The context is empty or too long.
    #[error("a context has 1 to {MAX_CONTEXT_BYTES} bytes")]
    Context,
    /// No salt and nonce could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why a blob does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The blob names a key of another purpose.
    #[error("the blob was sealed for another purpose")]
    WrongPurpose,
    /// The blob belongs to another context.
    #[error("the blob was sealed in another context")]
    WrongContext,
    /// The blob was changed, or sealed by another identity.
    #[error("the blob was changed or was sealed by another identity")]
    NotAuthentic,
}

/// Why bytes are not a sealed blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Not the JSON object that a blob is.
    #[error("not a sealed blob in JSON: {0}")]
    Json(#[from] JsonError),
    /// Not the CBOR map that a blob is.
    #[error("not a sealed blob in CBOR: {0}")]
    Cbor(#[from] CborError),
    /// Sealed with a cipher that is not known.
    #[error("the cipher of the sealed blob is not {ALGORITHM}")]
    Algorithm,
    /// The key is not one that is known.
    #[error("the key of the sealed blob is not known")]
    Key,
    /// The context is empty or too long.
    #[error("the context of the sealed blob is empty or longer than {MAX_CONTEXT_BYTES} bytes")]
    Context,
    /// The data are shorter than a tag, or too long.
    #[error("the data of the sealed blob are shorter than their tag, or too long")]
    Data,
}

/// Sealed data with all that is needed to open it, except the key. Nothing in it is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBlob {
    key: SealKeyId,
    salt: [u8; 32],
    nonce: [u8; 12],
    context: Vec<u8>,
    data: Vec<u8>,
}

impl SealedBlob {
    /// Names the sealing key.
    pub fn key(&self) -> SealKeyId {
        self.key
    }

    /// The context that the blob claims; trust it only after opening.
    pub fn context(&self) -> &[u8] {
        &self.context
    }

    /// Seals under the key at `key.path()`.
    pub(crate) fn seal(
        key_node: &Ed25519Node,
        key: SealKeyId,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Self, SealError> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(SealError::TooLarge(plaintext.len()));
        }
        if !is_context(context) {
            return Err(SealError::Context);
        }
        let (salt, nonce) = (random_array()?, random_array()?);
        let mut blob = Self { key, salt, nonce, context: context.to_vec(), data: Vec::new() };
        blob.data = cipher::encrypt(&blob.cipher_key(key_node), &nonce, &blob.associated_data(), plaintext);
        Ok(blob)
    }

    /// Opens with the key at `self.key().path()`.
    pub(crate) fn open(
        &self,
        key_node: &Ed25519Node,
        purpose: SealPurpose,
        context: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if self.key.purpose() != purpose {
            return Err(OpenError::WrongPurpose);
        }
        if self.context != context {
            return Err(OpenError::WrongContext);
        }
        cipher::decrypt(&self.cipher_key(key_node), &self.nonce, &self.associated_data(), &self.data)
            .ok_or(OpenError::NotAuthentic)
    }

    /// Checks what was parsed against the bounds of context and data.
    fn in_bounds(self) -> Result<Self, BlobError> {
        if !is_context(&self.context) {
            return Err(BlobError::Context);
        }
        if !(TAG_BYTES..=MAX_PLAINTEXT_BYTES + TAG_BYTES).contains(&self.data.len()) {
            return Err(BlobError::Data);
        }
        Ok(self)
    }

    fn cipher_key(&self, key_node: &Ed25519Node) -> Zeroizing<[u8; 32]> {
        let purpose = self.key.purpose().number().to_be_bytes();
        let version = self.key.version().to_be_bytes();
        cipher::hkdf_key(&key_node.secret_seed()[..], &self.salt, &[DOMAIN, &purpose, &version, &self.context])
    }

    /// `[1, alg, purpose, version, salt, context]` in deterministic CBOR.
    fn associated_data(&self) -> Vec<u8> {
        strict_cbor::encode(|encoder| {
            encoder.array(6)?.u8(VERSION)?.str(ALGORITHM)?;
            encoder.u32(self.key.purpose().number())?.u32(self.key.version())?;
            encoder.bytes(&self.salt)?.bytes(&self.context)?.ok()
        })
    }
}

impl fmt::Debug for SealedBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealedBlob(key {}, {} bytes)", self.key, self.data.len())
    }
}

fn is_context(context: &[u8]) -> bool {
    (1..=MAX_CONTEXT_BYTES).contains(&context.len())
}
