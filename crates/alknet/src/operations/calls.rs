//! `calls/*`: the calls that run at this node, and those that ran lately. Never their inputs, outputs or credentials.

use std::{sync::Arc, time::Duration};

use alknet_call::{
    CallChange, CallError, CallFilter, CallGraph, CallNumber, CallStatus, CallTree, CallView, ErrorCode, Item,
    Operation, OperationStats, RegisterError, RegistryBuilder, Watched,
};
use alknet_store::{KeptCall, KeptCallError, NewKeptCall};
use futures_util::stream::{self, Stream, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, not_stored, scoped};

/// Most calls in one answer.
const MAX_LISTED: u32 = 1000;

/// Input of `calls/list`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ListCalls {
    /// Only calls that stand so; absent for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<CallStatus>,
    /// Only those of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Only operations whose name begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_prefix: Option<String>,
    /// Only those that began in the last so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// Only those that began before this one: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CallNumber>,
    /// At most so many.
    #[serde(default = "super::default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

/// Output of `calls/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Calls {
    /// The calls, youngest first.
    pub calls: Vec<CallView>,
}

/// Names a call.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NumberedCall {
    /// Its number at this node.
    pub number: CallNumber,
}

/// Input of `calls/watch`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct WatchCalls {
    /// Only calls of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Only operations whose name begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_prefix: Option<String>,
}

/// An item of `calls/watch`: first the calls that run, then each step of a call.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallStep {
    /// A call, as it stands after the step.
    Call(CallView),
    /// So many steps came too fast to be told, and are not told.
    Missed(u64),
}

/// Output of `calls/abort`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CalledOff {
    /// How many calls were called off: the call and those below it that had not ended.
    pub called_off: usize,
}

/// Output of `calls/stats`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CallStats {
    /// How many calls run now.
    pub live: usize,
    /// What each operation's calls came to, by name.
    pub operations: Vec<OperationStats>,
}

/// Output of `calls/keep`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Under which id the tree is kept.
    pub id: u64,
}

/// Input of `calls/kept`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListKept {
    /// Only this one, with its tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Only those with a smaller id: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// Output of `calls/kept`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptCalls {
    /// What is kept, the newest first.
    pub kept: Vec<KeptView>,
}

/// A tree that is kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptView {
    /// Its id.
    pub id: u64,
    /// The operation at its root.
    pub operation: String,
    /// Under whose rights that ran; absent for a stranger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// When it was kept, in seconds since 1970.
    pub kept_at: u64,
    /// The tree, where one was asked for by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<CallTree>,
}

/// Registers `calls/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let graph = registry.graph().clone();
    looking(registry, &graph)?;
    let calls = graph.clone();
    registry.register(
        Operation::mutation("calls/abort")
            .title("Call a call off")
            .description("Calls off a call that runs, with everything below it, continuing calls too.")
            .access(scoped("calls:abort"))
            .handler(move |_, input: NumberedCall| {
                let called_off = calls.abort(input.number).ok_or_else(|| unknown(input.number));
                async move { called_off.map(|called_off| CalledOff { called_off }) }
            }),
    )?;
    keeping(registry, foundation, graph)
}

/// The operations that only look.
fn looking(registry: &mut RegistryBuilder, graph: &CallGraph) -> Result<(), RegisterError> {
    let calls = graph.clone();
    registry.register(
        Operation::query("calls/list")
            .title("List calls that run, and that ran lately")
            .access(scoped("calls:read"))
            .handler(move |_, input: ListCalls| {
                let calls = calls.list(&input.filter(), input.limit as usize);
                async move { Ok(Calls { calls }) }
            }),
    )?;
    let calls = graph.clone();
    registry.register(
        Operation::query("calls/show")
            .title("Show a call with everything below it")
            .access(scoped("calls:read"))
            .handler(move |_, input: NumberedCall| {
                let tree = calls.show(input.number).ok_or_else(|| unknown(input.number));
                async move { tree }
            }),
    )?;
    let calls = graph.clone();
    registry.register(
        Operation::subscription("calls/watch")
            .title("Watch calls begin, run and end")
            .description("Gives the calls that run, oldest first, then each step of a call as it happens.")
            .access(scoped("calls:read"))
            .items(move |_, input: WatchCalls| {
                let steps = steps(&calls, input);
                async move { Ok(steps) }
            }),
    )?;
    let calls = graph.clone();
    registry.register(
        Operation::query("calls/stats")
            .title("Say what the calls of each operation came to")
            .description("Counts, times and sizes since the node started.")
            .access(scoped("calls:read"))
            .handler(move |_, _: alknet_call::Nothing| {
                let stats = CallStats { live: calls.live(), operations: calls.stats() };
                async move { Ok(stats) }
            }),
    )?;
    Ok(())
}

/// The operations on trees that are kept.
fn keeping(registry: &mut RegistryBuilder, foundation: &Foundation, calls: CallGraph) -> Result<(), RegisterError> {
    let store = foundation.store.clone();
    registry.register(
        Operation::mutation("calls/keep")
            .title("Keep a call with everything below it")
            .description("Writes down what calls/show gives now; the oldest that are kept make room.")
            .access(scoped("calls:write"))
            .handler(move |context, input: NumberedCall| {
                let (store, tree) = (store.clone(), calls.show(input.number).ok_or_else(|| unknown(input.number)));
                async move {
                    let tree = tree?;
                    let (operation, identity) = (tree.call.operation.clone(), tree.call.identity.clone());
                    let tree = serde_json::to_string(&tree).map_err(CallError::internal)?;
                    let new = NewKeptCall { operation, identity, tree };
                    let id = store.kept_calls().keep(&context.permit, new).await.map_err(|error| refusal(&error))?;
                    Ok(Kept { id })
                }
            }),
    )?;
    let store = foundation.store.clone();
    registry.register(
        Operation::query("calls/kept").title("Show calls that were kept").access(scoped("calls:read")).handler(
            move |context, input: ListKept| {
                let kept = store.kept_calls();
                async move {
                    let Some(id) = input.id else {
                        let found = kept.list(&context.permit, super::default_limit() as usize, input.before).await;
                        let found = found.map_err(|error| refusal(&error))?;
                        return Ok(KeptCalls { kept: found.into_iter().map(|row| view(row, None)).collect() });
                    };
                    let (row, tree) = kept.show(&context.permit, id).await.map_err(|error| refusal(&error))?;
                    let tree = serde_json::from_str(&tree).map_err(CallError::internal)?;
                    Ok(KeptCalls { kept: vec![view(row, Some(tree))] })
                }
            },
        ),
    )?;
    Ok(())
}

impl ListCalls {
    fn filter(&self) -> CallFilter {
        CallFilter {
            statuses: self.statuses.clone(),
            identity: self.identity.clone(),
            operation_prefix: self.operation_prefix.clone(),
            within: self.within_s.map(Duration::from_secs),
            before: self.before,
        }
    }
}

impl WatchCalls {
    fn admits(&self, change: &CallChange) -> bool {
        let node = change.node();
        let identity = || node.identity().map(|identity| identity.id());
        self.identity.as_deref().is_none_or(|wanted| identity() == Some(wanted))
            && self.operation_prefix.as_deref().is_none_or(|prefix| node.operation().starts_with(prefix))
    }
}

/// What is watched from now on; the calls that run come first, so that a step of one may be told twice but never missed.
fn steps(calls: &CallGraph, input: WatchCalls) -> impl Stream<Item = Result<Item<CallStep>, CallError>> + Send + use<> {
    let watch = calls.watch();
    let filter = CallFilter {
        statuses: vec![CallStatus::Pending, CallStatus::Running],
        identity: input.identity.clone(),
        operation_prefix: input.operation_prefix.clone(),
        ..CallFilter::default()
    };
    let mut running = calls.list(&filter, usize::MAX);
    running.reverse();
    let input = Arc::new(input);
    let changes = stream::unfold(watch, |mut watch| async move { watch.next().await.map(|seen| (seen, watch)) });
    let changes = changes.filter_map(move |seen| {
        let input = input.clone();
        async move {
            match seen {
                Watched::Changed(change) => input.admits(&change).then(|| CallStep::Call(change.view())),
                Watched::Missed(steps) => Some(CallStep::Missed(steps)),
            }
        }
    });
    stream::iter(running.into_iter().map(CallStep::Call)).chain(changes).map(|step| Ok(Item::new(step)))
}

fn view(row: KeptCall, tree: Option<CallTree>) -> KeptView {
    let KeptCall { id, operation, identity, kept_by, kept_at, .. } = row;
    KeptView { id, operation, identity, kept_by, kept_at, tree }
}

fn unknown(number: CallNumber) -> CallError {
    CallError::not_found(format!("no call {number} runs or ended lately"))
}

fn refusal(error: &KeptCallError) -> CallError {
    match error {
        KeptCallError::Unknown(_) => CallError::not_found(error.to_string()),
        KeptCallError::TooLarge { .. } => CallError::invalid_input("/number", error.to_string()),
        KeptCallError::Permit(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        KeptCallError::Store(cause) => not_stored(cause),
    }
}
