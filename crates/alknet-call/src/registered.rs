//! An operation in the registry, with what was made ready at its registration.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
    time::Duration,
};

use alknet_core::{Gate, Identity};
use jsonschema::Validator;
use serde::Serialize;
use serde_json::Value;

use crate::{
    CallError, CallGraph, Capabilities, ErrorCode, OperationKind, OperationSpec, OperationTally, Visibility,
    admission::Given,
    authority::{Authority, Composing, Reachable},
    limits::DEFAULT_OPERATION_TIMEOUT,
    operation::{Handler, Operation},
    registration::{RegisterError, check},
    schema,
};

/// A registered operation, ready to run.
pub(crate) struct Registered {
    pub(crate) spec: OperationSpec,
    pub(crate) digest: [u8; 32],
    pub(crate) handler: Handler,
    /// The same as `handler` without JSON: a [`crate::operation::Typed`] of its types.
    pub(crate) typed: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) composing: Composing,
    pub(crate) capabilities: Capabilities,
    /// Its gate, made when it is first asked.
    pub(crate) gate: OnceLock<Gate>,
    /// What its calls come to.
    pub(crate) tally: Arc<OperationTally>,
    /// What it takes and gives; of an operation of another node that is checked elsewhere.
    schemas: Option<(Validator, Validator)>,
    /// Whether a value of its input type may still not be what it takes.
    checks_typed: bool,
}

impl Registered {
    /// Checks the specification and compiles its schemas.
    pub(crate) fn new(operation: Operation, graph: &CallGraph) -> Result<Self, RegisterError> {
        let Operation { spec, handler, typed, composing, capabilities, unreadable } = operation;
        if let Some(declared) = unreadable.into_iter().next() {
            return Err(RegisterError::Declared { name: spec.name, declared });
        }
        let schemas = Some(check(&spec)?);
        let digest = *blake3::hash(&serde_json::to_vec(&spec).unwrap_or_default()).as_bytes();
        let tally = graph.operation(&spec.name);
        let checks_typed = cfg!(debug_assertions)
            || spec.access.resource().is_some()
            || spec.max_input_bytes.is_some()
            || !schema::says_only_types(&spec.input);
        let gate = OnceLock::new();
        Ok(Self { spec, digest, handler, typed, composing, capabilities, gate, tally, schemas, checks_typed })
    }

    /// An operation of another node, whose specification was checked: it composes nothing here.
    pub(crate) fn elsewhere(spec: OperationSpec, handler: Handler, graph: &CallGraph) -> Self {
        let digest = *blake3::hash(&serde_json::to_vec(&spec).unwrap_or_default()).as_bytes();
        let (tally, composing) =
            (graph.operation(&spec.name), Composing::new(Authority::default(), Reachable::default(), false));
        let capabilities = Capabilities::default();
        Self {
            spec,
            digest,
            handler,
            typed: None,
            composing,
            capabilities,
            gate: OnceLock::new(),
            tally,
            schemas: None,
            checks_typed: true,
        }
    }

    pub(crate) fn is_visible_to(&self, identity: Option<&Identity>) -> bool {
        self.spec.visibility == Visibility::External && self.spec.access.is_visible_to(identity)
    }

    pub(crate) fn is_subscription(&self) -> bool {
        self.spec.kind == OperationKind::Subscription
    }

    /// How long one run may take; a subscription as long as it likes.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        (!self.is_subscription()).then(|| self.spec.timeout.unwrap_or(DEFAULT_OPERATION_TIMEOUT))
    }

    /// A value of its input type as JSON, where that is needed to check it.
    pub(crate) fn given<In: Serialize>(&self, input: &In) -> Result<Option<Value>, CallError> {
        if self.checks_typed { serde_json::to_value(input).map(Some).map_err(CallError::internal) } else { Ok(None) }
    }

    pub(crate) fn check_given(&self, given: Given<'_>) -> Result<(), CallError> {
        match given {
            Given::Value(input) => self.check_input(input),
            Given::Typed => Ok(()),
        }
    }

    fn check_input(&self, input: &Value) -> Result<(), CallError> {
        if let Some(allowed) = self.spec.max_input_bytes {
            let length = json_bytes(input);
            if length > allowed {
                let words = format!("the input has {length} bytes where {allowed} are allowed");
                return Err(CallError::invalid_input("", words));
            }
        }
        self.schemas.as_ref().map_or(Ok(()), |(schema, _)| schema::validate_input(schema, input))
    }

    pub(crate) fn late(&self) -> CallError {
        let error = CallError::new(ErrorCode::Timeout, "the deadline passed");
        if self.spec.idempotent { error.retryable() } else { error }
    }

    pub(crate) fn panicked(&self) -> CallError {
        CallError::internal(format_args!("{} panicked", self.spec.name))
    }

    /// In tests and debug builds an output that does not fit its schema is a bug.
    pub(crate) fn check_output(&self, output: &Value) -> Result<(), CallError> {
        let Some((_, schema)) = self.schemas.as_ref().filter(|_| cfg!(debug_assertions)) else { return Ok(()) };
        schema::validate_input(schema, output)
            .map_err(|error| CallError::internal(format_args!("the output of {}: {error}", self.spec.name)))
    }

    /// An error as its caller may see it: one that is not declared is a bug here.
    pub(crate) fn only_declared(&self, error: CallError) -> CallError {
        match &error.code {
            ErrorCode::Declared(code) if !self.spec.errors.iter().any(|declared| declared.code == *code) => {
                CallError::internal(format_args!("{} does not declare {error}", self.spec.name))
            }
            _ => error,
        }
    }
}

/// Length of a value as compact JSON.
pub(crate) fn json_bytes(value: &Value) -> usize {
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
