//! `tokens/*`: short statements signed by this node's key.

use std::sync::Arc;

use alknet_call::{CallError, ErrorCode, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_core::{AuthToken, KeyPurpose, KeySigner, NodeKey, Permit, Scope, ScopeSet, TokenBounds, TokenId};
use alknet_store::{Clock, NewToken, Store, TokenDenial, TokenStoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, not_stored, peers, scoped};
use crate::{identity::NodeIdentity, shared_config::SharedConfig};

/// Input of `tokens/create`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateToken {
    /// The node that it is for: a node id or a peer's name; this node if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The rights that it keeps; all if empty.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How long it lives, in seconds.
    pub lifetime_s: u64,
}

/// Output of `tokens/create`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The token's id, for revoking it.
    pub id: String,
    /// The token.
    pub token: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
}

/// One token that was made here.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub issued_at: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
    /// The rights that it keeps; all if empty.
    pub scopes: Vec<String>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Output of `tokens/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// The tokens that were made here and have not ended.
    pub tokens: Vec<TokenView>,
}

/// Input of `tokens/revoke`: an id, or a key and a time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RevokeTokens {
    /// The token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The key that signed the tokens: a fingerprint or node id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Tokens issued before this time, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// Output of `tokens/revoke`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RevokedTokens {
    /// What is no longer accepted, in words.
    pub revoked: String,
}

/// Registers `tokens/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    if let Some(identity) = &foundation.identity {
        let issuer = Arc::new(Issuer {
            identity: identity.clone(),
            store: foundation.store.clone(),
            config: foundation.config.clone(),
            clock: foundation.clock.clone(),
        });
        registry.register(
            Operation::mutation("tokens/create")
                .title("Create an auth token")
                .description(
                    "Signed by this node's key. Whoever holds it has the rights that it keeps, at its audience.",
                )
                .access(scoped("tokens:write"))
                .handler(move |context, input: CreateToken| {
                    let issuer = issuer.clone();
                    async move { issuer.create(&context.permit, input).await }
                }),
        )?;
    }
    let (store, clock) = (foundation.store.clone(), foundation.clock.clone());
    registry.register(
        Operation::query("tokens/list").title("List the tokens made here").access(scoped("tokens:read")).handler(
            move |context, _: Nothing| {
                let (store, now) = (store.clone(), clock.now());
                async move {
                    let records = store.tokens().list(&context.permit).await.map_err(refusal)?;
                    let live = records.into_iter().filter(|record| record.token.expires_at > now);
                    let tokens = live.map(|record| TokenView {
                        id: record.token.id.to_string(),
                        issued_at: record.token.issued_at,
                        expires_at: record.token.expires_at,
                        scopes: record.token.scopes.iter().map(ToString::to_string).collect(),
                        revoked: record.denied,
                    });
                    Ok(Tokens { tokens: tokens.collect() })
                }
            },
        ),
    )?;
    let (store, config) = (foundation.store.clone(), foundation.config.clone());
    registry.register(
        Operation::mutation("tokens/revoke")
            .title("Revoke tokens")
            .description("One by its id, or all that a key signed before a time. Live sessions that they opened end.")
            .access(scoped("tokens:write"))
            .handler(move |context, input: RevokeTokens| {
                let (store, bounds) = (store.clone(), token_bounds(&config));
                async move {
                    let (denial, revoked) = denial(input)?;
                    store.tokens().deny(&context.permit, denial, &bounds).await.map_err(refusal)?;
                    Ok(RevokedTokens { revoked })
                }
            }),
    )?;
    Ok(())
}

struct Issuer {
    identity: NodeIdentity,
    store: Store,
    config: SharedConfig,
    clock: Clock,
}

impl Issuer {
    async fn create(&self, permit: &Permit, input: CreateToken) -> Result<CreatedToken, CallError> {
        let longest = self.config.current().config().tokens.max_lifetime.as_secs();
        let lifetime = u32::try_from(input.lifetime_s)
            .ok()
            .filter(|&lifetime| lifetime > 0 && u64::from(lifetime) <= longest)
            .ok_or_else(|| CallError::invalid_input("/lifetime_s", format!("from 1 to {longest} s")))?;
        let scopes = input.scopes.iter().map(|scope| scope.parse::<Scope>()).collect::<Result<ScopeSet, _>>();
        let scopes = scopes.map_err(|error| CallError::invalid_input("/scopes", error.to_string()))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(CallError::internal)?;
        let (key, id, now) = (self.identity.node_key(), TokenId(id), self.clock.now());
        let audience = input.audience.as_deref().map_or(Ok(key), |audience| self.audience(audience))?;
        let sign = |message: &[u8]| self.identity.sign(KeyPurpose::Node, message);
        let token = AuthToken::issue(key, audience, id, now, lifetime, &scopes, sign)
            .map_err(|error| CallError::invalid_input("/scopes", error.to_string()))?;
        let expires_at = now + u64::from(lifetime);
        let new = NewToken { id, key: key.into(), issued_at: now, expires_at, scopes };
        self.store.tokens().record(permit, new).await.map_err(refusal)?;
        Ok(CreatedToken { id: id.to_string(), token: token.to_string(), expires_at })
    }

    fn audience(&self, text: &str) -> Result<NodeKey, CallError> {
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        let peer = text.parse().ok().and_then(|name| self.store.peers().dial_target(&name));
        peer.and_then(|target| target.key).ok_or_else(|| {
            CallError::invalid_input("/audience", "no node id, and no peer with a node key has this name")
        })
    }
}

/// What this node accepts of a token.
pub fn token_bounds(config: &SharedConfig) -> TokenBounds {
    let max_lifetime = config.current().config().tokens.max_lifetime;
    TokenBounds { max_lifetime, ..TokenBounds::default() }
}

/// What is to be denied, and its name for a person.
fn denial(input: RevokeTokens) -> Result<(TokenDenial, String), CallError> {
    match input {
        RevokeTokens { id: Some(id), key: None, before: None } => {
            let id: TokenId = id.parse().map_err(|_| CallError::invalid_input("/id", "a token id is 32 hex digits"))?;
            Ok((TokenDenial::Token(id), format!("the token {id}")))
        }
        RevokeTokens { id: None, key: Some(key), before: Some(before) } => {
            let key = peers::fingerprint(&key)?;
            let words = format!("every token that {key} signed before {before}");
            Ok((TokenDenial::KeyBefore(key, before), words))
        }
        _ => Err(CallError::invalid_input("", "give either an id, or a key and a time")),
    }
}

fn refusal(error: TokenStoreError) -> CallError {
    match error {
        TokenStoreError::Permit(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        TokenStoreError::Store(error) => not_stored(&error),
        TokenStoreError::Known(_) => CallError::internal(error),
    }
}
