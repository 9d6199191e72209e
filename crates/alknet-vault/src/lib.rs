//! Mnemonic, key derivation, sealed blobs and the keystore format.
//!
//! Everything here is pure: no IO, no clock, no network; time comes in as an argument, files as bytes, and the one
//! thing taken from outside is the system's randomness. The formats are specified in `docs/spec/vault.md`; the rules
//! cited in the tests (`VAULT-07`) are that document's.
//!
//! This crate is not for files, prompts or what to do with a key: those belong to its users.
//!
//! ```
//! use alknet_vault::{Epoch, KeyFile, KeyPurpose, Keystore, Mnemonic, SealPurpose, Unlock, WordCount};
//!
//! let mnemonic = Mnemonic::generate(WordCount::TwentyFour)?;
//! let key_file = KeyFile::generate()?;
//! let content = Keystore::seal(&mnemonic, "", Epoch::ZERO, Unlock::KeyFile(&key_file))?.to_json();
//!
//! let vault = Keystore::parse(content.as_bytes())?.open(Unlock::KeyFile(&key_file))?;
//! let signature = vault.sign(KeyPurpose::Node, b"a message")?;
//! let blob = vault.seal(SealPurpose::VaultEntries, b"mail", b"a password")?;
//! assert_eq!(vault.open(SealPurpose::VaultEntries, b"mail", &blob)?.as_slice(), b"a password");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod limits;

mod random;

mod mnemonic;
mod path;
mod slip10;

mod bip32;

mod cipher;
mod strict_cbor;
mod strict_json;

mod sealed;

mod key_file;
mod keystore;

mod statement;
mod vault;

pub use bip32::{Bip32Error, Secp256k1Node, XprvError};
pub use key_file::{KeyFile, KeyFileError};
pub use keystore::{
    Argon2Params, Argon2ParamsError, Keystore, KeystoreError, Revealed, SealKeystoreError, Unlock, UnlockError,
    UnlockKind,
};
pub use mnemonic::{Language, Mnemonic, MnemonicError, Seed, WordCount};
pub use path::{
    DerivationPath, DeviceNumber, Epoch, KeyPurpose, NumberOutOfRange, PathError, PathStep, SealKeyId, SealKeyIdError,
    SealPurpose,
};
pub use random::NoRandomness;
pub use sealed::{BlobError, OpenError, SealError, SealedBlob};
pub use slip10::{Ed25519Node, Slip10Error};
pub use statement::{IdentityStatement, SignedStatement, StatementError, StatementVerifyError};
pub use strict_cbor::CborError;
pub use strict_json::JsonError;
pub use vault::{SignError, Vault, VaultError};
