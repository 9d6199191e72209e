//! The specification of an operation as another node tells it: hostile until checked (`docs/spec/call.md`, 13).

mod effort;
mod pattern;
mod schema;

use std::{collections::BTreeMap, sync::Arc};

use alknet_core::{AccessRule, ResourceDemand, Scope};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    CallError, ErrorCode, OperationKind, OperationSpec, Visibility,
    limits::{
        MAX_INLINE_STEPS, MAX_REMOTE_EXAMPLES, MAX_REMOTE_LIST, MAX_REMOTE_OFFER_BYTES, MAX_REMOTE_OPERATIONS,
        MAX_REMOTE_SPEC_BYTES, MAX_REMOTE_TEXT_BYTES, MAX_REMOTE_TIMEOUT, MAX_REMOTE_TITLE_BYTES,
    },
    registered::json_bytes,
    schema::requires_text_at,
    spec::is_operation_name,
};
use schema::RemoteSchema;
use schema::SchemaDefect;

/// What is wrong with the specification of another node's operation, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}{}{cause}", .pointer.escape_debug(), if .pointer.is_empty() { "" } else { ": " })]
pub struct SpecDefect {
    pointer: String,
    cause: SpecCause,
}

impl SpecDefect {
    /// Where, from the specification's own root (RFC 6901).
    pub fn pointer(&self) -> &str {
        &self.pointer
    }
}

#[derive(Debug, thiserror::Error)]
enum SpecCause {
    #[error("{0} bytes are more than {MAX_REMOTE_SPEC_BYTES}")]
    TooLong(usize),
    #[error("it is no specification: {0}")]
    Form(String),
    #[error("this is no operation name: it is written service/operation")]
    Name,
    #[error("two operations have this name")]
    Duplicate,
    #[error("this is longer than {0} bytes")]
    Text(usize),
    #[error("there are more than {0}")]
    Many(usize),
    #[error("this is no error code, or one of the protocol's own")]
    Code,
    #[error("an operation runs at most {} s, and at least 1 ms", MAX_REMOTE_TIMEOUT.as_secs())]
    Timeout,
    #[error("bytes beside the output do not pass through a head")]
    Bytes,
    #[error("not every input has a text there")]
    Pointer,
    #[error("an operation is resumable where it is a subscription")]
    Resumable,
    #[error("{0}")]
    Schema(#[from] SchemaDefect),
    #[error("this example does not fit: {0}")]
    Example(Box<CallError>),
}

/// Who may, as a worker says it: `public` is not read, so it is never so.
#[derive(Default, Deserialize)]
struct SaidAccess {
    #[serde(default)]
    scopes: Vec<Scope>,
    #[serde(default)]
    any_scopes: Vec<Scope>,
    #[serde(default)]
    resource: Option<ResourceDemand>,
}

/// An operation of another node, as far as its specification goes: checked, narrowed, ready to check inputs.
pub struct RemoteOperation {
    spec: OperationSpec,
    local_name: String,
    input: RemoteSchema,
}

impl RemoteOperation {
    /// Checks one specification that the peer `worker` said. Nothing is fetched; time and memory are bounded by its length.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(worker: &str, said: &Value) -> Result<Self, SpecDefect> {
        let at = |pointer: &str, cause: SpecCause| SpecDefect { pointer: pointer.to_owned(), cause };
        let length = json_bytes(said);
        if length > MAX_REMOTE_SPEC_BYTES {
            return Err(at("", SpecCause::TooLong(length)));
        }
        let form = |error: serde_json::Error| SpecCause::Form(error.to_string());
        if !said.is_object() {
            return Err(at("", SpecCause::Form("it is no object".to_owned())));
        }
        let mut spec = OperationSpec::deserialize(said).map_err(|error| at("", form(error)))?;
        let access = said.get("access").filter(|access| !access.is_null());
        let access = access.map_or_else(|| Ok(SaidAccess::default()), SaidAccess::deserialize);
        let access = access.map_err(|error| at("/access", form(error)))?;
        check_words(&spec)?;
        let remote: Scope = format!("remote:{worker}").parse().map_err(|_| at("/name", SpecCause::Name))?;
        let resource = access.resource.clone();
        spec.access = narrowed(remote, access)?;
        spec.visibility = Visibility::External;
        let compile =
            |pointer: &str, schema: &Value| RemoteSchema::compile(schema).map_err(|defect| at(pointer, defect.into()));
        let (input, output) = (compile("/input", &spec.input)?, compile("/output", &spec.output)?);
        if let Some(demand) = resource
            && !requires_text_at(&spec.input, &demand.id_pointer)
        {
            return Err(at("/access/resource/id_pointer", SpecCause::Pointer));
        }
        for (nth, example) in spec.examples.iter().enumerate() {
            let fits = |schema: &RemoteSchema, value| schema.check(value, schema.steps(value)?);
            fits(&input, &example.input)
                .and_then(|()| fits(&output, &example.output))
                .map_err(|error| at(&format!("/examples/{nth}"), SpecCause::Example(Box::new(error))))?;
        }
        let local_name = std::mem::take(&mut spec.name);
        spec.name = format!("{worker}/{local_name}");
        Ok(Self { spec, local_name, input })
    }

    /// Its specification here: three segments, and `remote:<worker>` among the scopes.
    pub const fn spec(&self) -> &OperationSpec {
        &self.spec
    }

    /// `service/operation`, as the node that has it calls it.
    pub fn local_name(&self) -> &str {
        &self.local_name
    }

    /// Fails with `INVALID_INPUT` unless the input is what its node says that it takes; in bounded time, whatever that says.
    pub fn check(&self, input: &Value) -> Result<(), CallError> {
        self.bound(input).and_then(|steps| self.input.check(input, steps))
    }

    fn bound(&self, input: &Value) -> Result<u64, CallError> {
        if let Some(allowed) = self.spec.max_input_bytes {
            let length = json_bytes(input);
            if length > allowed {
                let words = format!("the input has {length} bytes where {allowed} are allowed");
                return Err(CallError::invalid_input("", words));
            }
        }
        self.input.steps(input)
    }

    /// As [`Self::check`]; a long check leaves the runtime's own threads.
    pub(crate) async fn check_input(self: &Arc<Self>, input: Value) -> Result<Value, CallError> {
        let steps = self.bound(&input)?;
        if steps <= MAX_INLINE_STEPS {
            return self.input.check(&input, steps).map(|()| input);
        }
        let operation = self.clone();
        let checked = tokio::task::spawn_blocking(move || operation.input.check(&input, steps).map(|()| input));
        checked.await.map_err(CallError::internal)?
    }
}

/// Checks everything that `worker` offers; one bad specification refuses all of it.
///
/// # Errors
/// `INVALID_INPUT` with a pointer into `operations`.
pub(crate) fn read_offer(worker: &str, said: &[Value]) -> Result<BTreeMap<String, Arc<RemoteOperation>>, CallError> {
    let refuse = |pointer: &str, words: String| CallError::invalid_input(&format!("/operations{pointer}"), words);
    if said.is_empty() || said.len() > MAX_REMOTE_OPERATIONS {
        return Err(refuse("", format!("an offer has 1 to {MAX_REMOTE_OPERATIONS} operations, not {}", said.len())));
    }
    let length: usize = said.iter().map(json_bytes).sum();
    if length > MAX_REMOTE_OFFER_BYTES {
        return Err(refuse("", format!("{length} bytes are more than {MAX_REMOTE_OFFER_BYTES}")));
    }
    let mut operations = BTreeMap::new();
    for (nth, said) in said.iter().enumerate() {
        let defect = |SpecDefect { pointer, cause }| refuse(&format!("/{nth}{pointer}"), cause.to_string());
        let operation = RemoteOperation::read(worker, said).map_err(defect)?;
        let name = operation.local_name.clone();
        if operations.insert(name, Arc::new(operation)).is_some() {
            return Err(refuse(&format!("/{nth}/name"), SpecCause::Duplicate.to_string()));
        }
    }
    Ok(operations)
}

/// Names, texts, lists and numbers.
fn check_words(spec: &OperationSpec) -> Result<(), SpecDefect> {
    let at = |pointer: String, cause: SpecCause| Err(SpecDefect { pointer, cause });
    if !is_operation_name(&spec.name) {
        return at("/name".into(), SpecCause::Name);
    }
    let lists = [("errors", spec.errors.len()), ("tags", spec.tags.len())];
    for (list, length) in lists {
        if length > MAX_REMOTE_LIST {
            return at(format!("/{list}"), SpecCause::Many(MAX_REMOTE_LIST));
        }
    }
    if spec.examples.len() > MAX_REMOTE_EXAMPLES {
        return at("/examples".into(), SpecCause::Many(MAX_REMOTE_EXAMPLES));
    }
    let texts =
        [("title", &spec.title, MAX_REMOTE_TITLE_BYTES), ("description", &spec.description, MAX_REMOTE_TEXT_BYTES)];
    for (member, text, most) in texts {
        if text.len() > most {
            return at(format!("/{member}"), SpecCause::Text(most));
        }
    }
    for (nth, error) in spec.errors.iter().enumerate() {
        if !matches!(ErrorCode::from_wire(&error.code), ErrorCode::Declared(_)) {
            return at(format!("/errors/{nth}/code"), SpecCause::Code);
        }
        if error.description.len() > MAX_REMOTE_TITLE_BYTES {
            return at(format!("/errors/{nth}/description"), SpecCause::Text(MAX_REMOTE_TITLE_BYTES));
        }
    }
    if let Some(nth) = spec.tags.iter().position(|tag| tag.len() > MAX_REMOTE_TITLE_BYTES) {
        return at(format!("/tags/{nth}"), SpecCause::Text(MAX_REMOTE_TITLE_BYTES));
    }
    if spec.timeout.is_some_and(|timeout| timeout > MAX_REMOTE_TIMEOUT || timeout.is_zero()) {
        return at("/timeout_ms".into(), SpecCause::Timeout);
    }
    if spec.bytes.is_some() {
        return at("/bytes".into(), SpecCause::Bytes);
    }
    if spec.resumable && spec.kind != OperationKind::Subscription {
        return at("/resumable".into(), SpecCause::Resumable);
    }
    Ok(())
}

/// What the specification asks, and `remote:<worker>` besides.
fn narrowed(remote: Scope, said: SaidAccess) -> Result<AccessRule, SpecDefect> {
    for (list, length) in [("scopes", said.scopes.len()), ("any_scopes", said.any_scopes.len())] {
        if length > MAX_REMOTE_LIST {
            let cause = SpecCause::Many(MAX_REMOTE_LIST);
            return Err(SpecDefect { pointer: format!("/access/{list}"), cause });
        }
    }
    let rule = AccessRule::scoped(said.scopes.into_iter().chain([remote])).any_of(said.any_scopes);
    Ok(said.resource.into_iter().fold(rule, AccessRule::on))
}
