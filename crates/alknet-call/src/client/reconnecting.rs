//! A client that dials again when its connection is gone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use alknet_core::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Backoff, CallClient, CallOptions, SubscribeOptions, Subscription};
use crate::{
    CallError, ErrorCode, Item,
    limits::{DEFAULT_OPERATION_TIMEOUT, LONGEST_RECONNECT_WAIT, NATURE_TIMEOUT},
};

type Dial = Box<dyn Fn() -> BoxFuture<'static, Result<CallClient, CallError>> + Send + Sync>;

/// Calls operations of a node that may go and come back. Clones share the connection.
///
/// It dials when it is needed, and waits longer between tries the more of them fail. Calls are repeated only where that does no
/// harm, subscriptions only where they are resumable: from the last item that was handed on.
#[derive(Clone)]
pub struct ReconnectingClient(Arc<Inner>);

struct Inner {
    dial: Dial,
    /// As it begins.
    backoff: Backoff,
    /// Held while dialling, so that all who wait get the same connection.
    state: tokio::sync::Mutex<State>,
    natures: Mutex<HashMap<String, Nature>>,
}

struct State {
    client: Option<CallClient>,
    since: Instant,
    not_before: Instant,
    backoff: Backoff,
}

/// What of an operation decides whether it is asked for again.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Nature {
    idempotent: bool,
    resumable: bool,
}

impl ReconnectingClient {
    /// Connects with `dial`, when it is first needed and whenever the connection is gone.
    pub fn new<F, Fut>(dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CallClient, CallError>> + Send + 'static,
    {
        Self::with_backoff(dial, Backoff::default())
    }

    /// How it waits between tries, from the beginning.
    pub(crate) fn backoff(&self) -> Backoff {
        self.0.backoff.clone()
    }

    /// The same, waiting between tries as `backoff` says.
    pub fn with_backoff<F, Fut>(dial: F, backoff: Backoff) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CallClient, CallError>> + Send + 'static,
    {
        let now = Instant::now();
        let state = State { client: None, since: now, not_before: now, backoff: backoff.clone() };
        Self(Arc::new(Inner {
            dial: Box::new(move || Box::pin(dial())),
            backoff,
            state: tokio::sync::Mutex::new(state),
            natures: Mutex::default(),
        }))
    }

    /// The client of the present connection; where there is none it is made, however long that takes. Cancel safe.
    pub async fn connected(&self) -> CallClient {
        let mut state = self.0.state.lock().await;
        loop {
            if let Some(client) = state.present() {
                return client;
            }
            sleep_until(state.not_before).await;
            match (self.0.dial)().await {
                Ok(client) => state.succeeded(client),
                Err(error) => tracing::debug!(%error, "a connection for calls was not made"),
            }
            state.not_before = Instant::now() + state.backoff.wait();
        }
    }

    /// Gives the present connection up, if there is one: it is dialled again when it is next needed.
    pub async fn give_up_connection(&self) {
        self.0.state.lock().await.client = None;
    }

    /// Calls `operation` and waits for its output. It waits for a connection as long as its deadline says, or 60 s. When the
    /// connection goes meanwhile, a call that was not sent is sent again; one that was only if it has an idempotency key or the
    /// operation is idempotent.
    ///
    /// # Errors
    /// As [`CallClient::call`].
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        let deadline = options.deadline();
        loop {
            let client = self.connected_within(deadline).await?;
            let error = match client.call(operation, input.clone(), remaining(&options, deadline)).await {
                Err(error) if error.code == ErrorCode::Unavailable && client.is_closed() => error,
                outcome => return outcome,
            };
            let unsent = error.retryable;
            let repeat =
                unsent || options.idempotency_key.is_some() || self.nature(operation, deadline).await.idempotent;
            if !repeat {
                return Err(error);
            }
        }
    }

    /// Subscribes to `operation`. When the connection goes and the operation is resumable, the subscription goes on after the
    /// last item that was handed on; what was lost meanwhile is the callee's `TRIMMED`.
    ///
    /// # Errors
    /// As [`CallClient::subscribe`].
    pub async fn subscribe(
        &self,
        operation: &str,
        input: Value,
        options: SubscribeOptions,
    ) -> Result<Subscription, CallError> {
        let deadline = options.call.deadline();
        let client = self.connected_within(deadline).await?;
        let Nature { resumable, .. } = self.nature(operation, deadline).await;
        let mut resuming = Resuming {
            client: self.clone(),
            operation: operation.to_owned(),
            input,
            options,
            deadline,
            resumable,
            present: None,
            backoff: self.0.backoff.clone(),
        };
        resuming.present = Some(resuming.ask(&client).await?);
        Ok(Subscription::resuming(stream::unfold(resuming, Resuming::next)))
    }

    async fn connected_within(&self, deadline: Option<Instant>) -> Result<CallClient, CallError> {
        let deadline = deadline.unwrap_or_else(|| Instant::now() + DEFAULT_OPERATION_TIMEOUT);
        let late = |_| CallError::unavailable("there was no connection in time").retryable();
        timeout_at(deadline, self.connected()).await.map_err(late)
    }

    /// What the operation's specification says; where it cannot be had soon, or before `deadline`, the least.
    async fn nature(&self, operation: &str, deadline: Option<Instant>) -> Nature {
        if let Some(nature) = self.natures().get(operation) {
            return *nature;
        }
        let soon = Some(deadline.into_iter().fold(Instant::now() + NATURE_TIMEOUT, Instant::min));
        let asked = async {
            let client = self.connected_within(soon).await?;
            let options = remaining(&CallOptions::default(), soon);
            client.call("services/schema", json!({ "names": [operation] }), options).await
        };
        let Some(found) = asked.await.ok().and_then(|output| Nature::deserialize(&output["operations"][0]).ok()) else {
            return Nature::default();
        };
        self.natures().insert(operation.to_owned(), found);
        found
    }

    fn natures(&self) -> std::sync::MutexGuard<'_, HashMap<String, Nature>> {
        // A map of flags stays whole whoever panicked while holding it.
        self.0.natures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn present(&mut self) -> Option<CallClient> {
        let lost = self.client.take_if(|client| client.is_closed());
        if lost.is_some() && self.since.elapsed() >= LONGEST_RECONNECT_WAIT {
            self.backoff.reset();
        }
        self.client.clone()
    }

    fn succeeded(&mut self, client: CallClient) {
        (self.client, self.since) = (Some(client), Instant::now());
    }
}

/// The options with what is left of the deadline.
fn remaining(options: &CallOptions, deadline: Option<Instant>) -> CallOptions {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    CallOptions { deadline: left, ..options.clone() }
}

/// A subscription that goes on over several connections.
struct Resuming {
    client: ReconnectingClient,
    operation: String,
    input: Value,
    /// As they were given, but for the number of the item that was handed on last.
    options: SubscribeOptions,
    deadline: Option<Instant>,
    resumable: bool,
    present: Option<Subscription>,
    backoff: Backoff,
}

impl Resuming {
    async fn ask(&mut self, client: &CallClient) -> Result<Subscription, CallError> {
        let call = remaining(&self.options.call, self.deadline);
        let options = SubscribeOptions { call, ..self.options.clone() };
        client.subscribe(&self.operation, self.input.clone(), options).await
    }

    async fn next(mut self) -> Option<(Result<Item, CallError>, Self)> {
        loop {
            let next = match &mut self.present {
                Some(present) => present.next().await?,
                None => match self.ask_again().await {
                    Ok(present) => {
                        self.present = Some(present);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match next {
                Ok(item) => {
                    self.options.after_seq = item.seq.or(self.options.after_seq);
                    self.backoff.reset();
                    return Some((Ok(item), self));
                }
                Err(error) if !self.goes_on_after(&error) => {
                    self.present = Some(Subscription::ended());
                    return Some((Err(error), self));
                }
                Err(_) => {
                    self.present = None;
                    sleep(self.backoff.wait()).await;
                }
            }
        }
    }

    async fn ask_again(&mut self) -> Result<Subscription, CallError> {
        let client = match self.deadline {
            Some(_) => self.client.connected_within(self.deadline).await?,
            None => self.client.connected().await,
        };
        self.ask(&client).await
    }

    fn goes_on_after(&self, error: &CallError) -> bool {
        let late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        self.resumable && !late && error.code == ErrorCode::Unavailable
    }
}
