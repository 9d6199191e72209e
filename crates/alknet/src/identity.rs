//! The node's identity on disk: making, opening, backing up and restoring the keystore.

use std::{path::PathBuf, sync::Arc};

use alknet_core::{KeyPurpose, KeySigner, NodeKey};
use alknet_ssh::{HostCertificate, HostKey};
use alknet_vault::{Epoch, KeyFile, Keystore, Mnemonic, Revealed, Unlock, UnlockKind, Vault, WordCount};
use zeroize::Zeroizing;

use crate::{
    clock::unix_seconds,
    data_folder::DataFolder,
    failure::{Failure, Kind},
    passphrase::PassphraseSource,
};

/// Largest keystore or key file read, in bytes.
const MAX_KEYSTORE_BYTES: u64 = 64 * 1024;

/// The unlocked identity. Signs for core's joints; the secrets stay inside.
#[derive(Clone)]
pub struct NodeIdentity {
    vault: Arc<Vault>,
}

/// How a new keystore is to be opened later.
pub enum Protection {
    /// With a passphrase, asked for at each start.
    Passphrase(Zeroizing<String>),
    /// With a key file beside it.
    KeyFile,
}

impl NodeIdentity {
    /// The vault itself, for sealing and statements.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }
    /// The node's key.
    pub fn node_key(&self) -> NodeKey {
        self.public_key(KeyPurpose::Node)
    }

    /// The SSH host key. Its secret leaves the vault, because the SSH library signs with a key of its own.
    pub fn ssh_host_key(&self) -> HostKey {
        HostKey::from_seed(self.vault.ssh_host_seed())
    }

    /// A certificate that the host key is this node's under these names, made now.
    pub fn ssh_host_certificate(&self, names: &[String]) -> Result<HostCertificate, Failure> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| Failure::failed(format!("no random bytes: {error}")))?;
        Ok(HostCertificate::issue(&self.ssh_host_key(), names, unix_seconds(), nonce, self)?)
    }

    /// Whether the folder holds an identity.
    pub fn exists(data: &DataFolder) -> bool {
        data.keystore().exists()
    }

    /// Makes a new identity. The mnemonic comes back so that its owner can write it down.
    pub fn create(data: &DataFolder, protection: &Protection) -> Result<(Self, Mnemonic), Failure> {
        let mnemonic = Mnemonic::generate(WordCount::TwentyFour)?;
        let identity = Self::install(data, &mnemonic, "", Epoch::ZERO, protection)?;
        Ok((identity, mnemonic))
    }

    /// Writes the keystore of a mnemonic into a folder that has none yet.
    pub fn install(
        data: &DataFolder,
        mnemonic: &Mnemonic,
        mnemonic_passphrase: &str,
        epoch: Epoch,
        protection: &Protection,
    ) -> Result<Self, Failure> {
        if Self::exists(data) {
            return Err(Failure::failed(format!("{} is there already", data.keystore().display())).hint(
                "an identity is never overwritten: choose another --data folder, or move the old keystore away",
            ));
        }
        let vault = Vault::new(mnemonic, mnemonic_passphrase, epoch)?;
        let keystore = match protection {
            Protection::Passphrase(passphrase) => {
                Keystore::seal(mnemonic, mnemonic_passphrase, epoch, Unlock::Passphrase(passphrase))?
            }
            Protection::KeyFile => {
                let key = KeyFile::generate()?;
                // The key first: a keystore whose key was lost on the way would be useless.
                data.write_private(&data.key_file(), key.to_text().as_bytes())?;
                Keystore::seal(mnemonic, mnemonic_passphrase, epoch, Unlock::KeyFile(&key))?
            }
        };
        data.write_private(&data.keystore(), keystore.to_json().as_bytes())?;
        Ok(Self { vault: Arc::new(vault) })
    }

    /// Opens the folder's keystore with its key file, or with a passphrase from `source`.
    pub fn open(data: &DataFolder, source: &PassphraseSource) -> Result<Self, Failure> {
        let vault = Self::unlock(data, source, |keystore, unlock| keystore.open(unlock))?;
        Ok(Self { vault: Arc::new(vault) })
    }

    /// Opens the keystore to show the mnemonic once more.
    pub fn reveal(data: &DataFolder, source: &PassphraseSource) -> Result<Revealed, Failure> {
        Self::unlock(data, source, |keystore, unlock| keystore.reveal(unlock))
    }

    /// The public part of the folder's keystore, which needs no secret.
    pub fn keystore(data: &DataFolder) -> Result<Keystore, Failure> {
        let path = data.keystore();
        let content = data.read_bounded(&path, MAX_KEYSTORE_BYTES)?.ok_or_else(|| no_identity(data))?;
        Keystore::parse(&content).map_err(|error| {
            Failure::caused_by(Kind::Failed, &error)
                .while_doing(format_args!("{} cannot be used", path.display()))
                .hint("restore it from a backup, or from the mnemonic with `alknet identity restore` in a new folder")
        })
    }

    fn unlock<T>(
        data: &DataFolder,
        source: &PassphraseSource,
        open: impl FnOnce(&Keystore, Unlock<'_>) -> Result<T, alknet_vault::UnlockError>,
    ) -> Result<T, Failure> {
        let keystore = Self::keystore(data)?;
        let opened = match keystore.unlocked_by() {
            UnlockKind::KeyFile => {
                let key = Self::key_file(data)?;
                open(&keystore, Unlock::KeyFile(&key))
            }
            UnlockKind::Passphrase => {
                let passphrase = source.get("Passphrase of this node: ")?;
                open(&keystore, Unlock::Passphrase(&passphrase))
            }
        };
        opened.map_err(|error| {
            Failure::caused_by(Kind::Denied, &error)
                .while_doing(format_args!("cannot open {}", data.keystore().display()))
        })
    }

    fn key_file(data: &DataFolder) -> Result<KeyFile, Failure> {
        let path = data.key_file();
        let missing = || {
            Failure::failed(format!("the key file {} is missing", path.display()))
                .hint("put it back, or restore the identity from its mnemonic in a new folder")
        };
        let content = Zeroizing::new(data.read_bounded(&path, MAX_KEYSTORE_BYTES)?.ok_or_else(missing)?);
        KeyFile::parse(&content)
            .map_err(|error| Failure::from(error).while_doing(format_args!("{} cannot be used", path.display())))
    }

    /// Whether a start without anybody present can open the keystore.
    pub fn opens_unattended(data: &DataFolder) -> bool {
        Self::keystore(data).is_ok_and(|keystore| keystore.unlocked_by() == UnlockKind::KeyFile)
    }
}

fn no_identity(data: &DataFolder) -> Failure {
    let path: PathBuf = data.keystore();
    Failure::new(Kind::NotFound, format!("no identity here: {} does not exist", path.display()))
        .hint("make one with `alknet up` or `alknet init`, or name its folder with --data")
}

impl KeySigner for NodeIdentity {
    fn public_key(&self, purpose: KeyPurpose) -> NodeKey {
        NodeKey::from_bytes(self.vault.public_key(vault_purpose(purpose)))
            .expect("because a derived key is a point of large order")
    }
    fn sign(&self, purpose: KeyPurpose, message: &[u8]) -> [u8; 64] {
        self.vault.sign(vault_purpose(purpose), message).expect("because only the root refuses to sign messages")
    }
}

fn vault_purpose(purpose: KeyPurpose) -> alknet_vault::KeyPurpose {
    match purpose {
        KeyPurpose::Node => alknet_vault::KeyPurpose::Node,
        KeyPurpose::SshUser => alknet_vault::KeyPurpose::SshUser,
        KeyPurpose::Git => alknet_vault::KeyPurpose::Git,
        KeyPurpose::SshAuthority => alknet_vault::KeyPurpose::SshAuthority,
    }
}
