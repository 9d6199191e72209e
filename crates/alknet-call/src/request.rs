//! A call as the registry takes it, and what comes of it.

use std::fmt;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{CallClient, ItemStream};

/// A call to run.
#[derive(Clone)]
pub struct CallRequest {
    /// `service/operation`, or `node/service/operation`.
    pub operation: String,
    /// What the operation is given.
    pub input: Value,
    /// The request's id, for the context.
    pub id: String,
    /// The request that caused it: information.
    pub parent_id: Option<String>,
    /// When the answer is no longer wanted; the operation's own timeout only shortens it.
    pub deadline: Option<Instant>,
    /// Cancelled when the caller calls it off.
    pub abort: CancellationToken,
    /// Under which key a mutation is run at most once.
    pub idempotency_key: Option<String>,
    /// After which item a resumable subscription goes on.
    pub after_seq: Option<u64>,
    /// How many items of a subscription may be sent at first: for whoever hands it on.
    pub credit: Option<u32>,
    /// The nodes that it came through.
    pub via: Vec<String>,
    /// On whose behalf the peer says that it asks: information, with which nothing is ever granted.
    pub origin: Option<String>,
    /// Calls back over the stream that it came on.
    pub peer: Option<CallClient>,
}

impl CallRequest {
    /// A call with no deadline but the operation's own.
    pub fn new(operation: impl Into<String>, input: Value) -> Self {
        Self {
            operation: operation.into(),
            input,
            id: String::new(),
            parent_id: None,
            deadline: None,
            abort: CancellationToken::new(),
            idempotency_key: None,
            after_seq: None,
            credit: None,
            via: Vec::new(),
            origin: None,
            peer: None,
        }
    }
}

impl fmt::Debug for CallRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallRequest({} {})", self.id.escape_debug(), self.operation.escape_debug())
    }
}

/// What a call that was begun gives.
#[derive(Debug)]
pub enum Answer {
    /// The output of a query or mutation.
    Output(Value),
    /// The items of a subscription.
    Items(ItemStream),
}
