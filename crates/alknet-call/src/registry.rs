//! The registry: every operation of the node, and the one way to run one.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use alknet_core::{
    AccessRule, AuditOutcome, Authorizer, Caller, Demand, Effect, Identity, OperationContext, Permit, ResourceId,
    SessionKind, Sessions,
};
use futures_util::FutureExt;
use jsonschema::Validator;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    CallError, ErrorCode, Operation, OperationSpec, Visibility, builtin,
    operation::Handler,
    schema::{self, SchemaError},
    spec::is_operation_name,
    tickets::ByteTicket,
};

/// A registered operation, ready to run.
struct Registered {
    spec: OperationSpec,
    digest: [u8; 32],
    input: Validator,
    output: Validator,
    handler: Handler,
}

/// Why an operation is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name is none.
    #[error("`{0}` is no operation name: write service/operation")]
    Name(String),
    /// There is one of that name.
    #[error("two operations are called {0}")]
    Duplicate(String),
    /// A schema is not accepted.
    #[error("the {side} schema of {name}: {cause}")]
    Schema {
        /// The operation.
        name: String,
        /// `input` or `output`.
        side: &'static str,
        /// Why.
        cause: SchemaError,
    },
    /// The access rule points at nothing that every input has.
    #[error("{name} names its resource at {pointer}, where not every input has a text")]
    Pointer {
        /// The operation.
        name: String,
        /// Where it points.
        pointer: String,
    },
    /// An example does not fit the schema.
    #[error("an example of {name} does not fit its schema: {cause}")]
    Example {
        /// The operation.
        name: String,
        /// What does not fit.
        cause: Box<CallError>,
    },
    /// A declared error's code is none.
    #[error("{name} declares `{code}`, which is no code")]
    Code {
        /// The operation.
        name: String,
        /// The code.
        code: &'static str,
    },
    /// It says that bytes go beside its output, but gives no ticket for them.
    #[error("{0} moves bytes, so its handler must give a byte ticket")]
    NoTicket(String),
}

/// Collects the operations of a node.
pub struct RegistryBuilder {
    operations: BTreeMap<String, Registered>,
    authorizer: Authorizer,
    sessions: Sessions,
}

impl RegistryBuilder {
    /// Takes an operation in, after checking its name, schemas, examples and access rule.
    pub fn register(&mut self, operation: Operation) -> Result<&mut Self, RegisterError> {
        let Operation { spec, handler } = operation;
        let name = spec.name.clone();
        if !is_operation_name(&name) {
            return Err(RegisterError::Name(name));
        }
        if self.operations.contains_key(&name) {
            return Err(RegisterError::Duplicate(name));
        }
        let (input, output) = check(&spec)?;
        let digest = *blake3::hash(&serde_json::to_vec(&spec).unwrap_or_default()).as_bytes();
        self.operations.insert(name, Registered { spec, digest, input, output, handler });
        Ok(self)
    }

    /// Adds `services/list` and `services/schema` and finishes.
    ///
    /// # Errors
    /// When an operation took one of these two names.
    pub fn build(mut self) -> Result<Arc<Registry>, RegisterError> {
        let own = builtin::Catalogue::default();
        for operation in builtin::operations(&own) {
            self.register(operation)?;
        }
        let registry =
            Arc::new(Registry { operations: self.operations, authorizer: self.authorizer, sessions: self.sessions });
        own.show(&registry);
        Ok(registry)
    }
}

fn check(spec: &OperationSpec) -> Result<(Validator, Validator), RegisterError> {
    let name = || spec.name.clone();
    let compile = |side, schema| {
        schema::compile(schema).map_err(|cause| RegisterError::Schema { name: spec.name.clone(), side, cause })
    };
    let input = compile("input", &spec.input)?;
    let output = compile("output", &spec.output)?;
    if let Some(demand) = spec.access.resource()
        && !schema::requires_text_at(&spec.input, &demand.id_pointer)
    {
        return Err(RegisterError::Pointer { name: name(), pointer: demand.id_pointer.clone() });
    }
    for example in &spec.examples {
        schema::validate_input(&input, &example.input)
            .and_then(|()| schema::validate_input(&output, &example.output))
            .map_err(|cause| RegisterError::Example { name: name(), cause: Box::new(cause) })?;
    }
    if let Some(error) = spec.errors.iter().find(|error| !ErrorCode::is_code(error.code)) {
        return Err(RegisterError::Code { name: name(), code: error.code });
    }
    if spec.bytes.is_some() && spec.output != schema::output_schema::<ByteTicket>() {
        return Err(RegisterError::NoTicket(name()));
    }
    Ok((input, output))
}

/// A call to run.
#[derive(Debug)]
pub struct CallRequest {
    /// `service/operation`.
    pub operation: String,
    /// What the operation is given.
    pub input: Value,
    /// The request's id, for the context.
    pub id: String,
    /// The request that caused it: information.
    pub parent_id: Option<String>,
    /// When the answer is no longer wanted; the operation's own timeout only shortens it.
    pub deadline: Option<Instant>,
    /// Cancelled when the caller calls it off.
    pub abort: CancellationToken,
}

impl CallRequest {
    /// A call with no deadline but the operation's own.
    pub fn new(operation: impl Into<String>, input: Value) -> Self {
        Self {
            operation: operation.into(),
            input,
            id: String::new(),
            parent_id: None,
            deadline: None,
            abort: CancellationToken::new(),
        }
    }
}

/// Every operation of the node.
pub struct Registry {
    operations: BTreeMap<String, Registered>,
    authorizer: Authorizer,
    sessions: Sessions,
}

impl Registry {
    /// Starts an empty registry behind a gate.
    pub fn builder(authorizer: Authorizer, sessions: Sessions) -> RegistryBuilder {
        RegistryBuilder { operations: BTreeMap::new(), authorizer, sessions }
    }
    /// The gate.
    pub const fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
    /// The node's live sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
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

    /// Runs an operation: gate, input, handler, deadline. Dropping the future cancels what it began.
    ///
    /// # Errors
    /// As the protocol says (`docs/spec/call.md`, 6): the gate's refusals, `INVALID_INPUT`, `TIMEOUT`, `ABORTED`, `INTERNAL`,
    /// and what the operation declares.
    pub async fn invoke(&self, caller: Caller, request: CallRequest) -> Result<Value, CallError> {
        let found =
            self.operations.get(&request.operation).filter(|found| found.spec.visibility == Visibility::External);
        let Some(operation) = found else { return Err(self.deny_missing(&caller, &request.operation)) };
        let permit = self.admit(operation, &caller, &request.input)?;
        operation.run(self, caller, permit, request).await
    }

    /// What does not exist is refused by the same gate, in the same words, as what the caller may not know of.
    fn deny_missing(&self, caller: &Caller, operation: &str) -> CallError {
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

fn current(caller: &Caller) -> Option<&Identity> {
    caller.identity.as_deref().filter(|identity| identity.standing().is_current())
}

/// A name that a peer chose, safe for a log.
fn shown(name: &str) -> String {
    let cut = name.floor_char_boundary(alknet_core::limits::MAX_LOGGED_BYTES);
    name[..cut].escape_debug().to_string()
}

impl Registered {
    fn is_visible_to(&self, identity: Option<&Identity>) -> bool {
        self.spec.visibility == Visibility::External && self.spec.access.is_visible_to(identity)
    }

    fn check_input(&self, input: &Value) -> Result<(), CallError> {
        if let Some(allowed) = self.spec.max_input_bytes {
            let length = json_bytes(input);
            if length > allowed {
                let words = format!("the input has {length} bytes where {allowed} are allowed");
                return Err(CallError::invalid_input("", words));
            }
        }
        schema::validate_input(&self.input, input)
    }

    async fn run(
        &self,
        registry: &Registry,
        caller: Caller,
        permit: Permit,
        request: CallRequest,
    ) -> Result<Value, CallError> {
        let CallRequest { id, parent_id, input, deadline: wanted, abort, .. } = request;
        let session = registry.sessions.register_under(&caller, SessionKind::Call, &abort);
        let own = Instant::now() + self.spec.timeout;
        let deadline = wanted.map_or(own, |wanted| wanted.min(own));
        let context = Arc::new(OperationContext {
            request_id: id,
            parent_id,
            caller,
            deadline: Some(deadline),
            cancel: session.token().clone(),
            permit: Arc::new(permit),
            authorizer: registry.authorizer.clone(),
        });
        // Whatever ends this future early also ends what the handler began elsewhere.
        let unfinished = session.token().clone().drop_guard();
        let running = AssertUnwindSafe(async { (self.handler)(context, input).await }).catch_unwind();
        let outcome = tokio::select! {
            biased;
            outcome = running => outcome,
            () = session.token().cancelled() => return Err(ended(&abort)),
            () = tokio::time::sleep_until(deadline) => return Err(self.late()),
        };
        unfinished.disarm();
        match outcome {
            Ok(Ok(output)) => self.check_output(output),
            Ok(Err(error)) => Err(self.only_declared(error)),
            Err(_) => Err(CallError::internal(format_args!("{} panicked", self.spec.name))),
        }
    }

    fn late(&self) -> CallError {
        let error = CallError::new(ErrorCode::Timeout, "the deadline passed");
        if self.spec.idempotent { error.retryable() } else { error }
    }

    /// In tests and debug builds an output that does not fit its schema is a bug.
    fn check_output(&self, output: Value) -> Result<Value, CallError> {
        if cfg!(debug_assertions)
            && let Err(error) = schema::validate_input(&self.output, &output)
        {
            return Err(CallError::internal(format_args!("the output of {}: {error}", self.spec.name)));
        }
        Ok(output)
    }

    fn only_declared(&self, error: CallError) -> CallError {
        match &error.code {
            ErrorCode::Declared(code) if !self.spec.errors.iter().any(|declared| declared.code == code) => {
                CallError::internal(format_args!("{} does not declare {error}", self.spec.name))
            }
            _ => error,
        }
    }
}

fn ended(abort: &CancellationToken) -> CallError {
    if abort.is_cancelled() {
        CallError::new(ErrorCode::Aborted, "called off by the caller")
    } else {
        CallError::unauthenticated("the caller's rights were taken away")
    }
}

/// Length of a value as compact JSON.
fn json_bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// A handle on the registry for operations that describe it.
pub(crate) type RegistryHandle = Weak<Registry>;
