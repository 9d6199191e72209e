//! The joint to the vault: signing without seeing a secret.

use crate::NodeKey;

/// What a key of the node is for. The vault derives one key for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// The node's identity on TLS and QUIC, and its signature on auth tokens.
    Node,
    /// The owner's key towards SSH servers.
    SshUser,
    /// The owner's signature on git objects.
    Git,
    /// Certificates of SSH host keys.
    SshAuthority,
}

/// Signs for a purpose; the secret never leaves the implementation.
pub trait KeySigner: Send + Sync + 'static {
    /// The public half.
    fn public_key(&self, purpose: KeyPurpose) -> NodeKey;
    /// An Ed25519 signature (RFC 8032) over `message`.
    fn sign(&self, purpose: KeyPurpose, message: &[u8]) -> [u8; 64];
}
