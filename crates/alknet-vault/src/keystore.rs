//! The keystore file: a mnemonic sealed with a passphrase or a key file.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cipher::{self, ALGORITHM, TAG_BYTES};
use crate::key_file::KeyFile;
use crate::limits::MAX_PASSPHRASE_BYTES;
use crate::mnemonic::{Language, Mnemonic, normalized};
use crate::path::{Epoch, KeyPurpose};
use crate::random::random_array;
use crate::strict_cbor::{self, Reader};
use crate::vault::Vault;

mod error;
mod json;
mod stretch;

pub use error::{KeystoreError, SealKeystoreError, UnlockError};
pub use stretch::{Argon2Params, Argon2ParamsError};

/// The first item of the associated data, and with a zero byte the first bytes of HKDF's info.
const DOMAIN: &str = "alknet-keystore-v1";

/// Longest sealed content, in bytes: language, entropy, passphrase and their CBOR heads.
const MAX_CONTENT_BYTES: usize = MAX_PASSPHRASE_BYTES + 64;

/// What unlocks a keystore.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// A passphrase that a person knows; stretched with Argon2id, which takes about half a second.
    Passphrase(&'a str),
    /// A key file beside the keystore; takes milliseconds.
    KeyFile(&'a KeyFile),
}

/// Which of the two unlocks a keystore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlockKind {
    /// A passphrase.
    Passphrase,
    /// A key file.
    KeyFile,
}

impl fmt::Display for UnlockKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Passphrase => "a passphrase",
            Self::KeyFile => "a key file",
        })
    }
}

/// How the key of a keystore is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Derivation {
    Argon2id(Argon2Params),
    KeyFile,
}

impl Derivation {
    fn name(self) -> &'static str {
        match self {
            Self::Argon2id(_) => "argon2id",
            Self::KeyFile => "key-file",
        }
    }
}

/// A mnemonic as it came out of a keystore, to be shown to its owner.
pub struct Revealed {
    /// The words.
    pub mnemonic: Mnemonic,
    /// The passphrase of the mnemonic (BIP39's, not the keystore's); empty for none.
    pub passphrase: Zeroizing<String>,
}

/// A sealed mnemonic. Nothing in it is secret to who lacks passphrase or key file.
#[derive(Clone, PartialEq, Eq)]
pub struct Keystore {
    epoch: Epoch,
    node: [u8; 32],
    derivation: Derivation,
    salt: [u8; 32],
    nonce: [u8; 12],
    data: Vec<u8>,
}

impl Keystore {
    /// Seals a mnemonic, its passphrase (empty for none) and the epoch, with the default Argon2id parameters.
    ///
    /// # Errors
    /// [`SealKeystoreError`].
    pub fn seal(
        mnemonic: &Mnemonic,
        mnemonic_passphrase: &str,
        epoch: Epoch,
        unlock: Unlock<'_>,
    ) -> Result<Self, SealKeystoreError> {
        Self::seal_with(mnemonic, mnemonic_passphrase, epoch, unlock, Argon2Params::default())
    }

    /// Seals as [`Keystore::seal`] does, with other Argon2id parameters.
    ///
    /// # Errors
    /// [`SealKeystoreError`].
    pub fn seal_with(
        mnemonic: &Mnemonic,
        mnemonic_passphrase: &str,
        epoch: Epoch,
        unlock: Unlock<'_>,
        params: Argon2Params,
    ) -> Result<Self, SealKeystoreError> {
        let derivation = match unlock {
            Unlock::Passphrase("") => return Err(SealKeystoreError::EmptyPassphrase),
            Unlock::Passphrase(_) => Derivation::Argon2id(params),
            Unlock::KeyFile(_) => Derivation::KeyFile,
        };
        let node = Vault::new(mnemonic, mnemonic_passphrase, epoch)?.public_key(KeyPurpose::Node);
        let (salt, nonce) = (random_array()?, random_array()?);
        let mut keystore = Self { epoch, node, derivation, salt, nonce, data: Vec::new() };
        let key = keystore.cipher_key(unlock).map_err(|error| match error {
            UnlockError::PassphraseTooLong => SealKeystoreError::PassphraseTooLong,
            _ => SealKeystoreError::OutOfMemory,
        })?;
        let content = write_content(mnemonic, mnemonic_passphrase);
        keystore.data = cipher::encrypt(&key, &nonce, &keystore.associated_data(), &content);
        Ok(keystore)
    }

    /// The epoch of the identity.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The public node key in that epoch; authentic once the keystore has been opened.
    pub fn node_key(&self) -> [u8; 32] {
        self.node
    }

    /// What unlocks this keystore.
    pub fn unlocked_by(&self) -> UnlockKind {
        match self.derivation {
            Derivation::Argon2id(_) => UnlockKind::Passphrase,
            Derivation::KeyFile => UnlockKind::KeyFile,
        }
    }

    /// Opens the keystore. The memory that Argon2id took is wiped and released before this returns.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn open(&self, unlock: Unlock<'_>) -> Result<Vault, UnlockError> {
        self.unlock(unlock).map(|(vault, _)| vault)
    }

    /// Opens the keystore and gives the mnemonic, for its owner's eyes.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn reveal(&self, unlock: Unlock<'_>) -> Result<Revealed, UnlockError> {
        self.unlock(unlock).map(|(_, revealed)| revealed)
    }

    fn unlock(&self, unlock: Unlock<'_>) -> Result<(Vault, Revealed), UnlockError> {
        let key = self.cipher_key(unlock)?;
        let content = cipher::decrypt(&key, &self.nonce, &self.associated_data(), &self.data);
        let revealed = read_content(&content.ok_or(match unlock {
            Unlock::Passphrase(_) => UnlockError::WrongPassphrase,
            Unlock::KeyFile(_) => UnlockError::WrongKeyFile,
        })?)?;
        let vault = Vault::new(&revealed.mnemonic, &revealed.passphrase, self.epoch)?;
        if vault.public_key(KeyPurpose::Node) != self.node {
            return Err(UnlockError::NodeKey);
        }
        Ok((vault, revealed))
    }

    fn cipher_key(&self, unlock: Unlock<'_>) -> Result<Zeroizing<[u8; 32]>, UnlockError> {
        let derive = |secret: &[u8; 32]| {
            let name = self.derivation.name().as_bytes();
            cipher::hkdf_key(secret, &self.salt, &[DOMAIN.as_bytes(), b"\0", name])
        };
        match (self.derivation, unlock) {
            (Derivation::Argon2id(params), Unlock::Passphrase(passphrase)) => {
                if passphrase.len() > MAX_PASSPHRASE_BYTES {
                    return Err(UnlockError::PassphraseTooLong);
                }
                let stretched = params.stretch(normalized(passphrase).as_bytes(), &self.salt);
                stretched.map(|secret| derive(&secret)).ok_or(UnlockError::OutOfMemory)
            }
            (Derivation::KeyFile, Unlock::KeyFile(file)) => Ok(derive(file.key())),
            _ => Err(UnlockError::OtherMeans(self.unlocked_by())),
        }
    }

    /// `[domain, alg, epoch, node, derivation, salt]` in deterministic CBOR.
    fn associated_data(&self) -> Vec<u8> {
        strict_cbor::encode(|encoder| {
            encoder.array(6)?.str(DOMAIN)?.str(ALGORITHM)?.u32(self.epoch.number())?.bytes(&self.node)?;
            match self.derivation {
                Derivation::Argon2id(params) => {
                    encoder.array(4)?.str(self.derivation.name())?;
                    encoder.u32(params.memory_kib())?.u32(params.passes())?.u32(params.lanes())?;
                }
                Derivation::KeyFile => {
                    encoder.array(1)?.str(self.derivation.name())?;
                }
            }
            encoder.bytes(&self.salt)?.ok()
        })
    }

    /// Eight bytes that tell damage from a wrong passphrase; no protection against a forger.
    fn sum(&self) -> [u8; 8] {
        let hash = Sha256::new().chain_update(self.associated_data()).chain_update(self.nonce).chain_update(&self.data);
        let mut sum = [0; 8];
        sum.copy_from_slice(&hash.finalize()[..8]);
        sum
    }

    /// Checks what was parsed: the size of the data, and the sum.
    fn checked(self, sum: [u8; 8]) -> Result<Self, KeystoreError> {
        if !(TAG_BYTES..=MAX_CONTENT_BYTES + TAG_BYTES).contains(&self.data.len()) {
            return Err(KeystoreError::Data);
        }
        if !bool::from(self.sum().ct_eq(&sum)) {
            return Err(KeystoreError::Damaged);
        }
        Ok(self)
    }
}

impl fmt::Debug for Keystore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = data_encoding::HEXLOWER.encode(&self.node);
        write!(formatter, "Keystore(node {node}, epoch {}, unlocked by {})", self.epoch, self.unlocked_by())
    }
}

/// `[language, entropy, passphrase]` in deterministic CBOR.
fn write_content(mnemonic: &Mnemonic, passphrase: &str) -> Zeroizing<Vec<u8>> {
    let entropy = mnemonic.entropy();
    let language = mnemonic.language().name();
    strict_cbor::encode_secret(MAX_CONTENT_BYTES, |encoder| {
        encoder.array(3)?.str(language)?.bytes(&entropy)?.str(passphrase)?.ok()
    })
}

fn read_content(content: &[u8]) -> Result<Revealed, UnlockError> {
    let mut reader = Reader::new(content, MAX_CONTENT_BYTES)?;
    reader.array(3)?;
    let language = Language::from_name(reader.text(MAX_CONTENT_BYTES)?).ok_or(UnlockError::Mnemonic)?;
    let mnemonic = Mnemonic::from_entropy(language, reader.bytes(32)?).map_err(|_| UnlockError::Mnemonic)?;
    let passphrase = Zeroizing::new(reader.text(MAX_PASSPHRASE_BYTES)?.to_owned());
    reader.end()?;
    Ok(Revealed { mnemonic, passphrase })
}
