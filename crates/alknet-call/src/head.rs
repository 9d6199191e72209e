//! What a head adds to its registry: `workers/offer`, and the operations that tell which other nodes are reached through it.

use std::{collections::BTreeMap, sync::Arc};

use alknet_core::AccessRule;
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CallError, Item, Operation, OperationContext, RemoteOperation,
    limits::{MAX_INLINE_OFFER_BYTES, MAX_REMOTE_OFFER_BYTES, MAX_REMOTE_OPERATIONS},
    registered::json_bytes,
    remote_spec::read_offer,
    routes::{ANY_WORKER, Offered},
    spec::is_segment,
};

/// The operation that a worker calls at its head.
pub const OFFER_OPERATION: &str = "workers/offer";
/// The scope that it needs.
pub const OFFER_SCOPE: &str = "workers:offer";

/// What `workers/offer` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OfferInput {
    /// The specifications of what is offered.
    #[schemars(length(min = 1, max = MAX_REMOTE_OPERATIONS))]
    pub operations: Vec<Value>,
    /// How many calls the worker takes at a time; absent: as many as its stream does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub accepts: Option<u32>,
}

/// What `workers/offer` gives once it has taken an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferTaken {
    /// How many operations.
    pub offered: usize,
}

/// The operations that make a node a head.
pub fn operations() -> Vec<Operation> {
    let scope = OFFER_SCOPE.parse().expect("because it is written as service:action");
    let offer = Operation::subscription(OFFER_OPERATION)
        .title("Offer operations to this node")
        .description(
            "While it is open, the operations of the caller can be called here, under the caller's name as their first segment. \
             They are called back on the same stream.",
        )
        .access(AccessRule::scoped([scope]))
        .max_input_bytes(MAX_REMOTE_OFFER_BYTES)
        .items(|context, input: OfferInput| async move {
            let offered = offer(&context, input).await?;
            Ok(stream::unfold(Some(offered), |offered| async move {
                let (taken, offered) = offered?;
                match taken {
                    Some(taken) => Some((Ok::<_, CallError>(Item::new(taken)), Some((None, offered)))),
                    None => {
                        offered.replaced().await;
                        None
                    }
                }
            })
            .boxed())
        });
    vec![offer]
}

async fn offer(context: &Arc<OperationContext>, input: OfferInput) -> Result<(Option<OfferTaken>, Offered), CallError> {
    let name = context.caller.id().ok_or_else(|| CallError::unauthenticated("a worker is somebody known"))?.to_owned();
    if !is_segment(&name) || name == ANY_WORKER {
        return Err(CallError::invalid_input("", format!("`{}` cannot name a worker", name.escape_debug())));
    }
    let client = context.peer().ok_or_else(|| CallError::unavailable("in process there is nobody to call back"))?;
    let routes = context.registry.routes();
    let operations = {
        let _turn = routes.reading.acquire().await.map_err(CallError::internal)?;
        read(name.clone(), input.operations).await?
    };
    let taken = OfferTaken { offered: operations.len() };
    tracing::info!(worker = %name, operations = taken.offered, "a worker offers operations");
    let offered = routes.offer(&name, client.downgrade(), input.accepts, operations, context.registry.graph())?;
    Ok((Some(taken), offered))
}

/// Many schemas take a while to compile: not on the runtime's own threads.
async fn read(worker: String, said: Vec<Value>) -> Result<BTreeMap<String, Arc<RemoteOperation>>, CallError> {
    if said.iter().map(json_bytes).sum::<usize>() <= MAX_INLINE_OFFER_BYTES {
        return read_offer(&worker, &said);
    }
    tokio::task::spawn_blocking(move || read_offer(&worker, &said)).await.map_err(CallError::internal)?
}
