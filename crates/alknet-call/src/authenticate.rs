//! Who calls: the request's own credential, else what the connection proved.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use alknet_core::{AuditOutcome, Caller, Credential, CredentialVerifier, IdentityProvider, Peer};

use crate::{CallError, Registry, envelope::PresentedCredential, limits::MAX_REMEMBERED_CREDENTIALS};

/// Verifies what callers present, for every door to the registry.
#[derive(Clone)]
pub struct Authenticator {
    identities: Arc<dyn IdentityProvider>,
    verifier: CredentialVerifier,
}

impl Authenticator {
    /// Proves with `verifier`; `identities` says whose credentials they are.
    pub fn new(identities: Arc<dyn IdentityProvider>, verifier: CredentialVerifier) -> Self {
        Self { identities, verifier }
    }

    /// The caller that a connection itself proves; anonymous where it proves nothing, or nobody known.
    pub fn of_peer(&self, peer: &Peer) -> Caller {
        let proven = Credential::of_peer(peer);
        Caller {
            identity: proven.as_ref().and_then(|credential| self.identities.identify(credential)),
            credential: proven.as_ref().map(Credential::label),
            addr: peer.addr,
        }
    }
}

/// Who calls on a connection.
pub(crate) enum Callers {
    /// Whom the connection, or a request's own credential, proves.
    Proven(ConnectionCallers),
    /// The node that this side chose to dial; it presents nothing else.
    Fixed(Caller),
}

impl Callers {
    /// Whether the connection itself belongs to somebody known.
    pub(crate) fn are_known(&self) -> bool {
        match self {
            Self::Proven(callers) => callers.of_connection().identity.is_some(),
            Self::Fixed(caller) => caller.identity.is_some(),
        }
    }

    /// The caller of one request.
    pub(crate) fn of(&self, registry: &Registry, presented: Option<&PresentedCredential>) -> Result<Caller, CallError> {
        match (self, presented) {
            (Self::Proven(callers), None) => Ok(callers.of_connection()),
            (Self::Proven(callers), Some(presented)) => callers.of_request(registry, presented),
            (Self::Fixed(caller), None) => Ok(caller.clone()),
            (Self::Fixed(_), Some(_)) => {
                Err(CallError::unauthenticated("the credential of this request is not accepted"))
            }
        }
    }
}

/// The callers of one connection.
pub(crate) struct ConnectionCallers {
    authenticator: Authenticator,
    peer: Arc<Peer>,
    proven: Option<Credential>,
    label: Option<String>,
    remembered: Mutex<HashMap<[u8; 32], Credential>>,
}

impl ConnectionCallers {
    pub(crate) fn new(authenticator: Authenticator, peer: Arc<Peer>) -> Self {
        let proven = Credential::of_peer(&peer);
        let label = proven.as_ref().map(Credential::label);
        Self { authenticator, peer, proven, label, remembered: Mutex::default() }
    }

    /// The caller of a request without a credential of its own. Asked anew each time, for rights change while connections live.
    pub(crate) fn of_connection(&self) -> Caller {
        let identify = |credential| self.authenticator.identities.identify(credential);
        Caller {
            identity: self.proven.as_ref().and_then(identify),
            credential: self.label.clone(),
            addr: self.peer.addr,
        }
    }

    /// The caller of a request that presents a credential; it counts alone, or fails the request.
    pub(crate) fn of_request(&self, registry: &Registry, presented: &PresentedCredential) -> Result<Caller, CallError> {
        let digest = *blake3::hash(presented.reveal().as_bytes()).as_bytes();
        let known = self.remembered(&digest);
        let verified = match &known {
            Some(credential) => Ok(credential.clone()),
            None => self.authenticator.verifier.verify(presented.reveal()).map_err(|error| error.to_string()),
        };
        let label = verified.as_ref().ok().map(Credential::label);
        let found = verified.and_then(|credential| match self.authenticator.identities.identify(&credential) {
            Some(identity) => Ok((credential, identity)),
            None => Err("the credential is nobody's, or was revoked".to_owned()),
        });
        let caller = |identity| Caller { identity, credential: label, addr: self.peer.addr };
        match found {
            Ok((credential, identity)) => {
                let caller = caller(Some(identity));
                if known.is_none() {
                    registry.audit_authentication(&caller, AuditOutcome::Allowed, None);
                    self.remember(digest, credential);
                }
                Ok(caller)
            }
            Err(why) => {
                self.forget(&digest);
                registry.audit_authentication(&caller(None), AuditOutcome::Denied, Some(why));
                Err(CallError::unauthenticated("the credential of this request is not accepted"))
            }
        }
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Credential> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(digest).filter(|credential| self.authenticator.verifier.still_holds(credential)).cloned()
    }

    fn remember(&self, digest: [u8; 32], credential: Credential) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED_CREDENTIALS {
            remembered.clear();
        }
        remembered.insert(digest, credential);
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}
