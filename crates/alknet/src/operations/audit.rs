//! `audit/query`: who did what.

use alknet_call::{CallError, ErrorCode, Operation, RegisterError, RegistryBuilder};
use alknet_core::{AuditKind, AuditOutcome};
use alknet_store::{AuditError, AuditFilter, AuditRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, scoped};

/// Input of `audit/query`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueryAudit {
    /// Only this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Only operations whose name begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_prefix: Option<String>,
    /// Only the last so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// Only what was refused.
    #[serde(default)]
    pub denied: bool,
    /// At most so many rows.
    #[serde(default = "super::default_limit")]
    pub limit: u32,
    /// Only rows older than the one with this id: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_id: Option<u64>,
}

/// One row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// The row's id, rising with time.
    pub id: u64,
    /// When, in seconds since 1970.
    pub at: u64,
    /// `authentication`, `mutation` or `query`.
    pub kind: String,
    /// `allowed` or `denied`.
    pub outcome: String,
    /// The peer; absent for a stranger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The credential's fingerprint or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The operation.
    pub action: String,
    /// The resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Where the caller spoke from.
    pub addr: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many events the row stands for.
    pub count: u64,
}

/// Output of `audit/query`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// The rows, newest first.
    pub rows: Vec<AuditView>,
}

/// Registers `audit/query`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let (store, clock) = (foundation.store.clone(), foundation.clock.clone());
    registry.register(
        Operation::query("audit/query")
            .title("Look up who did what")
            .description("Denials, changes and logins, newest first.")
            .access(scoped("audit:read"))
            .handler(move |context, input: QueryAudit| {
                let (store, now) = (store.clone(), clock.now());
                async move {
                    let filter = AuditFilter {
                        since: input.within_s.map(|seconds| now.saturating_sub(seconds)),
                        identity: input.identity,
                        outcome: input.denied.then_some(AuditOutcome::Denied),
                        action_prefix: input.action_prefix,
                        limit: Some(input.limit as usize),
                        before_id: input.before_id,
                        ..AuditFilter::default()
                    };
                    let rows = store.audit().query(&context.permit, filter).await.map_err(refusal)?;
                    Ok(AuditPage { rows: rows.into_iter().map(view).collect() })
                }
            }),
    )?;
    Ok(())
}

fn view(row: AuditRow) -> AuditView {
    AuditView {
        id: row.id,
        at: row.at,
        kind: match row.kind {
            AuditKind::Authentication => "authentication",
            AuditKind::Mutation => "mutation",
            AuditKind::Query => "query",
        }
        .to_owned(),
        outcome: match row.outcome {
            AuditOutcome::Allowed => "allowed",
            AuditOutcome::Denied => "denied",
        }
        .to_owned(),
        identity: row.identity,
        credential: row.credential,
        action: row.action,
        resource: row.resource,
        addr: row.addr,
        detail: row.detail,
        count: row.count,
    }
}

fn refusal(error: AuditError) -> CallError {
    match error {
        AuditError::Permit(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        _ => CallError::internal(error),
    }
}
