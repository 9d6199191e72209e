//! Who asks: `Authorization: Bearer` with an auth token or an API key (RFC 6750, 2.1), else the connection's own key.

use std::sync::{Arc, Mutex, PoisonError};

use alknet_core::{
    AuditOutcome, Authorizer, Caller, Credential, CredentialVerifier, IdentityProvider, InvalidCredential, Peer,
};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::problem::problem;

/// What the audit calls this way in.
const DOOR: &str = "http/bearer";

/// Why a presented credential does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BearerError {
    #[error("the request has more than one Authorization field")]
    Several,
    #[error("only Authorization: Bearer is understood here")]
    Scheme,
    #[error(transparent)]
    Invalid(#[from] InvalidCredential),
    #[error("the credential is unknown, expired or revoked")]
    Unknown,
}

impl BearerError {
    /// 401. Nothing of what was presented is in it.
    pub(crate) fn response(&self) -> Response {
        let mut response = problem(StatusCode::UNAUTHORIZED, &self.to_string());
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

/// The client of one connection.
pub(crate) struct Visitor {
    peer: Arc<Peer>,
    /// The credential that the audit heard of last: it hears of each once in a row, not with every request.
    heard: Mutex<Option<String>>,
}

impl Visitor {
    pub(crate) fn new(peer: Arc<Peer>) -> Self {
        Self { peer, heard: Mutex::default() }
    }

    fn is_news(&self, credential: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.replace(credential.to_owned()).as_deref() != Some(credential)
    }
}

/// Verifies credentials for one node.
pub(crate) struct BearerGate {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) authorizer: Authorizer,
    pub(crate) verifier: CredentialVerifier,
}

impl BearerGate {
    /// Who asks. A credential that was presented decides, whatever the connection proved.
    pub(crate) fn caller(&self, visitor: &Visitor, request: &HeaderMap) -> Result<Caller, BearerError> {
        let addr = visitor.peer.addr;
        match self.presented(request) {
            Ok(None) => {
                let proven = Credential::of_peer(&visitor.peer);
                let identity = proven.as_ref().and_then(|proven| self.identities.identify(proven));
                Ok(Caller { identity, credential: proven.map(|proven| proven.label()), addr })
            }
            Ok(Some(proven)) => {
                let identity = self.identities.identify(&proven);
                let caller = Caller { identity, credential: Some(proven.label()), addr };
                if caller.identity.is_none() {
                    return Err(self.refused(&caller, BearerError::Unknown));
                }
                if visitor.is_news(&proven.label()) {
                    self.authorizer.authenticated(&caller, DOOR, AuditOutcome::Allowed, None);
                }
                Ok(caller)
            }
            Err(error) => Err(self.refused(&Caller { identity: None, credential: None, addr }, error)),
        }
    }

    fn refused(&self, caller: &Caller, error: BearerError) -> BearerError {
        tracing::info!(addr = %caller.addr, %error, "authentication failed");
        self.authorizer.authenticated(caller, DOOR, AuditOutcome::Denied, Some(error.to_string()));
        error
    }

    /// The credential that the request presents, proven.
    fn presented(&self, request: &HeaderMap) -> Result<Option<Credential>, BearerError> {
        let mut fields = request.get_all(header::AUTHORIZATION).iter();
        let (Some(field), second) = (fields.next(), fields.next()) else { return Ok(None) };
        if second.is_some() {
            return Err(BearerError::Several);
        }
        let text = field.to_str().map_err(|_| BearerError::Scheme)?;
        let (scheme, secret) = text.split_once(' ').ok_or(BearerError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(BearerError::Scheme);
        }
        let secret = secret.trim();
        Ok(Some(self.verifier.verify(secret)?))
    }
}
