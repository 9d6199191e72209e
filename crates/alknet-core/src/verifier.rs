//! Proving what a caller presents as text, for every door that takes such credentials.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    ApiKey, AuthToken, Credential, InvalidApiKey, NodeKey, TokenBounds, TokenError,
    limits::{DEFAULT_TOKEN_LIFETIME, TOKEN_CLOCK_SKEW},
};

/// What every API key begins with. A token of version 1 begins with `A`.
const API_KEY_PREFIX: &str = "alk_";

/// Why a presented text proves nothing. For the audit; of the text itself nothing is in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidCredential {
    /// It begins as an API key does.
    #[error(transparent)]
    ApiKey(#[from] InvalidApiKey),
    /// Everything else is taken for a token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Verifies auth tokens and API keys that are presented at one node. Clones share their bounds.
#[derive(Clone)]
pub struct CredentialVerifier {
    node: NodeKey,
    now: fn() -> u64,
    max_lifetime_s: Arc<AtomicU64>,
}

impl CredentialVerifier {
    /// Takes tokens whose audience is `node`; `now` gives seconds since 1970.
    pub fn new(node: NodeKey, now: fn() -> u64) -> Self {
        Self { node, now, max_lifetime_s: Arc::new(AtomicU64::new(DEFAULT_TOKEN_LIFETIME.as_secs())) }
    }

    /// Takes tokens of at most this life from now on, in every clone.
    pub fn set_max_lifetime(&self, longest: Duration) {
        self.max_lifetime_s.store(longest.as_secs(), Ordering::Relaxed);
    }

    /// What is accepted of a token at present.
    pub fn bounds(&self) -> TokenBounds {
        let max_lifetime = Duration::from_secs(self.max_lifetime_s.load(Ordering::Relaxed));
        TokenBounds { max_lifetime, skew: TOKEN_CLOCK_SKEW }
    }

    /// Proves an auth token or an API key; any text is safe to try. Whose it is, and whether it was revoked, the
    /// identity provider knows.
    pub fn verify(&self, presented: &str) -> Result<Credential, InvalidCredential> {
        if presented.starts_with(API_KEY_PREFIX) {
            return Ok(Credential::ApiKey(presented.parse::<ApiKey>()?.digest()));
        }
        let token: AuthToken = presented.parse()?;
        Ok(Credential::AuthToken(token.verify(&self.node, (self.now)(), &self.bounds())?))
    }

    /// Whether a credential that verified earlier has not run out since.
    pub fn still_holds(&self, credential: &Credential) -> bool {
        match credential {
            Credential::AuthToken(token) => token.expires().saturating_add(TOKEN_CLOCK_SKEW.as_secs()) > (self.now)(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;
    use crate::{ScopeSet, TokenId};

    const NOW: u64 = 1_800_000_000;

    fn token(lifetime: u32) -> (CredentialVerifier, String) {
        let secret = SigningKey::from_bytes(&[1; 32]);
        let key = NodeKey::from_bytes(secret.verifying_key().to_bytes()).unwrap();
        let sign = |message: &[u8]| secret.sign(message).to_bytes();
        let token = AuthToken::issue(key, key, TokenId([2; 16]), NOW, lifetime, &ScopeSet::default(), sign).unwrap();
        (CredentialVerifier::new(key, || NOW), token.to_string())
    }

    #[test]
    fn a_shorter_life_holds_in_every_clone() {
        let (verifier, token) = token(7200);
        let clone = verifier.clone();
        assert!(clone.verify(&token).is_ok());
        verifier.set_max_lifetime(Duration::from_secs(3600));
        assert_eq!(
            clone.verify(&token).unwrap_err(),
            InvalidCredential::Token(TokenError::TooLong(Duration::from_secs(3600)))
        );
    }

    #[test]
    fn keys_and_tokens_are_told_apart_by_their_beginning() {
        let (verifier, _) = token(60);
        let key = ApiKey::from_random(&[3; 37]);
        assert!(matches!(verifier.verify(key.reveal()), Ok(Credential::ApiKey(_))));
        assert_eq!(verifier.verify("alk_x").unwrap_err(), InvalidCredential::ApiKey(InvalidApiKey));
        assert!(matches!(verifier.verify("ä").unwrap_err(), InvalidCredential::Token(_)));
    }

    #[test]
    fn a_remembered_token_runs_out() {
        let (verifier, token) = token(60);
        let credential = verifier.verify(&token).unwrap();
        assert!(verifier.still_holds(&credential));
        let later = CredentialVerifier { now: || NOW + 120, ..verifier };
        assert!(!later.still_holds(&credential), "life and forgiven clock difference are over");
    }
}
