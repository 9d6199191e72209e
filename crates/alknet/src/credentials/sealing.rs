//! Between a set of credentials and the blob in the database.

use alknet_call::{CredentialSet, InvalidCredentialSet};
use alknet_vault::{BlobError, OpenError, SealError, SealPurpose, SealedBlob};

use crate::identity::NodeIdentity;

/// Why a blob holds no credentials for a name.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is no blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It was sealed for something else, or by somebody else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is inside is no set of credentials.
    #[error(transparent)]
    Set(#[from] InvalidCredentialSet),
}

/// Seals a set so that it opens under this name only.
pub fn seal(identity: &NodeIdentity, name: &str, set: &CredentialSet) -> Result<String, SealError> {
    let blob = identity.vault().seal(SealPurpose::VaultEntries, &context(name), &set.seal_bytes())?;
    Ok(blob.to_json())
}

/// The way back.
pub fn open(identity: &NodeIdentity, name: &str, sealed: &str) -> Result<CredentialSet, UnsealError> {
    let blob = SealedBlob::from_json(sealed.as_bytes())?;
    let bytes = identity.vault().open(SealPurpose::VaultEntries, &context(name), &blob)?;
    Ok(CredentialSet::parse(&bytes)?)
}

fn context(name: &str) -> Vec<u8> {
    format!("credential/{name}").into_bytes()
}
