//! `credentials/*`: what services elsewhere want to be shown, sealed here and given to operations that declared it.

use std::{collections::BTreeMap, sync::Arc};

use alknet_call::{
    CallError, CredentialKind, CredentialSet, ErrorCode, InvalidCredentialSet, Nothing, Operation, RegisterError,
    RegistryBuilder, Secret,
};
use alknet_core::PeerName;
use alknet_http::TokenEndpoint;
use alknet_store::{Clock, CredentialError, CredentialRecord, NewCredential, Store};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Foundation, not_stored, scoped};
use crate::{
    credentials::{CredentialResolver, seal},
    identity::NodeIdentity,
};

/// Longest input of `credentials/add` and `credentials/rotate`, in bytes of JSON.
const MAX_INPUT_BYTES: usize = 256 * 1024;

/// A text that is wiped when dropped and that `Debug` does not show.
pub struct SecretText(Zeroizing<String>);

impl From<Zeroizing<String>> for SecretText {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// Input of `credentials/add` and `credentials/rotate`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct GiveCredential {
    /// Its name: a-z 0-9 . -
    pub name: String,
    /// `api-key`, `basic`, `bearer`, `s3`, `oidc` or `custom`.
    pub kind: String,
    /// What it consists of, by name (`docs/spec/store.md`, 8).
    pub fields: BTreeMap<String, SecretText>,
    /// How long it is good, in seconds; until it is removed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
    /// A few words for its owner, which are no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Input of `credentials/remove`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialName {
    /// Its name.
    pub name: String,
}

/// Output of `credentials/remove`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RemovedCredential {
    /// The name that is free again.
    pub name: String,
}

/// One credential, without what is secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialView {
    /// Its name.
    pub name: String,
    /// What sort it is.
    pub kind: String,
    /// When it was added, in seconds since 1970.
    pub created_at: u64,
    /// When it last got a new secret from its owner, in seconds since 1970.
    pub rotated_at: u64,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// A few words for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Output of `credentials/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Credentials {
    /// The credentials by name.
    pub credentials: Vec<CredentialView>,
}

impl From<CredentialRecord> for CredentialView {
    fn from(record: CredentialRecord) -> Self {
        let CredentialRecord { name, kind, created_at, rotated_at, expires_at, note, version: _ } = record;
        Self { name: name.to_string(), kind, created_at, rotated_at, expires_at, note }
    }
}

/// Registers `credentials/*`. Without an unlocked identity they can be listed and removed only.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    if let (Some(identity), Some(resolver)) = (&foundation.identity, &foundation.credentials) {
        let keeper = Arc::new(Keeper {
            identity: identity.clone(),
            store: foundation.store.clone(),
            clock: foundation.clock.clone(),
            resolver: resolver.clone(),
        });
        register_writing(registry, keeper)?;
    }
    let store = foundation.store.clone();
    registry.register(
        Operation::query("credentials/list")
            .title("List the credentials for services elsewhere")
            .description("Kinds and dates; what is secret never leaves the node.")
            .access(scoped("credentials:read"))
            .handler(move |context, _: Nothing| {
                let store = store.clone();
                async move {
                    let records = store.credentials().list(&context.permit).await.map_err(refusal)?;
                    Ok(Credentials { credentials: records.into_iter().map(CredentialView::from).collect() })
                }
            }),
    )?;
    let (store, resolver) = (foundation.store.clone(), foundation.credentials.clone());
    registry.register(
        Operation::mutation("credentials/remove")
            .title("Remove a credential")
            .description("Operations that declared it fail from then on.")
            .access(scoped("credentials:write"))
            .handler(move |context, input: CredentialName| {
                let (store, resolver) = (store.clone(), resolver.clone());
                async move {
                    let name = name_of(&input.name)?;
                    store.credentials().remove(&context.permit, &name).await.map_err(refusal)?;
                    if let Some(resolver) = resolver {
                        resolver.forget(name.as_str());
                    }
                    Ok(RemovedCredential { name: name.to_string() })
                }
            }),
    )?;
    Ok(())
}

fn register_writing(registry: &mut RegistryBuilder, keeper: Arc<Keeper>) -> Result<(), RegisterError> {
    let rotating = keeper.clone();
    registry.register(
        Operation::mutation("credentials/add")
            .title("Add a credential for a service elsewhere")
            .description("It is sealed with this node's key; operations that declared its name get it when they run.")
            .access(scoped("credentials:write"))
            .max_input_bytes(MAX_INPUT_BYTES)
            .handler(move |context, input: GiveCredential| {
                let keeper = keeper.clone();
                async move {
                    let new = keeper.sealed(input)?;
                    let record = keeper.store.credentials().add(&context.permit, new).await.map_err(refusal)?;
                    keeper.resolver.forget(record.name.as_str());
                    Ok(CredentialView::from(record))
                }
            }),
    )?;
    registry.register(
        Operation::mutation("credentials/rotate")
            .title("Give a credential another secret")
            .description("Operations that run from then on get the new one.")
            .access(scoped("credentials:write"))
            .max_input_bytes(MAX_INPUT_BYTES)
            .handler(move |context, input: GiveCredential| {
                let keeper = rotating.clone();
                async move {
                    let new = keeper.sealed(input)?;
                    let record = keeper.store.credentials().rotate(&context.permit, new).await.map_err(refusal)?;
                    keeper.resolver.forget(record.name.as_str());
                    Ok(CredentialView::from(record))
                }
            }),
    )?;
    Ok(())
}

struct Keeper {
    identity: NodeIdentity,
    store: Store,
    clock: Clock,
    resolver: CredentialResolver,
}

impl Keeper {
    /// What is to be kept of an input: from here on the secret is sealed.
    fn sealed(&self, input: GiveCredential) -> Result<NewCredential, CallError> {
        let GiveCredential { name, kind, fields, lifetime_s, note } = input;
        let name = name_of(&name)?;
        let kind: CredentialKind = kind.parse().map_err(|error| not_a_set(&error))?;
        let fields = fields.into_iter().map(|(name, secret)| (name, Secret::from(secret.0))).collect();
        let set = CredentialSet::from_fields(kind, fields).map_err(|error| not_a_set(&error))?;
        if let CredentialSet::Oidc(tokens) = &set {
            let parsed = tokens.token_endpoint.parse::<TokenEndpoint>();
            parsed.map_err(|error| CallError::invalid_input("/fields/token_endpoint", error.to_string()))?;
        }
        let sealed = seal(&self.identity, name.as_str(), &set).map_err(CallError::internal)?;
        let expires_at = lifetime_s.map(|lifetime| self.clock.now().saturating_add(lifetime));
        Ok(NewCredential { name, kind: kind.to_string(), sealed, expires_at, note })
    }
}

fn name_of(text: &str) -> Result<PeerName, CallError> {
    let said = |error: alknet_core::InvalidPeerName| {
        let words = error.to_string().replacen("peer name", "credential's name", 1);
        CallError::invalid_input("/name", words)
    };
    text.parse().map_err(said)
}

fn not_a_set(error: &InvalidCredentialSet) -> CallError {
    let pointer = match error {
        InvalidCredentialSet::UnknownKind(_) => "/kind",
        _ => "/fields",
    };
    CallError::invalid_input(pointer, error.to_string())
}

fn refusal(error: CredentialError) -> CallError {
    match error {
        CredentialError::NameTaken(_) | CredentialError::Expired { .. } | CredentialError::TooMuch { .. } => {
            CallError::invalid_input("", error.to_string())
        }
        CredentialError::Unknown(_) => CallError::not_found(error.to_string()),
        CredentialError::Permit(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        CredentialError::Store(error) => not_stored(&error),
    }
}
