//! A call that another node answers: the head's own gate first, then one hop with nothing but what the protocol lets through.

use std::{fmt::Write as _, sync::Arc};

use alknet_core::{Caller, Identity, Permit, ResourceId};
use futures_util::{FutureExt, StreamExt, future::ready, stream};
use serde_json::Value;
use tokio::time::Instant;

use super::{Route, line::Line};
use crate::{
    Answer, CallError, CallGraph, CallOptions, CallRequest, ErrorCode, Item, OperationContext, Registry,
    RemoteOperation, SubscribeOptions, Subscription,
    admission::Asker,
    limits::{DEFAULT_CREDIT, MAX_IDEMPOTENCY_KEY_BYTES, MAX_VIA},
    operation::{Handler, Produced},
    registered::Registered,
    registry::RawCall,
    run::answer,
};

/// Bytes of a caller's digest before its idempotency keys.
const CALLER_DIGEST_BYTES: usize = 16;

/// An operation of a worker as the registry runs it.
pub(super) fn registered(line: &Arc<Line>, remote: &Arc<RemoteOperation>, graph: &CallGraph) -> Arc<Registered> {
    let (line, operation) = (line.clone(), remote.clone());
    let handler: Handler =
        Box::new(move |context, input| forward(line.clone(), operation.clone(), context, None, input).boxed());
    Arc::new(Registered::elsewhere(remote.spec().clone(), handler, graph))
}

impl Registry {
    /// As [`Self::start`], for an operation of another node.
    pub(crate) async fn start_elsewhere(
        self: &Arc<Self>,
        caller: Caller,
        mut request: CallRequest,
        wants_items: Option<bool>,
    ) -> Result<Answer, CallError> {
        let key = request.idempotency_key.take();
        let asker = Asker::Caller(&caller);
        let rights = asker.rights();
        let Some(way) = self.routes().find(&request.operation, rights, key.as_deref()) else {
            return Err(self.deny_missing(&caller, &request.operation));
        };
        let (raw, input) = RawCall::of(request, wants_items);
        let (permit, input) = self.admit_elsewhere(&way.route, &caller, input).await?;
        raw.check_kind(&way.route.registered)?;
        let key = key.map(|key| forwarded_key(&way.route, caller.identity.as_deref(), &key)).transpose()?;
        let line = way.line.ok_or_else(|| CallError::unavailable("the worker is not connected").retryable())?;
        let (operation, remote) = (way.route.registered.clone(), way.route.remote.clone());
        let begun = self.enter(&operation, caller, permit, raw);
        begun.run(|context| forward(line, remote, context.clone(), key, input).boxed(), answer).await
    }

    /// Whether a call came through here before, or through too many nodes.
    pub(crate) fn is_loop(&self, via: &[String]) -> bool {
        let own = self.node().filter(|_| !via.is_empty()).map(ToString::to_string);
        via.len() >= MAX_VIA || own.is_some_and(|own| via.contains(&own))
    }

    /// The gate, then the input, in the same order as for an operation of this node.
    async fn admit_elsewhere(
        &self,
        route: &Route,
        caller: &Caller,
        input: Value,
    ) -> Result<(Permit, Value), CallError> {
        let asker = Asker::Caller(caller);
        let operation = &route.registered;
        let may_know = operation.spec.access.is_visible_to(asker.rights());
        let Some(resource) = operation.spec.access.resource().filter(|_| may_know) else {
            let permit = self.ask(operation, &asker, None)?;
            return Ok((permit, route.remote.check_input(input).await?));
        };
        let input = route.remote.check_input(input).await?;
        let named = input.pointer(&resource.id_pointer).and_then(Value::as_str);
        let named = named.and_then(|id| ResourceId::new(&resource.kind, id).ok());
        Ok((self.ask(operation, &asker, named.as_ref())?, input))
    }
}

/// The key under which the worker keeps the outcome: never another caller's, whatever either of them chose.
fn forwarded_key(route: &Route, caller: Option<&Identity>, key: &str) -> Result<String, CallError> {
    let wrong = |words| Err(CallError::invalid_input("/idempotencyKey", words));
    if route.registered.is_subscription() {
        return wrong("a subscription has no outcome to keep");
    }
    if !(1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("a key has 1 to 128 visible ASCII characters");
    }
    let Some(caller) = caller else { return wrong("somebody unknown has no keys") };
    let digest = blake3::hash(caller.id().as_bytes());
    let mut forwarded = String::with_capacity(2 * CALLER_DIGEST_BYTES + 1 + key.len());
    for byte in &digest.as_bytes()[..CALLER_DIGEST_BYTES] {
        let _ = write!(forwarded, "{byte:02x}");
    }
    forwarded.push(':');
    if forwarded.len() + key.len() <= MAX_IDEMPOTENCY_KEY_BYTES {
        forwarded.push_str(key);
    } else {
        forwarded.push_str(&blake3::hash(key.as_bytes()).to_hex());
    }
    Ok(forwarded)
}

async fn forward(
    line: Arc<Line>,
    remote: Arc<RemoteOperation>,
    context: Arc<OperationContext>,
    key: Option<String>,
    input: Value,
) -> Result<Produced, CallError> {
    let mut passage = line.pass(context.deadline)?;
    let options = CallOptions {
        deadline: context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
        // The caller's credential is for this node alone.
        token: None,
        idempotency_key: key,
        parent_id: Some(context.request_id.clone()).filter(|id| !id.is_empty()),
        via: context.via.iter().cloned().chain(context.registry.node().map(ToString::to_string)).collect(),
        origin: context.caller.id().map(str::to_owned),
    };
    let ends = Ends { line, remote, context };
    if ends.context.operation.is_subscription() {
        let window = ends.context.credit.unwrap_or(DEFAULT_CREDIT);
        let options = SubscribeOptions { call: options, window, after_seq: ends.context.after_seq };
        // Asked for with the first item, so that a subscriber without credit keeps nothing waiting here.
        let begun = async move {
            let outcome = ends.line.client.subscribe(ends.remote.local_name(), input, options).await;
            match outcome {
                Ok(items) => Relayed { items: Some(items), passage, ends }.stream().left_stream(),
                Err(error) => {
                    passage.failed(&error);
                    stream::once(ready(Err(ends.passed(error)))).right_stream()
                }
            }
        };
        return Ok(Produced::Items(stream::once(begun).flatten().boxed()));
    }
    match ends.line.client.call(ends.remote.local_name(), input, options).await {
        Ok(output) => {
            passage.succeeded();
            Ok(Produced::Output(output))
        }
        Err(error) => {
            passage.failed(&error);
            Err(ends.passed(error))
        }
    }
}

/// Both ends of a call that passes through.
struct Ends {
    line: Arc<Line>,
    remote: Arc<RemoteOperation>,
    context: Arc<OperationContext>,
}

impl Ends {
    /// A worker's error as the caller may see it.
    fn passed(&self, error: CallError) -> CallError {
        let operation = &self.context.operation;
        match &error.code {
            ErrorCode::Declared(code) if !operation.spec.errors.iter().any(|declared| declared.code == *code) => {
                CallError::internal(format_args!("{} answered the undeclared code {code}", operation.spec.name))
            }
            // It was decided here: the worker's stream is gone, or the time is over.
            ErrorCode::Unavailable if self.line.client.is_closed() => {
                let error = CallError { message: "the worker is gone".to_owned(), ..error };
                if operation.spec.idempotent { error.retryable() } else { error }
            }
            ErrorCode::Timeout if self.context.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                operation.late()
            }
            _ => error,
        }
    }
}

/// A worker's subscription on its way to the caller, who decides the pace.
struct Relayed {
    items: Option<Subscription>,
    passage: super::line::Passage,
    ends: Ends,
}

impl Relayed {
    fn stream(self) -> impl futures_util::Stream<Item = Result<Item, CallError>> + Send {
        stream::unfold(self, |mut relayed| async move {
            let next = relayed.items.as_mut()?.next().await;
            let next = match next {
                Some(Ok(item)) => {
                    let numbered = relayed.ends.context.operation.spec.resumable;
                    Ok(Item { seq: item.seq.filter(|_| numbered), ..item })
                }
                Some(Err(error)) => {
                    relayed.items = None;
                    relayed.passage.failed(&error);
                    Err(relayed.ends.passed(error))
                }
                None => {
                    relayed.passage.succeeded();
                    return None;
                }
            };
            Some((next, relayed))
        })
    }
}
