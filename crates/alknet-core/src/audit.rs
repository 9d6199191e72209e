//! What is written down about who did what.

use serde::{Deserialize, Serialize};

/// What sort of event it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditKind {
    /// Somebody proved, or failed to prove, who they are.
    Authentication,
    /// Something was changed.
    Mutation,
    /// Something was read.
    Query,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was let through.
    Allowed,
    /// It was refused.
    Denied,
}

/// One event. Texts that a peer chose are escaped and cut by whoever makes the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// What sort of event.
    pub kind: AuditKind,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The peer name, or `None` for a stranger.
    pub identity: Option<String>,
    /// The credential's fingerprint or id, never the credential.
    pub credential: Option<String>,
    /// The operation, as `service/operation`.
    pub action: String,
    /// The resource, as `type:id`.
    pub resource: Option<String>,
    /// Where the caller spoke from.
    pub addr: String,
    /// Why, in a few words.
    pub detail: Option<String>,
}

/// Where events go. Recording never blocks and never fails towards its caller.
pub trait AuditLog: Send + Sync + 'static {
    /// Takes an event. Denials, mutations and authentications become durable rows; allowed queries may be counted.
    fn record(&self, event: AuditEvent);
}
