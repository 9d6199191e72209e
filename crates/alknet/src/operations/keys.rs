//! `keys/*`: API keys, for programs that cannot sign.

use std::sync::Arc;

use alknet_call::{CallError, ErrorCode, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_store::{ApiKeyError, KeyRights, NewApiKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, not_stored, scoped};

/// Input of `keys/create`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateKey {
    /// The name under which its bearer is known.
    pub name: String,
    /// What its bearer may do.
    pub role: String,
    /// How long it lives, in seconds; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
}

/// Output of `keys/create`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct CreatedKey {
    /// The key's id.
    pub id: String,
    /// The key itself, shown this once.
    pub key: String,
}

/// Input of `keys/revoke`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyId {
    /// The key's id: the eight characters after `alk_`.
    pub id: String,
}

/// Output of `keys/revoke`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RevokedKey {
    /// The key that is no longer good.
    pub id: String,
}

/// One API key, without its secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// The key's id.
    pub id: String,
    /// The name of its bearer.
    pub name: String,
    /// What its bearer may do.
    pub role: String,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// When it was last used, to about a minute, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
}

/// Output of `keys/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Keys {
    /// The keys by age.
    pub keys: Vec<KeyView>,
}

/// Registers `keys/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let keys = Arc::new(foundation.store.api_keys());
    let (store, clock) = (keys.clone(), foundation.clock.clone());
    registry.register(
        Operation::mutation("keys/create")
            .title("Create an API key")
            .description("The answer holds the key, this once.")
            .access(scoped("keys:write"))
            .handler(move |context, input: CreateKey| {
                let (store, now) = (store.clone(), clock.now());
                async move {
                    let name = input.name.parse().map_err(|error: alknet_core::InvalidPeerName| {
                        CallError::invalid_input("/name", error.to_string())
                    })?;
                    let expires_at = input.lifetime_s.map(|lifetime| now.saturating_add(lifetime));
                    let new = NewApiKey { name, rights: KeyRights::Role(input.role), expires_at };
                    let (key, record) = store.create(&context.permit, new).await.map_err(refusal)?;
                    Ok(CreatedKey { id: record.id, key: key.reveal().to_owned() })
                }
            }),
    )?;
    let store = keys.clone();
    registry.register(Operation::query("keys/list").title("List the API keys").access(scoped("keys:read")).handler(
        move |context, _: Nothing| {
            let store = store.clone();
            async move {
                let records = store.list(&context.permit).await.map_err(refusal)?;
                let keys = records.into_iter().map(|record| KeyView {
                    id: record.id,
                    name: record.name.to_string(),
                    role: match record.rights {
                        KeyRights::Role(role) => role,
                        KeyRights::Scopes(scopes) => {
                            scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                        }
                    },
                    created_at: record.created_at,
                    expires_at: record.expires_at,
                    last_used_at: record.last_used_at,
                });
                Ok(Keys { keys: keys.collect() })
            }
        },
    ))?;
    registry.register(
        Operation::mutation("keys/revoke")
            .title("Revoke an API key")
            .description("Its live sessions end at once.")
            .access(scoped("keys:write"))
            .handler(move |context, input: KeyId| {
                let store = keys.clone();
                async move {
                    store.revoke(&context.permit, &input.id).await.map_err(refusal)?;
                    Ok(RevokedKey { id: input.id })
                }
            }),
    )?;
    Ok(())
}

fn refusal(error: ApiKeyError) -> CallError {
    match error {
        ApiKeyError::Unknown(_) => CallError::not_found(error.to_string()),
        ApiKeyError::Permit(_) | ApiKeyError::Beyond(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        ApiKeyError::Store(error) => not_stored(&error),
        _ => CallError::invalid_input("", error.to_string()),
    }
}
