//! What is written down about who did what.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

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

    /// Counts `identity` being allowed the query `action`: adding to it is as good as an event each time. `None` where events are
    /// wanted. Whoever lets the same through again and again keeps it.
    fn counter(&self, identity: Option<&str>, action: &str) -> Option<Arc<AuditCounter>> {
        let _ = (identity, action);
        None
    }
}

/// A count that somebody takes away every now and then.
pub struct AuditCounter {
    count: AtomicU64,
    began: Box<dyn Fn() + Send + Sync>,
}

impl AuditCounter {
    /// Starts at nothing; `began` is called when there is something to take.
    pub fn new(began: impl Fn() + Send + Sync + 'static) -> Self {
        Self { count: AtomicU64::new(0), began: Box::new(began) }
    }
    /// Counts one more.
    pub fn add(&self) {
        if self.count.fetch_add(1, Ordering::AcqRel) == 0 {
            (self.began)();
        }
    }
    /// Takes what was counted since the last time.
    pub fn take(&self) -> u64 {
        self.count.swap(0, Ordering::AcqRel)
    }
}

impl fmt::Debug for AuditCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditCounter({})", self.count.load(Ordering::Relaxed))
    }
}
