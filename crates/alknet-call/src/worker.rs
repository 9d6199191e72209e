//! A node that lends its operations to a head (`docs/spec/call.md`, 13).
//!
//! What the head may do here is what its role here says, and nothing else: that is what is offered, and the gate is asked again
//! for each of its calls.

use std::{sync::Arc, time::Duration};

use alknet_core::{Caller, Identity, SessionKind};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    Backoff, CallClient, CallError, CallOptions, ErrorCode, OFFER_OPERATION, OfferInput, OfferTaken, OperationSpec,
    ReconnectingClient, Registry, RemoteOperation, SubscribeOptions, Subscription,
    limits::{
        HEAD_HEARTBEAT, LONGEST_RECONNECT_WAIT, MAX_INLINE_OFFER_BYTES, MAX_REMOTE_OFFER_BYTES, MAX_REMOTE_OPERATIONS,
    },
    registered::json_bytes,
};

/// How an operation's worker is called where its specification is tried before it is offered.
const SOME_WORKER: &str = "worker";

/// How a worker stands with one of its heads.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum HeadState {
    /// There is no connection yet, or none any more.
    #[default]
    Connecting,
    /// The head took the offer.
    Joined {
        /// How many operations it took.
        offered: usize,
    },
    /// There is nothing that the head may call here.
    NothingToOffer,
    /// The head did not take the offer, or ended it.
    Refused(CallError),
}

/// Keeps what `head` may call of `registry` offered to it, for as long as the future is polled: dials again when the connection
/// is gone, and offers again when the head's rights change. `caller` says who the head is here; `state` is told how it stands.
pub async fn stay(
    head: ReconnectingClient,
    registry: Arc<Registry>,
    caller: impl Fn() -> Caller + Send + Sync,
    state: watch::Sender<HeadState>,
) {
    let mut backoff = head.backoff();
    loop {
        state.send_replace(HeadState::Connecting);
        let client = head.connected().await;
        while !client.is_closed() {
            match offer_once(&client, &registry, caller(), &state, &mut backoff).await {
                Ended::RightsChanged => {}
                Ended::Gone => {
                    head.give_up_connection().await;
                    break;
                }
                Ended::Refused(error) => {
                    tracing::warn!(%error, "a head does not take what this node offers");
                    state.send_replace(HeadState::Refused(error));
                    wait(&client, LONGEST_RECONNECT_WAIT).await;
                }
                Ended::ByHead => wait(&client, backoff.wait()).await,
            }
        }
    }
}

/// Why an offer ended.
enum Ended {
    RightsChanged,
    Gone,
    Refused(CallError),
    /// Without an error: something else was offered under this node's name.
    ByHead,
}

async fn wait(client: &CallClient, time: Duration) {
    tokio::select! {
        biased;
        () = client.closed() => {}
        () = sleep(time) => {}
    }
}

async fn offer_once(
    client: &CallClient,
    registry: &Arc<Registry>,
    caller: Caller,
    state: &watch::Sender<HeadState>,
    backoff: &mut Backoff,
) -> Ended {
    let rights = registry.sessions().register(&caller, SessionKind::Call);
    let operations = match offerable(registry, caller.identity.clone()).await {
        Ok(operations) => operations,
        Err(error) => return Ended::Refused(error),
    };
    if operations.is_empty() {
        state.send_replace(HeadState::NothingToOffer);
        tokio::select! {
            biased;
            () = client.closed() => return Ended::Gone,
            () = rights.token().cancelled() => return Ended::RightsChanged,
        }
    }
    let mut offered = match offer(client, operations).await {
        Ok(offered) => offered,
        Err(_) if client.is_closed() => return Ended::Gone,
        Err(error) => return Ended::Refused(error),
    };
    let mut silence = std::pin::pin!(silence(client));
    loop {
        let next = tokio::select! {
            biased;
            next = offered.next() => next,
            () = rights.token().cancelled() => return Ended::RightsChanged,
            () = &mut silence => return Ended::Gone,
        };
        match next {
            Some(Ok(item)) => {
                backoff.reset();
                let taken = serde_json::from_value(item.output).unwrap_or(OfferTaken { offered: 0 });
                state.send_replace(HeadState::Joined { offered: taken.offered });
            }
            Some(Err(_)) if client.is_closed() => return Ended::Gone,
            Some(Err(error)) => return Ended::Refused(error),
            None => return Ended::ByHead,
        }
    }
}

/// Waits until the head does not answer any more. One that died without a word would not be missed for long otherwise.
async fn silence(client: &CallClient) {
    loop {
        sleep(HEAD_HEARTBEAT).await;
        let options = CallOptions { deadline: Some(HEAD_HEARTBEAT), ..CallOptions::default() };
        let asked = client.call("services/schema", json!({ "names": [OFFER_OPERATION] }), options).await;
        if asked.is_err_and(|error| error.code == ErrorCode::Timeout) {
            return;
        }
    }
}

async fn offer(client: &CallClient, operations: Vec<Value>) -> Result<Subscription, CallError> {
    let input = serde_json::to_value(OfferInput { operations, accepts: None }).map_err(CallError::internal)?;
    client.subscribe(OFFER_OPERATION, input, SubscribeOptions::default()).await
}

/// The specifications of what `head` may call here, without what a head would refuse: one such would spoil the whole offer.
async fn offerable(registry: &Registry, head: Option<Arc<Identity>>) -> Result<Vec<Value>, CallError> {
    // Bytes travel on streams of their own, which no head passes on.
    let lent = |spec: &&OperationSpec| spec.bytes.is_none() && spec.name != OFFER_OPERATION;
    let specs = registry.visible_to(head.as_deref()).map(|found| &found.spec).filter(lent);
    let said = specs.map(serde_json::to_value).collect::<Result<Vec<_>, _>>().map_err(CallError::internal)?;
    if said.iter().map(json_bytes).sum::<usize>() <= MAX_INLINE_OFFER_BYTES {
        return Ok(acceptable(said));
    }
    // Many schemas take a while to try: not on the runtime's own threads.
    tokio::task::spawn_blocking(move || acceptable(said)).await.map_err(CallError::internal)
}

/// What a head takes of it.
fn acceptable(said: Vec<Value>) -> Vec<Value> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for said in said.into_iter().filter(is_acceptable) {
        bytes += json_bytes(&said);
        if found.len() == MAX_REMOTE_OPERATIONS || bytes > MAX_REMOTE_OFFER_BYTES {
            tracing::warn!(from = %said["name"], "there are more operations than a head takes; the rest is not offered");
            break;
        }
        found.push(said);
    }
    found
}

fn is_acceptable(said: &Value) -> bool {
    let read = RemoteOperation::read(SOME_WORKER, said);
    if let Err(defect) = &read {
        tracing::warn!(operation = %said["name"], %defect, "a head would refuse this operation, so it is not offered");
    }
    read.is_ok()
}
