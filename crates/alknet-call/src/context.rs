//! What a running operation knows about its caller and its time.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use alknet_core::{AccessRule, Caller, Demand, Denial, Effect, Identity, Permit, ResourceId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    CallClient, CallNode, CapabilityError, CredentialSet, Registry, Routes, registered::Registered, run::Placement,
};

/// The context of one running operation.
pub struct OperationContext {
    /// The request's id, unique per connection and direction; empty where nobody gave one.
    pub request_id: String,
    /// The request that caused this one; information when it comes from a peer.
    pub parent_id: Option<String>,
    /// Who asks. In a composed call: whoever called the operation that composed it, with that operation's rights.
    pub caller: Caller,
    /// When the answer is no longer wanted.
    pub deadline: Option<Instant>,
    /// What the gate let through.
    pub permit: Arc<Permit>,
    /// On whose behalf the caller says that it asks: information, with which nothing is ever granted.
    pub origin: Option<String>,
    /// After which item a subscription is to go on; given only where it is resumable.
    pub after_seq: Option<u64>,
    /// How many items of a subscription may be sent at first, if the caller said so.
    pub credit: Option<u32>,
    /// The nodes that the call came through.
    pub via: Vec<String>,
    pub(crate) peer: Option<CallClient>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) operation: Arc<Registered>,
    pub(crate) node: Arc<CallNode>,
    pub(crate) placement: Placement,
    /// What calls it off from outside, if anything can.
    pub(crate) abort: Option<CancellationToken>,
    /// Who acts when this call composes another; made when it first does.
    pub(crate) acting: OnceLock<Arc<Identity>>,
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
        self.registry.authorizer().authorize(&self.caller, &Demand { action, rule, resource, effect })
    }

    /// The credentials of a service that the operation declared with [`crate::OperationBuilder::capability`], as they are valid
    /// now. Keep them no longer than the request that they are for. Cancel safe.
    ///
    /// # Errors
    /// See [`CapabilityError`]: it was not declared, does not exist, or cannot be had now.
    pub async fn capability(&self, name: &str) -> Result<Arc<CredentialSet>, CapabilityError> {
        self.operation.capabilities.resolve(name).await
    }

    /// The workers of this node.
    pub fn routes(&self) -> &Arc<Routes> {
        self.registry.routes()
    }

    /// Calls operations of the peer over the stream that this call came on; `None` in process.
    pub fn peer(&self) -> Option<CallClient> {
        self.peer.clone()
    }

    /// The call in the graph.
    pub const fn node(&self) -> &Arc<CallNode> {
        &self.node
    }

    /// Cancelled as soon as the call has ended, however it did: for what is spawned on its behalf. Made when first asked for.
    pub fn cancel_token(&self) -> CancellationToken {
        self.node.cancel_token().clone()
    }

    /// Whether the call has ended, or is called off.
    pub fn is_cancelled(&self) -> bool {
        self.node.is_over() || self.abort.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until the call has ended or is called off. Cancel safe.
    pub async fn cancelled(&self) {
        self.node.cancel_token().cancelled().await;
    }

    /// Waits until the deadline has passed or the call has ended. Cancel safe.
    pub async fn ended(&self) {
        match self.deadline {
            Some(deadline) => {
                tokio::select! {
                    biased;
                    () = self.cancelled() => {}
                    () = tokio::time::sleep_until(deadline) => {}
                }
            }
            None => self.cancelled().await,
        }
    }
}

impl fmt::Debug for OperationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationContext({:?})", self.permit)
    }
}
