//! Calling an operation in its own types, in process: neither input nor output becomes JSON.

use std::{marker::PhantomData, sync::Arc};

use alknet_core::Caller;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    CallError, Registry,
    admission::{Asker, Given},
    operation::Typed,
    registered::Registered,
    registry::RawCall,
};

/// An operation that takes `In` and gives `Out`; [`Registry::typed`] finds one.
pub struct TypedOperation<In, Out> {
    registry: Arc<Registry>,
    operation: Arc<Registered>,
    types: PhantomData<fn(In) -> Out>,
}

impl<In, Out> TypedOperation<In, Out>
where
    In: Serialize + Send + 'static,
    Out: DeserializeOwned + Send + 'static,
{
    pub(crate) const fn new(registry: Arc<Registry>, operation: Arc<Registered>) -> Self {
        Self { registry, operation, types: PhantomData }
    }

    /// Calls it as `caller`, through the same gate as everybody. Dropping the future calls it off.
    ///
    /// # Errors
    /// As [`Registry::invoke`].
    pub async fn call(&self, caller: &Caller, input: In) -> Result<Out, CallError> {
        let given = self.operation.given(&input)?;
        let given = given.as_ref().map_or(Given::Typed, Given::Value);
        let permit = self.registry.admit(&self.operation, &Asker::Caller(caller), given)?;
        let typed = self.operation.typed.as_ref().and_then(|typed| typed.downcast_ref::<Typed<In, Out>>());
        let typed = typed.expect("because `Registry::typed` looked at its types");
        let begun = self.registry.enter(&self.operation, caller.clone(), permit, RawCall::default());
        begun.run(|context| (typed.run)(context.clone(), input), typed.conclude).await
    }
}
