//! How a call is made, beside what is called.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    envelope::{PresentedCredential, RequestId, Requested, Wants},
    limits::DEFAULT_CREDIT,
};

/// How a call is made, beside what is called.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// How long the caller waits; the operation's own timeout applies besides.
    pub deadline: Option<Duration>,
    /// A credential to present instead of the connection's own.
    pub token: Option<PresentedCredential>,
    /// Under which key a mutation is run at most once.
    pub idempotency_key: Option<String>,
    /// The call that caused this one: information.
    pub parent_id: Option<String>,
    /// The nodes that it came through.
    pub via: Vec<String>,
    /// On whose behalf it is made: information.
    pub origin: Option<String>,
}

/// How a subscription is made, beside what is subscribed to.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    /// As for any call; the deadline bounds the whole subscription.
    pub call: CallOptions,
    /// How many items may be on their way before the first is taken; at least 1.
    pub window: u32,
    /// The number of the item after which a resumable subscription goes on.
    pub after_seq: Option<u64>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { call: CallOptions::default(), window: DEFAULT_CREDIT, after_seq: None }
    }
}

/// One call of a batch: the operation, its input, and how.
pub type BatchedCall = (String, Value, CallOptions);

impl CallOptions {
    /// When the answer is no longer wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.and_then(|wait| Instant::now().checked_add(wait))
    }

    /// The request as it travels, for one output.
    pub(crate) fn request(&self, id: RequestId, operation: &str, input: Value, deadline: Option<Instant>) -> Requested {
        Requested {
            wants: Some(Wants::Output),
            auth_token: self.token.clone(),
            deadline: deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
            idempotency_key: self.idempotency_key.clone(),
            parent_id: self.parent_id.as_deref().and_then(|parent| parent.parse().ok()),
            via: self.via.clone(),
            origin: self.origin.clone(),
            ..Requested::new(id, format!("/{operation}"), input)
        }
    }
}
