//! `services/list`, `services/schema`, `services/watch`, `services/peers`: what the caller may call, and where.

use std::sync::{Arc, OnceLock};

use alknet_core::{AccessRule, Identity, Scope};
use futures_util::stream::{self, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CallError, Item, Nothing, Operation, OperationContext, OperationSpec, Registry,
    limits::{DEFAULT_LIST_PAGE, MAX_LIST_PAGE, MAX_SCHEMAS_ASKED},
    registered::Registered,
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

/// What the caller may call, at one moment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// As `services/list` gives it.
    pub revision: String,
}

/// The nodes whose operations the caller may reach through this one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReachablePeers {
    /// By name.
    pub peers: Vec<ReachablePeer>,
}

/// A node whose operations can be called as `name/service/operation`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReachablePeer {
    /// Its peer name here.
    pub name: String,
    /// Whether it is there now.
    pub connected: bool,
    /// How many of its operations the caller may call.
    pub operations: usize,
}

/// The operations that describe the registry.
pub(crate) fn operations(catalogue: &Catalogue) -> [Operation; 4] {
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
    [list, schema, watch(catalogue.clone()), peers(catalogue.clone())]
}

fn watch(catalogue: Catalogue) -> Operation {
    Operation::subscription("services/watch")
        .title("Watch what can be called")
        .description("The revision of what the caller may call: now, and whenever it changes.")
        .access(AccessRule::public())
        .items(move |context, _: Nothing| {
            let registry = catalogue.registry();
            async move { Ok(revisions(&registry?, context)) }
        })
}

fn peers(catalogue: Catalogue) -> Operation {
    Operation::query("services/peers")
        .title("List nodes that offer operations here")
        .description("The workers whose operations the caller may reach, and whether they are there.")
        .access(AccessRule::public())
        .handler(move |context, _: Nothing| {
            let registry = catalogue.registry();
            async move { Ok(reachable(&*registry?, context.caller.identity.as_deref())) }
        })
}

/// The revision now, then each other one that a worker's coming or going leads to.
fn revisions(
    registry: &Arc<Registry>,
    context: Arc<OperationContext>,
) -> impl Stream<Item = Result<Item<Revision>, CallError>> + Send + use<> {
    let (registry, changes) = (Arc::downgrade(registry), registry.routes().watch());
    let begin = (registry, changes, context, String::new());
    stream::try_unfold(begin, |(registry, mut changes, context, last)| async move {
        loop {
            changes.mark_unchanged();
            // Not held while waiting: a registry that is let go ends the subscription.
            let Some(now) = registry.upgrade() else { return Ok(None) };
            let revision = revision(&visible(&now, context.caller.identity.as_deref()));
            drop(now);
            if revision != last {
                let item = Item::new(Revision { revision: revision.clone() });
                return Ok(Some((item, (registry, changes, context, revision))));
            }
            if changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    })
}

fn reachable(registry: &Registry, identity: Option<&Identity>) -> ReachablePeers {
    let callable = registry.routes().visible_to(identity);
    let may_reach = |name: &str| {
        let scope = format!("remote:{name}").parse::<Scope>();
        scope.is_ok_and(|scope| identity.is_some_and(|identity| identity.holds(&scope)))
    };
    let workers = registry.routes().workers().into_iter().filter(|worker| may_reach(&worker.name));
    let peers = workers.map(|worker| {
        let of_it = |name: &str| name.split_once('/').is_some_and(|(node, _)| node == worker.name);
        let operations = callable.iter().filter(|operation| of_it(&operation.spec.name)).count();
        ReachablePeer { connected: worker.connected, operations, name: worker.name }
    });
    ReachablePeers { peers: peers.collect() }
}

/// What `identity` may call here and at workers, by name.
fn visible(registry: &Registry, identity: Option<&Identity>) -> Vec<Arc<Registered>> {
    let elsewhere = registry.routes().visible_to(identity);
    let mut visible: Vec<_> = registry.visible_to(identity).cloned().chain(elsewhere).collect();
    visible.sort_unstable_by(|one, other| one.spec.name.cmp(&other.spec.name));
    visible
}

fn revision(visible: &[Arc<Registered>]) -> String {
    let mut digest = blake3::Hasher::new();
    for operation in visible {
        digest.update(&operation.digest);
    }
    digest.finalize().to_hex()[..16].to_owned()
}

fn list(registry: &Registry, context: &OperationContext, input: &ListInput) -> ListOutput {
    let limit = input.limit.unwrap_or(DEFAULT_LIST_PAGE) as usize;
    let visible = visible(registry, context.caller.identity.as_deref());
    let revision = revision(&visible);
    let after = |name: &str| input.cursor.as_deref().is_none_or(|cursor| name > cursor);
    let mut rest = visible.iter().map(|operation| &operation.spec).filter(|spec| after(&spec.name));
    let operations: Vec<_> = rest.by_ref().take(limit).map(ListedOperation::from).collect();
    let next = rest.next().and(operations.last()).map(|last| last.name.clone());
    ListOutput { revision, operations, next }
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
