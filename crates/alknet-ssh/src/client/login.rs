//! How a client proves who it is: with keys of the vault, then with those of an agent.

use std::{path::PathBuf, sync::Arc};

use alknet_core::{KeyPurpose, KeySigner, NodeKey};
use russh::{
    SendError,
    client::{AuthResult, Handle},
    keys::{
        Algorithm, HashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
        ssh_key::public::{Ed25519PublicKey, KeyData},
    },
};
use tokio::{net::UnixStream, time::timeout};

use super::{callbacks::Callbacks, connection::ConnectError};
use crate::limits::{AGENT_TIMEOUT, MAX_AGENT_KEYS};

/// The algorithm's name, which stands before an Ed25519 signature (RFC 8709, 6).
const ED25519: &[u8] = b"ssh-ed25519";

/// The user name that is asked for, and the keys that are offered, in this order: the vault's, the agent's.
#[derive(Clone)]
pub struct ClientLogin {
    user: String,
    signer: Option<Arc<dyn KeySigner>>,
    purposes: Vec<KeyPurpose>,
    agent: Option<PathBuf>,
}

impl ClientLogin {
    /// Asks for a user name. A node takes `alknet` from everybody: the key decides who it is.
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), signer: None, purposes: Vec::new(), agent: None }
    }
    /// Offers keys of the vault.
    pub fn with_keys(mut self, signer: Arc<dyn KeySigner>, purposes: &[KeyPurpose]) -> Self {
        (self.signer, self.purposes) = (Some(signer), purposes.to_vec());
        self
    }
    /// Offers the keys of the ssh-agent at this socket, after the others.
    pub fn with_agent(mut self, socket: impl Into<PathBuf>) -> Self {
        self.agent = Some(socket.into());
        self
    }

    /// Offers one key after the other until one is taken.
    pub(super) async fn prove(&self, handle: &mut Handle<Callbacks>) -> Result<(), ConnectError> {
        let mut tried = 0;
        let offers =
            self.signer.iter().flat_map(|signer| self.purposes.iter().map(|purpose| (signer.clone(), *purpose)));
        // Collected: what borrows must not live while it is waited.
        let offers: Vec<_> = offers.collect();
        for (signer, purpose) in offers {
            let key = public_key(signer.public_key(purpose));
            let mut vault = VaultSigner { signer: signer.as_ref(), purpose };
            tried += 1;
            match handle.authenticate_publickey_with(self.user.clone(), key, None, &mut vault).await {
                Ok(AuthResult::Success) => return Ok(()),
                Ok(AuthResult::Failure { .. }) if !handle.is_closed() => {}
                _ => return Err(ConnectError::Ended),
            }
        }
        if let Some(socket) = &self.agent {
            match self.prove_by_agent(handle, socket, &mut tried).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) if handle.is_closed() => return Err(ConnectError::Ended),
                Err(error) => tracing::debug!("the ssh agent is of no use: {error}"),
            }
        }
        Err(ConnectError::Refused { user: self.user.clone(), tried })
    }

    async fn prove_by_agent(
        &self,
        handle: &mut Handle<Callbacks>,
        socket: &PathBuf,
        tried: &mut usize,
    ) -> Result<bool, AgentError> {
        let stream = timeout(AGENT_TIMEOUT, UnixStream::connect(socket)).await.map_err(|_| AgentError::Silent)??;
        let mut agent = AgentSigner(AgentClient::connect(stream));
        let identities =
            timeout(AGENT_TIMEOUT, agent.0.request_identities()).await.map_err(|_| AgentError::Silent)??;
        for identity in identities.into_iter().take(MAX_AGENT_KEYS) {
            *tried += 1;
            let user = self.user.clone();
            let rsa = matches!(identity.public_key().algorithm(), Algorithm::Rsa { .. });
            let hash = rsa.then_some(HashAlg::Sha512);
            let outcome = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate, hash, &mut agent).await
                }
            };
            match outcome {
                Ok(AuthResult::Success) => return Ok(true),
                // An agent that refuses to sign with one key may sign with the next.
                Ok(AuthResult::Failure { .. }) | Err(AgentError::Agent(_)) if !handle.is_closed() => {}
                Ok(AuthResult::Failure { .. }) => return Err(AgentError::Ended),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl std::fmt::Debug for ClientLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientLogin({}, {} keys, agent {:?})", self.user, self.purposes.len(), self.agent)
    }
}

fn public_key(key: NodeKey) -> PublicKey {
    PublicKey::from(KeyData::Ed25519(Ed25519PublicKey(*key.as_bytes())))
}

/// Why a signature was not made.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("it does not answer")]
    Silent,
    #[error("the connection has ended")]
    Ended,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Agent(#[from] russh::keys::Error),
}

impl From<SendError> for AgentError {
    fn from(_: SendError) -> Self {
        Self::Ended
    }
}

struct VaultSigner<'a> {
    signer: &'a dyn KeySigner,
    purpose: KeyPurpose,
}

impl russh::Signer for VaultSigner<'_> {
    type Error = AgentError;

    /// Answers with the message and the signature behind it, as the library wants it.
    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, AgentError> {
        let signature = self.signer.sign(self.purpose, &message);
        let parts = [ED25519, &signature];
        let length: usize = parts.iter().map(|part| 4 + part.len()).sum();
        message.extend_from_slice(&(length as u32).to_be_bytes());
        for part in parts {
            message.extend_from_slice(&(part.len() as u32).to_be_bytes());
            message.extend_from_slice(part);
        }
        Ok(message)
    }
}

struct AgentSigner(AgentClient<UnixStream>);

impl russh::Signer for AgentSigner {
    type Error = AgentError;

    /// No bound of ours: the agent may be asking its owner.
    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash: Option<HashAlg>,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, AgentError> {
        Ok(self.0.sign_request(key, hash, message).await?)
    }
}
