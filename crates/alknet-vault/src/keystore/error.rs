//! What can go wrong with a keystore: making it, reading the file, unlocking it.

use super::{Argon2ParamsError, UnlockKind};
use crate::cipher::ALGORITHM;
use crate::limits::MAX_PASSPHRASE_BYTES;
use crate::path::NumberOutOfRange;
use crate::random::NoRandomness;
use crate::strict_cbor::CborError;
use crate::strict_json::JsonError;
use crate::vault::VaultError;

/// Why no keystore can be made.
#[derive(Debug, thiserror::Error)]
pub enum SealKeystoreError {
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The passphrase is too long.
    #[error("the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")]
    PassphraseTooLong,
    /// The mnemonic gives no vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Too little memory for Argon2id.
    #[error("too little memory to stretch the passphrase")]
    OutOfMemory,
    /// No salt and nonce could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why bytes are not a keystore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// Not the JSON object that a keystore is.
    #[error("not a keystore: {0}")]
    Json(#[from] JsonError),
    /// Another kind of file.
    #[error("not a keystore: the member kind is not alknet-keystore")]
    Kind,
    /// Sealed with a cipher that is not known.
    #[error("the cipher of the keystore is not {ALGORITHM}")]
    Algorithm,
    /// Neither `argon2id` with its three parameters nor `key-file` without any.
    #[error("the keystore names no known key derivation, or not its parameters")]
    Derivation,
    /// The Argon2id parameters are too weak or too costly. Nothing was computed with them.
    #[error(transparent)]
    Argon2(#[from] Argon2ParamsError),
    /// The epoch is out of range.
    #[error("the keystore is out of range: {0}")]
    Epoch(#[from] NumberOutOfRange),
    /// The sealed data cannot hold a mnemonic.
    #[error("the sealed data of the keystore are too short or too long")]
    Data,
    /// The file was damaged after it was written.
    #[error("the keystore is damaged: its sum does not match; restore it from a copy or from the mnemonic")]
    Damaged,
}

/// Why a keystore does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// The keystore is unlocked by the other means.
    #[error("the keystore is unlocked by {0}")]
    OtherMeans(UnlockKind),
    /// The file is undamaged, so the passphrase is another one (or the file was forged).
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The file is undamaged, so the key file is another one (or the file was forged).
    #[error("the key file belongs to another keystore")]
    WrongKeyFile,
    /// Longer than any passphrase that could have been set.
    #[error("the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")]
    PassphraseTooLong,
    /// Too little memory for Argon2id.
    #[error("too little memory to stretch the passphrase")]
    OutOfMemory,
    /// Authentic, but not as this version writes it.
    #[error("the sealed content of the keystore is not a mnemonic: {0}")]
    Content(#[from] CborError),
    /// Authentic, but the language or the entropy is not known.
    #[error("the sealed content of the keystore is not a mnemonic that this version knows")]
    Mnemonic,
    /// The mnemonic gives no vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Authentic, but the public node key is not the mnemonic's.
    #[error("the keystore names a node key that its mnemonic does not give")]
    NodeKey,
}
