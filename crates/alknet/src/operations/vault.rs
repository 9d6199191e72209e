//! `vault/*`: sealing with the node's keys, for whoever owns the node.

use std::sync::Arc;

use alknet_call::{CallError, ErrorCode, Operation, RegisterError, RegistryBuilder};
use alknet_vault::{OpenError, SealPurpose, SealedBlob};
use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scoped;
use crate::identity::NodeIdentity;

/// Most bytes sealed at once.
pub const MAX_SEALED_BYTES: usize = 1024 * 1024;

/// Input of `vault/seal`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SealBytes {
    /// What it is for; opening asks for the same.
    pub context: String,
    /// What to seal, as base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub data: String,
}

/// Output of `vault/seal`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sealed {
    /// The sealed blob (`docs/spec/vault.md`).
    pub blob: Value,
}

/// Input of `vault/open` and `vault/verify`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OpenBlob {
    /// What it was sealed for.
    pub context: String,
    /// The sealed blob.
    pub blob: Value,
}

/// Output of `vault/open`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// What was sealed, as base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub data: String,
}

/// Output of `vault/verify`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// The key it opens with, as `purpose/version`.
    pub key: String,
    /// How many bytes are inside.
    pub bytes: usize,
}

/// Registers `vault/*`.
pub fn register(registry: &mut RegistryBuilder, identity: &NodeIdentity) -> Result<(), RegisterError> {
    let sealer = Arc::new(identity.clone());
    let (opener, verifier) = (sealer.clone(), sealer.clone());
    registry.register(
        Operation::query("vault/seal").title("Seal bytes with this node's key").access(scoped("vault:seal")).handler(
            move |_, input: SealBytes| {
                let outcome = seal(&sealer, &input);
                async move { outcome }
            },
        ),
    )?;
    registry.register(
        Operation::query("vault/open").title("Open a sealed blob").access(scoped("vault:open")).handler(
            move |_, input: OpenBlob| {
                let opened = open(&opener, &input).map(|(_, data)| Opened { data: BASE64.encode(&data) });
                async move { opened }
            },
        ),
    )?;
    registry.register(
        Operation::query("vault/verify").title("Check that a sealed blob opens").access(scoped("vault:open")).handler(
            move |_, input: OpenBlob| {
                let verified = open(&verifier, &input).map(|(key, data)| Verified { key, bytes: data.len() });
                async move { verified }
            },
        ),
    )?;
    Ok(())
}

fn seal(identity: &NodeIdentity, input: &SealBytes) -> Result<Sealed, CallError> {
    let data =
        BASE64.decode(input.data.as_bytes()).map_err(|_| CallError::invalid_input("/data", "this is not base64"))?;
    let blob = identity
        .vault()
        .seal(SealPurpose::VaultEntries, input.context.as_bytes(), &data)
        .map_err(|error| CallError::invalid_input("/context", error.to_string()))?;
    let blob = serde_json::from_str(&blob.to_json()).map_err(CallError::internal)?;
    Ok(Sealed { blob })
}

fn open(identity: &NodeIdentity, input: &OpenBlob) -> Result<(String, zeroize::Zeroizing<Vec<u8>>), CallError> {
    let json = serde_json::to_vec(&input.blob).map_err(CallError::internal)?;
    let blob = SealedBlob::from_json(&json).map_err(|error| CallError::invalid_input("/blob", error.to_string()))?;
    let data = identity
        .vault()
        .open(SealPurpose::VaultEntries, input.context.as_bytes(), &blob)
        .map_err(|error: OpenError| CallError::new(ErrorCode::Forbidden, error.to_string()))?;
    Ok((blob.key().to_string(), data))
}
