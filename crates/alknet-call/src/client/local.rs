//! Calling the operations of a registry in this process.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alknet_core::Caller;
use serde_json::Value;
use tokio::time::Instant;

use crate::{CallError, CallOptions, CallRequest, ItemStream, Registry, SubscribeOptions};

/// Calls the operations of a registry in this process, as one caller.
#[derive(Clone)]
pub struct LocalClient {
    registry: Arc<Registry>,
    caller: Caller,
    next: Arc<AtomicU64>,
}

impl LocalClient {
    /// Calls as `caller`; whoever makes one has proven who that is.
    pub fn new(registry: Arc<Registry>, caller: Caller) -> Self {
        Self { registry, caller, next: Arc::default() }
    }

    /// Calls `operation` (`service/operation`). Dropping the future calls it off.
    ///
    /// # Errors
    /// As [`Registry::invoke`]; a presented credential is refused, for the caller is already known here.
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        let request = self.request(operation, input, options)?;
        self.registry.invoke(self.caller.clone(), request).await
    }

    /// Subscribes to `operation` (`service/operation`). Dropping the stream calls it off.
    ///
    /// # Errors
    /// As [`Registry::subscribe`]; a presented credential is refused, for the caller is already known here.
    pub async fn subscribe(
        &self,
        operation: &str,
        input: Value,
        options: SubscribeOptions,
    ) -> Result<ItemStream, CallError> {
        let SubscribeOptions { call, window, after_seq } = options;
        let request = CallRequest { after_seq, credit: Some(window), ..self.request(operation, input, call)? };
        self.registry.subscribe(self.caller.clone(), request).await
    }

    fn request(&self, operation: &str, input: Value, options: CallOptions) -> Result<CallRequest, CallError> {
        let CallOptions { deadline, token, idempotency_key, parent_id, via, origin } = options;
        if token.is_some() {
            return Err(CallError::unauthenticated("a credential is presented over a connection only"));
        }
        Ok(CallRequest {
            id: format!("local-{}", self.next.fetch_add(1, Ordering::Relaxed)),
            deadline: deadline.and_then(|wait| Instant::now().checked_add(wait)),
            idempotency_key,
            parent_id,
            via,
            origin,
            ..CallRequest::new(operation, input)
        })
    }
}
