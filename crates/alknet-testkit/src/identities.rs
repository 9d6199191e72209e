//! Throw-away keys, peers and an identity provider that a test fills by hand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use alknet_core::{
    Alpn, AuditEvent, AuditLog, Credential, Identity, IdentityProvider, KeyPurpose, KeySigner, NodeKey, Peer, PeerAddr,
};
use ed25519_dalek::{Signer, SigningKey};

/// An ALPN that no product uses.
pub fn test_alpn() -> Alpn {
    Alpn::from_static(b"test/alknet")
}

/// A peer on loopback that proved nothing.
pub fn stranger() -> Peer {
    Peer { key: None, addr: PeerAddr::Ip(([127, 0, 0, 1], 9).into()), server_name: None }
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
pub struct TestIdentities(Mutex<HashMap<String, Arc<Identity>>>);

impl TestIdentities {
    /// Makes the bearer of this credential (by its label) `identity`.
    pub fn know(&self, credential: &Credential, identity: Identity) {
        self.0.lock().expect("because no test panics in here").insert(credential.label(), Arc::new(identity));
    }
    /// Forgets the bearer of this credential.
    pub fn forget(&self, credential: &Credential) {
        self.0.lock().expect("because no test panics in here").remove(&credential.label());
    }
}

impl IdentityProvider for TestIdentities {
    fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
        if matches!(credential, Credential::LocalOwner) {
            return Some(Arc::new(Identity::owner(alknet_core::LOCAL_OWNER)));
        }
        self.0.lock().expect("because no test panics in here").get(&credential.label()).cloned()
    }
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

impl AuditLog for KeptAudit {
    fn record(&self, event: AuditEvent) {
        self.0.lock().expect("because no test panics in here").push(event);
    }
}
