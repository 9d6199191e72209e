//! The unlocked vault: derives, signs, seals and states; lets no secret out but the SSH host key's.

use std::fmt;
use std::time::Duration;

use ed25519_dalek::Signer;
use zeroize::Zeroizing;

use crate::bip32::{Bip32Error, Secp256k1Node};
use crate::mnemonic::{Mnemonic, MnemonicError};
use crate::path::{DerivationPath, Epoch, KeyPurpose, PathStep, SealKeyId, SealPurpose};
use crate::sealed::{OpenError, SealError, SealedBlob};
use crate::slip10::Ed25519Node;
use crate::statement::{SignedStatement, StatementError};

/// Why a mnemonic gives no vault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The passphrase of the mnemonic is too long.
    #[error(transparent)]
    Mnemonic(#[from] MnemonicError),
    /// One mnemonic in 2¹²⁷ has no Ethereum key.
    #[error("the mnemonic has no Ethereum key: {0}")]
    Ethereum(#[from] Bip32Error),
}

/// A vault refuses to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The root key signs identity statements and nothing else.
    #[error("the root key signs identity statements and nothing else")]
    Root,
}

/// The keys of an identity in one epoch. Zeroised when dropped; `Debug` prints public things only.
pub struct Vault {
    epoch: Epoch,
    /// `m/74'`, below which all Ed25519 and sealing keys are. The seed itself is not kept.
    branch: Ed25519Node,
    ethereum: [u8; 33],
}

impl Vault {
    /// Derives the vault of a mnemonic and its passphrase (empty for none).
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn new(mnemonic: &Mnemonic, passphrase: &str, epoch: Epoch) -> Result<Self, VaultError> {
        let seed = mnemonic.seed(passphrase)?;
        let ethereum = Secp256k1Node::master(seed.as_bytes())?.descend(&DerivationPath::ethereum())?;
        let master = Ed25519Node::master(seed.as_bytes());
        let branch = KeyPurpose::Root.path(epoch).steps()[0];
        Ok(Self { epoch, branch: descend(&master, &[branch]), ethereum: ethereum.public_key() })
    }

    /// The same identity in another epoch.
    pub fn at_epoch(&self, epoch: Epoch) -> Self {
        Self { epoch, branch: descend(&self.branch, &[]), ethereum: self.ethereum }
    }

    /// The epoch of the keys.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The public key for a purpose.
    pub fn public_key(&self, purpose: KeyPurpose) -> [u8; 32] {
        self.key(purpose).public_key()
    }

    /// The public key of the first Ethereum account, compressed (SEC 1, 33 bytes).
    pub fn ethereum_public_key(&self) -> [u8; 33] {
        self.ethereum
    }

    /// Signs with the key for a purpose (Ed25519, RFC 8032).
    ///
    /// # Errors
    /// [`SignError::Root`]: the root signs through [`Vault::statement`] only.
    pub fn sign(&self, purpose: KeyPurpose, message: &[u8]) -> Result<[u8; 64], SignError> {
        match purpose {
            KeyPurpose::Root => Err(SignError::Root),
            other => Ok(self.key(other).signing_key().sign(message).to_bytes()),
        }
    }

    /// The Ed25519 seed of the SSH host key: the one secret that leaves, because the SSH server must hold its key.
    pub fn ssh_host_seed(&self) -> Zeroizing<[u8; 32]> {
        self.key(KeyPurpose::SshHost).secret_seed().clone()
    }

    /// Seals data for a purpose (its first key) or under a named key; opens again in the same context only.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, key: impl Into<SealKeyId>, context: &[u8], plaintext: &[u8]) -> Result<SealedBlob, SealError> {
        let key = key.into();
        SealedBlob::seal(&self.sealing_key(key), key, context, plaintext)
    }

    /// Opens a blob that must have been sealed for this purpose and in this context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        purpose: SealPurpose,
        context: &[u8],
        blob: &SealedBlob,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        blob.open(&self.sealing_key(blob.key()), purpose, context)
    }

    /// States this identity's keys, signed by its root: valid from `now` (seconds since 1970) for `validity`.
    ///
    /// # Errors
    /// [`StatementError::Validity`] when the statement would end after the year 9999.
    pub fn statement(&self, now: u64, validity: Duration) -> Result<SignedStatement, StatementError> {
        let root = self.key(KeyPurpose::Root).signing_key();
        SignedStatement::sign(&root, |purpose| self.public_key(purpose), self.epoch, now, validity)
    }

    fn key(&self, purpose: KeyPurpose) -> Ed25519Node {
        descend(&self.branch, &purpose.path(self.epoch).steps()[1..])
    }

    fn sealing_key(&self, key: SealKeyId) -> Ed25519Node {
        descend(&self.branch, &key.path().steps()[1..])
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = data_encoding::HEXLOWER.encode(&self.public_key(KeyPurpose::Node));
        write!(formatter, "Vault(node {node}, epoch {})", self.epoch)
    }
}

/// Descends the steps of a path of the table.
fn descend(node: &Ed25519Node, steps: &[PathStep]) -> Ed25519Node {
    node.descend_steps(steps).expect("because the table of purposes has hardened steps only")
}
