//! The keys that an agent holds, for how long, and whether they are locked. Pure: the time comes in as an argument.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_core::{KeyPurpose, KeySigner};
use russh::keys::{
    HashAlg, PublicKey,
    ssh_key::public::{Ed25519PublicKey, KeyData},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::wire::key_blob;
use crate::limits::{FIRST_UNLOCK_DELAY, MAX_LOCK_PASSPHRASE_BYTES, MAX_UNLOCK_DELAY};

/// A key that an agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// Which of the vault's keys.
    pub purpose: KeyPurpose,
    /// What `ssh-add -l` shows beside it.
    pub comment: String,
    /// A person says yes to each signature.
    pub confirm: bool,
    /// How long it is there; without one, as long as the agent.
    pub lifetime: Option<Duration>,
}

/// A key as it is held.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) purpose: KeyPurpose,
    pub(super) comment: String,
    pub(super) confirm: bool,
    pub(super) blob: Vec<u8>,
    /// As `ssh-add -l` shows it.
    pub(super) fingerprint: String,
    until: Option<Instant>,
}

/// All keys of an agent. The signer, and with it every secret, is dropped with the last key.
pub(super) struct Keyring {
    signer: Option<Arc<dyn KeySigner>>,
    keys: Vec<Held>,
    lock: Option<Zeroizing<Vec<u8>>>,
    wrong_passphrases: u32,
}

/// Why a keyring is not locked or unlocked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LockError {
    #[error("the agent is locked already")]
    Locked,
    #[error("the agent is not locked")]
    NotLocked,
    #[error("a passphrase has 1 to {MAX_LOCK_PASSPHRASE_BYTES} bytes")]
    Length,
    #[error("wrong passphrase")]
    Wrong {
        /// How long the answer should take.
        delay: Duration,
    },
}

impl Keyring {
    pub(super) fn new(signer: Arc<dyn KeySigner>, keys: Vec<AgentKey>, now: Instant) -> Self {
        let held = |key: AgentKey| {
            let public = *signer.public_key(key.purpose).as_bytes();
            let fingerprint =
                PublicKey::new(KeyData::Ed25519(Ed25519PublicKey(public)), "").fingerprint(HashAlg::Sha256);
            Held {
                purpose: key.purpose,
                comment: key.comment,
                confirm: key.confirm,
                blob: key_blob(&public),
                fingerprint: fingerprint.to_string(),
                until: key.lifetime.and_then(|lifetime| now.checked_add(lifetime)),
            }
        };
        let keys = keys.into_iter().map(held).collect();
        Self { signer: Some(signer), keys, lock: None, wrong_passphrases: 0 }
    }

    /// The blobs and comments, none while locked.
    pub(super) fn list(&mut self, now: Instant) -> Vec<(Vec<u8>, String)> {
        self.expire(now);
        match self.lock {
            Some(_) => Vec::new(),
            None => self.keys.iter().map(|key| (key.blob.clone(), key.comment.clone())).collect(),
        }
    }

    /// The key of that blob, unless it is gone or everything is locked.
    pub(super) fn find(&mut self, blob: &[u8], now: Instant) -> Option<Held> {
        self.expire(now);
        let usable = |key: &&Held| self.lock.is_none() && key.blob == blob;
        self.keys.iter().find(usable).cloned()
    }

    /// What signs with the key of that blob, under the same conditions.
    pub(super) fn signer(&mut self, blob: &[u8], now: Instant) -> Option<Arc<dyn KeySigner>> {
        self.find(blob, now)?;
        self.signer.clone()
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&mut self, blob: &[u8], now: Instant) -> bool {
        let found = self.find(blob, now).is_some();
        self.keep(|key| !found || key.blob != blob);
        found
    }

    /// Removes every key; not while locked.
    pub(super) fn remove_all(&mut self) -> bool {
        let unlocked = self.lock.is_none();
        self.keep(|_| !unlocked);
        unlocked
    }

    pub(super) fn lock(&mut self, passphrase: &[u8]) -> Result<(), LockError> {
        if self.lock.is_some() {
            return Err(LockError::Locked);
        }
        if passphrase.is_empty() || passphrase.len() > MAX_LOCK_PASSPHRASE_BYTES {
            return Err(LockError::Length);
        }
        self.lock = Some(Zeroizing::new(passphrase.to_owned()));
        Ok(())
    }

    pub(super) fn unlock(&mut self, passphrase: &[u8]) -> Result<(), LockError> {
        let lock = self.lock.as_ref().ok_or(LockError::NotLocked)?;
        if bool::from(lock.as_slice().ct_eq(passphrase)) {
            self.lock = None;
            self.wrong_passphrases = 0;
            return Ok(());
        }
        let factor = 2_u32.saturating_pow(self.wrong_passphrases);
        self.wrong_passphrases = self.wrong_passphrases.saturating_add(1);
        Err(LockError::Wrong { delay: FIRST_UNLOCK_DELAY.saturating_mul(factor).min(MAX_UNLOCK_DELAY) })
    }

    /// When the next key goes by itself.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.keys.iter().filter_map(|key| key.until).min()
    }

    /// Drops what has outlived its time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.keep(|key| key.until.is_none_or(|until| until > now));
    }

    fn keep(&mut self, wanted: impl Fn(&Held) -> bool) {
        self.keys.retain(wanted);
        if self.keys.is_empty() {
            self.signer = None;
        }
    }
}

#[cfg(test)]
mod tests;
