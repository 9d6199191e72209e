//! `services/list` and `services/schema`: what the caller may call.

use std::sync::{Arc, OnceLock};

use alknet_core::AccessRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CallError, Operation, OperationContext, OperationSpec, Registry,
    limits::{DEFAULT_LIST_PAGE, MAX_LIST_PAGE, MAX_SCHEMAS_ASKED},
    registry::RegistryHandle,
};

/// The registry that the two operations describe, known once it is finished.
#[derive(Clone, Default)]
pub(crate) struct Catalogue(Arc<OnceLock<RegistryHandle>>);

impl Catalogue {
    /// Says which registry it is; a second time changes nothing.
    pub(crate) fn show(&self, registry: &Arc<Registry>) {
        let _ = self.0.set(Arc::downgrade(registry));
    }
    fn registry(&self) -> Result<Arc<Registry>, CallError> {
        self.0.get().and_then(RegistryHandle::upgrade).ok_or_else(|| CallError::unavailable("the node is stopping"))
    }
}

/// What `services/list` takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListInput {
    /// Where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Entries on a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_LIST_PAGE))]
    pub limit: Option<u32>,
}

/// One page of operations.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListOutput {
    /// Changes whenever anything changes that this caller may call.
    pub revision: String,
    /// The operations, by name.
    pub operations: Vec<ListedOperation>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An operation in a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedOperation {
    /// `service/operation`.
    pub name: String,
    /// A few words.
    pub title: String,
    /// `query`, `mutation` or `subscription`.
    pub kind: String,
    /// The version of its input and output.
    pub version: u32,
    /// Whether there is something better.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

impl From<&OperationSpec> for ListedOperation {
    fn from(spec: &OperationSpec) -> Self {
        Self {
            name: spec.name.clone(),
            title: spec.title.clone(),
            kind: spec.kind.as_str().to_owned(),
            version: spec.version,
            deprecated: spec.deprecated,
        }
    }
}

/// What `services/schema` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaInput {
    /// The operations asked about.
    #[schemars(length(min = 1, max = MAX_SCHEMAS_ASKED))]
    pub names: Vec<String>,
}

/// What is known about some operations.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaOutput {
    /// Their specifications, in the order asked.
    pub operations: Vec<OperationSpec>,
    /// Those that do not exist for this caller.
    pub missing: Vec<String>,
}

/// The two operations.
pub(crate) fn operations(catalogue: &Catalogue) -> [Operation; 2] {
    let (listed, shown) = (catalogue.clone(), catalogue.clone());
    let list = Operation::query("services/list")
        .title("List operations")
        .description("The operations that the caller may call, by name, a page at a time.")
        .access(AccessRule::public())
        .handler(move |context, input| {
            let catalogue = listed.clone();
            async move { Ok(list(&*catalogue.registry()?, &context, &input)) }
        });
    let schema = Operation::query("services/schema")
        .title("Describe operations")
        .description("Input, output, errors and access rule of one or more operations that the caller may call.")
        .access(AccessRule::public())
        .handler(move |context, input| {
            let catalogue = shown.clone();
            async move { Ok(describe(&*catalogue.registry()?, &context, input)) }
        });
    [list, schema]
}

fn list(registry: &Registry, context: &OperationContext, input: &ListInput) -> ListOutput {
    let limit = input.limit.unwrap_or(DEFAULT_LIST_PAGE) as usize;
    let mut digest = blake3::Hasher::new();
    let mut operations = Vec::new();
    let mut more = false;
    let identity = context.caller.identity.as_deref();
    let elsewhere = registry.routes().visible_to(identity);
    let elsewhere = elsewhere.iter().map(|operation| (&operation.spec, &operation.digest));
    let mut visible: Vec<_> = registry.visible_to(identity).chain(elsewhere).collect();
    visible.sort_unstable_by_key(|(spec, _)| &spec.name);
    for (spec, spec_digest) in visible {
        digest.update(spec_digest);
        if input.cursor.as_ref().is_some_and(|cursor| spec.name <= *cursor) {
            continue;
        }
        if operations.len() < limit {
            operations.push(ListedOperation::from(spec));
        } else {
            more = true;
        }
    }
    let next = operations.last().filter(|_| more).map(|last| last.name.clone());
    ListOutput { revision: digest.finalize().to_hex()[..16].to_owned(), operations, next }
}

fn describe(registry: &Registry, context: &OperationContext, input: SchemaInput) -> SchemaOutput {
    let mut output = SchemaOutput { operations: Vec::new(), missing: Vec::new() };
    for name in input.names {
        let identity = context.caller.identity.as_deref();
        let here = registry.visible(&name, identity).cloned();
        match here.or_else(|| registry.routes().visible(&name, identity).map(|found| found.spec.clone())) {
            Some(spec) => output.operations.push(spec),
            None => output.missing.push(name),
        }
    }
    output
}
