//! The CBOR encoding of a sealed blob.

use super::{BlobError, SealedBlob, VERSION};
use crate::cipher::ALGORITHM;
use crate::limits::{MAX_CONTEXT_BYTES, MAX_SEALED_CBOR_BYTES};
use crate::strict_cbor::{self, CborError, Reader};

/// `v`, `alg`, `key`, `data`, `salt`, `nonce`, `context`.
const MEMBERS: u64 = 7;

/// Longest cipher or key name that is looked at, in bytes.
const MAX_NAME_BYTES: usize = 32;

impl SealedBlob {
    /// The blob as a map in deterministic CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        strict_cbor::encode(|encoder| {
            encoder.map(MEMBERS)?;
            encoder.str("v")?.u8(VERSION)?;
            encoder.str("alg")?.str(ALGORITHM)?;
            encoder.str("key")?.str(&self.key.to_string())?;
            encoder.str("data")?.bytes(&self.data)?;
            encoder.str("salt")?.bytes(&self.salt)?;
            encoder.str("nonce")?.bytes(&self.nonce)?;
            encoder.str("context")?.bytes(&self.context)?.ok()
        })
    }

    /// Parses the CBOR encoding; only the deterministic one is accepted.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, BlobError> {
        let blob = read(&mut Reader::new(bytes, MAX_SEALED_CBOR_BYTES)?)?;
        if blob.to_cbor() == bytes { Ok(blob) } else { Err(CborError::NotDeterministic.into()) }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<SealedBlob, BlobError> {
    reader.map_of(MEMBERS)?;
    reader.member("v")?;
    let version = reader.unsigned()?;
    if version != u64::from(VERSION) {
        return Err(CborError::UnknownVersion(version).into());
    }
    reader.member("alg")?;
    if reader.text(MAX_NAME_BYTES)? != ALGORITHM {
        return Err(BlobError::Algorithm);
    }
    reader.member("key")?;
    let key = reader.text(MAX_NAME_BYTES)?.parse().map_err(|_| BlobError::Key)?;
    reader.member("data")?;
    let data = reader.bytes(usize::MAX)?;
    reader.member("salt")?;
    let salt = reader.array_of()?;
    reader.member("nonce")?;
    let nonce = reader.array_of()?;
    reader.member("context")?;
    let context = reader.bytes(MAX_CONTEXT_BYTES)?;
    reader.end()?;
    SealedBlob { key, salt, nonce, context: context.to_vec(), data: data.to_vec() }.in_bounds()
}
