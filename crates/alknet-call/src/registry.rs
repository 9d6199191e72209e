//! The registry: every operation of the node, and the one way to run one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use alknet_core::{
    AccessRule, AuditOutcome, Authorizer, CallJournal, Caller, Demand, Effect, Identity, NodeKey, Permit, Sessions,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    Answer, CallClient, CallError, CallGraph, CallRequest, ErrorCode, ItemStream, NewCall, OperationContext,
    OperationSpec, RegistryBuilder, Routes, Visibility,
    admission::{Asker, Given},
    idempotency::{Flights, OnceOnly, outcome_key},
    operation::Typed,
    registered::{Registered, json_bytes},
    run::{Begun, Placement, answer, earliest},
    typed::TypedOperation,
};

/// Every operation of the node.
pub struct Registry {
    operations: BTreeMap<String, Arc<Registered>>,
    authorizer: Authorizer,
    sessions: Sessions,
    journal: Option<Arc<dyn CallJournal>>,
    graph: CallGraph,
    flights: Flights,
    node: Option<NodeKey>,
    routes: Arc<Routes>,
}

impl Registry {
    /// Starts an empty registry behind a gate.
    pub fn builder(authorizer: Authorizer, sessions: Sessions) -> RegistryBuilder {
        RegistryBuilder::new(authorizer, sessions)
    }
    pub(crate) fn from_builder(builder: RegistryBuilder) -> Self {
        let RegistryBuilder { operations, graph, authorizer, sessions, journal, capabilities, node } = builder;
        let supplied = |mut operation: Registered| {
            if let Some(source) = &capabilities {
                operation.capabilities = operation.capabilities.supplied_by(source.clone());
            }
            Arc::new(operation)
        };
        let operations = operations.into_iter().map(|(name, operation)| (name, supplied(operation))).collect();
        let (flights, routes) = (Flights::default(), Arc::default());
        Self { operations, authorizer, sessions, journal, graph, flights, node, routes }
    }
    /// The gate.
    pub const fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
    /// The node's live sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }
    /// The calls that run here, and those that ran lately.
    pub const fn graph(&self) -> &CallGraph {
        &self.graph
    }
    pub(crate) const fn journal(&self) -> Option<&Arc<dyn CallJournal>> {
        self.journal.as_ref()
    }
    pub(crate) const fn flights(&self) -> &Flights {
        &self.flights
    }
    /// An operation by name, internal ones too.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Registered>> {
        self.operations.get(name)
    }
    /// The operations of workers.
    pub const fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }
    /// Which node this is, if that was said.
    pub const fn node(&self) -> Option<&NodeKey> {
        self.node.as_ref()
    }
    /// Every operation by name, the internal ones too: for documents and tests, not for callers.
    pub fn specs(&self) -> impl Iterator<Item = &OperationSpec> {
        self.operations.values().map(|operation| &operation.spec)
    }
    /// What `identity` may call of this node's own, by name.
    pub(crate) fn visible_to<'a>(
        &'a self,
        identity: Option<&'a Identity>,
    ) -> impl Iterator<Item = &'a Arc<Registered>> {
        self.operations.values().filter(move |found| found.is_visible_to(identity))
    }
    /// One operation, if `identity` may call it.
    pub(crate) fn visible(&self, name: &str, identity: Option<&Identity>) -> Option<&OperationSpec> {
        self.operations.get(name).filter(|found| found.is_visible_to(identity)).map(|found| &found.spec)
    }

    /// Begins an operation: gate, input, handler. An output comes when the handler is done, items when they are asked for.
    /// Dropping the future calls the work off.
    ///
    /// # Errors
    /// As the protocol says (`docs/spec/call.md`, 8): the gate's refusals, `INVALID_INPUT`, `TIMEOUT`, `ABORTED`, `INTERNAL`,
    /// and what the operation declares.
    pub async fn start(self: &Arc<Self>, caller: Caller, request: CallRequest) -> Result<Answer, CallError> {
        self.begin(caller, request, None).await
    }

    /// Runs a query or mutation and waits for its output. Dropping the future calls the work off.
    ///
    /// # Errors
    /// As [`Self::start`]; for a subscription `INVALID_OPERATION_TYPE`.
    pub async fn invoke(self: &Arc<Self>, caller: Caller, request: CallRequest) -> Result<Value, CallError> {
        match self.begin(caller, request, Some(false)).await? {
            Answer::Output(output) => Ok(output),
            Answer::Items(_) => Err(wrong_kind()),
        }
    }

    /// Begins a subscription.
    ///
    /// # Errors
    /// As [`Self::start`]; for anything else `INVALID_OPERATION_TYPE`.
    pub async fn subscribe(self: &Arc<Self>, caller: Caller, request: CallRequest) -> Result<ItemStream, CallError> {
        match self.begin(caller, request, Some(true)).await? {
            Answer::Items(items) => Ok(items),
            Answer::Output(_) => Err(wrong_kind()),
        }
    }

    /// An operation to be called again and again in its own types, without JSON. `None` where there is none that takes `In` and
    /// gives `Out`, for every door.
    pub fn typed<In, Out>(self: &Arc<Self>, operation: &str) -> Option<TypedOperation<In, Out>>
    where
        In: Serialize + Send + 'static,
        Out: DeserializeOwned + Send + 'static,
    {
        let found = self.external(operation)?;
        let fits = found.typed.as_ref().is_some_and(|typed| typed.is::<Typed<In, Out>>());
        fits.then(|| TypedOperation::new(self.clone(), found.clone()))
    }

    fn external(&self, operation: &str) -> Option<&Arc<Registered>> {
        self.find(operation).filter(|found| found.spec.visibility == Visibility::External)
    }

    async fn begin(
        self: &Arc<Self>,
        caller: Caller,
        request: CallRequest,
        wants_items: Option<bool>,
    ) -> Result<Answer, CallError> {
        if self.is_loop(&request.via) {
            return Err(self.deny_missing(&caller, &request.operation));
        }
        let Some(operation) = self.external(&request.operation) else {
            return self.start_elsewhere(caller, request, wants_items).await;
        };
        let permit = self.admit(operation, &Asker::Caller(&caller), Given::Value(&request.input))?;
        let (raw, input) = RawCall::of(request, wants_items);
        raw.check_kind(operation)?;
        match outcome_key(operation, &caller, raw.idempotency_key.as_deref())? {
            None => self.run_at(operation, caller, permit, raw, input).await,
            Some(key) => {
                let call = OnceOnly { operation: operation.clone(), caller, permit, raw, input };
                self.once(key, call).await.map(Answer::Output)
            }
        }
    }

    async fn run_at(
        self: &Arc<Self>,
        operation: &Arc<Registered>,
        caller: Caller,
        permit: Permit,
        raw: RawCall,
        input: Value,
    ) -> Result<Answer, CallError> {
        let begun = self.enter(operation, caller, permit, raw);
        begun.run(|context| (context.operation.handler)(context.clone(), input), answer).await
    }

    /// Enters a call that was let through in the graph.
    pub(crate) fn enter(
        self: &Arc<Self>,
        operation: &Arc<Registered>,
        caller: Caller,
        permit: Permit,
        raw: RawCall,
    ) -> Begun {
        let live = self.graph.begin(NewCall {
            operation: operation.tally.clone(),
            identity: caller.identity.clone(),
            request_id: raw.id.clone(),
            origin: raw.origin.clone(),
            input_bytes: raw.input_bytes,
        });
        let own = operation.timeout().and_then(|own| live.began().checked_add(own));
        let context = Arc::new(OperationContext {
            request_id: raw.id,
            parent_id: raw.parent_id,
            caller,
            deadline: earliest(raw.deadline, own),
            permit: Arc::new(permit),
            origin: raw.origin,
            after_seq: raw.after_seq,
            credit: raw.credit,
            via: raw.via,
            peer: raw.peer,
            registry: self.clone(),
            operation: operation.clone(),
            node: live.node().clone(),
            placement: raw.placement,
            abort: raw.abort,
            acting: std::sync::OnceLock::new(),
        });
        Begun { context, live }
    }

    /// What does not exist is refused by the same gate, in the same words, as what the caller may not know of.
    pub(crate) fn deny_missing(&self, caller: &Caller, operation: &str) -> CallError {
        let action = shown(operation);
        let demand = Demand { action: &action, rule: &AccessRule::default(), resource: None, effect: Effect::Query };
        match self.authorizer.authorize(caller, &demand) {
            Err(denial) => denial.into(),
            Ok(_) => CallError::not_found("no such operation"),
        }
    }

    /// Writes down that a caller proved, or failed to prove, who it is.
    pub(crate) fn audit_authentication(&self, caller: &Caller, outcome: AuditOutcome, detail: Option<String>) {
        self.authorizer.authenticated(caller, "alknet/call", outcome, detail);
    }
}

/// A call without its name and its input.
#[derive(Default)]
pub(crate) struct RawCall {
    pub(crate) id: String,
    pub(crate) parent_id: Option<String>,
    pub(crate) deadline: Option<tokio::time::Instant>,
    pub(crate) abort: Option<CancellationToken>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) after_seq: Option<u64>,
    pub(crate) credit: Option<u32>,
    pub(crate) via: Vec<String>,
    pub(crate) origin: Option<String>,
    pub(crate) peer: Option<CallClient>,
    pub(crate) input_bytes: u64,
    pub(crate) placement: Placement,
    /// Whether items or an output are wanted, if that is known.
    pub(crate) wants_items: Option<bool>,
}

impl RawCall {
    pub(crate) fn of(request: CallRequest, wants_items: Option<bool>) -> (Self, Value) {
        let CallRequest { operation: _, input, id, parent_id, deadline, abort, .. } = request;
        let CallRequest { idempotency_key, after_seq, credit, via, origin, peer, .. } = request;
        let (abort, input_bytes) = (Some(abort), json_bytes(&input) as u64);
        let raw = Self {
            id,
            parent_id,
            deadline,
            abort,
            idempotency_key,
            after_seq,
            credit,
            via,
            origin,
            peer,
            input_bytes,
            placement: Placement::default(),
            wants_items,
        };
        (raw, input)
    }

    /// Fails where the operation is not of the kind that is wanted, or cannot go on after an item.
    pub(crate) fn check_kind(&self, operation: &Registered) -> Result<(), CallError> {
        if self.wants_items.is_some_and(|items| items != operation.is_subscription()) {
            return Err(wrong_kind());
        }
        if self.after_seq.is_some() && !operation.spec.resumable {
            return Err(CallError::invalid_input("/afterSeq", "this operation does not number what it gives"));
        }
        Ok(())
    }
}

pub(crate) fn wrong_kind() -> CallError {
    CallError::new(ErrorCode::InvalidOperationType, "the operation is of another kind")
}

/// A name that a peer chose, safe for a log.
fn shown(name: &str) -> String {
    let cut = name.floor_char_boundary(alknet_core::limits::MAX_LOGGED_BYTES);
    name[..cut].escape_debug().to_string()
}

/// A handle on the registry for operations that describe it.
pub(crate) type RegistryHandle = Weak<Registry>;
