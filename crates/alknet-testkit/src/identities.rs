//! Throw-away keys, peers and an identity provider that a test fills by hand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use alknet_core::{
    Alpn, AuditEvent, AuditLog, Credential, Fingerprint, Identity, IdentityProvider, KeyPurpose, KeySigner, NodeKey,
    Peer, PeerAddr, SshGrant,
};
use ed25519_dalek::{Signer, SigningKey};

/// An ALPN that no product uses.
pub fn test_alpn() -> Alpn {
    Alpn::from_static(b"test/alknet")
}

/// A peer on loopback that proved nothing.
pub fn stranger() -> Peer {
    Peer { key: None, addr: PeerAddr::Ip(([127, 0, 0, 1], 9).into()), local: None, server_name: None }
}

/// A peer on loopback that proved the key made from `seed`.
pub fn peer_with_key(seed: u8) -> Peer {
    Peer { key: Some(TestKeys::new(seed).public_key(KeyPurpose::Node)), ..stranger() }
}

/// Signs with keys made from one byte; every purpose has its own.
pub struct TestKeys(u8);

impl TestKeys {
    /// The keys of the test node `seed`.
    pub const fn new(seed: u8) -> Self {
        Self(seed)
    }
    fn secret(&self, purpose: KeyPurpose) -> SigningKey {
        SigningKey::from_bytes(&[self.0.wrapping_add((purpose as u8).wrapping_mul(85)); 32])
    }
}

impl KeySigner for TestKeys {
    fn public_key(&self, purpose: KeyPurpose) -> NodeKey {
        NodeKey::from_bytes(self.secret(purpose).verifying_key().to_bytes()).expect("because it was just derived")
    }
    fn sign(&self, purpose: KeyPurpose, message: &[u8]) -> [u8; 64] {
        self.secret(purpose).sign(message).to_bytes()
    }
}

/// Knows who a test says; the control socket's owner is always known.
#[derive(Default)]
pub struct TestIdentities {
    by_label: Mutex<HashMap<String, Arc<Identity>>>,
    restricted: Mutex<HashMap<Fingerprint, SshGrant>>,
    authorities: Mutex<HashMap<Fingerprint, Vec<SshGrant>>>,
}

impl TestIdentities {
    /// Makes the bearer of this credential (by its label) `identity`.
    pub fn know(&self, credential: &Credential, identity: Identity) {
        lock(&self.by_label).insert(credential.label(), Arc::new(identity));
    }
    /// Makes the bearer of this SSH key `identity`, under the options of its line.
    pub fn know_with_options(&self, key: Fingerprint, identity: Identity, options: &str) {
        lock(&self.restricted).insert(key, SshGrant { identity: Arc::new(identity), options: options.into() });
    }
    /// Makes whoever this key certifies `identity`, besides others, under the options of its line.
    pub fn trust(&self, authority: Fingerprint, identity: Identity, options: &str) {
        let grant = SshGrant { identity: Arc::new(identity), options: options.into() };
        lock(&self.authorities).entry(authority).or_default().push(grant);
    }
    /// Forgets the bearer of this credential.
    pub fn forget(&self, credential: &Credential) {
        lock(&self.by_label).remove(&credential.label());
    }
}

impl IdentityProvider for TestIdentities {
    fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
        if matches!(credential, Credential::LocalOwner) {
            return Some(Arc::new(Identity::owner(alknet_core::LOCAL_OWNER)));
        }
        lock(&self.by_label).get(&credential.label()).cloned()
    }
    fn ssh_key(&self, key: &Fingerprint) -> Option<SshGrant> {
        let restricted = lock(&self.restricted).get(key).cloned();
        let plain = || self.identify(&Credential::SshKey(key.clone()));
        restricted.or_else(|| plain().map(|identity| SshGrant { identity, options: "".into() }))
    }
    fn ssh_authority(&self, key: &Fingerprint) -> Vec<SshGrant> {
        lock(&self.authorities).get(key).cloned().unwrap_or_default()
    }
    fn has_ssh_authorities(&self) -> bool {
        !lock(&self.authorities).is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("because no test panics while holding it")
}

/// Keeps every audit event for the test to look at.
#[derive(Default)]
pub struct KeptAudit(Mutex<Vec<AuditEvent>>);

impl KeptAudit {
    /// The events so far.
    pub fn events(&self) -> Vec<AuditEvent> {
        self.0.lock().expect("because no test panics in here").clone()
    }
}

impl KeptAudit {
    /// Forgets the events so far.
    pub fn clear(&self) {
        *self.0.lock().expect("because no test panics in here") = Vec::new();
    }
}

impl AuditLog for KeptAudit {
    fn record(&self, event: AuditEvent) {
        self.0.lock().expect("because no test panics in here").push(event);
    }
}
