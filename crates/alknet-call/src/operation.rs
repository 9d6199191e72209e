//! Operations: a specification and the typed function behind it.

use std::{future::Future, sync::Arc, time::Duration};

use alknet_core::{AccessRule, BoxFuture, OperationContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    ByteDirection, CallError, OperationKind, OperationSpec, Visibility,
    schema::{input_schema, output_schema},
    spec::{DeclaredError, OperationExample},
};

/// The untyped function behind an operation.
pub(crate) type Handler =
    Box<dyn Fn(Arc<OperationContext>, Value) -> BoxFuture<'static, Result<Value, CallError>> + Send + Sync>;

/// The input of an operation that takes nothing: an object without members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An operation: what [`crate::RegistryBuilder::register`] takes.
pub struct Operation {
    pub(crate) spec: OperationSpec,
    pub(crate) handler: Handler,
}

impl Operation {
    /// Begins an operation that reads. `name` is `service/operation`.
    pub fn query(name: impl Into<String>) -> OperationBuilder {
        OperationBuilder(OperationSpec::new(name.into(), OperationKind::Query))
    }
    /// Begins an operation that changes something. `name` is `service/operation`.
    pub fn mutation(name: impl Into<String>) -> OperationBuilder {
        OperationBuilder(OperationSpec::new(name.into(), OperationKind::Mutation))
    }
    /// What is known about it.
    pub const fn spec(&self) -> &OperationSpec {
        &self.spec
    }
}

/// Says what is to be known about an operation; [`Self::handler`] ends it. Nobody may call it unless [`Self::access`] says who.
pub struct OperationBuilder(OperationSpec);

impl OperationBuilder {
    /// A few words for a person.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.0.title = title.into();
        self
    }
    /// What it does, for a person.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }
    /// The version of its input and output; 1 unless said.
    pub fn version(mut self, version: u32) -> Self {
        self.0.version = version;
        self
    }
    /// Who may call it.
    pub fn access(mut self, rule: AccessRule) -> Self {
        self.0.access = rule;
        self
    }
    /// Hides it from every door.
    pub fn internal(mut self) -> Self {
        self.0.visibility = Visibility::Internal;
        self
    }
    /// An error that it gives besides the protocol's own; others become `INTERNAL`.
    pub fn error(mut self, code: &'static str, description: &'static str) -> Self {
        self.0.errors.push(DeclaredError { code, description });
        self
    }
    /// Says that doing it twice is the same as once. Queries are.
    pub fn idempotent(mut self) -> Self {
        self.0.idempotent = true;
        self
    }
    /// Says that there is something better.
    pub fn deprecated(mut self) -> Self {
        self.0.deprecated = true;
        self
    }
    /// A word to find it by.
    pub fn tag(mut self, tag: &'static str) -> Self {
        self.0.tags.push(tag);
        self
    }
    /// An input with the output that it gives; both are checked at registration.
    pub fn example(mut self, input: Value, output: Value) -> Self {
        self.0.examples.push(OperationExample { input, output });
        self
    }
    /// How long it may run; 60 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }
    /// Longest input, in bytes of compact JSON.
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.0.max_input_bytes = Some(bytes);
        self
    }
    /// Says that the caller sends bytes: the handler gives a ticket for an upload.
    pub fn byte_input(mut self) -> Self {
        self.0.bytes = Some(ByteDirection::Input);
        self
    }
    /// Says that the caller gets bytes: the handler gives a ticket for a download.
    pub fn byte_output(mut self) -> Self {
        self.0.bytes = Some(ByteDirection::Output);
        self
    }
    /// The function behind it. Its types give the schemas; it gets only input that fits, after the gate let the caller through.
    pub fn handler<In, Out, F, Fut>(self, function: F) -> Operation
    where
        In: DeserializeOwned + JsonSchema + Send + 'static,
        Out: Serialize + JsonSchema + 'static,
        F: Fn(Arc<OperationContext>, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, CallError>> + Send + 'static,
    {
        let mut spec = self.0;
        spec.input = input_schema::<In>();
        spec.output = output_schema::<Out>();
        let handler: Handler = Box::new(move |context, input| match serde_json::from_value(input) {
            Ok(input) => {
                let running = function(context, input);
                Box::pin(async move { serde_json::to_value(running.await?).map_err(CallError::internal) })
            }
            // Beyond what the schema says, as a number out of range.
            Err(error) => Box::pin(std::future::ready(Err(CallError::invalid_input("", error.to_string())))),
        });
        Operation { spec, handler }
    }
}
