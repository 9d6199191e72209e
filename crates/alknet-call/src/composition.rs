//! Calls from one operation to another of the same node, under the rights of the operation that makes them.

use std::sync::Arc;

use alknet_core::{Acting, Caller, Demand, Effect};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Answer, BelowError, Bond, CallError, ErrorCode, ItemStream, NewCall, OperationContext,
    admission::{Asker, Given},
    operation::Typed,
    registered::{Registered, json_bytes},
    registry::{RawCall, wrong_kind},
    run::{Begun, answer, earliest},
};

/// Makes calls on behalf of a running operation; [`OperationContext::continuing`] gives one.
#[derive(Debug, Clone)]
pub struct Composer {
    context: Arc<OperationContext>,
    bond: Bond,
}

impl OperationContext {
    /// Calls another operation of this node, which must be in this one's reachable set, with this one's own rights. Dropping the
    /// future calls it off. Where the types are the target's own nothing is turned into JSON.
    ///
    /// # Errors
    /// `NOT_FOUND` outside the reachable set, `FORBIDDEN` beyond this operation's rights, `OVERLOADED` when calls nest too deep or
    /// too many run, and what the target answers.
    pub async fn call<In, Out>(self: &Arc<Self>, operation: &str, input: In) -> Result<Out, CallError>
    where
        In: Serialize + Send + 'static,
        Out: DeserializeOwned + Send + 'static,
    {
        self.composer(Bond::Within).call(operation, input).await
    }

    /// As [`Self::call`], in JSON.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_value(self: &Arc<Self>, operation: &str, input: Value) -> Result<Value, CallError> {
        self.composer(Bond::Within).call_value(operation, input).await
    }

    /// Subscribes to another operation of this node, as [`Self::call`] calls one; `after_seq` is the last item that is known already.
    /// Dropping the stream calls it off.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn subscribe(
        self: &Arc<Self>,
        operation: &str,
        input: Value,
        after_seq: Option<u64>,
    ) -> Result<ItemStream, CallError> {
        self.composer(Bond::Within).subscribe(operation, input, after_seq).await
    }

    /// Makes calls that outlive this one: they have their own operation's time, and end with their caller's rights.
    pub fn continuing(self: &Arc<Self>) -> Composer {
        self.composer(Bond::Continuing)
    }

    fn composer(self: &Arc<Self>, bond: Bond) -> Composer {
        Composer { context: self.clone(), bond }
    }

    fn acting(&self) -> &Arc<alknet_core::Identity> {
        self.acting.get_or_init(|| self.operation.composing.acting_for(self.caller.identity.as_deref()))
    }
}

impl Composer {
    /// As [`OperationContext::call`].
    ///
    /// # Errors
    /// As [`OperationContext::call`].
    pub async fn call<In, Out>(&self, operation: &str, input: In) -> Result<Out, CallError>
    where
        In: Serialize + Send + 'static,
        Out: DeserializeOwned + Send + 'static,
    {
        let target = self.target(operation)?;
        if let Some(typed) = target.typed.as_ref().and_then(|typed| typed.downcast_ref::<Typed<In, Out>>()) {
            let given = target.given(&input)?;
            let begun = self.begin(&target, given.as_ref().map_or(Given::Typed, Given::Value), RawCall::default())?;
            return begun.run(|context| (typed.run)(context.clone(), input), typed.conclude).await;
        }
        let input = serde_json::to_value(input).map_err(CallError::internal)?;
        serde_json::from_value(self.value(&target, input).await?).map_err(CallError::internal)
    }

    /// As [`OperationContext::call_value`].
    ///
    /// # Errors
    /// As [`OperationContext::call`].
    pub async fn call_value(&self, operation: &str, input: Value) -> Result<Value, CallError> {
        self.value(&self.target(operation)?, input).await
    }

    /// As [`OperationContext::subscribe`]. A stream that is dropped is called off, also a continuing one.
    ///
    /// # Errors
    /// As [`OperationContext::call`].
    pub async fn subscribe(
        &self,
        operation: &str,
        input: Value,
        after_seq: Option<u64>,
    ) -> Result<ItemStream, CallError> {
        let target = self.target(operation)?;
        let raw = RawCall { after_seq, ..RawCall::default() };
        match self.answer(&target, input, raw, true).await? {
            Answer::Items(items) => Ok(items),
            Answer::Output(_) => Err(wrong_kind()),
        }
    }

    async fn value(&self, target: &Arc<Registered>, input: Value) -> Result<Value, CallError> {
        match self.answer(target, input, RawCall::default(), false).await? {
            Answer::Output(output) => Ok(output),
            Answer::Items(_) => Err(wrong_kind()),
        }
    }

    async fn answer(
        &self,
        target: &Arc<Registered>,
        input: Value,
        raw: RawCall,
        items: bool,
    ) -> Result<Answer, CallError> {
        let raw = RawCall { input_bytes: json_bytes(&input) as u64, wants_items: Some(items), ..raw };
        let begun = self.begin(target, Given::Value(&input), raw)?;
        begun.run(|context| (context.operation.handler)(context.clone(), input), answer).await
    }

    /// The first and third gate: an operation that exists, in the reachable set.
    fn target(&self, operation: &str) -> Result<Arc<Registered>, CallError> {
        let reachable = &self.context.operation.composing.reachable;
        let found = self.context.registry.find(operation).filter(|_| reachable.contains(operation));
        found.cloned().ok_or_else(|| {
            let demand = Demand { action: operation, rule: &Default::default(), resource: None, effect: Effect::Query };
            let authorizer = self.context.registry.authorizer();
            authorizer.refused_acting(&self.context.caller, &self.acting(), &demand).into()
        })
    }

    fn acting(&self) -> Acting<'_> {
        let operation = &self.context.operation;
        Acting {
            identity: self.context.acting(),
            operation: &operation.spec.name,
            within_caller: operation.composing.within_caller,
        }
    }

    /// The second gate and the input; then the call is entered below its caller.
    fn begin(&self, target: &Arc<Registered>, given: Given<'_>, raw: RawCall) -> Result<Begun, CallError> {
        let parent = &self.context;
        let registry = &parent.registry;
        let permit = registry.admit(target, &Asker::Operation(&parent.caller, self.acting()), given)?;
        raw.check_kind(target)?;
        let identity = permit.identity().cloned();
        let call = NewCall {
            operation: target.tally.clone(),
            identity: identity.clone(),
            request_id: String::new(),
            origin: parent.origin.clone(),
            input_bytes: raw.input_bytes,
        };
        let live = registry.graph().begin_below(&parent.node, self.bond, call).map_err(refused)?;
        let own = target.timeout().and_then(|own| live.began().checked_add(own));
        let context = OperationContext {
            request_id: String::new(),
            parent_id: (!parent.request_id.is_empty()).then(|| parent.request_id.clone()),
            caller: Caller { identity, credential: parent.caller.credential.clone(), addr: parent.caller.addr },
            deadline: self.deadline(own),
            permit: Arc::new(permit),
            origin: parent.origin.clone(),
            after_seq: raw.after_seq,
            credit: raw.credit,
            via: parent.via.clone(),
            peer: None,
            registry: registry.clone(),
            operation: target.clone(),
            node: live.node().clone(),
            placement: self.bond.into(),
            abort: None,
            acting: std::sync::OnceLock::new(),
        };
        Ok(Begun { context: Arc::new(context), live })
    }

    fn deadline(&self, own: Option<Instant>) -> Option<Instant> {
        match self.bond {
            Bond::Within => earliest(self.context.deadline, own),
            Bond::Continuing => own,
        }
    }
}

fn refused(error: BelowError) -> CallError {
    match error {
        BelowError::Over => CallError::new(ErrorCode::Aborted, error.to_string()),
        BelowError::TooDeep | BelowError::TooMany => CallError::overloaded(error.to_string()),
    }
}
