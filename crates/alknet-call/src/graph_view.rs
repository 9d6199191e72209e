//! The call graph as it is shown: never inputs, outputs or credentials.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ending::Ending,
    graph_node::{CallNode, CallNumber},
};

/// How a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallStatus {
    /// Let through; its work has not begun.
    Pending,
    /// At work.
    Running,
    /// It gave its output.
    Completed,
    /// It gave an error, or ran out of time.
    Failed,
    /// It was called off, or lost its rights.
    Aborted,
}

impl CallStatus {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
    /// Whether the call is over.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// Its number at this node.
    pub number: CallNumber,
    /// The number of the call that it was composed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CallNumber>,
    /// The request's id, as its caller chose it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The operation.
    pub operation: String,
    /// Under whose rights it runs; absent for a stranger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who asked, as a head says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How it stands.
    pub status: CallStatus,
    /// `timeout` or `revoked`, where that is why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took, or has been running, in microseconds.
    pub took_us: u64,
    /// Size of its input, in bytes of JSON.
    pub input_bytes: u64,
    /// Size of its output, in bytes of JSON.
    pub output_bytes: u64,
}

impl CallView {
    pub(crate) fn of(node: &CallNode) -> Self {
        let took = node.took();
        let age = node.began().elapsed();
        let began = SystemTime::now().checked_sub(age).and_then(|began| began.duration_since(UNIX_EPOCH).ok());
        Self {
            number: node.number(),
            parent: node.parent().map(|parent| parent.number()),
            id: node.request_id().to_owned(),
            operation: node.operation().to_string(),
            identity: node.identity().map(|identity| identity.id().to_owned()),
            origin: node.origin().map(str::to_owned),
            status: status(node),
            reason: took.and_then(|_| reason(node)).map(str::to_owned),
            began_ms: began.map_or(0, |began| u64::try_from(began.as_millis()).unwrap_or(u64::MAX)),
            took_us: u64::try_from(took.unwrap_or(age).as_micros()).unwrap_or(u64::MAX),
            input_bytes: node.input_bytes(),
            output_bytes: node.output_bytes(),
        }
    }
}

/// How a call stands. It is running until its work was dropped, also once its ending is decided.
pub(crate) fn status(node: &CallNode) -> CallStatus {
    match node.took().and_then(|_| node.ending().decided()) {
        Some(Ending::Completed) => CallStatus::Completed,
        Some(Ending::Failed | Ending::TimedOut) => CallStatus::Failed,
        Some(Ending::Aborted | Ending::Revoked) => CallStatus::Aborted,
        None if node.is_running() => CallStatus::Running,
        None => CallStatus::Pending,
    }
}

fn reason(node: &CallNode) -> Option<&'static str> {
    match node.ending().decided()? {
        Ending::TimedOut => Some("timeout"),
        Ending::Revoked => Some("revoked"),
        Ending::Completed | Ending::Failed | Ending::Aborted => None,
    }
}

/// Which calls are listed; everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Only these; empty for all.
    pub statuses: Vec<CallStatus>,
    /// Only those of this peer.
    pub identity: Option<String>,
    /// Only operations whose name begins so.
    pub operation_prefix: Option<String>,
    /// Only those that began so lately.
    pub within: Option<Duration>,
    /// Only those that were begun before this one.
    pub before: Option<CallNumber>,
}

impl CallFilter {
    pub(crate) fn admits(&self, node: &CallNode) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&status(node)))
            && self.identity.as_deref().is_none_or(|id| node.identity().is_some_and(|identity| identity.id() == id))
            && self.operation_prefix.as_deref().is_none_or(|prefix| node.operation().starts_with(prefix))
            && self.within.is_none_or(|within| node.began().elapsed() <= within)
            && self.before.is_none_or(|before| node.number() < before)
    }
}

/// A call with the calls that it composed, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallTree {
    /// The call.
    pub call: CallView,
    /// What it composed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<CallTree>,
}

impl CallTree {
    /// Puts the tree together from its root and everything below it, in any order.
    pub(crate) fn of(root: &CallNode, below: Vec<Arc<CallNode>>) -> Self {
        let mut children: BTreeMap<CallNumber, Vec<Arc<CallNode>>> = BTreeMap::new();
        for node in below {
            if let Some(parent) = node.parent() {
                children.entry(parent.number()).or_default().push(node);
            }
        }
        Self::grow(root, &mut children)
    }

    /// As deep as compositions nest.
    fn grow(node: &CallNode, children: &mut BTreeMap<CallNumber, Vec<Arc<CallNode>>>) -> Self {
        let mut own = children.remove(&node.number()).unwrap_or_default();
        own.sort_by_key(|child| child.number());
        Self { call: CallView::of(node), children: own.iter().map(|child| Self::grow(child, children)).collect() }
    }
}
