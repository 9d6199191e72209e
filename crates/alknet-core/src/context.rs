//! What a running operation knows about its caller and its time.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{AccessRule, Authorizer, Caller, Demand, Denial, Effect, Permit, ResourceId};

/// The context of one running operation.
#[derive(Debug)]
pub struct OperationContext {
    /// The request's id, unique per connection and direction.
    pub request_id: String,
    /// The request that caused this one; information when it comes from a peer.
    pub parent_id: Option<String>,
    /// Who asks.
    pub caller: Caller,
    /// When the answer is no longer wanted.
    pub deadline: Option<Instant>,
    /// Cancelled when the caller aborts, vanishes, or loses its rights.
    pub cancel: CancellationToken,
    /// What the gate let through.
    pub permit: Arc<Permit>,
    /// The gate, for what only becomes known while running.
    pub authorizer: Authorizer,
}

impl OperationContext {
    /// Asks the gate for something more than what [`Self::permit`] covers, on behalf of the same caller.
    pub fn authorize(
        &self,
        action: &str,
        rule: &AccessRule,
        resource: Option<&ResourceId>,
        effect: Effect,
    ) -> Result<Permit, Denial> {
        self.authorizer.authorize(&self.caller, &Demand { action, rule, resource, effect })
    }
    /// Waits until the deadline has passed or the work was cancelled. Cancel safe.
    pub async fn ended(&self) {
        match self.deadline {
            Some(deadline) => {
                tokio::select! {
                    () = self.cancel.cancelled() => {}
                    () = tokio::time::sleep_until(deadline) => {}
                }
            }
            None => self.cancel.cancelled().await,
        }
    }
}
