//! The caller's side: in process or over a stream, with the same results.

mod backoff;
mod call_client;
mod local;
mod options;
mod reconnecting;
mod subscription;

use futures_util::future::join_all;
use serde_json::Value;

pub(crate) use self::call_client::StreamShared;
pub use self::{
    backoff::Backoff,
    call_client::CallClient,
    local::LocalClient,
    options::{BatchedCall, CallOptions, SubscribeOptions},
    reconnecting::ReconnectingClient,
    subscription::Subscription,
};
use crate::CallError;

/// Calls operations, wherever they are.
#[derive(Clone)]
pub enum Client {
    /// In this process.
    Local(LocalClient),
    /// Over a connection.
    Remote(CallClient),
}

impl Client {
    /// Calls `operation` (`service/operation`) and waits for its output. Dropping the future calls it off.
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        match self {
            Self::Local(client) => client.call(operation, input, options).await,
            Self::Remote(client) => client.call(operation, input, options).await,
        }
    }

    /// Subscribes to `operation` (`service/operation`). Dropping the subscription calls it off. What the callee refuses may
    /// come as the subscription's only item.
    pub async fn subscribe(
        &self,
        operation: &str,
        input: Value,
        options: SubscribeOptions,
    ) -> Result<Subscription, CallError> {
        match self {
            Self::Local(client) => client.subscribe(operation, input, options).await.map(Subscription::local),
            Self::Remote(client) => client.subscribe(operation, input, options).await,
        }
    }

    /// Makes several calls at once; their results in the same order.
    pub async fn batch(&self, calls: Vec<BatchedCall>) -> Vec<Result<Value, CallError>> {
        match self {
            Self::Local(client) => {
                join_all(
                    calls
                        .iter()
                        .map(|(operation, input, options)| client.call(operation, input.clone(), options.clone())),
                )
                .await
            }
            Self::Remote(client) => client.batch(calls).await,
        }
    }
}
