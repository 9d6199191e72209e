//! Operations: a specification and the typed function behind it.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use alknet_core::{AccessRule, BoxFuture};
use futures_util::{Stream, StreamExt, future::ready, stream::BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Authority, ByteDirection, CallError, Capabilities, Item, LiveCall, OperationContext, OperationKind, OperationSpec,
    Visibility,
    authority::{Composing, Reachable},
    run::Conclude,
    schema::{input_schema, output_schema},
    spec::{DeclaredError, OperationExample},
};

/// What a handler gives.
pub(crate) enum Produced {
    Output(Value),
    Items(BoxStream<'static, Result<Item, CallError>>),
}

/// A handler that is run.
pub(crate) type Running<T> = BoxFuture<'static, Result<T, CallError>>;

/// The function behind an operation, in JSON.
pub(crate) type Handler = Box<dyn Fn(Arc<OperationContext>, Value) -> Running<Produced> + Send + Sync>;

/// The same in its own types.
pub(crate) struct Typed<In, Out> {
    pub(crate) run: Box<dyn Fn(Arc<OperationContext>, In) -> Running<Out> + Send + Sync>,
    pub(crate) conclude: Conclude<Out, Out>,
}

fn conclude_typed<Out: Serialize>(
    context: &Arc<OperationContext>,
    live: LiveCall,
    outcome: Result<Out, CallError>,
) -> Result<Out, CallError> {
    let checked = match outcome {
        Ok(output) if cfg!(debug_assertions) => serde_json::to_value(&output)
            .map_err(CallError::internal)
            .and_then(|value| context.operation.check_output(&value))
            .map(|()| output),
        other => other,
    };
    context.settle(live, checked, 0)
}

/// The input of an operation that takes nothing: an object without members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An operation: what [`crate::RegistryBuilder::register`] takes.
pub struct Operation {
    pub(crate) spec: OperationSpec,
    pub(crate) handler: Handler,
    pub(crate) typed: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) composing: Composing,
    pub(crate) capabilities: Capabilities,
    /// What was declared and is none of what may be.
    pub(crate) unreadable: Vec<String>,
}

impl Operation {
    /// Begins an operation that reads. `name` is `service/operation`.
    pub fn query(name: impl Into<String>) -> OperationBuilder {
        OperationBuilder::new(name.into(), OperationKind::Query)
    }
    /// Begins an operation that changes something. `name` is `service/operation`.
    pub fn mutation(name: impl Into<String>) -> OperationBuilder {
        OperationBuilder::new(name.into(), OperationKind::Mutation)
    }
    /// Begins an operation that gives items until it ends. `name` is `service/operation`; [`OperationBuilder::items`] ends it.
    pub fn subscription(name: impl Into<String>) -> OperationBuilder {
        OperationBuilder::new(name.into(), OperationKind::Subscription)
    }
    /// What is known about it.
    pub const fn spec(&self) -> &OperationSpec {
        &self.spec
    }
}

/// Says what is to be known about an operation; [`Self::handler`] or [`Self::items`] ends it. Nobody may call it unless
/// [`Self::access`] says who, and it calls no other unless [`Self::reaches`] says which.
pub struct OperationBuilder {
    spec: OperationSpec,
    authority: Authority,
    reachable: Reachable,
    within_caller: bool,
    capabilities: Capabilities,
    unreadable: Vec<String>,
}

impl OperationBuilder {
    fn new(name: String, kind: OperationKind) -> Self {
        Self {
            spec: OperationSpec::new(name, kind),
            authority: Authority::default(),
            reachable: Reachable::default(),
            within_caller: false,
            capabilities: Capabilities::default(),
            unreadable: Vec::new(),
        }
    }
    /// A few words for a person.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.spec.title = title.into();
        self
    }
    /// What it does, for a person.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.spec.description = description.into();
        self
    }
    /// The version of its input and output; 1 unless said.
    pub fn version(mut self, version: u32) -> Self {
        self.spec.version = version;
        self
    }
    /// Who may call it.
    pub fn access(mut self, rule: AccessRule) -> Self {
        self.spec.access = rule;
        self
    }
    /// Hides it from every door.
    pub fn internal(mut self) -> Self {
        self.spec.visibility = Visibility::Internal;
        self
    }
    /// An error that it gives besides the protocol's own; others become `INTERNAL`.
    pub fn error(mut self, code: impl Into<String>, description: impl Into<String>) -> Self {
        self.spec.errors.push(DeclaredError { code: code.into(), description: description.into() });
        self
    }
    /// Says that doing it twice is the same as once. Queries are.
    pub fn idempotent(mut self) -> Self {
        self.spec.idempotent = true;
        self
    }
    /// Says that its items have growing numbers, and that it goes on after [`OperationContext::after_seq`] where that is given.
    pub fn resumable(mut self) -> Self {
        self.spec.resumable = true;
        self
    }
    /// Says that there is something better.
    pub fn deprecated(mut self) -> Self {
        self.spec.deprecated = true;
        self
    }
    /// A word to find it by.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.spec.tags.push(tag.into());
        self
    }
    /// An input with the output that it gives; both are checked at registration.
    pub fn example(mut self, input: Value, output: Value) -> Self {
        self.spec.examples.push(OperationExample { input, output });
        self
    }
    /// How long it may run; 60 s unless said. Of a subscription: how long its next item may take; unbounded unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = Some(timeout);
        self
    }
    /// Longest input, in bytes of compact JSON.
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.spec.max_input_bytes = Some(bytes);
        self
    }
    /// Says that the caller sends bytes: the handler gives a ticket for an upload.
    pub fn byte_input(mut self) -> Self {
        self.spec.bytes = Some(ByteDirection::Input);
        self
    }
    /// Says that the caller gets bytes: the handler gives a ticket for a download.
    pub fn byte_output(mut self) -> Self {
        self.spec.bytes = Some(ByteDirection::Output);
        self
    }
    /// The rights under which it calls others; none unless said.
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = authority;
        self
    }
    /// The operations that it calls: names, or `service/*`.
    pub fn reaches<'a>(mut self, operations: impl IntoIterator<Item = &'a str>) -> Self {
        for pattern in operations {
            if !self.reachable.add(pattern) {
                self.unreadable.push(pattern.to_owned());
            }
        }
        self
    }
    /// Lets it call others only where its caller's own rights suffice as well.
    pub fn within_caller(mut self) -> Self {
        self.within_caller = true;
        self
    }
    /// The name of a credential that it needs; [`OperationContext::capability`] gives it.
    pub fn capability(mut self, name: &str) -> Self {
        if !self.capabilities.declare(name) {
            self.unreadable.push(name.to_owned());
        }
        self
    }
    /// The function behind a query or mutation. Its types give the schemas; it gets only input that fits, after the gate let the
    /// caller through.
    pub fn handler<In, Out, F, Fut>(self, function: F) -> Operation
    where
        In: DeserializeOwned + JsonSchema + Send + 'static,
        Out: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<OperationContext>, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, CallError>> + Send + 'static,
    {
        let function = Arc::new(function);
        let same = function.clone();
        let handler: Handler = Box::new(move |context, input| match read(input) {
            Ok(input) => {
                let running = function(context, input);
                Box::pin(async move {
                    serde_json::to_value(running.await?).map(Produced::Output).map_err(CallError::internal)
                })
            }
            Err(error) => Box::pin(ready(Err(error))),
        });
        let typed = Typed::<In, Out> {
            run: Box::new(move |context, input| Box::pin(same(context, input))),
            conclude: conclude_typed,
        };
        self.end::<In, Out>(handler, Some(Box::new(typed)))
    }
    /// The function behind a subscription: it gives a stream, in which an error is the last item. The stream is polled only
    /// while the subscriber has room, and dropped as soon as the subscription ends.
    pub fn items<In, Out, F, Fut, S>(self, function: F) -> Operation
    where
        In: DeserializeOwned + JsonSchema + Send + 'static,
        Out: Serialize + JsonSchema + 'static,
        F: Fn(Arc<OperationContext>, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, CallError>> + Send + 'static,
        S: Stream<Item = Result<Item<Out>, CallError>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |context, input| match read(input) {
            Ok(input) => {
                let running = function(context, input);
                Box::pin(async move { Ok(Produced::Items(running.await?.map(written).boxed())) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        });
        self.end::<In, Out>(handler, None)
    }

    fn end<In: JsonSchema, Out: JsonSchema>(
        self,
        handler: Handler,
        typed: Option<Box<dyn Any + Send + Sync>>,
    ) -> Operation {
        let Self { mut spec, authority, reachable, within_caller, capabilities, unreadable } = self;
        spec.input = input_schema::<In>();
        spec.output = output_schema::<Out>();
        let composing = Composing::new(authority, reachable, within_caller);
        Operation { spec, handler, typed, composing, capabilities, unreadable }
    }
}

fn read<In: DeserializeOwned>(input: Value) -> Result<In, CallError> {
    // What fits the schema may still not fit the type, as a number out of range.
    serde_json::from_value(input).map_err(|error| CallError::invalid_input("", error.to_string()))
}

fn written<Out: Serialize>(item: Result<Item<Out>, CallError>) -> Result<Item, CallError> {
    let Item { output, seq } = item?;
    Ok(Item { output: serde_json::to_value(output).map_err(CallError::internal)?, seq })
}
