//! The registry: every operation of the node, and the one way to run one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use alknet_core::{
    AccessRule, AuditOutcome, Authorizer, CallJournal, Caller, Demand, Effect, Identity, NodeKey, Permit, ResourceId,
    Sessions,
};
use serde_json::Value;

use crate::{
    Answer, CallError, CallRequest, ErrorCode, ItemStream, OperationSpec, RegistryBuilder, Visibility,
    registered::Registered,
};

/// Every operation of the node.
pub struct Registry {
    operations: BTreeMap<String, Arc<Registered>>,
    authorizer: Authorizer,
    sessions: Sessions,
    journal: Option<Arc<dyn CallJournal>>,
    node: Option<NodeKey>,
}

/// What whoever asks can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Anything,
    Output,
    Items,
}

impl Registry {
    /// Starts an empty registry behind a gate.
    pub const fn builder(authorizer: Authorizer, sessions: Sessions) -> RegistryBuilder {
        RegistryBuilder::new(authorizer, sessions)
    }
    pub(crate) fn from_builder(builder: RegistryBuilder) -> Self {
        let RegistryBuilder { operations, authorizer, sessions, journal, node } = builder;
        Self { operations, authorizer, sessions, journal, node }
    }
    /// The gate.
    pub const fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
    /// The node's live sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }
    /// Which node this is, if that was said.
    pub const fn node(&self) -> Option<&NodeKey> {
        self.node.as_ref()
    }
    /// Every operation by name, the internal ones too: for documents and tests, not for callers.
    pub fn specs(&self) -> impl Iterator<Item = &OperationSpec> {
        self.operations.values().map(|operation| &operation.spec)
    }
    /// What `identity` may call, by name, with the digest of each specification.
    pub(crate) fn visible_to<'a>(
        &'a self,
        identity: Option<&'a Identity>,
    ) -> impl Iterator<Item = (&'a OperationSpec, &'a [u8; 32])> {
        self.operations
            .values()
            .filter(move |found| found.is_visible_to(identity))
            .map(|found| (&found.spec, &found.digest))
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
        self.begin(caller, request, Wanted::Anything).await
    }

    /// Runs a query or mutation and waits for its output. Dropping the future calls the work off.
    ///
    /// # Errors
    /// As [`Self::start`]; for a subscription `INVALID_OPERATION_TYPE`.
    pub async fn invoke(self: &Arc<Self>, caller: Caller, request: CallRequest) -> Result<Value, CallError> {
        match self.begin(caller, request, Wanted::Output).await? {
            Answer::Output(output) => Ok(output),
            Answer::Items(_) => Err(wrong_kind()),
        }
    }

    /// Begins a subscription.
    ///
    /// # Errors
    /// As [`Self::start`]; for anything else `INVALID_OPERATION_TYPE`.
    pub async fn subscribe(self: &Arc<Self>, caller: Caller, request: CallRequest) -> Result<ItemStream, CallError> {
        match self.begin(caller, request, Wanted::Items).await? {
            Answer::Items(items) => Ok(items),
            Answer::Output(_) => Err(wrong_kind()),
        }
    }

    async fn begin(
        self: &Arc<Self>,
        caller: Caller,
        request: CallRequest,
        wanted: Wanted,
    ) -> Result<Answer, CallError> {
        let found =
            self.operations.get(&request.operation).filter(|found| found.spec.visibility == Visibility::External);
        let Some(operation) = found else { return Err(self.deny_missing(&caller, &request.operation)) };
        let permit = self.admit(operation, &caller, &request.input)?;
        let fits = match wanted {
            Wanted::Anything => true,
            Wanted::Output => !operation.is_subscription(),
            Wanted::Items => operation.is_subscription(),
        };
        if !fits {
            return Err(wrong_kind());
        }
        if request.after_seq.is_some() && !operation.spec.resumable {
            return Err(CallError::invalid_input("/afterSeq", "this operation does not number what it gives"));
        }
        self.run(operation.clone(), caller, permit, request).await
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

    /// The gate, then the input; a resource in the input is looked at only once the input fits.
    fn admit(&self, operation: &Registered, caller: &Caller, input: &Value) -> Result<Permit, CallError> {
        let spec = &operation.spec;
        let ask = |resource: Option<&ResourceId>| {
            let demand = Demand { action: &spec.name, rule: &spec.access, resource, effect: spec.kind.into() };
            self.authorizer.authorize(caller, &demand).map_err(CallError::from)
        };
        let Some(resource) = spec.access.resource().filter(|_| operation.is_visible_to(current(caller))) else {
            let permit = ask(None)?;
            operation.check_input(input)?;
            return Ok(permit);
        };
        operation.check_input(input)?;
        let named = input.pointer(&resource.id_pointer).and_then(Value::as_str);
        let named = named.and_then(|id| ResourceId::new(&resource.kind, id).ok());
        ask(named.as_ref())
    }

    /// Writes down that a caller proved, or failed to prove, who it is.
    pub(crate) fn audit_authentication(&self, caller: &Caller, outcome: AuditOutcome, detail: Option<String>) {
        self.authorizer.authenticated(caller, "alknet/call", outcome, detail);
    }
}

fn wrong_kind() -> CallError {
    CallError::new(ErrorCode::InvalidOperationType, "the operation is of another kind")
}

fn current(caller: &Caller) -> Option<&Identity> {
    caller.identity.as_deref().filter(|identity| identity.standing().is_current())
}

/// A name that a peer chose, safe for a log.
fn shown(name: &str) -> String {
    let cut = name.floor_char_boundary(alknet_core::limits::MAX_LOGGED_BYTES);
    name[..cut].escape_debug().to_string()
}

/// A handle on the registry for operations that describe it.
pub(crate) type RegistryHandle = Weak<Registry>;
